"""What calibration measures: evolution of hidden states, errors by T, which rows are looked at."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from spike_compressor.coding import absmax_scale, encode, get_coding, get_statistic, row_scale
from spike_compressor.coding.statistics import geometric_ratios
from spike_compressor.modality import TokenRows
from spike_compressor.modifiers.evolution import EvolutionStatistics
from spike_compressor.modifiers.sensitivity import ErrorTable, clipped_energy, spread
from spike_compressor.modifiers.thresholds import RatioHistogram


def turned(h: torch.Tensor, degrees: float) -> torch.Tensor:
    """h [.., 2] turned by an angle: its cosine with h is known."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return h @ torch.tensor([[c, s], [-s, c]])


def rows(table: list[list[int]], valid: list[list[int]] | None = None) -> TokenRows:
    mask = None if valid is None else torch.tensor(valid, dtype=torch.bool)
    return TokenRows(torch.tensor(table, dtype=torch.uint8), mask)


# Evolution


def test_evolution_is_one_minus_the_mean_cosine_by_modality() -> None:
    statistics = EvolutionStatistics(("layers.0", "layers.1"), ("text", "vision"))
    before = torch.randn(2, 3, 2)
    tokens = rows([[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 0]])  # the last one is padding
    after = turned(before, 60)
    vision = tokens.modality == 1
    after[vision] = turned(before[vision], 90)
    after[1, 2] = -before[1, 2]
    statistics.update(0, 0, before, after, tokens)
    statistics.update(1, 0, before, before, tokens)
    evolution = statistics.result()
    assert evolution.curves["text"].mean == pytest.approx((0.5, 0.0), abs=1e-6)
    assert evolution.curves["vision"].mean == pytest.approx((1.0, 0.0), abs=1e-6)
    assert evolution.discrepancy["vision"] == pytest.approx((-0.5, 0.0), abs=1e-6)
    assert (evolution.curves["text"].tokens, evolution.curves["vision"].tokens) == (2, 3)
    assert evolution.curves["text"].samples == 2


def test_evolution_streams() -> None:
    """Batch by batch or all at once: the same curves and intervals."""
    torch.manual_seed(0)
    before, after = torch.randn(6, 5, 8), torch.randn(6, 5, 8)
    tokens = rows([[1, 1, 0, 0, 0]] * 6)
    whole, parts = EvolutionStatistics(("l",), ("text", "vision")), EvolutionStatistics(("l",), ("text", "vision"))
    whole.update(0, 0, before, after, tokens)
    for n in range(3):
        part = slice(2 * n, 2 * n + 2)
        parts.update(0, n, before[part], after[part], rows([[1, 1, 0, 0, 0]] * 2))
    assert whole.result().curves == {
        name: type(curve)(
            pytest.approx(curve.mean, rel=1e-12), pytest.approx(curve.half_width, rel=1e-9), curve.tokens, 6
        )
        for name, curve in parts.result().curves.items()
    }


def test_a_batch_that_runs_twice_counts_once() -> None:
    statistics = EvolutionStatistics(("l",), ("text", "vision"))
    h = torch.randn(1, 4, 2)
    for degrees in (60, 90):  # a quantizer that tries the layer again
        statistics.update(0, 0, h, turned(h, degrees), rows([[0, 0, 0, 0]]))
    assert statistics.result().curves["text"].mean[0] == pytest.approx(0.5, abs=1e-6)
    assert statistics.result().discrepancy == {}
    statistics.reset()
    assert not statistics.result().curves


def test_the_interval_covers_the_mean_over_prompts_that_differ() -> None:
    """Tokens of a prompt go together: an interval that took them for independent would be far too narrow."""
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(200):
        statistics = EvolutionStatistics(("l",), ("text", "vision"))
        angles = 60 + 15 * torch.randn(40, generator=generator)  # one a prompt
        for n, degrees in enumerate(angles.tolist()):
            h = torch.randn(1, 20, 2, generator=generator)
            statistics.update(0, n, h, turned(h, degrees), rows([[0] * 20]))
        curve = statistics.result().curves["text"]
        # E[1 - cos] of a normal angle
        truth = 1 - math.cos(math.radians(60)) * math.exp(-(math.radians(15) ** 2) / 2)
        covered += abs(curve.mean[0] - truth) <= curve.half_width[0]
    assert 180 <= covered <= 199


# Errors


def coded(x: torch.Tensor, T: int, ratio: float) -> torch.Tensor:
    """x as its spikes carry it, by the slow road."""
    scale = absmax_scale(x, T, ratio)
    return encode(x, scale, T).codes() * scale.unsqueeze(1)


def test_errors_and_spikes_are_those_of_the_neuron() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(12, 16), torch.randn(5, 16)
    measured = ErrorTable(16, "tc_lif", (0.8, 1.0))
    measured.update(x[:7], weight)
    measured.update(x[7:], weight)
    assert measured.rows == 12
    for T in range(1, 8):
        errors = {}
        for ratio in (0.8, 1.0):
            lost = (x - coded(x, T, ratio)) @ weight.t()
            errors[ratio] = float(lost.square().sum() / (x @ weight.t()).square().sum())
        best = min(errors, key=lambda ratio: errors[ratio])
        assert measured.ratio(T) == best
        assert measured.error(T) == pytest.approx(errors[best], rel=1e-4)
        spikes = encode(x, absmax_scale(x, T, best), T).count()
        assert measured.spikes_per_row(T) == pytest.approx(spikes / 12)


@pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
def test_errors_and_spikes_at_ratios_to_any_statistic(statistic: str) -> None:
    torch.manual_seed(4)
    x = torch.randn(40, 24)
    x[:, 3] *= 30  # outliers
    u = torch.randn(40, 24)
    ratios = get_statistic(statistic).ratios
    measured = ErrorTable(24, "tc_lif", ratios, statistic)
    measured.update(x, None, u)
    for T in (2, 5, 7):
        errors = []
        for ratio in ratios:
            scale = row_scale(x, T, ratio, statistic)
            train = encode(x, scale, T)
            errors.append(float(((x - train.codes() * scale.unsqueeze(1)) * u).square().sum() / 40))
            assert measured.error(T, ratio) == pytest.approx(errors[-1], rel=1e-4)
            assert measured.spikes_per_row(T, ratio) == pytest.approx(train.count() / 40)
        assert measured.error(T) == pytest.approx(min(errors), rel=1e-4)
        assert measured.ratio(T) == ratios[errors.index(min(errors))]


@pytest.mark.parametrize(("statistic", "coding"), [("rms", "tc_lif"), ("mean_abs", "tc_lif"), ("rms", "tc_lif_rdoq")])
def test_histograms_find_the_ratio_of_least_error_among_outliers(statistic: str, coding: str) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(200, 256, generator=generator) * torch.randn(256, generator=generator).exp()
    assert float((x.abs().amax(dim=1) / row_scale(x, 1, 1.0, statistic)).max()) > 10
    histogram = RatioHistogram(statistic)
    for part in x.split(60):
        histogram.update(part)
    histogram.update(torch.zeros(2, 256))
    for T in (3, 5, 7):

        def error(ratio: float, T: int = T) -> float:
            scale = row_scale(x, T, ratio, statistic).unsqueeze(1)
            codes = encode(x, scale.squeeze(1), T, coding).codes()
            return float((x - scale * codes).double().square().sum())

        low, high = get_statistic(statistic).ratios[0], get_statistic(statistic).ratios[-1]
        best = min(error(ratio) for ratio in geometric_ratios(low, high, 60))
        assert error(histogram.best_ratio(T, get_coding(coding).rounding)) < 1.02 * best


@pytest.mark.parametrize("coding", ["tc_lif_rdoq", "csd", "unary", "unary_unsigned", "binary_unsigned"])
def test_spikes_are_those_of_the_coding(coding: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(6, 8)
    measured = ErrorTable(8, coding, (1.0,))
    measured.update(torch.cat([x, -x]), torch.eye(8))
    for T in (2, 4, 6):
        signed = get_coding(coding).signed
        zero_point = {} if signed else {"zero_point": 1 << T}
        both = [encode(part, absmax_scale(part, T), T, coding, **zero_point).count() for part in (x, -x)]
        assert measured.spikes_per_row(T) == pytest.approx(sum(both) / 12)


def test_errors_weighted_by_gradients() -> None:
    torch.manual_seed(2)
    x, gradient = torch.randn(9, 6), torch.randn(9, 6)
    measured = ErrorTable(6, "tc_lif", (1.0,))
    measured.update(x, None, gradient)
    for T in (1, 3, 5):
        lost = x - coded(x, T, 1.0)
        assert measured.error(T) == pytest.approx(float((lost * gradient).square().sum() / 9), rel=1e-5)


# What clips


def test_energy_that_clipping_takes() -> None:
    torch.manual_seed(7)
    x = torch.randn(5, 33)
    x[2] = 0
    x[3, :4] = 2.5  # equal to a limit, and to each other
    limits = torch.rand(3, 4, 5) * 3
    limits[0, 0] = 2.5
    limits[1, 1] = 0
    found = clipped_energy(x, limits)
    expected = (x.abs() - limits.unsqueeze(-1)).clamp(min=0).double().square().sum(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("coding", "split"), [("tc_lif", False), ("tc_lif_rdoq", True)])
def test_options_that_clip_an_outlier_of_every_row_are_overloaded(coding: str, split: bool) -> None:
    """At T = 7 and a ratio of .05 codes reach 6.35 times the root mean square, and a channel stands at 7.9 of it."""
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(64, 64, generator=generator)
    x[:, 5] = 100.0
    tables = []
    for rows in (x, x[:, torch.arange(64) != 5]):
        table = ErrorTable(rows.shape[1], coding, (0.05, 0.3), "rms")
        for part in rows.split(20) if split else [rows]:
            table.update(part, None, torch.ones_like(part))
        tables.append(table)
    outlier, bulk = tables
    assert outlier.overloaded(7, 0.05)
    assert not outlier.overloaded(7, 0.3)
    assert outlier.overloaded(2, 0.3)
    assert not bulk.overloaded(7, 0.05)


def test_codings_that_do_not_round_are_not_judged_by_what_clips() -> None:
    x = torch.ones(8, 16)
    x[:, 0] = 100
    table = ErrorTable(16, "group4", (0.05, 0.3), "rms")
    table.update(x, None, torch.ones_like(x))
    assert not any(table.overloaded(T, ratio) for T in (1, 7) for ratio in (0.05, 0.3))


# Rows that are looked at


@pytest.mark.parametrize("quota", [1, 3, 8])
def test_rows_are_spread_evenly_over_a_prompt(quota: int) -> None:
    valid = torch.zeros(3, 40, dtype=torch.bool)
    valid[0, 5:38] = True
    valid[1, ::3] = True
    valid[2, 7] = True
    chosen = spread(valid, quota)
    assert not bool((chosen & ~valid).any())
    assert chosen.sum(dim=1).tolist() == [min(quota, int(row.sum())) for row in valid]
    if quota == 3:
        places = chosen[0].nonzero().squeeze(1).tolist()
        gaps = [b - a for a, b in itertools.pairwise(places)]
        assert max(gaps) - min(gaps) <= 1
        assert places[0] >= 5 + 4  # not the first ones


def test_rows_do_not_depend_on_batching() -> None:
    torch.manual_seed(3)
    valid = torch.rand(6, 30) > 0.4
    whole = spread(valid, 4)
    assert torch.equal(whole, torch.cat([spread(part, 4) for part in valid.split(2)]))
    # nor on padding to the left or right
    wide = torch.zeros(6, 50, dtype=torch.bool)
    wide[:, 20:] = valid
    assert torch.equal(spread(wide, 4)[:, 20:], whole)
