"""The dense baseline of the comparison computes the same results as the spike core: bit for bit, in several shapes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import run_trace
from generate import random_arrays
from regression import DENSE_SHAPES, SEED, dense
from spike_compressor.trace import BundleWriter


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "square" else one for one in DENSE_SHAPES]
)
def test_dense(name):
    """Random and extreme jobs give the golden accumulators."""
    print(f"SEED={SEED}")
    dense(name)


def write(path, *, coding="tc_lif", spoil=None):
    """A bundle of two layers, one with group scales."""
    rng = np.random.default_rng(SEED)
    with BundleWriter(path, producer={"name": "tb"}, model={"name": "random"}) as bundle:
        for name, size, settings in (("fc1", (19, 48, 33), {}), ("down_proj", (9, 60, 20), {"groups": 4})):
            arrays = random_arrays(rng, *size, coding=coding, timesteps=(3, 4), **settings)
            if name == spoil:
                arrays["acc"].flat[7] += 1
            bundle.add_layer(name, coding=coding, frac_bits=16, weight_bits=4, check=name != spoil, **arrays)
    return path


def test_replay(tmp_path, capsys, monkeypatch):
    """Bundles run through the baseline, and a wrong sum in one is found."""
    fitting = run_trace.dense_shape
    # a quarter of the accumulators: the C++ of the usual array takes minutes to compile
    monkeypatch.setattr(run_trace, "dense_shape", lambda *bundle: replace(fitting(*bundle), rows=4, columns=8))
    assert run_trace.main([str(write(tmp_path / "good")), "--dense", "--stalls"]) == 0
    assert "2 layers, 28 rows: every accumulator equals the RTL's" in capsys.readouterr().out
    assert run_trace.main([str(write(tmp_path / "bad", spoil="down_proj")), "--dense", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [layer["error"] is None for layer in answer["layers"]] == [True, False]


def test_refuses_csd(tmp_path, capsys):
    """A coding with negative and positive spikes in one input has no magnitude in binary."""
    assert run_trace.main([str(write(tmp_path / "csd", coding="csd")), "--dense"]) == 2
    assert "tc_lif" in capsys.readouterr().err
