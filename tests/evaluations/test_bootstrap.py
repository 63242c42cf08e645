"""Intervals: hand-made cases whose answer is known, and the same as drawing every item."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.evaluations import (
    Interval,
    Perplexity,
    accuracy_difference,
    accuracy_interval,
    perplexity_interval,
    perplexity_ratio,
)
from spike_compressor.evaluations.bootstrap import grouped_interval


def answers(right: int, wrong: int) -> list[bool]:
    return [True] * right + [False] * wrong


def text(*nll: float, tokens: int = 10) -> Perplexity:
    return Perplexity(context=11, stride=11, nll=nll, tokens=(tokens,) * len(nll))


def close(interval: Interval, estimate: float, low: float, high: float, tolerance: float = 1e-9) -> bool:
    found = (interval.estimate, interval.low, interval.high)
    return all(abs(a - b) <= tolerance for a, b in zip(found, (estimate, low, high), strict=True))


def test_kinds_count_alike_however_many_questions_they_have() -> None:
    assert close(accuracy_interval({"many": answers(4, 0), "one": answers(0, 1)}), 0.5, 0.5, 0.5)


def test_the_interval_of_an_accuracy_is_the_binomials() -> None:
    # 2.5 % and 97.5 % quantiles of Binomial(100, 1/2) are 40 and 60
    assert close(accuracy_interval({"kind": answers(50, 50)}), 0.5, 0.40, 0.60, 0.011)


def test_it_is_the_interval_of_drawing_every_question() -> None:
    kinds = {"a": answers(30, 10), "b": answers(12, 48)}
    rng = np.random.default_rng(1)
    draws = np.mean([np.asarray(v)[rng.integers(0, len(v), (20_000, len(v)))].mean(axis=1) for v in kinds.values()], 0)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert close(accuracy_interval(kinds), (30 / 40 + 12 / 60) / 2, low, high, 0.006)


def test_a_difference_is_taken_question_by_question() -> None:
    first, second = {"kind": answers(60, 40)}, {"kind": answers(50, 50)}
    # the first is right wherever the second is, and 10 times more: those 10 alone vary, Binomial(100, 0.1)
    assert close(accuracy_difference(first, second), 0.10, 0.05, 0.16, 0.011)
    assert close(accuracy_difference(first, first), 0, 0, 0)
    # equally often right, but never on the same question: as uncertain as can be
    other = {"kind": answers(50, 50)[::-1]}
    wide = accuracy_difference(other, second)
    assert wide.estimate == 0
    assert wide.high - wide.low > 0.35


def test_a_difference_needs_the_same_questions() -> None:
    with pytest.raises(InputError, match=naming("questions")):
        accuracy_difference({"a": answers(1, 1)}, {"a": answers(1, 2)})
    with pytest.raises(InputError, match=naming("'a'")):
        accuracy_interval({"a": []})


def test_perplexitys_interval_draws_chunks() -> None:
    # of two chunks both draws are the first with probability 1/4, and both the second
    assert close(perplexity_interval(text(10, 20)), math.exp(1.5), math.exp(1), math.exp(2))
    assert close(perplexity_interval(text(7, 7, 7)), *[math.exp(0.7)] * 3)


def test_longer_chunks_weigh_more() -> None:
    uneven = Perplexity(11, 11, nll=(30.0, 10.0), tokens=(30, 5))
    assert math.isclose(perplexity_interval(uneven).estimate, math.exp(40 / 35))
    assert close(perplexity_interval(uneven), math.exp(40 / 35), math.exp(1), math.exp(2))


def test_a_ratio_is_taken_chunk_by_chunk() -> None:
    hard_and_easy = (10.0, 40.0, 22.0, 31.0)
    worse = text(*(value + 1 for value in hard_and_easy))  # 0.1 nats a token, in every chunk
    ratio = perplexity_ratio(worse, text(*hard_and_easy))
    assert close(ratio, *[math.exp(0.1)] * 3)
    alone = perplexity_interval(worse)
    assert alone.high / alone.low > 3


def test_a_ratio_needs_the_same_chunks() -> None:
    with pytest.raises(InputError, match=naming("text", "context", "stride")):
        perplexity_ratio(text(1, 2), text(1, 2, tokens=9))


def test_the_same_seed_gives_the_same_interval() -> None:
    kinds = {"a": answers(30, 10)}
    assert accuracy_interval(kinds) == accuracy_interval(kinds)
    assert perplexity_interval(text(1, 5, 3)) == perplexity_interval(text(1, 5, 3))


def test_items_of_a_group_are_drawn_together() -> None:
    """Ten answers about one picture are as sure as one; the interval of ten pictures is narrower."""
    right = np.array([1.0, 0.0] * 10)

    def width(groups: list[int]) -> float:
        found = grouped_interval(groups, lambda chosen: float(right[chosen].mean()), 500)
        assert found.estimate == 0.5
        assert found.low <= 0.5 <= found.high
        return found.high - found.low

    apart, pairs = width(list(range(20))), width([index // 2 for index in range(20)])
    by_answer = width([index % 2 for index in range(20)])
    assert pairs == 0  # each pair has one right answer
    assert 0.2 < apart < 0.6
    assert by_answer == 1
    with pytest.raises(InputError):
        grouped_interval([], lambda chosen: 0.0)
