"""Times of several calls, taken in turn in one process, and their ratios."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

#: Seconds that one sample lasts at least: short calls are repeated within it.
SAMPLE = 0.004
#: A call that takes more than this part of a case's time is sampled in the first rounds alone.
SLOW = 1 / 12

Samples = dict[str, list[float]]


class Ratio(NamedTuple):
    """How many times as fast one call is as another: the median over rounds, and the quartiles."""

    ratio: float
    low: float
    high: float


def interleave(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    threads: int = 1,
    *,
    least: int = 3,
    sample: float = SAMPLE,
) -> Samples:
    """Seconds of each call, round by round: in every round each of them runs, whoever was first then comes last.

    So a machine that slows down for a while harms all of them alike. Each is called twice before any counts. Calls that
    run in one thread are measured by the processor time of this process, which other processes do not add to; those of
    several threads by the clock on the wall.

    Args:
        calls: what to time, by name.
        seconds: how long rounds go on.
        threads: that the calls run in.
        least: rounds in any case.
        sample: seconds that one sample lasts at least.

    Returns:
        Seconds a call of each round, by name. Slow calls have the first `least` rounds alone.
    """
    clock = time.process_time if threads == 1 else time.perf_counter

    def measured(call: Callable[[], object], times: int) -> float:
        begin = clock()
        for _ in range(times):
            call()
        return max(clock() - begin, 1e-9) / times

    inner = {}
    for name, call in calls.items():
        call()
        inner[name] = max(1, math.ceil(sample / measured(call, 1)))
    names = list(calls)
    found: Samples = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    turn = 0
    while turn < least or time.perf_counter() < end:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if turn < least or inner[name] * min(found[name]) < SLOW * seconds:
                found[name].append(measured(calls[name], inner[name]))
        turn += 1
    return found


def ratio(rival: Sequence[float], ours: Sequence[float]) -> Ratio:
    """The rival's time over ours, of the rounds that both have."""
    paired = [theirs / own for theirs, own in zip(rival, ours, strict=False)]
    low, middle, high = statistics.quantiles(paired, n=4) if len(paired) > 1 else paired * 3
    return Ratio(middle, low, high)


def fastest(samples: Samples, names: Sequence[str]) -> str:
    """Which of these calls has the smallest median."""
    return min(names, key=lambda name: statistics.median(samples[name]))


def rounded(value: float, digits: int = 4) -> float:
    """A figure of that many significant digits."""
    return float(f"{value:.{digits}g}")
