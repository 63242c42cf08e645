"""Trace bundles: what is written is read, nothing wrong is accepted, nothing is left half done."""

import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.messages import naming
from helpers.trace_layers import make_arrays
from spike_compressor.trace import VERSION, BundleWriter, TraceError, open_bundle, validate

FACTS = {"producer": {"name": "tests"}, "model": {"name": "toy"}}
SETTINGS = {"coding": "tc_lif", "frac_bits": 10, "weight_bits": 4}
NAMES = ("membrane", "timesteps", "modality", "codes", "spikes", "weight", "acc", "act_scale", "weight_scale", "output")


@pytest.fixture
def arrays():
    """A plain tc_lif layer."""
    return make_arrays()


def write(path, arrays, **options):
    """A bundle of one layer."""
    with BundleWriter(path, **FACTS) as bundle:
        bundle.add_layer("fc", **{**SETTINGS, **options}, **arrays)
    return path


def rewrite(bundle, change):
    """Change the arrays of the only layer and put its checksum right."""
    file = bundle / "layer_0000.npz"
    with np.load(file) as data:
        arrays = dict(data)
    change(arrays)
    np.savez(file, **arrays)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["layers"][0]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def edit(bundle, change):
    """Change the manifest."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    data = change(data) or data
    path.write_text(json.dumps(data))


def refuse(bundle, *names):
    """Validation fails with one line that has these names in it."""
    with pytest.raises(TraceError) as caught:
        validate(bundle)
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(naming(*names), text), text
    return text


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_bundle_of_each_version_is_kept_and_valid(version):
    """Written once by a released format, and never again."""
    path = Path(__file__).parent / "data" / f"version_{version}"
    assert json.loads((path / "manifest.json").read_text())["version"] == version
    bundle = validate(path)
    assert {layer.info.coding for layer in bundle} == CODINGS_OF[version]
    assert all(layer["codes"].any() and layer.info.threshold is not None for layer in bundle)


#: What the kept bundles have.
CODINGS_OF = {1: {"tc_lif", "csd"}, 2: {"tc_lif", "tc_lif_rdoq", "group4"}}


@pytest.mark.parametrize("coding", ["tc_lif", "csd"])
@pytest.mark.parametrize("groups", [None, 1, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_round_trip(tmp_path, coding, groups, bias):
    """Every array comes back equal, in its type; the manifest says what it must."""
    arrays = make_arrays(coding, groups, bias)
    bundle = validate(write(tmp_path / "b", arrays, coding=coding))
    assert (bundle.producer, bundle.model, len(bundle)) == (FACTS["producer"], FACTS["model"], 1)
    layer = bundle.layer("fc")
    assert layer.groups == (groups or 1)
    for name in NAMES:
        np.testing.assert_array_equal(layer[name], arrays[name])
        assert layer[name].dtype == arrays[name].dtype
    assert (layer.bias is None) != bias
    info = layer.info
    assert (info.tokens, info.in_features, info.out_features) == (6, 12, 5)
    assert (info.max_timesteps, info.steps) == (4, 5 if coding == "csd" else 4)
    with np.load(tmp_path / "b" / info.file, allow_pickle=False) as data:
        assert set(data) == set(NAMES) | ({"bias"} if bias else set())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_output_types(tmp_path, dtype):
    """Output of a half-precision model passes, whether the type is named or not, and not under another name."""
    arrays = make_arrays(dtype=dtype)
    validate(write(tmp_path / "named", arrays, output_dtype=dtype))
    validate(write(tmp_path / "unnamed", arrays))
    other = "float32" if dtype != "float32" else "bfloat16"
    with pytest.raises(TraceError, match=r"layer fc: output\[0, \d\]"):
        write(tmp_path / "wrong", arrays, output_dtype=other)


def test_more_steps_than_rows_need(tmp_path):
    """max_timesteps may exceed every row's T; the spikes are padded with silence."""
    arrays = make_arrays()
    arrays["spikes"] = np.concatenate([arrays["spikes"], np.zeros((3, 6, 12), np.int8)])
    bundle = validate(write(tmp_path / "b", arrays, max_timesteps=7))
    assert bundle.layer(0).spikes.shape[0] == 7


FLIPS = {
    "membrane": ((1, 3), r"layer fc: (codes|spikes)\["),
    "codes": ((0, 2), r"layer fc: codes\[0, 2\]"),
    "spikes": ((2, 1, 5), r"layer fc: spikes: row 1, input 5 "),
    "weight": ((3, 4), r"layer fc: acc\[\d, 3\]"),
    "acc": ((5, 4), r"layer fc: acc\[5, 4\]"),
    "output": ((2, 2), r"layer fc: output\[2, 2\]"),
}


@pytest.mark.parametrize("name", FLIPS)
def test_one_changed_number_is_found(tmp_path, arrays, name):
    """With its checksum right, each integer array is still tied to the others; so is the output."""
    bundle = write(tmp_path / "b", arrays)
    index, place = FLIPS[name]

    def change(data):
        old = data[name][index]
        if name == "spikes":
            data[name][index] = 0 if old else 1
        elif name == "membrane":
            data[name][index] = -old if old else 1 << 10
        else:
            data[name][index] = old + 1 if old <= 0 else old - 1

    rewrite(bundle, change)
    assert re.match(place, refuse(bundle, "expected"))


def test_another_code_of_the_same_sum_is_found(tmp_path):
    """Spikes that decode to the right code but were not fired by this neuron are refused: 2 - 1 is not 0 + 1."""
    arrays = make_arrays("csd")
    one = next((m, k) for m, k in np.ndindex(6, 12) if arrays["codes"][m, k] == 1 and arrays["timesteps"][m] == 4)
    spikes = arrays["spikes"]
    assert spikes[:, one[0], one[1]].tolist() == [0, 0, 0, 0, 1]
    spikes[3:5, one[0], one[1]] = [1, -1]
    with pytest.raises(TraceError, match=r"layer fc: spikes\[3, "):
        write(tmp_path / "b", arrays, coding="csd")


def setting(name, index, value):
    """A change of one value."""

    def change(data):
        data[name][index] = value

    return change


ILLEGAL = {
    "T 0": (setting("timesteps", 2, 0), ("timesteps[2]", 1, 4, 0)),
    "T 5": (setting("timesteps", 2, 5), ("timesteps[2]", 1, 4, 5)),
    "modality": (setting("modality", 1, 2), ("modality[1]", 0, "text", 1, "vision", 2)),
    "weight": (setting("weight", (1, 1), 8), ("weight[1, 1]", "4-bit", -8, 7, 8)),
    "spike": (setting("spikes", (0, 0, 0), 2), ("spikes[0, 0, 0]", -1, 0, 1, 2)),
    "spike -128": (setting("spikes", (0, 0, 0), -128), ("spikes[0, 0, 0]", -1, 0, 1, -128)),
    "late spike": (setting("spikes", (3, 0, 0), 1), ("spikes[3, 0, 0]", 0)),
    "clamp": (setting("membrane", (0, 1), 1 << 13), ("membrane[0, 1]", "±(2^(T+F) - 1)")),
    "int32 minimum": (setting("membrane", (0, 1), -(2**31)), ("membrane[0, 1]", "±(2^(T+F) - 1)")),
    "act_scale": (setting("act_scale", 3, 0), ("act_scale[3]", 0)),
    "act_scale nan": (setting("act_scale", 3, np.nan), ("act_scale[3]", "nan")),
    "weight_scale": (setting("weight_scale", 3, -np.inf), ("weight_scale[3]", "finite", "-inf")),
    "bias": (setting("bias", 0, np.inf), ("bias[0]", "inf")),
    "output": (setting("output", (0, 0), np.nan), ("output[0, 0]", "nan")),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_values_out_of_range(tmp_path, arrays, case):
    """The message names layer, array, index, what was expected, and what was found."""
    bundle = write(tmp_path / "b", arrays)
    change, names = ILLEGAL[case]
    rewrite(bundle, change)
    refuse(bundle, "layer fc", *names)


@pytest.mark.parametrize("name", NAMES)
def test_missing_arrays(tmp_path, arrays, name):
    """Each array but the bias is needed."""
    bundle = write(tmp_path / "b", arrays)
    rewrite(bundle, lambda data: data.pop(name))
    refuse(bundle, f"layer fc: {name}", "missing")


@pytest.mark.parametrize("name", [*NAMES, "bias"])
def test_wrong_types_and_shapes(tmp_path, arrays, name):
    """Types are exact, in byte order too, and shapes are the manifest's."""
    for i, (change, names) in enumerate(
        (
            (lambda data: data.update({name: data[name].astype(np.int64)}), ("dtype", "int64")),
            (lambda data: data.update({name: data[name][..., :-1]}), ()),
            (lambda data: data.update({name: data[name][None, None]}), ("shape",)),
            (lambda data: data.update({name: data[name].astype(object)}), ("dtype", "object")),
        )
    ):
        bundle = write(tmp_path / str(i), arrays)
        rewrite(bundle, change)
        refuse(bundle, f"layer fc: {name}", *names)
    bundle = write(tmp_path / "big endian", arrays)
    big = arrays[name].dtype.newbyteorder(">")
    if big != arrays[name].dtype:
        rewrite(bundle, lambda data: data.update({name: data[name].astype(big)}))
        refuse(bundle, f"layer fc: {name}", "dtype", ">")


def test_group_shapes_must_agree(tmp_path):
    """Group sums need group scales of as many groups, and groups that divide the inputs."""
    bundle = write(tmp_path / "a", make_arrays(groups=4))
    rewrite(bundle, lambda data: data.update(weight_scale=data["weight_scale"][:, :3]))
    refuse(bundle, "layer fc: weight_scale", "shape", "acc")
    bundle = write(tmp_path / "b", make_arrays(groups=4))
    rewrite(bundle, lambda data: data.update(acc=np.zeros((6, 5, 5), np.int32)))
    refuse(bundle, "layer fc: acc", 5, 12)
    bundle = write(tmp_path / "c", make_arrays(groups=4))
    rewrite(bundle, lambda data: data.update(acc=data["acc"][:, :, 0]))
    refuse(bundle, "layer fc: weight_scale", "shape", "acc")


MANIFESTS = {
    "format": (lambda m: m.update(format="other"), ("format", "'spike-trace'", "'other'")),
    "version": (lambda m: m.update(version=3), ("version", 3)),
    "version text": (lambda m: m.update(version="1"), ("version", "'1'")),
    "version true": (lambda m: m.update(version=True), ("version", True)),
    "no version": (lambda m: m.pop("version") and None, ("version", None)),
    "no producer": (lambda m: m.pop("producer") and None, ("producer", None)),
    "model": (lambda m: m.update(model="toy"), ("model", "'toy'")),
    "no layers": (lambda m: m.update(layers=[]), ("layers",)),
    "layers": (lambda m: m.update(layers={}), ("layers",)),
    "a list": (lambda m: [m], ("list",)),
    "a layer": (lambda m: m.update(layers=[3]), ("layers[0]", "int")),
    "twice": (lambda m: m.update(layers=m["layers"] * 2), ("name", "'fc'")),
}
LAYERS = {
    "name": ("", ()),
    "file": ("../layer_0000.npz", ()),
    "sha256": ("abc", (64,)),
    "tokens": (0, (1,)),
    "in_features": (12.0, (12.0,)),
    "out_features": (True, (True,)),
    "coding": ("unary", ("tc_lif", "csd", "'unary'")),
    "frac_bits": (0, (0, 1, 30)),
    "max_timesteps": (8, (8, 1, 7)),
    "weight_bits": (9, (9, 2, 8)),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_bad_manifests(tmp_path, arrays, case):
    """Each rule of the manifest, broken alone."""
    bundle = write(tmp_path / "b", arrays)
    change, names = MANIFESTS[case]
    edit(bundle, change)
    refuse(bundle, "manifest.json", *names)


@pytest.mark.parametrize("field", LAYERS)
def test_bad_layer_fields(tmp_path, arrays, field):
    """Each field of a layer: missing, and wrong."""
    value, names = LAYERS[field]
    bundle = write(tmp_path / "wrong", arrays)
    edit(bundle, lambda m: m["layers"][0].update({field: value}))
    refuse(bundle, field, *names)
    bundle = write(tmp_path / "missing", arrays)
    edit(bundle, lambda m: m["layers"][0].pop(field) and None)
    refuse(bundle, field, "manifest")


@pytest.mark.parametrize(
    "name", ["/etc/x.npz", "a/b.npz", "..\\x.npz", "C:x.npz", ".hidden.npz", "..npz", "x.npy", "x.npz\n", "x\0.npz", ""]
)
def test_unsafe_file_names(tmp_path, arrays, name):
    """A layer's file cannot lie outside the bundle."""
    bundle = write(tmp_path / "b", arrays)
    edit(bundle, lambda m: m["layers"][0].update(file=name))
    printable = name.isprintable() and name
    refuse(bundle, "layer fc", "file", "a plain name that ends in .npz" if printable else "a printable text")


def test_symbolic_links_are_not_followed(tmp_path, arrays):
    """A link to a file elsewhere does not count as part of the bundle."""
    bundle = write(tmp_path / "b", arrays)
    (bundle / "layer_0000.npz").rename(tmp_path / "elsewhere.npz")
    (bundle / "layer_0000.npz").symlink_to(tmp_path / "elsewhere.npz")
    refuse(bundle, "layer_0000.npz", "missing")


def test_damaged_files(tmp_path, arrays):
    """A flipped byte, a missing file, something that is no archive, no manifest, no JSON."""
    bundle = write(tmp_path / "byte", arrays)
    file = bundle / "layer_0000.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refuse(bundle, "layer_0000.npz", "SHA-256")
    edit(bundle, lambda m: m["layers"][0].update(sha256=hashlib.sha256(data).hexdigest()))
    refuse(bundle, "layer fc", "layer_0000.npz")
    file.write_bytes(b"no archive")
    edit(bundle, lambda m: m["layers"][0].update(sha256=hashlib.sha256(b"no archive").hexdigest()))
    refuse(bundle, "layer fc", "layer_0000.npz")
    file.unlink()
    refuse(bundle, "layer_0000.npz", "missing")
    (bundle / "manifest.json").write_text("{")
    refuse(bundle, "manifest.json", "JSON")
    (bundle / "manifest.json").unlink()
    refuse(bundle, bundle, "not a trace bundle", "manifest.json")


def header(text: bytes) -> bytes:
    """A .npy file of nothing but a header."""
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


OPEN_BRACKET = header(b"{'descr': '<i4', 'fortran_order': False, 'shape': ((((, }")
PICKLED = header(b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 20), }")


def archive(members, *, method=zipfile.ZIP_DEFLATED):
    """A zip of these names and contents."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        with zipfile.ZipFile(stream, "w", method) as file:
            for name, content in members:
                file.writestr(name, content)
    return stream.getvalue()


def broken_deflate(data):
    """The first member's compressed bytes, spoiled."""
    first = data.index(b"PK\x03\x04") + 30
    name, extra = struct.unpack("<HH", data[26:30])
    return data[: first + name + extra] + b"\xff" * 8 + data[first + name + extra + 8 :]


ARCHIVES = {
    "open bracket in a header": lambda m: archive([("membrane.npy", OPEN_BRACKET), *m[1:]]),
    "objects": lambda m: archive([("membrane.npy", PICKLED), *m[1:]]),
    "another version": lambda m: archive([("membrane.npy", b"\x93NUMPY\x09\x00"), *m[1:]]),
    "spoiled deflate": lambda m: broken_deflate(archive(m)),
    "a name twice": lambda m: archive([m[0], *m]),
    "less than the shape": lambda m: archive([(m[0][0], m[0][1][:-4]), *m[1:]]),
    "lzma": lambda m: archive(m, method=zipfile.ZIP_LZMA),
    "encrypted": lambda m: archive(m)[:6] + b"\x01" + archive(m)[7:],
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_lie(tmp_path, arrays, case):
    """With its checksum right, an archive that is broken anywhere is one line that names layer and file."""
    bundle = write(tmp_path / "b", arrays)
    file = bundle / "layer_0000.npz"
    with zipfile.ZipFile(file) as found:
        members = sorted(
            ((name, found.read(name)) for name in found.namelist()), key=lambda one: one[0] != "membrane.npy"
        )
    assert members[0][0] == "membrane.npy"
    data = ARCHIVES[case](members)
    if case == "encrypted":  # the flag stands in the directory as well
        at = data.index(b"PK\x01\x02") + 8
        data = data[:at] + b"\x01" + data[at + 1 :]
    file.write_bytes(data)
    edit(bundle, lambda m: m["layers"][0].update(sha256=hashlib.sha256(data).hexdigest()))
    said = {"objects": "dtype", "lzma": "otherwise than by deflate"}
    refuse(bundle, "layer fc", "membrane", said.get(case, "layer_0000.npz"))


def test_no_more_memory_than_the_archive_can_hold(tmp_path, arrays):
    """A manifest and a header that agree on an enormous array: nothing of that size is allocated."""
    bundle = write(tmp_path / "b", arrays)
    file = bundle / "layer_0000.npz"
    with zipfile.ZipFile(file) as found:
        members = [(name, found.read(name)) for name in found.namelist() if name != "membrane.npy"]
    huge = header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2000000000, 2000000000), }")
    data = archive([("membrane.npy", huge), *members])
    file.write_bytes(data)
    sizes = {"tokens": 2 * 10**9, "in_features": 2 * 10**9, "sha256": hashlib.sha256(data).hexdigest()}
    edit(bundle, lambda m: m["layers"][0].update(sizes))
    with pytest.raises(
        TraceError, match=r"membrane\.npy says \d+ bytes, of an array that has 16,000,000,000,000,000,000"
    ):
        open_bundle(bundle).layer("fc").membrane  # noqa: B018


@pytest.mark.parametrize(
    ("field", "value"),
    [("sha256", "x" * 10**7), ("file", "x" * 300 + ".npz"), ("name", "x" * 10**7), ("coding", ["y" * 10**6])],
)
def test_messages_are_lines(tmp_path, arrays, field, value):
    """However long what somebody wrote is."""
    bundle = write(tmp_path / "b", arrays)
    edit(bundle, lambda m: m["layers"][0].update({field: value}))
    assert len(refuse(bundle, field)) < 1000


def test_a_deep_manifest(tmp_path, arrays):
    """It has no more levels than a parser has."""
    bundle = write(tmp_path / "b", arrays)
    (bundle / "manifest.json").write_text("[" * 100_000)
    refuse(bundle, "manifest.json", "nested too deep")


def test_sums_that_could_overflow(tmp_path):
    """More inputs than int32 can be sure to hold are refused, whatever their values."""
    K = 2**31 // (127 * 128) + 1
    zeros = {
        "membrane": np.zeros((1, K), np.int32),
        "timesteps": np.array([7], np.uint8),
        "modality": np.array([0], np.uint8),
        "codes": np.zeros((1, K), np.int16),
        "spikes": np.zeros((7, 1, K), np.int8),
        "weight": np.zeros((1, K), np.int8),
        "acc": np.zeros((1, 1), np.int32),
        "act_scale": np.ones(1, np.float32),
        "weight_scale": np.ones(1, np.float32),
        "output": np.zeros((1, 1), np.float32),
    }
    with pytest.raises(TraceError, match=naming("layer fc", "acc", "int32", 127 * 128 * K)):
        write(tmp_path / "b", zeros, weight_bits=8)
    validate(write(tmp_path / "b", zeros, weight_bits=7))


def test_membranes_must_fit(tmp_path, arrays):
    """F + Tmax beyond 31 cannot be an int32 membrane."""
    with pytest.raises(TraceError, match=naming("layer fc", "frac_bits 28", "max_timesteps 4", "int32", 31)):
        write(tmp_path / "b", arrays, frac_bits=28)


def test_nothing_half_done(tmp_path, arrays):
    """An exception leaves no bundle and no scraps; an existing bundle stays unless overwriting succeeds."""

    def killed(**options):
        with BundleWriter(tmp_path / "b", **FACTS, **options) as bundle:
            bundle.add_layer("fc", **SETTINGS, **arrays)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TraceError, match=naming(tmp_path / "b")), BundleWriter(tmp_path / "b", **FACTS):
        pass
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "b", arrays)
    with pytest.raises(TraceError, match=naming(tmp_path / "b")):
        write(tmp_path / "b", arrays)
    with pytest.raises(RuntimeError, match="killed"):
        killed(overwrite=True)
    validate(tmp_path / "b")
    with BundleWriter(tmp_path / "b", **FACTS, overwrite=True) as bundle:
        bundle.add_layer("new", **SETTINGS, **arrays)
    assert validate(tmp_path / "b").infos[0].name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    (tmp_path / "notes").mkdir()
    with (
        pytest.raises(TraceError, match=naming(tmp_path / "notes")),
        BundleWriter(tmp_path / "notes", **FACTS, overwrite=True),
    ):
        pass


def test_writer_refuses_wrong_layers(tmp_path, arrays):
    """The writer checks before it writes, and wants each name once."""
    bad = {**arrays, "acc": arrays["acc"] + 1}
    with pytest.raises(TraceError, match=r"layer fc: acc\[0, 0\]"):
        write(tmp_path / "b", bad)
    with BundleWriter(tmp_path / "b", **FACTS) as bundle:
        bundle.add_layer("fc", **SETTINGS, **arrays)
        with pytest.raises(TraceError, match=naming("layer fc")):
            bundle.add_layer("fc", **SETTINGS, **arrays)
    with pytest.raises(TraceError, match=naming(tmp_path / "b", "with")):
        bundle.add_layer("late", **SETTINGS, **arrays)


def test_memory_does_not_grow_with_layers(tmp_path):
    """Writing and validating twelve layers takes no more memory than one or two."""
    arrays = make_arrays(M=6, K=40_000, N=8)

    def peak(action):
        tracemalloc.start()
        action()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    def make(count):
        with BundleWriter(tmp_path / str(count), **FACTS) as bundle:
            for i in range(count):
                bundle.add_layer(f"fc{i}", **SETTINGS, **arrays)

    one, many = peak(lambda: make(1)), peak(lambda: make(12))
    assert many < 1.3 * one
    one, many = peak(lambda: validate(tmp_path / "1")), peak(lambda: validate(tmp_path / "12"))
    assert many < 1.3 * one


def test_bundles_are_reproducible(tmp_path, arrays):
    """The same layers give the same bytes."""
    for name in ("a", "b"):
        write(tmp_path / name, arrays)
    for file in ("manifest.json", "layer_0000.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_layers_by_name(tmp_path, arrays):
    """By position, by name, and a helpful refusal."""
    bundle = open_bundle(write(tmp_path / "b", arrays))
    assert bundle.layer(0).name == bundle.layer("fc").name == "fc"
    with pytest.raises(TraceError, match=naming(tmp_path / "b", "'fd'", "fc")):
        bundle.layer("fd")


def test_needs_numpy_only(tmp_path, arrays):
    """Reading traces loads neither torch nor LLM Compressor."""
    bundle = write(tmp_path / "b", arrays)
    program = (
        "import sys; from spike_compressor.trace import validate; validate(sys.argv[1]); "
        "print([m for m in ('torch', 'llmcompressor', 'transformers') if m in sys.modules])"
    )
    plugin = Path(__file__).parents[2] / "plugin"
    result = subprocess.run(
        [sys.executable, "-c", program, str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(plugin)},
    )
    assert result.stdout.strip() == "[]"


def test_documented_example(tmp_path, monkeypatch):
    """The program in docs/traces.md writes a valid bundle, with nothing of this project."""
    text = (Path(__file__).parents[2] / "docs" / "traces.md").read_text()
    program = re.search(r"```python\n(# write_bundle\.py.*?)```", text, re.DOTALL)[1]
    assert "spike_compressor" not in program
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "docs/traces.md", "exec"), {})
    bundle = validate(tmp_path / "my-trace")
    assert [info.coding for info in bundle.infos] == ["tc_lif", "csd"]
    assert bundle.layer("second").groups == 4
