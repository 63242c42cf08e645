"""Which of the package's refusals a test misses when it is taken away; see `__main__`."""
