"""Plans as they are written on a command line, and as traces have them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from spike_compressor.errors import InputError
from spike_compressor.estimate.statistics import Spikes, mean_of, of_bundle, of_distribution
from spike_compressor.estimate.work import Plan
from spike_compressor.trace import MAX_TIMESTEPS, open_bundle

#: Kinds of layers that a plan may name, beside modalities: as `layer_kind` has them.
KINDS = ("vision tower", "projector", "q/k/v", "o", "gate/up", "down")
#: Spikes per input of vision and text where nothing is said: rotated models at 3/4 (docs/results/rtl_bench.md: the
#: embedded model's vision rows, SmolLM2's text), from inputs that are nearly Gaussian.
DEFAULT_SPIKES = "1.04/1.46"
_WORDS = {"tower": "vision tower", "qkv": "q/k/v", "mlp": "gate/up", **{kind: kind for kind in KINDS}}


def plan_from(
    timesteps: str,
    spikes: str | None,
    distribution: str,
    trace: str | os.PathLike[str] | None,
) -> Plan:
    """A plan from what a user gives.

    Args:
        timesteps: T of vision / text (`3/4`), one T, or by modality and kind (`vision=3+text=4+down=5`; kinds are
            `tower`, `projector`, `qkv`, `o`, `mlp`, `down`).
        spikes: spikes per input in the same form; None for `DEFAULT_SPIKES`, or for the trace's.
        distribution: of inputs, for the planes that so many spikes fall into.
        trace: a bundle that says both, by kind of layer; `spikes` must be None then.

    Raises:
        InputError: another form, T or spikes out of range, an unknown kind; a trace and spikes at once; a trace that
            cannot be read.
    """
    if trace is not None:
        if spikes is not None:
            raise InputError("--trace and --spikes: both say how often inputs fire; give one")
        return plan_of_trace(trace)
    steps = _table(timesteps, "--timesteps")
    rates = _table(spikes or DEFAULT_SPIKES, "--spikes")
    found: dict[tuple[str, str], Spikes] = {}
    for key in dict.fromkeys((*steps, *rates)):
        T = steps.get(key, steps.get(_modality(key)))
        rate = rates.get(key, rates.get(_modality(key)))
        if T is None or rate is None:
            raise InputError(f"--timesteps {timesteps} and --spikes {spikes}: one of them says nothing of {key}")
        if int(T) != T or not 1 <= T <= MAX_TIMESTEPS:
            raise InputError(f"--timesteps {timesteps}: T must be a whole number from 1 to {MAX_TIMESTEPS}")
        one = of_distribution(distribution, int(T), rate)
        if key in ("vision", "text"):
            found["", key] = one
            continue
        modalities = ("vision",) if key in ("vision tower", "projector") else ("vision", "text")
        found |= {(key, modality): one for modality in modalities}
    return Plan(found)


def plan_of_trace(path: str | os.PathLike[str]) -> Plan:
    """What a trace bundle says of how inputs fire, by kind of layer and modality, and over all kinds.

    Raises:
        InputError: no bundle, one that is malformed, or codings other than `tc_lif`.
    """
    bundle = open_bundle(Path(path))
    found = of_bundle(bundle)
    plan = {key: spikes for key, (spikes, _) in found.items()}
    for modality in dict.fromkeys(modality for _, modality in found):
        plan["", modality] = mean_of(part for (_, own), part in found.items() if own == modality)
    return Plan(plan)


def _modality(key: str) -> str:
    return "vision" if key in ("vision tower", "projector") else "text" if key in KINDS else key


def _table(text: str, option: str) -> dict[str, float]:
    """`3/4`, `4` or `vision=3+text=4+down=5` as numbers by modality and kind."""
    number = r"\d+(?:\.\d+)?"
    if both := re.fullmatch(rf"({number})(?:/({number}))?", text):
        return {"vision": float(both[1]), "text": float(both[2] or both[1])}
    found: dict[str, float] = {}
    for part in text.split("+"):
        one = re.fullmatch(rf"([\w/ ]+)=({number})", part)
        if one is None:
            raise InputError(f"{option} {text!r} is none of 3/4 (vision / text), 4, vision=3+text=4+down=5")
        name = one[1] if one[1] in ("vision", "text") else _WORDS.get(one[1])
        if name is None:
            known = ", ".join(("vision", "text", "tower", "projector", "qkv", "o", "mlp", "down"))
            raise InputError(f"{option} {text!r}: unknown {one[1]!r}; there are: {known}")
        found[name] = float(one[2])
    return found
