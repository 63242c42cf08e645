"""`fixed`: the same T in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spike_compressor.modifiers.allocation.base import Allocation, register_allocation
from spike_compressor.modifiers.allocation.measured import Measured
from spike_compressor.runtime.plan import SpikePlan, timesteps_by_modality


@register_allocation("fixed")
class Fixed(Allocation):
    """The same T by modality in every layer: `timesteps: {vision: 3, text: 4}`."""

    fields = ("timesteps",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.timesteps = timesteps_by_modality(self._required("timesteps"), "MSTSModifier.timesteps")

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        timesteps = timesteps_by_modality(self.timesteps, "MSTSModifier.timesteps", measured.modalities)
        return {name: dict(timesteps) for name in modules}
