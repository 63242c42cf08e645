"""The map of where each organisation wins, its page and the pictures: `tb/quality_map.py`, `tb/rtl_pictures.py`."""

from __future__ import annotations

import json
import re

import energies
import map_page
import numpy as np
import pytest
import quality_map
import rtl_pictures
from account import GROUPS_OF, Core, Dense, Group, Library, jobs
from generate import random_layer

LIBRARY = Library.read("osu180")


def test_the_coarsest_threshold_that_is_good_enough():
    """Finer ones err less; four planes cannot err as little as seven where inputs are far apart."""
    x = quality_map.drawn("outliers", 8, np.random.default_rng(0))
    fine, coarse = (quality_map.coarsest(x, 10 ** (-db / 10), 7) for db in (24, 15))
    assert fine.max() > coarse.max()
    assert quality_map.spikes(fine, 7) > quality_map.spikes(coarse, 7)
    assert quality_map.coarsest(x, 10**-2.4, 4) is None


def test_rows_of_two_numbers_of_steps_are_mixed():
    """Halfway between two errors half of the rows have a step more."""
    errors = {3: (0.08, 0.6), 4: (0.04, 0.8), 5: (0.02, 1.0)}
    assert quality_map.steps_for(errors, 0.03) == (pytest.approx(4.5), 5)
    assert quality_map.steps_for(errors, 0.02) == (5.0, 5)
    assert quality_map.steps_for(errors, 0.5) == (3.0, 3)
    assert quality_map.steps_for(errors, 0.01) is None


def test_group_arrays_wait_for_encoders_and_sums():
    """A chunk takes a row tile's most steps, or as many cycles as sums leave in; one encoder a group and step."""
    rng = np.random.default_rng(1)
    layers = [
        random_layer(rng, 16, 256, 64, name=f"a.{name}", coding="group4_beam4", timesteps=6, frac_bits=7)
        for name in ("q_proj", "k_proj", "o_proj")
    ]
    assert [[layer.name for layer in job] for job in jobs(layers)] == [["a.q_proj", "a.k_proj"], ["a.o_proj"]]
    array = Group(LIBRARY, "groups, S 6", 16, 100)
    assert array.cycles(layers[:1]) == 2 * 2 * 4 * 6  # row tiles, chunks, column tiles, steps
    assert array.cycles(layers[:2], 5.5) == 2 * 2 * 2 * 4 * 5.5
    assert Group(LIBRARY, "groups, S 6", 16, 1).cycles(layers[:2]) == 16 * 64 * 6  # encoded once
    scales = random_layer(rng, 8, 256, 16, groups=4, coding="group4_beam4", timesteps=6, frac_bits=7)
    assert array.cycles([scales]) == 4 * 8  # a chunk a group, whose 8 rows leave
    more = Group(LIBRARY, "groups, S 6", 16, 101).areas()
    assert more["encoders"] - array.areas()["encoders"] == pytest.approx(array.rung["encoder_um2"])


def test_wide_arrays_are_the_ladders():
    """Of 16 inputs: its parts, and beside them what an array of 8 inputs has that the ladder leaves out."""
    parts, rung = Dense(LIBRARY, "dense, T 4", 16, 16).areas(), LIBRARY.rung("INT4 x (sign + 4), 16 inputs")
    assert {name: parts[name] for name in rung["area_um2"]} == rung["area_um2"]
    assert 0 < parts["drain"] < parts["columns"] / 10
    assert Dense(LIBRARY, "dense, T 4", 32, 16).areas()["columns"] == 2 * parts["columns"]


def test_energies_follow_what_is_done():
    """The ladder's own figures at the ladder's own inputs; less with fewer spikes, steps or passes."""
    rungs = energies.rungs("osu180")
    for lanes, name in ((8, "INT4 x (sign + 4)"), (16, "INT4 x (sign + 4), 16 inputs")):
        full = sum(rungs[name]["energy_pj_per_mac"].values())
        assert energies.dense("osu180", 4, lanes, 1.36) == pytest.approx(full)
        assert energies.dense("osu180", 4, lanes, 0.6) < energies.dense("osu180", 4, lanes, 0.6, 1.5) < 1.5 * full
    whole = sum(rungs[energies.EVENT]["energy_pj_per_mac"]["Gauss"].values())
    assert energies.event("osu180", energies.SPIKES, energies.FILLED) == pytest.approx(whole)
    assert energies.event("osu180", 0.6, 0.7) < whole
    for name, rung in GROUPS_OF.items():
        own, steps = sum(rungs[rung]["energy_pj_per_mac"].values()), rungs[rung]["steps"]
        assert energies.groups("osu180", name, steps, 1e9) == pytest.approx(own)
        encoded = energies.groups("osu180", name, steps, 1000) - own
        assert encoded > 0
        assert energies.groups("osu180", name, steps, 500) - own == pytest.approx(2 * encoded)
    assert energies.dense("osu180", 7, 8, 1.0) is None
    assert energies.event("osu180", 1.0, 0.7, 8) is None
    assert energies.rungs("none") == {}


def test_no_array_is_larger_than_the_others():
    """The limit is that of a dense array; the best of what is small enough counts."""
    limit = quality_map.largest(LIBRARY)
    x = quality_map.drawn("gauss", 8, np.random.default_rng(0))
    found = list(quality_map.event_found(x, 10**-1.5, LIBRARY))
    best = quality_map.best(found, 2048, limit)
    assert best["mm2"] <= limit
    assert best["macs_per_cycle_mm2"] == max(one.density(2048) for one in found if one.area(2048) <= limit)
    assert quality_map.best(found, 2048, 0.1) is None
    assert isinstance(Core(LIBRARY, "spike, 16 lanes, 4 slots", 64, quality_map.TODAY).adders, int)


def test_the_committed_page_and_pictures_are_what_their_json_says():
    """rtl_map.md word for word; of pictures all that is written in them."""
    result = json.loads(quality_map.OUT.read_text(encoding="utf-8"))
    assert map_page.page(result) == quality_map.OUT.with_suffix(".md").read_text(encoding="utf-8")
    for row in result["rows"]:
        rates = [row[side]["macs_per_cycle_mm2"] for side in ("dense", "event", "groups") if row[side]]
        assert row[map_page.winner(row)]["macs_per_cycle_mm2"] == max(rates)
    for name, drawn in rtl_pictures.pictures().items():
        committed = (rtl_pictures.RESULTS / name).read_text(encoding="utf-8")
        assert written(drawn) == written(committed), name
        assert written(drawn)


def written(svg):
    """Texts of a picture."""
    return re.findall(r">([^<>\s][^<>]*)</text>", svg)
