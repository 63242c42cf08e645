"""The version of the package, for whoever needs it without importing the rest."""

__version__ = "0.1.0"
