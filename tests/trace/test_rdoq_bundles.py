"""Bundles of codes that were chosen with their spikes in mind: the golden model's integers, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import scalar_reference as scalar
from helpers.messages import naming
from helpers.tiny_models import logits
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.trace import (
    TraceError,
    codes_from_membranes,
    decode,
    fire,
    membranes,
    open_bundle,
    validate,
)
from spike_compressor.trace.export import export_trace

ROOT = Path(__file__).parents[2]
CODING = "tc_lif_rdoq"
RECIPE = recipe(
    RTN,
    f"coding: {CODING}, threshold_statistic: rms, threshold_ratio: {{vision: 0.5, text: 0.4}}",
    "{allocation: fixed, timesteps: {vision: 5, text: 7}}",
)
LAYERS = [r"re:.*layers\.0\..*(q|down)_proj"]


@pytest.mark.parametrize("F", [2, 5, 16])
@pytest.mark.parametrize("T", [1, 3, 7])
def test_the_golden_neuron_fires_codes_of_least_cost(T: int, F: int) -> None:
    quarters = np.arange(4 * 2**T + 9) / 4
    y = np.concatenate([quarters, np.nextafter(quarters, 0, dtype=np.float32)]).astype(np.float32)
    y = np.stack([y, -y])
    timesteps = np.array([T, T])
    membrane = membranes(y, np.ones(2, np.float32), timesteps, F)
    limit = 2**T - 1
    expected = [[scalar.code(value, -limit, limit, 0.5)[0] for value in row] for row in y.tolist()]
    assert codes_from_membranes(membrane, timesteps, F, CODING).tolist() == expected
    assert decode(fire(membrane, timesteps, F, CODING), timesteps, CODING).tolist() == expected


@pytest.fixture(scope="module")
def bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = workshop.made("llava", RECIPE)[0]
    logits(model, workshop.batch("llava"))
    folder = tmp_path_factory.mktemp("rdoq") / "bundle"
    return export_trace(model, workshop.batch("llava"), folder, tokens=6, layers=LAYERS)


def test_a_model_is_written_and_valid(bundle: Path) -> None:
    opened = validate(bundle)
    assert json.loads((bundle / "manifest.json").read_text())["version"] == 2
    for layer in opened:
        assert (layer.info.coding, layer.info.frac_bits) == (CODING, 8)
        plain = fire(layer.membrane, layer.timesteps, layer.info.frac_bits, "tc_lif")
        assert np.count_nonzero(layer.spikes) < np.count_nonzero(plain)


def _changed(bundle: Path, target: Path, **fields: Any) -> Path:
    target.mkdir()
    for file in bundle.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    for key, value in fields.items():
        (manifest if key in manifest else manifest["layers"][0])[key] = value
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_what_is_refused(bundle: Path, tmp_path: Path, workshop: Workshop) -> None:
    with pytest.raises(TraceError, match=naming(CODING, 1, "tc_lif")):
        open_bundle(_changed(bundle, tmp_path / "a", version=1))
    with pytest.raises(TraceError, match="expected"):
        validate(_changed(bundle, tmp_path / "b", coding="tc_lif"))  # which fires other spikes
    with pytest.raises(TraceError, match=naming("frac_bits", 2, 1)):
        open_bundle(_changed(bundle, tmp_path / "c", frac_bits=1))
    model = workshop.made("llava", RECIPE)[0]
    with pytest.raises(InputError, match=naming("q_proj", CODING, 2, "frac_bits", 1)):
        export_trace(model, workshop.batch("llava"), tmp_path / "d", layers=LAYERS, frac_bits=1)
    assert not (tmp_path / "d").exists()


def test_hardware_says_that_it_does_not_know_them(bundle: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "tb" / "run_trace.py", bundle], capture_output=True, text=True)
    assert done.returncode == 2
    assert CODING in done.stderr
    assert "csd" in done.stderr
