"""The C driver, compiled and run on a Verilated core, computes a whole layer of the embedded model, bit for bit."""

from __future__ import annotations

import re
from dataclasses import replace

import board
import numpy as np
import pytest
from generate import random_layer
from images import Shape
from llmcompressor import oneshot
from spike_compressor import export_trace
from spike_compressor.demo.data import calibration_batches
from spike_compressor.demo.model import load_model, load_processor
from spike_compressor.shipped import recipe_path
from spike_compressor.trace import open_bundle
from spike_compressor.trace.schema import CAPPED_CODINGS

SHAPE = Shape(rows=4, columns=8, lanes=8, slots=8, weight_inputs=8, weight_bits=4, tmax=4, blocks=16, csd=True)
DENSE = replace(SHAPE, slots=1, blocks=64, csd=False)


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """A layer of the embedded vision-language model with image and text rows, by way of a trace bundle."""
    processor, model = load_processor(), load_model()
    batches = calibration_batches(processor, samples=8)
    oneshot(model=model, processor=processor, dataset=batches, recipe=str(recipe_path("rtn_w4_tclif_34")))
    name = "model.language_model.layers.2.self_attn.k_proj"
    path = export_trace(
        model, next(iter(batches)), tmp_path_factory.mktemp("bundle") / "trace", layers=[name], tokens=27
    )
    return open_bundle(path).layer(name)


def compute(layer, folder, shape, *, pause=0, top="spike_core", streams=None):
    """The sums of a layer as the driver's program writes them, int32 [M, N, G], and what the core counted."""
    program = board.board(shape, "streamed_layer" if top == "streamed_core" else "layer", top, streams=streams)
    for name, values in (
        ("membranes", layer.membrane.astype("<i4")),
        ("timesteps", layer.timesteps.astype("u1")),
        ("weights", layer.weight.astype("i1")),
    ):
        (folder / name).write_bytes(values.tobytes())
    M, N, K, G = layer.info.tokens, layer.info.out_features, layer.info.in_features, layer.groups
    coding = 2 if layer.info.coding in CAPPED_CODINGS else int(layer.info.coding == "csd")
    numbers = [M, N, K, G, layer.info.frac_bits, coding, pause]
    files = [folder / name for name in ("membranes", "timesteps", "weights", "sums")]
    said = board.run([str(word) for word in (program, *numbers, *files)])
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", said)}
    return np.fromfile(folder / "sums", "<i4").reshape(M, N, G), counts


@pytest.mark.parametrize(
    ("shape", "top", "streams"),
    [(SHAPE, "spike_core", {}), (DENSE, "dense_core", {}), (SHAPE, "streamed_core", {"DataWidth": 64})],
    ids=["spike core", "dense baseline", "streamed core"],
)
def test_a_layer_of_the_embedded_model(layer, shape, top, streams, tmp_path):
    """Every accumulator, in two jobs of which one waits for the other, after a job that was aborted."""
    assert layer.info.tokens > 20
    assert set(layer.modality) == {0, 1}
    sums, counts = compute(layer, tmp_path, shape, top=top, streams=streams)
    assert np.array_equal(sums, layer.grouped_acc())
    assert counts["rows"] == layer.info.tokens
    assert counts["spikes"] == np.count_nonzero(layer.spikes)


@pytest.mark.parametrize(("coding", "groups", "K"), [("tc_lif", 1, 61), ("csd", 3, 90)])
def test_layers_off_the_size_of_the_array(coding, groups, K, tmp_path):
    """Rows, inputs, outputs and groups that fill no tile, negative sums, streams that pause."""
    layer = random_layer(
        np.random.default_rng(1), 11, K, 21, coding=coding, groups=groups, grouped=groups > 1, timesteps=(1, 4),
        distribution="extreme",
    )  # fmt: skip
    sums, _ = compute(layer, tmp_path, SHAPE, pause=3)
    assert np.array_equal(sums, layer.grouped_acc())


def test_capped_firing(tmp_path):
    """A core that caps computes what the coding says."""
    layer = random_layer(
        np.random.default_rng(1), 9, 192, 21, coding="tc_lif_capped", groups=3, timesteps=(1, 4), distribution="laplace"
    )
    sums, counts = compute(layer, tmp_path, replace(SHAPE, capped=True), pause=3)
    assert np.array_equal(sums, layer.grouped_acc())
    assert counts["spikes"] == np.count_nonzero(layer.spikes)


#: Streams that are narrower, and wider, than what they carry, in units of a power of two and others; T in TUSER.
NARROW = {"MembraneStream": 32, "WeightStream": 32, "AccStream": 64, "MembraneBits": 16, "NibbleWeights": 1}
WIDE = {"UserTimesteps": 1, "MembraneStream": 1024, "WeightStream": 512, "AccStream": 1024}
#: Units that share beats, in bursts of 4.
MEMORY = {"DataWidth": 256, "MaxBurst": 4, "AddrWidth": 40, "MembraneBits": 16, "NibbleWeights": 1}
ODD = replace(SHAPE, rows=3, columns=5, lanes=4, slots=4, weight_inputs=2)


@pytest.mark.parametrize(
    ("shape", "streams", "top"),
    [
        (ODD, NARROW, "spike_core"),
        (ODD, WIDE, "spike_core"),
        (replace(ODD, slots=1, blocks=64, csd=False), NARROW | WIDE, "dense_core"),
        (ODD, MEMORY, "streamed_core"),
    ],
    ids=["narrow", "wide", "dense", "streamed"],
)
@pytest.mark.parametrize(("groups", "K"), [(1, 61), (3, 57)])
def test_streams_of_any_width(shape, streams, top, groups, K, tmp_path):
    """Beats that are parts of a unit or hold several, nibbles, short membranes: the same sums, whatever pauses."""
    layer = random_layer(
        np.random.default_rng(2), 10, K, 13, groups=groups, grouped=groups > 1, timesteps=(1, 4), frac_bits=8,
        distribution="extreme",
    )  # fmt: skip
    for pause in (0, 3):
        sums, _ = compute(layer, tmp_path, shape, pause=pause, top=top, streams=streams)
        assert np.array_equal(sums, layer.grouped_acc())
