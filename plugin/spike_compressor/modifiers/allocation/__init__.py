"""Strategies that give every layer and modality its timesteps."""

from spike_compressor.modifiers.allocation import strategies as strategies  # each makes itself known
from spike_compressor.modifiers.allocation.base import (
    Allocation,
    Need,
    apply_overrides,
    available_allocations,
    get_allocation,
    overridden,
    register_allocation,
)
from spike_compressor.modifiers.allocation.budget import Budget
from spike_compressor.modifiers.allocation.measured import Measured, Slot

__all__ = [
    "Allocation",
    "Budget",
    "Measured",
    "Need",
    "Slot",
    "apply_overrides",
    "available_allocations",
    "get_allocation",
    "overridden",
    "register_allocation",
]
