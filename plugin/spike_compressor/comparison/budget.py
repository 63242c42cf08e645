"""Spike budgets as they are written on a command line, and the `MSTSModifier` that they mean."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.runtime.plan import checked_timesteps

_BUDGETED = ("uniform", "med", "sensitivity")


@dataclass(frozen=True)
class SpikeBudget:
    """One budget.

    Attributes:
        label: as it is written: `3/4` (T of vision / T of text), `text=4+vision=3+audio=5`, `mean:3.25`,
            `sops:2e6`, `spikes:0.75`.
        fields: of `MSTSModifier`.
    """

    label: str
    fields: dict[str, Any]

    @classmethod
    def parse(cls, text: str, allocation: str = "sensitivity") -> SpikeBudget:
        """`3/4`, `4` (all modalities), `text=4+vision=3+audio=5`, `mean:3.25`, `sops:2e6` or `spikes:0.75`; the latter
        three are spent by `allocation`, which a suffix overrides: `mean:2.5:uniform`.

        Raises:
            InputError: another form, an unknown modality, T or a mean outside 1 .. 7, nothing to spend, an allocation
                that spends no budget.
        """
        if re.fullmatch(r"\w+=\d+(\+\w+=\d+)*", text):
            parts = [part.split("=") for part in text.split("+")]
            table = checked_timesteps({name: int(T) for name, T in parts}, f"budget {text!r}")
            return cls(text, {"allocation": "fixed", "timesteps": table})
        fixed = re.fullmatch(r"(\d+)(?:/(\d+))?", text)
        if fixed:
            vision, timesteps = int(fixed[1]), int(fixed[2] or fixed[1])
            if not (1 <= vision <= MAX_TIMESTEPS and 1 <= timesteps <= MAX_TIMESTEPS):
                raise InputError(f"budget {text!r}: timesteps must be from 1 to {MAX_TIMESTEPS}")
            table = {"vision": vision, "text": timesteps} if fixed[2] else timesteps
            return cls(f"{vision}/{timesteps}", {"allocation": "fixed", "timesteps": table})
        kind, _, rest = text.partition(":")
        amount, _, named = rest.partition(":")
        chosen = named or allocation
        fields = {"mean": "mean_timesteps", "sops": "sops_per_token", "spikes": "spikes_per_input"}
        if kind not in fields or not re.fullmatch(r"\d+(\.\d*)?([eE][+-]?\d+)?", amount):
            raise InputError(
                f"budget {text!r} is none of 3/4 (T of vision / text), text=4+vision=3, mean:3.25, sops:2e6, "
                "spikes:0.75"
            )
        if chosen not in _BUDGETED:
            raise InputError(f"budget {text!r}: allocation {chosen!r} spends no budget; use {', '.join(_BUDGETED)}")
        value = float(amount)
        if kind == "mean" and not 1 <= value <= MAX_TIMESTEPS:
            raise InputError(f"budget {text!r}: mean timesteps must be from 1 to {MAX_TIMESTEPS}")
        if not 0 < value < math.inf:
            raise InputError(f"budget {text!r}: must be a number greater than 0")
        return cls(f"{kind}:{value:g}:{chosen}", {"allocation": chosen, "budget": {fields[kind]: value}})
