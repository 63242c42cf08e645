"""Damaged inputs of every kind, by the ten thousand: `python -m fuzz` from tools/, or `make fuzz`."""
