"""What `speed.py` is made of: a clock, rivals, limits of the machine, layers and models to time, and its tables."""
