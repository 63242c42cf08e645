"""Inputs coded for cores that do not take a bundle's coding, and whole cores in several libraries."""

from __future__ import annotations

import json

import numpy as np
import organisations
import pytest
import run_bench
from generate import arrays_from_membranes, random_arrays
from spike_compressor.trace import BundleWriter, TraceError, golden, open_bundle
from synthesised import Synth, Worked, standings


def written(folder, coding, arrays, **options):
    """A bundle of one layer."""
    settings = {"frac_bits": 7 if coding.startswith("group") else 16, "weight_bits": 4} | options
    with BundleWriter(folder, producer={"name": "tb"}, model={"name": "random"}) as bundle:
        bundle.add_layer("a.q_proj", coding=coding, **settings, **arrays)
    return open_bundle(folder)


def test_codes_of_the_same_integers_stay(tmp_path):
    """What csd and tc_lif_rdoq say in other spikes the dense baseline computes sum for sum."""
    rng = np.random.default_rng(1)
    for coding in ("csd", "tc_lif_rdoq"):
        arrays = random_arrays(rng, 5, 24, 3, coding="csd", timesteps=(2, 4))
        if coding == "tc_lif_rdoq":
            given = arrays["membrane"], arrays["timesteps"], 16, coding
            arrays |= {"spikes": golden.fire(*given), "codes": golden.codes_from_membranes(*given)}
            acc = golden.accumulate(arrays["codes"], arrays["weight"])[:, :, 0].astype(np.int32)
            scales = arrays["act_scale"], arrays["weight_scale"], arrays["bias"]
            arrays |= {"acc": acc, "output": golden.dequantize(acc, *scales)}
        bundle = written(tmp_path / coding, coding, arrays)
        organisations.require_benchable(bundle, ["a.q_proj"])
        event = organisations.event_bundle(bundle, ["a.q_proj"], tmp_path / f"{coding}-event")
        assert (event is bundle) == (coding == "csd")  # which the event core fires itself
        dense = organisations.dense_bundle(event, ["a.q_proj"], tmp_path / f"{coding}-dense")
        layer = dense.layer("a.q_proj")
        assert layer.info.coding == "tc_lif"
        assert np.array_equal(layer.acc, arrays["acc"])
        assert np.array_equal(layer.modality, arrays["modality"])


def test_groups_and_plain_spikes_of_the_same_inputs(tmp_path):
    """T = 3 becomes five steps in one layer, S = 7 becomes T = 4; both are near the inputs that they stand for."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 256)).astype(np.float32)
    steps, weight = np.full(4, 3, np.uint8), rng.integers(-8, 8, (3, 256)).astype(np.int8)
    membrane = golden.membranes(x, (np.abs(x).max(axis=1) / 7).astype(np.float32), steps, 16)
    arrays = arrays_from_membranes(membrane, steps, weight, coding="tc_lif", frac_bits=16, groups=1, rng=rng)
    groups = organisations.group_bundle(written(tmp_path / "t", "tc_lif", arrays), ["a.q_proj"], tmp_path / "g")
    layer = groups.layer("a.q_proj")
    assert (layer.info.coding, set(layer.timesteps.tolist())) == ("group4_beam4", {5})
    assert all(np.corrcoef(layer.codes[row], x[row])[0, 1] > 0.98 for row in range(4))
    arrays = random_arrays(rng, 4, 256, 3, coding="group4_beam4", timesteps=7)
    event = organisations.event_bundle(
        written(tmp_path / "s", "group4_beam4", arrays), ["a.q_proj"], tmp_path / "plain"
    )
    layer = event.layer("a.q_proj")
    assert (layer.info.coding, set(layer.timesteps.tolist())) == ("tc_lif", {4})
    assert np.abs(layer.codes).max(axis=1).tolist() == [15] * 4
    assert np.corrcoef(layer.codes[0], arrays["membrane"][0])[0, 1] > 0.98


def test_what_no_core_takes(tmp_path):
    """A beam of eight has no hardware; T = 5 has no groups that are known to be as good."""
    rng = np.random.default_rng(3)
    bundle = written(tmp_path / "eight", "group4", random_arrays(rng, 2, 8, 3, coding="group4", timesteps=5))
    with pytest.raises(TraceError, match=r"a\.q_proj is coded in group4, which no core here takes .*group4_beam4"):
        organisations.require_benchable(bundle, ["a.q_proj"])
    bundle = written(tmp_path / "five", "tc_lif", random_arrays(rng, 2, 8, 3, timesteps=5))
    assert organisations.group_bundle(bundle, ["a.q_proj"], tmp_path / "none") is None
    with BundleWriter(tmp_path / "both", producer={"name": "tb"}, model={"name": "random"}) as both:
        for coding, bits in (("tc_lif", 16), ("group4_beam4", 7)):
            arrays = random_arrays(rng, 2, 8, 3, coding=coding, timesteps=3)
            both.add_layer(coding, coding=coding, frac_bits=bits, weight_bits=4, **arrays)
    with pytest.raises(TraceError, match="name those of one kind with --layer"):
        organisations.require_benchable(open_bundle(tmp_path / "both"), ["tc_lif", "group4_beam4"])


def test_capped_layers_run_on_the_core_of_their_lanes(tmp_path):
    """They are fired as they are, by a core of 8 lanes and 8 slots or 16 and 4; the dense array gets what is left."""
    rng = np.random.default_rng(3)
    for coding, lanes in (("tc_lif_capped", 8), ("tc_lif_capped16", 16)):
        arrays = random_arrays(rng, 5, 150, 3, coding=coding, timesteps=(3, 4), distribution="laplace")
        bundle = written(tmp_path / coding, coding, arrays)
        organisations.require_benchable(bundle, ["a.q_proj"])
        assert organisations.event_bundle(bundle, ["a.q_proj"], tmp_path / "none") is bundle
        dense = organisations.dense_bundle(bundle, ["a.q_proj"], tmp_path / f"{coding}-dense")
        assert np.array_equal(dense.layer("a.q_proj").codes, arrays["codes"])
        shape = run_bench.fit_shape(bundle, ["a.q_proj"], rows=2, columns=3, lanes=16, slots=16)
        assert (shape.capped, shape.lanes, shape.slots) == (True, lanes, 64 // lanes)
    with BundleWriter(tmp_path / "mixed", producer={"name": "tb"}, model={"name": "random"}) as both:
        for coding in ("tc_lif_capped", "tc_lif"):
            both.add_layer(
                coding, coding=coding, frac_bits=16, weight_bits=4, **random_arrays(rng, 2, 8, 3, coding=coding)
            )
    with pytest.raises(
        TraceError, match=r"tc_lif_capped \(tc_lif_capped\) and tc_lif \(plain\) run on different cores"
    ):
        organisations.require_benchable(open_bundle(tmp_path / "mixed"), ["tc_lif_capped", "tc_lif"])


def test_group_cores_are_no_event_cores(tmp_path):
    """They stand in one list of results, and parameters that an entry does not have are not compared."""
    units = {"Rows": 8, "Columns": 16, "Units": 2}
    path = results(tmp_path / "one.json", "One", [("spike", units, 14, 1), ("spike", {"Rows": 8, "Columns": 16}, 3, 1)])
    wanted = {"spike": {"Rows": 8, "Columns": 16, "Lanes": 16}, "group": {"Rows": 8, "Columns": 16, "Units": 2}}
    synth = Synth(path, wanted)
    assert synth.area("spike") == 3e6
    assert synth.area("group") == 14e6


def results(path, library, cores):
    """Results of synthesis of a library: (kind, shape, mm2, pJ a cycle)."""
    data = {"library": library}
    for kind, shape, mm2, pj in cores:
        entry = {"name": f"{kind} {mm2}", "shape": shape, "area_um2": mm2 * 1e6, "energy_pj": {"cycle": pj}}
        data.setdefault(kind, []).append({**entry, "fmax_mhz": 100.0})
    path.write_text(json.dumps(data))
    return path


def test_cores_in_several_libraries(tmp_path):
    """The best dense core of a library is 1; a library without a dense core, or with one core alone, is left out."""
    worked = [
        Worked("event core", "spike", {"Lanes": 16}, 200.0, "simulated", {"cycles": 200.0}),
        Worked("dense baseline", "dense", {"Lanes": 8}, 100.0, "simulated", {"cycles": 100.0}),
        Worked("dense baseline", "dense", {"Lanes": 16}, 50.0, "model", {"cycles": 50.0}),
    ]
    one = results(
        tmp_path / "one.json",
        "One",
        [("spike", {"Lanes": 16}, 1, 1), ("dense", {"Lanes": 8}, 2, 1), ("dense", {"Lanes": 16}, 3, 4)],
    )
    other = results(tmp_path / "other.json", "Other", [("spike", {"Lanes": 16}, 1, 1)])
    (found,) = standings([one, other], worked, 1000.0)
    assert (found["library"], found["best"]) == ("One", "dense 3")
    by = {core["design"]: core for core in found["cores"]}
    assert by["spike 1"]["per_area"] == pytest.approx((1000 / 200 / 1) / (1000 / 50 / 3))
    assert by["dense 2"]["per_area"] == pytest.approx(0.75)
    assert by["spike 1"]["energy"] == pytest.approx(200 / (4 * 50))
