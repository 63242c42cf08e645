"""`make rtl-bench TRACE=dir`: cycles follow spikes, sums add up, and nothing is claimed that was not measured."""

from __future__ import annotations

import json

import dense_model
import explore
import numpy as np
import pytest
import run_bench
from cycle_model import lane_counts, words_of
from generate import arrays_from_membranes, random_arrays, random_layer
from helpers.messages import naming
from images import Shape, dense_products, dense_words
from spike_compressor.trace import BundleWriter, Layer

FACTS = {"producer": {"name": "tb"}, "model": {"name": "random"}}
SMALL = ["--columns", "16", "--lanes", "8", "--slots", "64", "--ideal", "--no-group"]


def test_words_by_hand():
    """The example of docs/rtl.md: five words, where a barrier after each plane would take seven."""
    planes = np.array([[1, 0, 0, 2], [1, 2, 0, 0], [0, 1, 3, 1]])
    assert words_of(planes) == 5
    assert planes.max(axis=1).sum() == 7
    assert words_of(np.zeros((3, 4), int)) == 1
    assert words_of(np.array([[0, 0], [0, 0], [0, 7]])) == 7  # planes above the first spike cost nothing


def test_words_bounds():
    """A word adds at most a spike a lane, and a plane of lead is never worse than a barrier."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        layer = random_layer(
            rng, 5, int(rng.integers(1, 300)), 3, timesteps=(1, 3, 7), coding=str(rng.choice(["tc_lif", "csd"]))
        )
        counts = lane_counts(layer, Shape(lanes=8, slots=8))
        assert counts.sum() == np.count_nonzero(layer.spikes)
        words = words_of(counts)
        assert (words >= counts.sum(axis=2).max(axis=2)).all()
        assert (words <= np.maximum(counts.max(axis=3), 1).sum(axis=2)).all()


def write(path, layers):
    """A bundle of (name, arrays)."""
    with BundleWriter(path, **FACTS) as bundle:
        for name, arrays in layers:
            bundle.add_layer(name, coding="tc_lif", frac_bits=16, weight_bits=4, **arrays)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """One layer with all its spikes, and again with half of them; results of an invented synthesis."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("bench")
    full = random_arrays(rng, 32, 1024, 128, distribution="gaussian")
    spikes = np.abs(full["spikes"]).sum(axis=0)
    half = np.where(
        np.cumsum(spikes, axis=1) % 2 == 1, full["membrane"], 0
    )  # drops inputs until half the spikes are left
    keep = {"coding": "tc_lif", "frac_bits": 16, "groups": 1, "rng": rng}
    halved = arrays_from_membranes(half, full["timesteps"], full["weight"], **keep)
    bundle = write(folder / "bundle", [("layers.0.up_proj", full), ("vision_tower.layers.0.fc1", halved)])
    synth = folder / "synth.json"
    design = {"area_um2": 2e6, "energy_pj": {"cycle": 10.0, "addition": 0.5}}
    baseline = {"area_um2": 3e6, "energy_pj": {"mac": 2.0}}
    shape = {"Rows": 8, "Columns": 16, "Lanes": 8, "Slots": 64}
    dense = {"Rows": 8, "Columns": 16, "Lanes": 8}
    other = {"shape": {**dense, "Multiply": 1}, "area_um2": 9e6, "energy_pj": {"mac": 9.0}}  # not the baseline
    synth.write_text(
        json.dumps({"spike": [{"shape": shape, **design}], "dense": [{"shape": dense, **baseline}, other]})
    )
    out = folder / "report.json"
    assert run_bench.main([str(bundle), "--out", str(out), "--synth", str(synth), *SMALL]) == 0
    return json.loads(out.read_text()), bundle


def test_cycles_follow_spikes(report):
    """Halving the spikes of a layer saves at least 40 % of its cycles (simulated)."""
    full, half = report[0]["layers"]
    spikes = half["spikes_per_input"] / full["spikes_per_input"]
    assert 0.4 < spikes < 0.55
    saved = 1 - half["spike"]["cycles"] / full["spike"]["cycles"]
    assert saved >= 0.4, f"{spikes:.2f} of the spikes, {saved:.2f} of the cycles saved"


def test_report(report):
    """Parts add up to the total; ratios are those of the figures beside them."""
    data, _ = report
    total = data["total"]
    assert total["macs"] == sum(layer["macs"] for layer in data["layers"]) == 2 * 32 * 1024 * 128
    for key in ("by_kind", "by_modality", "by_timesteps"):
        assert sum(part["macs"] for part in data[key].values()) == total["macs"]
        assert sum(part["spike"]["words"] for part in data[key].values()) == total["spike"]["words"]
        for design in ("spike", "dense"):
            cycles = sum(part[design]["cycles"] for part in data[key].values())
            assert cycles == pytest.approx(total[design]["cycles"], abs=len(data[key]))
    assert set(data["by_kind"]) == {"up_proj", "vision fc1"}
    ratio = (total["spike"]["macs_per_cycle"] / 2e6) / (total["dense"]["macs_per_cycle"] / 3e6)
    assert total["throughput_per_area_ratio"] == pytest.approx(ratio)
    additions = total["spikes_per_input"] * total["macs"]
    energy = (10.0 * total["spike"]["cycles"] + 0.5 * additions) / (2.0 * total["macs"])
    assert total["energy_per_mac_ratio"] == pytest.approx(energy)
    weak = data["dense_multiply"]  # the same cycles, 9 mm2 and 9 pJ
    assert weak["synthesis"]["area_um2"] == 9e6
    assert weak["total"]["throughput_per_area_ratio"] == pytest.approx(3 * ratio)
    assert weak["total"]["energy_per_mac_ratio"] == pytest.approx(energy * 2 / 9)
    assert total["utilisation"] == pytest.approx(additions / total["spike"]["words"] / 128)
    assert 0.4 < total["utilisation"] < 1
    assert data["dense"]["cycles"] == "model"
    assert total["dense"]["cycles"] == 2 * (32 // 8) * (128 // 16) * (1024 // 8)


def test_the_report_is_one_that_comparisons_show(report, tmp_path):
    """`spike-compressor compare --rtl` reads what this writes."""
    from spike_compressor.comparison import read_hardware
    from spike_compressor.comparison.hardware import hardware_rows

    data, _ = report
    path = tmp_path / "rtl.json"
    path.write_text(json.dumps(data))
    rows = hardware_rows(read_hardware([path]))
    assert rows[0][0].endswith(": whole bundle")
    assert rows[0][3] == f"{data['total']['spike']['cycles']:,}"
    assert len(rows) == 1 + sum(len(data[key]) for key in ("by_kind", "by_modality", "by_timesteps"))


def test_the_baseline_is_simulated(tmp_path):
    """Its cycles are those of its own counters: never fewer than an ideal array takes, and not many more."""
    arrays = random_arrays(np.random.default_rng(7), 4, 64, 8)
    bundle = write(tmp_path / "bundle", [("a", arrays)])
    out = tmp_path / "report.json"
    small = ["--rows", "2", "--columns", "4", "--lanes", "4", "--slots", "4", "--dense", "2", "4", "4"]
    assert run_bench.main([str(bundle), "--out", str(out), *small, "--group", "2", "4", "2", "1"]) == 0
    data = json.loads(out.read_text())
    assert data["dense"]["cycles"] == "simulated"
    ideal = dense_model.dense_cycles(run_bench.open_bundle(bundle).layer("a"), dense_model.DenseShape(2, 4, 4)).sum()
    assert ideal <= data["total"]["dense"]["cycles"] < 3 * ideal + 100
    assert sum(part["dense"]["cycles"] for part in data["by_timesteps"].values()) == pytest.approx(
        data["total"]["dense"]["cycles"], abs=2
    )
    # groups that are as good as T = 3 have 5 or 6 steps, T = 4 seven: 16 chunks of 8 inputs and row pairs, 2 tiles
    steps = [7 if 4 in pair else 5 for pair in arrays["timesteps"].reshape(2, 2)]
    array = 64 // 8 * 2 * sum(steps)
    assert array <= data["total"]["group"]["cycles"] < 3 * array + 200
    assert sum(part["group"]["cycles"] for part in data["by_timesteps"].values()) == pytest.approx(
        data["total"]["group"]["cycles"], abs=2
    )


def test_no_synthesis(report, tmp_path, capsys):
    """Without results for these shapes the ratios that need them are null, and the table says so."""
    _, bundle = report
    missing = tmp_path / "none.json"
    assert run_bench.main([str(bundle), "--synth", str(missing), "--json", *SMALL]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["total"]["throughput_per_area_ratio"] is None
    assert data["total"]["energy_per_mac_ratio"] is None
    missing.write_text(json.dumps({"spike": {"shape": {"Lanes": 4}, "area_um2": 1.0}}))
    assert run_bench.main([str(bundle), "--synth", str(missing), "--layer", "layers.0.up_proj", *SMALL]) == 0
    assert "no results for the shape of: dense, spike" in capsys.readouterr().out


def test_group_scales():
    """A dense array's groups never take fewer cycles than rows have to leave; the last tile may have fewer rows."""
    layer = random_layer(np.random.default_rng(1), 11, 128, 20, groups=8)
    dense = dense_model.DenseShape(rows=8, columns=16, lanes=4)
    cycles = dense_model.dense_cycles(layer, dense)
    assert cycles.sum() == pytest.approx(2 * 8 * (max(16 // 4, 8) + max(16 // 4, 3)))


def test_two_passes():
    """A chunk takes a second pass if a row of its tile has a magnitude of more bits than a pass; only it works."""
    weight = np.ones((20, 128), np.int8)
    membrane = np.zeros((11, 128), np.int32)
    membrane[:, ::3] = 7 << 16
    membrane[5, 9] = -8 << 16  # the second row tile, its third chunk
    arrays = arrays_from_membranes(
        membrane,
        np.full(11, 4, np.uint8),
        weight,
        coding="tc_lif",
        frac_bits=16,
        groups=1,
        rng=np.random.default_rng(2),
    )
    layer = Layer(random_layer(np.random.default_rng(1), 11, 128, 20, timesteps=4).info, arrays=arrays)
    for planes, again in ((None, 0), (4, 0), (3, 1)):
        dense = dense_model.DenseShape(rows=4, columns=16, lanes=4, planes=planes)
        words = dense_words(layer, dense.tile, planes or 4)
        assert words.tolist() == [[32], [32 + again], [32]]
        assert dense_model.dense_cycles(layer, dense).sum() == pytest.approx(2 * (3 * 32 + again))
        assert dense_products(layer, dense.tile, planes or 4).sum() == 20 * (11 * 128 + 4 * again)


@pytest.mark.parametrize("planes", [1, 5])
def test_planes_that_no_array_has(report, capsys, planes):
    """Magnitudes take two passes at most, and no pass takes more bits than they have."""
    assert run_bench.main([str(report[1]), "--planes", str(planes), *SMALL]) == 2
    assert f"--planes {planes}" in capsys.readouterr().err


def test_bad_bundle(tmp_path, capsys):
    """One line and exit code 2."""
    assert run_bench.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_committed_map_is_what_the_command_prints(tmp_path):
    """docs/results/rtl_map_equal_t.md, from the committed results of synthesis."""
    explore.main(["--map", str(tmp_path / "map.md")])
    committed = explore.SYNTH.parents[2] / "docs" / "results" / "rtl_map_equal_t.md"
    assert (tmp_path / "map.md").read_text() == committed.read_text()


def test_the_map_sets_synthesised_cores_beside_the_baseline(tmp_path):
    """Fewer spikes, more throughput per area and less energy; without energies it says what to run."""
    limits = {"WeightBits": 4, "Tmax": 4, "MaxInputs": 2048}
    core = {"Rows": 8, "Columns": 64, "Lanes": 16, "Slots": 16, **limits}
    baseline = {"Rows": 8, "Columns": 16, "Lanes": 8, **limits}
    made = {
        "spike": [
            {"name": "core", "shape": core, "area_um2": 8e6, "energy_pj": {"word": 4000.0}, "macs_per_cycle": 1024}
        ],
        "dense": [
            {"name": "array", "shape": baseline, "area_um2": 8e6, "energy_pj": {"mac": 4.0}, "macs_per_cycle": 1024},
        ],
    }
    results, page = tmp_path / "results.json", tmp_path / "map.md"
    results.write_text(json.dumps(made))
    explore.main(["--map", str(page), "--synth", str(results), "--rows", "2"])
    rows = [line.strip("|").split("|") for line in page.read_text().splitlines() if line.startswith("| g")]
    by = {tuple(cell.strip() for cell in row[:3]): [float(cell) for cell in row[3:]] for row in rows}
    spikes, filled, speed, energy = by["gauss", "1", "3"]
    # 1,024 slots against 1,024 products of the same area: words are all that differs
    assert speed == pytest.approx(filled / spikes, rel=0.03)
    assert energy == pytest.approx(4000 / 1024 / 4 / speed, rel=0.03)
    assert by["gauss", "4", "3"][2] > speed
    made["dense"][0]["macs_per_cycle"] = 2048  # no baseline of the core's size
    for lacking in (made, {}):
        results.write_text(json.dumps(lacking))
        with pytest.raises(SystemExit, match=naming("results.json", "make synth")):
            explore.main(["--map", str(page), "--synth", str(results)])
