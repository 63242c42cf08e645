"""Codes of the frontier: how inputs spike, in one word each.

rms@0.35                      thresholds of .35 times a row's root mean square, T = 7 being range alone
absmax@T4, absmax@T3x0.8      a row's largest input fills the range of T timesteps; times a ratio
rms@text=0.7+vision=0.5       another ratio by modality (T likewise: absmax@text=T4+vision=T3)
rms@sops=1.1e8, rms@spikes=0.75, absmax@mean=4
                              ratios and T spent by sensitivity under a budget, on calibration data
rms@0.5+rebuilt               any of these that spikes, and weights that learned from the spikes
tc_lif_rdoq:rms@0.4           any of these in another coding than tc_lif
weights                       no spikes: the quantized weights alone
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spike_compressor.coding import MAX_TIMESTEPS, available_codings, get_coding
from spike_compressor.comparison import SplitRecipe
from spike_compressor.runtime import LayerSpec

WEIGHTS_ALONE = "weights"
_BUDGETS = {"sops": "sops_per_token", "spikes": "spikes_per_input", "mean": "mean_timesteps"}
_REBUILT = "+rebuilt"
#: Fields of `SpikeReconstructionModifier`.
_LEARNER: dict[str, Any] = {"block_steps": 60, "model_steps": 100}
#: What all modalities share.
_ALL = ""


@dataclass(frozen=True)
class Code:
    """How the inputs of a model's layers spike.

    Attributes:
        label: as it was written.
        coding: its name.
        statistic: that thresholds are proportional to.
        ratios: by modality; `""` stands for those that are not named.
        timesteps: likewise.
        budget: of `MSTSModifier`, where sensitivity chooses; else None.
        rebuilt: whether weights learn from the spikes.
    """

    label: str
    statistic: str = "absmax"
    ratios: Mapping[str, float] | None = None
    timesteps: Mapping[str, int] | None = None
    budget: Mapping[str, float] | None = None
    rebuilt: bool = False
    coding: str = "tc_lif"

    @classmethod
    def parse(cls, label: str) -> Code:
        """Read a label.

        Raises:
            SystemExit: it is none of the forms above.
        """
        if label == WEIGHTS_ALONE:
            return cls(label)
        if label.endswith(_REBUILT):
            return replace(cls.parse(label.removesuffix(_REBUILT)), label=label, rebuilt=True)
        coding, colon, word = label.rpartition(":")
        if colon:
            if coding not in available_codings() or not get_coding(coding).rounds:
                raise SystemExit(
                    f"code {label!r}: {coding!r} is no coding that rounds; group_gates.py has group coding"
                )
            return replace(cls.parse(word), label=label, coding=coding)
        statistic, _, rest = label.partition("@")
        kind, _, amount = rest.partition("=")
        if kind in _BUDGETS:
            return cls(label, statistic, budget={_BUDGETS[kind]: float(amount)})
        ratios, timesteps = {}, {}
        for part in rest.split("+"):
            found = re.fullmatch(r"(?:(\w+)=)?(?:T([1-7]))?x?([\d.]+)?", part)
            if found is None or not (found[2] or found[3]):
                raise SystemExit(f"code {label!r} is not read; {__doc__}")
            modality = found[1] or _ALL
            timesteps[modality] = int(found[2] or MAX_TIMESTEPS)
            ratios[modality] = float(found[3] or 1)
        return cls(label, statistic, ratios, timesteps)

    def spec(self, modalities: Iterable[str]) -> LayerSpec:
        """The encoding of every layer, of a code without a budget."""
        assert self.ratios is not None
        assert self.timesteps is not None
        names = tuple(modalities)
        ratio = {name: self.ratios.get(name, self.ratios.get(_ALL, 1.0)) for name in names}
        timesteps = {name: self.timesteps.get(name, self.timesteps.get(_ALL, MAX_TIMESTEPS)) for name in names}
        return LayerSpec(timesteps, self.coding, ratio=ratio, statistic=self.statistic)

    def recipe(self, weights: SplitRecipe) -> SplitRecipe | None:
        """The recipe of a code that takes one: of a budget, or with weights that learn; else None."""
        if self.budget is not None:
            planner = {"allocation": "sensitivity", "budget": dict(self.budget)}
            made = weights.spiking(planner, **self._chosen(), threshold_ratio="auto")
        elif self.rebuilt:
            made = weights.spiking(**self._neurons())
        else:
            return None
        return made.learning(**_LEARNER) if self.rebuilt else made

    def _neurons(self) -> dict[str, Any]:
        """Fields of `TCLIFModifier`, of a code without a budget."""
        assert self.ratios is not None
        assert self.timesteps is not None
        fields = {"threshold_ratio": self.ratios, "timesteps": self.timesteps}
        shared = {name: values[_ALL] if set(values) == {_ALL} else dict(values) for name, values in fields.items()}
        return {**self._chosen(), **shared}

    def _chosen(self) -> dict[str, Any]:
        coding = {} if self.coding == "tc_lif" else {"coding": self.coding}
        return {"threshold_statistic": self.statistic, **coding}
