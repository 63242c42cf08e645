"""Organisations of arrays: `event`, `dense`, `group`, and those that other packages bring."""

from spike_compressor.estimate.organisations.base import (
    ORGANISATIONS,
    Cycles,
    Job,
    Organisation,
    make,
    register_organisation,
)
from spike_compressor.registry import import_folder

__all__ = ["ORGANISATIONS", "Cycles", "Job", "Organisation", "make", "register_organisation"]

import_folder(__name__, __path__)
