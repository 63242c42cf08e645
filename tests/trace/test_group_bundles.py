"""Bundles of version 2: layers in which one of four inputs fires a step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.messages import naming
from helpers.tiny_models import logits
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.trace import TraceError, open_bundle, validate
from spike_compressor.trace.export import export_trace

ROOT = Path(__file__).parents[2]
RECIPE = recipe(
    RTN,
    "coding: group4, threshold_statistic: rms, threshold_ratio: {vision: 0.3, text: 0.2}",
    "{allocation: fixed, timesteps: {vision: 5, text: 6}}",
)


@pytest.fixture(scope="module")
def bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = workshop.made("llava", RECIPE)[0]
    logits(model, workshop.batch("llava"))
    folder = tmp_path_factory.mktemp("groups") / "bundle"
    return export_trace(model, workshop.batch("llava"), folder, tokens=6, layers=[r"re:.*layers\.0\..*(q|down)_proj"])


def test_a_model_is_written_and_valid(bundle: Path) -> None:
    opened = validate(bundle)
    assert json.loads((bundle / "manifest.json").read_text())["version"] == 2
    for layer in opened:
        assert (layer.info.coding, layer.info.frac_bits) == ("group4", 7)
        assert set(layer.timesteps.tolist()) <= {5, 6}
        fired = np.abs(layer.spikes).reshape(*layer.spikes.shape[:2], -1, 4).sum(axis=3)
        assert fired.max() == 1


def _changed(bundle: Path, target: Path, **fields: Any) -> Path:
    target.mkdir()
    for file in bundle.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    for key, value in fields.items():
        (manifest if key in manifest else manifest["layers"][0])[key] = value
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_version_1_has_no_groups(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=naming("group4", 1, "tc_lif")):
        open_bundle(_changed(bundle, tmp_path / "b", version=1))
    with pytest.raises(TraceError, match=naming("version", 3)):
        open_bundle(_changed(bundle, tmp_path / "c", version=3))


def test_another_beam_finds_other_spikes(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="expected"):
        validate(_changed(bundle, tmp_path / "b", coding="group4_beam4"))


def test_fraction_bits_are_fixed(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=naming("frac_bits", 7, 8)):
        open_bundle(_changed(bundle, tmp_path / "b", frac_bits=8))


@pytest.mark.parametrize("script", ["run_trace", "run_bench"])
def test_hardware_says_that_it_does_not_know_them(bundle: Path, script: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "tb" / f"{script}.py", bundle], capture_output=True, text=True)
    assert done.returncode == 2
    assert "group4" in done.stderr
    assert "tc_lif" in done.stderr
