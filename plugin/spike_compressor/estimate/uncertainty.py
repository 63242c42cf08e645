"""What is uncertain, how far, and what it does to the answer: intervals by drawing, a tornado by one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from spike_compressor.estimate.accelerator import Chip
from spike_compressor.estimate.work import Plan


@dataclass(frozen=True)
class Uncertain:
    """An input that is not known well.

    Attributes:
        name: of the change, as `Chip.varied` takes it, or `spikes`, `cycles`, `gpu_efficiency`, `gpu_power`.
        low, high: its range.
        logarithmic: drawn evenly by ratio, not by difference.
        why: the range is what it is.
    """

    name: str
    low: float
    high: float
    logarithmic: bool
    why: str

    def at(self, share: float) -> float:
        """The value that lies so far into the range, 0 to 1."""
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


#: Ranges; a factor is over what the description says.
UNCERTAIN: tuple[Uncertain, ...] = (
    Uncertain("spikes", 0.7, 1.3, True, "factor of spikes per input: between recipes of one accuracy"),
    Uncertain("energy", 0.5, 2.0, True, "factor of the arrays' energy: memories may be off by two, wires are assumed"),
    Uncertain("clock_derate", 0.55, 0.95, False, "clock over that of synthesis: wires, corner"),
    Uncertain("sram", 0.5, 2.0, True, "factor of the buffer's energy a bit: scaled over several nodes"),
    Uncertain(
        "dram_pj_per_bit", 3.4, 6.0, True, "HBM: from what is said of HBM3E accesses to HBM2 with its controller"
    ),
    Uncertain("dram_efficiency", 0.75, 0.95, False, "share of the published bandwidth that is reached"),
    Uncertain("static_w", 2.0, 12.0, True, "W: leakage, clock distribution, memory controllers"),
    Uncertain("cycles", 0.95, 1.05, False, "factor of cycles: what the model may miss the RTL by"),
)

#: Spikes are drawn in so many steps, so that words have not to be drawn anew each time.
SPIKE_STEPS = 13

#: Figures of an outcome by name.
Outcome = Mapping[str, float]


def changed(chip: Chip, plan: Plan, changes: Mapping[str, float]) -> tuple[Chip, Plan]:
    """Chip and plan with other values of what is uncertain."""
    other = chip.varied(changes)
    if "cycles" in changes:  # more cycles for the same work are a slower clock, and as much more energy a cycle
        other = other.varied({"clock_derate": other.fields.clock_derate / changes["cycles"]})
    return other, plan.scaled(changes["spikes"]) if "spikes" in changes else plan


def intervals(
    evaluate: Callable[[Mapping[str, float]], Outcome], draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """5 and 95 % quantiles of every figure, all that is uncertain drawn at once and independently.

    Args:
        evaluate: figures under some changes.
        draws: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        changes = {}
        for one in UNCERTAIN:
            share = rng.random()
            if one.name == "spikes":
                share = round(share * (SPIKE_STEPS - 1)) / (SPIKE_STEPS - 1)
            changes[one.name] = one.at(float(share))
        for name, value in evaluate(changes).items():
            found.setdefault(name, []).append(value)
    return {
        name: (float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95))) for name, values in found.items()
    }


def tornado(
    evaluate: Callable[[Mapping[str, float]], Outcome], figures: Iterable[str]
) -> dict[str, list[dict[str, float | str]]]:
    """Figures with each uncertain input at either end of its range, all others as they are; the widest first.

    Args:
        evaluate: figures under some changes.
        figures: whose bars are wanted.
    """
    ends = [(one, evaluate({one.name: one.at(0.0)}), evaluate({one.name: one.at(1.0)})) for one in UNCERTAIN]
    found: dict[str, list[dict[str, float | str]]] = {}
    for figure in figures:
        bars: list[dict[str, float | str]] = [
            {"input": one.name, "low": one.low, "high": one.high, "at_low": low[figure], "at_high": high[figure]}
            for one, low, high in ends
        ]
        found[figure] = sorted(bars, key=lambda bar: -abs(float(bar["at_high"]) - float(bar["at_low"])))
    return found
