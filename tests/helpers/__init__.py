"""What several tests need: tiny models and architectures, recipes run on them, references."""
