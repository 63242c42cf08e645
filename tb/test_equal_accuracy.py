"""`python tb/equal_accuracy.py`: cycles and areas of organisations, and the committed page."""

from __future__ import annotations

import json
from dataclasses import replace

import account
import accuracy_cases
import capped
import equal_accuracy
import numpy as np
import pytest
from account import Core, Dense, Library, Organisation
from cycle_model import block_words
from dense_model import DenseShape, dense_cycles
from generate import random_layer

LIBRARY = Library.read("osu180")
NAME = "spike, 8 lanes, 8 slots"


def core(**how):
    """A core of 96 columns."""
    return Core(LIBRARY, NAME, 96, replace(account.TODAY, **how))


def layer(groups=3, M=17, K=192, N=200):
    """A layer of groups of 64 inputs."""
    return random_layer(np.random.default_rng(1), M, K, N, groups=groups, timesteps=(1, 3, 7))


def test_organisations_add_cycles():
    """What each takes: a cycle for each chunk that is loaded, each row of no high plane, each chunk that is fired."""
    one = layer()
    words = block_words(one, core().shape).sum() * 3  # column tiles
    assert core(two_port_sums=True).cycles(one) == {"words": words}
    assert core(two_port_sums=True, shared_banks=True).cycles(one)["loading"] == 3 * 3 * 24
    assert core(two_port_sums=True, halves=1).cycles(one)["firing"] == 17 * 25
    low = random_layer(np.random.default_rng(1), 16, 192, 96, groups=3, timesteps=1)
    assert core().cycles(low)["sums"] == 16 * 3  # rows of T = 1 have one plane
    high = random_layer(np.random.default_rng(1), 16, 192, 96, groups=3, timesteps=7)
    assert core().cycles(high)["sums"] < 16
    assert core(two_port_sums=True).cycles(high).keys() == {"words"}


def test_organisations_save_area():
    """Each is smaller than today's core, by its memory and no more; and columns cost what they hold."""
    areas = {how: core(**{how: value}).areas() for how, value in (("shared_banks", True), ("halves", 1))}
    today = core().areas()
    assert {part for part in today if areas["shared_banks"][part] != today[part]} == {"weight banks"}
    assert areas["shared_banks"]["chunk of weights"] == 6 * 96 * 4 * LIBRARY.flop
    assert areas["shared_banks"]["weight banks"] == pytest.approx(today["weight banks"] / 2)
    assert areas["halves"]["store of spikes"] == pytest.approx(today["store of spikes"] / 2)
    assert core(two_port_sums=True).areas()["sums"] > 1.5 * today["sums"]
    one = core(one_block=True).areas()
    assert one["sums"] == 0
    assert one["accumulators"] < 0.7 * today["accumulators"]
    twice = Core(LIBRARY, NAME, 192, account.TODAY).areas()
    assert twice["columns"] == pytest.approx(2 * today["columns"])
    assert twice["store of spikes"] == today["store of spikes"]


def test_capped_firing_takes_fewer_words_for_a_front_end():
    """As near to the inputs as a layer's own codes, they take fewer words; holding a block back costs area."""
    one = random_layer(np.random.default_rng(1), 12, 192, 96, groups=3, timesteps=4, distribution="laplace")
    less, threshold = capped.as_good(one, 8)
    assert 0.7 < threshold < 1
    codes = sum((less.spikes[t].astype(int) << 6 - t) for t in range(7))
    assert capped.noise(one, codes, threshold) == pytest.approx(capped.noise(one, one.codes, 1), rel=0.01)
    assert np.array_equal(codes, capped.capped(one, threshold, 8))
    before, after = (core().cycles(layer)["words"] for layer in (one, less))
    assert 0.75 < after / before < 0.95
    today, more = core().areas(), core(capped=True).areas()
    front = more.pop("capped firing")
    assert front > 300 * LIBRARY.flop  # at least what holds plane 0 and its losses back
    assert front < 0.05 * sum(today.values())
    assert more == today


def test_groups_of_more_than_a_block_need_sums():
    """A core without sums computes no such layer."""
    with pytest.raises(ValueError, match="its groups have 3 blocks"):
        core(one_block=True).cycles(layer(groups=1))


def test_dense_arrays_are_those_of_the_bench():
    """Cycles are those of `make rtl-bench --ideal`, with two passes and without."""
    one = layer()
    for name, planes in (("dense, T 7", None), ("dense, T 7 in passes of 4", 4)):
        array = Dense(LIBRARY, name, 16)
        assert array.cycles(one, one_pass=False) == pytest.approx(dense_cycles(one, DenseShape(planes=planes)).sum())
    assert Dense(LIBRARY, "dense, T 7 in passes of 4", 16).cycles(one, one_pass=True) < array.cycles(
        one, one_pass=False
    )


def test_every_case_names_a_row():
    """Accuracies come from the pages: each row is there, once."""
    for case in accuracy_cases.CASES:
        found = case.row.accuracy()
        assert found["low"] <= found["estimate"] <= found["high"]
        for dense in case.others:
            assert dense.array is None or dense.array in LIBRARY.arrays
            if dense.row is not None:
                dense.row.accuracy()
    with pytest.raises(SystemExit, match="has 0 rows"):
        replace(accuracy_cases.CASES[0].row, fields={"code": "none"}).accuracy()


def test_the_page_is_of_the_committed_results():
    """Page and figures belong together, and no core is said to be ahead that is not."""
    results = equal_accuracy.RESULTS / "equal_accuracy.json"
    report = json.loads(results.read_text(encoding="utf-8"))
    assert "\n".join(equal_accuracy.lines(report)) + "\n" == results.with_suffix(".md").read_text(encoding="utf-8")
    for case in report["cases"]:
        for found in case["libraries"].values():
            best = found["dense"][0]["macs_per_cycle_mm2"]
            assert best == max(one["macs_per_cycle_mm2"] for one in found["dense"])
            for one in found["spike"]:
                assert one["per_area"] == pytest.approx(one["macs_per_cycle"] / one["mm2"] / best)


def test_a_library_that_is_not_there():
    """The message says what makes it."""
    with pytest.raises(SystemExit, match=r"no library 'none': run `python rtl/synth/arrays\.py`"):
        Library.read("none")


def test_names_tell_organisations_apart():
    """Tables show nothing else of them."""
    every = (*account.UPGRADES, *account.CAPPED)
    assert len({how.name for how in every}) == len(every)
    assert isinstance(account.TODAY, Organisation)
