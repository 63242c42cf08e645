"""Bootstrap confidence intervals of a metric over the items that it was measured on.

Percentile intervals (Efron, 1979): the items are drawn again with replacement, many times, and the middle 95 % of the
values that come out is the interval. Two models that answered the same items are compared on the same draws, since
what they have in common, hard and easy items, is no uncertainty about their difference.

An accuracy's items can only be right or wrong, so their redrawn counts are drawn from the binomial (for differences the
multinomial) distribution directly: the same distribution as drawing every item, without the work.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spike_compressor.errors import InputError
from spike_compressor.evaluations.likelihood import Perplexity

RESAMPLES = 10_000
LEVEL = 0.95

#: Right or wrong, item by item, by kind of question.
Correct = Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval.

    Attributes:
        estimate: the value on the items themselves.
        low: lower end of the interval.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The same as plain numbers, for JSON."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


def accuracy_interval(correct: Correct, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Accuracy, 0 … 1, averaged over kinds; questions are redrawn within each kind.

    Raises:
        InputError: no kinds, or a kind without questions.
    """
    _check(correct)
    rng = np.random.default_rng(seed)
    draws = np.zeros(resamples)
    estimate = 0.0
    for answers in correct.values():
        n, share = len(answers), float(np.mean(answers))
        estimate += share / len(correct)
        draws += rng.binomial(n, share, resamples) / n / len(correct)
    return _interval(estimate, draws)


def accuracy_difference(first: Correct, second: Correct, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Accuracy of the first minus that of the second, on the same questions in the same order.

    Raises:
        InputError: other kinds, or other numbers of questions.
    """
    _check(first)
    if {kind: len(answers) for kind, answers in first.items()} != {kind: len(a) for kind, a in second.items()}:
        raise InputError("a paired difference needs both models' answers to the same questions")
    rng = np.random.default_rng(seed)
    draws = np.zeros(resamples)
    estimate = 0.0
    for kind, answers in first.items():
        change = np.asarray(answers, dtype=int) - np.asarray(second[kind], dtype=int)
        n = len(change)
        better, worse = int((change > 0).sum()), int((change < 0).sum())
        counts = rng.multinomial(n, [better / n, worse / n, (n - better - worse) / n], resamples)
        estimate += (better - worse) / n / len(first)
        draws += (counts[:, 0] - counts[:, 1]) / n / len(first)
    return _interval(estimate, draws)


def perplexity_interval(measured: Perplexity, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Perplexity; chunks of the text are redrawn."""
    nll, tokens = _chunks(measured)
    weights = _redrawn(len(nll), resamples, seed)
    return _interval(measured.perplexity, np.exp((weights @ nll) / (weights @ tokens)))


def perplexity_ratio(first: Perplexity, second: Perplexity, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Perplexity of the first over that of the second, on the same chunks of text.

    Raises:
        InputError: the chunks are not the same.
    """
    if first.tokens != second.tokens or (first.context, first.stride) != (second.context, second.stride):
        raise InputError("a paired ratio needs both models' perplexities of the same text, context and stride")
    nll, tokens = _chunks(first)
    other, _ = _chunks(second)
    weights = _redrawn(len(nll), resamples, seed)
    draws = np.exp((weights @ (nll - other)) / (weights @ tokens))
    return _interval(first.perplexity / second.perplexity, draws)


def grouped_interval(
    groups: Sequence[Hashable], metric: Callable[[NDArray[Any]], float], resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Any metric of items that come in groups, questions about one picture say: groups are redrawn whole.

    Args:
        groups: of each item, which group it belongs to.
        metric: of the items with these indices, int64 [chosen]; an index may come up several times.

    Raises:
        InputError: no items.
    """
    if not groups:
        raise InputError("there are no answers to draw from")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    together = [np.array(indices) for indices in members.values()]
    rng = np.random.default_rng(seed)
    draws = [
        metric(np.concatenate([together[group] for group in rng.integers(len(together), size=len(together))]))
        for _ in range(resamples)
    ]
    return _interval(metric(np.arange(len(groups))), np.array(draws))


def _check(correct: Correct) -> None:
    empty = [kind for kind, answers in correct.items() if not len(answers)]
    if not correct or empty:
        raise InputError(f"there are no answers {f'of kind {empty[0]!r} ' if empty else ''}to draw from")


def _chunks(measured: Perplexity) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.asarray(measured.nll), np.asarray(measured.tokens, dtype=float)


def _redrawn(count: int, resamples: int, seed: int) -> NDArray[Any]:
    """How often each of `count` items comes up when as many are drawn with replacement: float [resamples, count]."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples).astype(float)


def _interval(estimate: float, draws: NDArray[Any]) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(estimate), float(low), float(high))
