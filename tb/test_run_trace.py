"""`make rtl TRACE=dir` as its user meets it: lines, verdicts, exit codes; and that nothing wrong slips through."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import run_trace
import toolchain
from beats import BeatError, distance, received, sent
from generate import random_arrays
from helpers.messages import naming
from helpers.odd_rows import FRAC_BITS, golden_layer, odd_rows
from regression import REPLAYS, replay
from spike_compressor.trace import BundleWriter, TraceError, validate
from toolchain import RTL, TB

FACTS = {"producer": {"name": "tb"}, "model": {"name": "random"}}


def write(path, layers, **options):
    """A bundle of (name, M, K, N, options, mutate) with consistent checksums, whatever `mutate` did."""
    rng = np.random.default_rng(11)
    with BundleWriter(path, **FACTS) as bundle:
        for name, M, K, N, settings, mutate in layers:
            arrays = random_arrays(rng, M, K, N, **settings)
            if mutate:
                mutate(arrays)
            bundle.add_layer(
                name,
                coding=settings.get("coding", "tc_lif"),
                frac_bits=settings.get("frac_bits", 16),
                weight_bits=settings.get("weight_bits", 4),
                check=mutate is None,
                max_timesteps=settings.get("max_timesteps"),
                **arrays,
                **options,
            )
    return path


def test_good_bundle(tmp_path, capsys):
    """Codings, group scales, odd sizes, a vision and text mix: one line a layer, all ok, exit code 0."""
    bundle = write(
        tmp_path / "good",
        [
            ("vision.fc1", 19, 48, 33, {}, None),
            ("text.down_proj", 9, 60, 20, {"groups": 4, "timesteps": (3, 5, 7)}, None),
            ("csd.q_proj", 8, 31, 16, {"coding": "csd", "weight_bits": 8}, None),
            ("one", 1, 1, 1, {"timesteps": 1, "weight_bits": 2, "frac_bits": 1}, None),
            ("roomy", 4, 10, 5, {"max_timesteps": 7}, None),
            ("one_group", 4, 10, 5, {"groups": 1, "grouped": True}, None),
        ],
    )
    assert run_trace.main([str(bundle)]) == 0
    out = capsys.readouterr().out
    for name in ("vision.fc1", "text.down_proj", "csd.q_proj", "one", "roomy", "one_group"):
        assert re.search(rf"^{re.escape(name)} .* rows .* spikes +[\d,]+ +cycles +[\d,]+ +ok$", out, re.MULTILINE), out
    assert "6 layers, 45 rows" in out


def test_rows_whose_numbers_lie(tmp_path, capsys):
    """Zeros, outliers, subnormal numbers, a single input, one step and seven: the sums that torch and NumPy have."""
    kept = [row for row, name in enumerate(odd_rows(1)) if not name.startswith("the largest")]  # outputs are finite
    cases = {
        f"T{T}.{coding}.{K}.{groups}": (T, K, coding, groups)
        for T in (1, 7)
        for coding in ("tc_lif", "csd")
        for K, groups in ((45, 1), (45, 3), (1, 1))
    }
    with BundleWriter(tmp_path / "odd", **FACTS) as bundle:
        for name, (T, K, coding, groups) in cases.items():
            arrays = golden_layer(T, K, coding, groups)
            del arrays["x"]
            for key in ("membrane", "timesteps", "modality", "codes", "acc", "act_scale", "output"):
                arrays[key] = arrays[key][kept]
            arrays["spikes"] = arrays["spikes"][:, kept]
            bundle.add_layer(name, coding=coding, frac_bits=FRAC_BITS, weight_bits=8, **arrays)
    assert run_trace.main([str(tmp_path / "odd")]) == 0
    assert f"{len(cases)} layers, {len(cases) * len(kept)} rows" in capsys.readouterr().out


def test_stalls_layers_and_json(tmp_path, capsys):
    """Chosen layers, random stalls, and an answer for programs."""
    bundle = write(tmp_path / "b", [("a", 5, 20, 9, {}, None), ("b", 12, 40, 17, {}, None)])
    assert run_trace.main([str(bundle), "--layer", "b", "--stalls", "--seed", "5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [layer["layer"] for layer in answer["layers"]] == ["b"]
    assert answer["layers"][0]["cycles"] > 0
    assert answer["failed"] == 0
    assert run_trace.main([str(bundle), "--layer", "c"]) == 2
    assert re.search(naming("'c'", "a, b"), capsys.readouterr().err)


def test_capped_firing_beside_other_layers(tmp_path, capsys):
    """Each layer on a core that computes it: capped of both numbers of lanes, with scales of blocks, and another."""
    bundle = write(
        tmp_path / "capped",
        [
            ("o_proj", 11, 150, 20, {"coding": "tc_lif_capped", "timesteps": (3, 5, 7)}, None),
            ("down_proj", 6, 192, 17, {"coding": "tc_lif_capped", "groups": 3, "distribution": "laplace"}, None),
            ("fc1", 7, 70, 9, {"coding": "tc_lif_capped16"}, None),
            ("fc2", 5, 20, 9, {}, None),
        ],
    )
    assert run_trace.main([str(bundle), "--stalls"]) == 0
    out = capsys.readouterr().out
    assert out.count("  ok\n") == 4
    assert "4 layers, 29 rows: every accumulator equals the RTL's" in out
    cut = write(tmp_path / "cut", [("fc", 3, 96, 4, {"coding": "tc_lif_capped", "groups": 3}, None)])
    assert run_trace.main([str(cut)]) == 2
    assert "layer fc: scales for 32 inputs each cut the blocks of 64 inputs" in capsys.readouterr().err
    assert run_trace.main([str(bundle), "--dense"]) == 2
    assert "tc_lif_capped" in capsys.readouterr().err


CHEAP = (64, "single_port", False, True)
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in REPLAYS if case != CHEAP]


@pytest.mark.parametrize(("width", "memory", "dense", "user"), [CHEAP, *SLOW])
def test_streams_and_memories_of_every_kind(width, memory, dense, user):
    """A bundle replays bit for bit whatever a beat holds, with stalls, on memories of each kind."""
    replay(width, memory, dense, user)


def test_widths_and_memories_from_the_command_line(small, capsys, monkeypatch):
    """They are those that the core is built with; what there is no core of is refused."""
    built = []
    monkeypatch.setattr(run_trace, "build", lambda top, parameters, **how: built.append((parameters, how)) or small)
    monkeypatch.setattr(run_trace, "simulate", lambda *_, **__: None)
    assert run_trace.main([str(small), "--stream-width", "128", "--memory", "latches"]) == 1  # nothing ran
    ((parameters, how),) = built
    assert {parameters[f"{name}Stream"] for name in ("Membrane", "Weight", "Spike", "Acc")} == {128}
    assert [path.parent.name for (path,) in how["replaced"].values()] == ["latches"]
    for wrong in (["--stream-width", "48"], ["--memory", "tape"]):
        with pytest.raises(SystemExit, match="2"):
            run_trace.main([str(small), *wrong])
        assert re.search(naming("invalid choice", wrong[1]), capsys.readouterr().err)


@pytest.mark.parametrize("size", [1, 4, 20, 64])
@pytest.mark.parametrize("width", run_trace.WIDTHS)
def test_beats_and_back(size, width):
    """What is laid out in beats comes back as the same units; what no core sends is refused."""
    rng = np.random.default_rng(4)
    units = rng.integers(0, 256, (3, 7, size), dtype=np.uint8)
    image, beats = sent(units, width, rng)
    beat = width // 8 or size
    assert image.shape == (3, beats * beat)
    step = distance(size, beat)
    keep = np.ones((3, beats, beat), np.uint8)
    keep[:, -1].reshape(3, -1)[:, (7 * step - 1) % beat + 1 :] = 0
    last = np.zeros((3, beats, 1), np.uint8)
    last[:, -1] = 1
    flags = np.packbits(np.concatenate([keep, last], axis=2), axis=2, bitorder="little")
    rows = np.concatenate([image.reshape(3, beats, beat), flags], axis=2).reshape(3 * beats, -1)
    words = np.zeros((3 * beats, 4 * -(-(9 * beat + 1) // 32)), np.uint8)
    words[:, : rows.shape[1]] = rows
    data, ends = received(words.view("<u4"), size, width)
    assert np.array_equal(data.reshape(3, 7, size), units)
    assert np.array_equal(ends.reshape(3, 7), [[0, 0, 0, 0, 0, 0, 1]] * 3)
    words[1, beat] ^= 1  # a hole where the lowest byte is
    with pytest.raises(BeatError):
        received(words.view("<u4"), size, width)


def change(name, index, value):
    """A mutation: one element of one array."""

    def mutate(arrays):
        assert arrays[name][index] != value(arrays[name][index])
        arrays[name][index] = value(arrays[name][index])

    return mutate


MUTATIONS = {
    "acc": (change("acc", (7, 18), lambda v: v + 1), r"accumulator at row 7, column 18: expected (-?\d+), got (-?\d+)"),
    "acc_group": (
        change("acc", (10, 3, 2), lambda v: v ^ 1),
        r"accumulator at row 10, column 3, group 2: expected (-?\d+), got (-?\d+)",
    ),
    "spike": (
        change("spikes", (1, 9, 11), lambda v: 0 if v else 1),
        r"spike at row 9, column 11, step 1: expected (-?\d), got (-?\d)",
    ),
    "weight": (
        change("weight", (5, 3), lambda v: v - 1 if v > 0 else v + 1),
        r"accumulator at row \d+, column 5: expected (-?\d+), got (-?\d+)",
    ),
    "membrane": (
        change("membrane", (2, 0), lambda v: np.sign(v) * (abs(v) ^ (1 << 17)) or 1 << 17),
        r"spike at row 2, column 0, step \d: expected (-?\d), got (-?\d)",
    ),
    "codes": (
        change("codes", (4, 4), lambda v: v + 1 if v < 0 else v - 1),
        r"codes\[4, 4\]: expected (-?\d+), got (-?\d+)",
    ),
    "output": (
        change("output", (3, 2), lambda v: np.nextafter(v, np.float32(9e9))),
        r"output at row 3, column 2: expected",
    ),
}


def test_mutations_fail(tmp_path, capsys):
    """One element changed in one array, checksums put right: the validator refuses it, and so does the regression."""
    settings = {"timesteps": 3}
    layers = [
        (name, 11, 24, 20, {**settings, "groups": 3} if name == "acc_group" else settings, mutate)
        for name, (mutate, _) in MUTATIONS.items()
    ]
    bundle = write(tmp_path / "bad", [*layers, ("good", 11, 24, 20, settings, None)])
    with pytest.raises(TraceError, match=naming("layer acc: acc[")):
        validate(bundle)
    assert run_trace.main([str(bundle)]) == 1
    out = capsys.readouterr().out
    for name, (_, message) in MUTATIONS.items():
        found = re.search(rf"layer {name}: {message}", out)
        assert found, f"{name}: {message}\n{out}"
        if len(found.groups()) == 2:
            assert found[1] != found[2]
    assert f"{len(MUTATIONS)} of {len(MUTATIONS) + 1} layers differ" in out
    assert re.search(r"^good .* ok$", out, re.MULTILINE)


@pytest.fixture
def small(tmp_path):
    """A correct bundle of one layer, to be broken."""
    return write(tmp_path / "small", [("fc", 3, 8, 4, {}, None)])


def edit_manifest(bundle, **changes):
    """Change fields of the manifest, or of its only layer."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    for key, value in changes.items():
        (data if key in data else data["layers"][0])[key] = value
    path.write_text(json.dumps(data))


def test_malformed_bundles_are_refused(small, capsys):
    """One clear line on stderr, nothing on stdout, exit code 2."""
    cases = {
        "version 3 is unknown": lambda b: edit_manifest(b, version=3),
        "coding must be one of": lambda b: edit_manifest(b, coding="unary"),
        "the manifest says": lambda b: edit_manifest(b, sha256="0" * 64),
        "plain name": lambda b: edit_manifest(b, file="../layer_0000.npz"),
        "expected shape": lambda b: edit_manifest(b, tokens=4),
        "no manifest.json": lambda b: (b / "manifest.json").unlink(),
        "is missing from the bundle": lambda b: (b / "layer_0000.npz").unlink(),
    }
    for message, damage in cases.items():
        copy = small.with_name("copy")
        shutil.copytree(small, copy)
        damage(copy)
        assert run_trace.main([str(copy)]) == 2
        captured = capsys.readouterr()
        assert message in captured.err, captured.err
        assert captured.err.count("\n") == 1
        assert not captured.out
        shutil.rmtree(copy)


def test_illegal_values_are_refused(tmp_path, capsys):
    """T = 0, a weight beyond its bits: right checksums, exit code 2 all the same."""
    cases = {
        "timesteps": change("timesteps", 1, lambda v: 0),
        "weight": change("weight", (0, 0), lambda v: 100),
        "modality": change("modality", 0, lambda v: 7),
    }
    for name, mutate in cases.items():
        bundle = write(tmp_path / name, [("fc", 3, 8, 4, {}, mutate)])
        assert run_trace.main([str(bundle)]) == 2
        assert f"layer fc: {name}[" in capsys.readouterr().err


def test_documented_example(tmp_path, capsys, monkeypatch):
    """The program in docs/traces.md, which uses nothing of this project, writes a bundle that the RTL reproduces."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "traces.md").read_text()
    program = re.search(r"```python\n(# write_bundle\.py.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "docs/traces.md", "exec"), {})
    assert run_trace.main(["my-trace"]) == 0
    assert "2 layers" in capsys.readouterr().out


def view(name, kind):
    """Signals of a saved view, without their bits."""
    lines = (TB / "waves" / f"{name}.{kind}").read_text(encoding="utf-8").splitlines()
    names = [line.removeprefix("variable_add ") for line in lines]
    return [name.partition("[")[0] for name in names if name.startswith("core_harness.")]


@pytest.mark.parametrize("name", ["spike_core", "dense_core"])
def test_saved_views_name_what_is_there(name):
    """Both viewers show the same signals, which harness and core declare."""
    signals = view(name, "gtkw")
    assert signals == view(name, "sucl")
    core = RTL / ("baseline" if name == "dense_core" else "") / f"{name}.sv"
    for signal in signals:
        *path, leaf = signal.split(".")
        source = core if path[-1] == "u_core" else TB / "hdl" / "core_harness.sv"
        assert re.search(rf"^  logic[^;=]*\b{leaf}\b", source.read_text(encoding="utf-8"), re.MULTILINE), signal


@pytest.mark.slow
def test_waveform(small, capsys, monkeypatch):
    """WAVES=1 leaves a waveform that holds the signals of the saved view, and says where both are."""
    monkeypatch.setenv("WAVES", "1")
    monkeypatch.setattr(toolchain, "wave_format", lambda: "vcd")  # which is text
    assert run_trace.main([str(small)]) == 0
    said = capsys.readouterr().err
    path = re.search(r"waveform: (.+)", said)[1]
    assert "tb/waves/spike_core.gtkw" in said
    with open(path) as stream:
        text = stream.read()
    assert text.count("\n#") > 50
    scopes, found = [], set()
    for kind, name in re.findall(r"\$(scope module|var \w+ +\d+ \S+|upscope) ?(\S*)", text.split("$enddefinitions")[0]):
        if kind == "upscope":
            scopes.pop()
        elif kind == "scope module":
            scopes.append(name)
        else:
            found.add(".".join([*scopes, name]))
    assert set(view("spike_core", "gtkw")) <= found


@pytest.mark.slow
def test_waveform_as_fst(small, capsys, monkeypatch):
    """The same in the format that large designs need."""
    if toolchain.wave_format() != "fst":
        pytest.skip("no lz4 and zlib to write it with")
    monkeypatch.setenv("WAVES", "1")
    assert run_trace.main([str(small)]) == 0
    path = Path(re.search(r"waveform: (.+)", capsys.readouterr().err)[1])
    assert path.suffix == ".fst"
    assert path.stat().st_size > 1000


@pytest.mark.slow
def test_large_layer(tmp_path, capsys):
    """1,024 x 1,024 with 64 rows within 5 minutes of simulation."""
    bundle = write(tmp_path / "large", [("large", 64, 1024, 1024, {"distribution": "laplace"}, None)])
    run_trace.main([str(bundle), "--json"])  # builds
    capsys.readouterr()
    start = time.monotonic()
    assert run_trace.main([str(bundle), "--json"]) == 0
    seconds = time.monotonic() - start
    print(f"{seconds:.1f} s, {json.loads(capsys.readouterr().out)['layers'][0]['cycles']:,} cycles")
    assert seconds < 300
