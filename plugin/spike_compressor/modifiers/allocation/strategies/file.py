"""`file`: a plan that exists already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spike_compressor.modifiers.allocation.base import Allocation, register_allocation
from spike_compressor.modifiers.allocation.measured import Measured
from spike_compressor.runtime.plan import SpikePlan, read_plan


@register_allocation("file")
class File(Allocation):
    """A plan written by hand or by an earlier run: YAML, module name -> modality -> T."""

    fields = ("plan",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.path = self._required("plan")

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        return read_plan(self.path, modules, measured.modalities)
