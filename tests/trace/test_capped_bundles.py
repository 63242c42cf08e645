"""Layers and bundles of capped firing: every way to compute has the same codes; what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_models import logits
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.runtime import AttentionSpec, LayerSpec
from spike_compressor.runtime.reference import integer_activations
from spike_compressor.trace import TraceError, fire, open_bundle, validate
from spike_compressor.trace.export import export_trace

ROOT = Path(__file__).parents[2]
CODING = "tc_lif_capped"
RECIPE = recipe(
    RTN,
    f"coding: {CODING}, threshold_statistic: rms, threshold_ratio: {{vision: 0.5, text: 0.4}}",
    "{allocation: fixed, timesteps: {vision: 5, text: 7}}",
)
LAYERS = [r"re:.*layers\.0\..*(q|down)_proj"]


def test_a_recipe_makes_a_checkpoint_that_opens(workshop: Workshop) -> None:
    model, path = workshop.made("llava", RECIPE)
    assert {entry.coding for entry in read_config(path).plan.values()} == {CODING}
    batch = workshop.batch("llava")
    expected = logits(model, batch)
    for backend in ("fused", "unrolled"):
        opened = spike_compressor.load(path, backend=backend)
        assert torch.equal(logits(opened, batch), expected)
    with integer_activations(opened):
        assert torch.equal(logits(opened, batch), expected)


def test_records_count_what_was_not_dropped(workshop: Workshop) -> None:
    model = workshop.made("llava", RECIPE)[0]
    with spike_compressor.record_spikes(model, operations=False) as record:
        logits(model, workshop.batch("llava"))
    plain = workshop.made("llava", RECIPE.replace(CODING, "tc_lif"))[0]
    with spike_compressor.record_spikes(plain, operations=False) as others:
        logits(plain, workshop.batch("llava"))
    assert sum(one.spikes for one in record.layers.values()) < sum(one.spikes for one in others.layers.values())


@pytest.fixture(scope="module")
def bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = workshop.made("llava", RECIPE)[0]
    logits(model, workshop.batch("llava"))
    folder = tmp_path_factory.mktemp("capped") / "bundle"
    return export_trace(model, workshop.batch("llava"), folder, tokens=6, layers=LAYERS)


def test_a_model_is_written_and_valid(bundle: Path) -> None:
    opened = validate(bundle)
    assert json.loads((bundle / "manifest.json").read_text())["version"] == 2
    for layer in opened:
        assert (layer.info.coding, layer.info.frac_bits) == (CODING, 8)
        whole = fire(layer.membrane, layer.timesteps, layer.info.frac_bits, "tc_lif")
        assert np.count_nonzero(layer.spikes) < np.count_nonzero(whole)


def _changed(bundle: Path, target: Path, field: str, value: object) -> Path:
    target.mkdir()
    for file in bundle.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    (manifest if field in manifest else manifest["layers"][0])[field] = value
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_what_is_refused(bundle: Path, tmp_path: Path, workshop: Workshop) -> None:
    with pytest.raises(TraceError, match=naming(CODING, 1, "tc_lif")):
        open_bundle(_changed(bundle, tmp_path / "a", "version", 1))
    with pytest.raises(TraceError, match="expected"):
        validate(_changed(bundle, tmp_path / "b", "coding", "tc_lif"))  # which drops nothing
    with pytest.raises(TraceError, match=naming("frac_bits", 2, 1)):
        open_bundle(_changed(bundle, tmp_path / "c", "frac_bits", 1))
    with pytest.raises(InputError, match=naming(CODING)):
        AttentionSpec(LayerSpec({"text": 4}, CODING))
    with pytest.raises(InputError, match=naming("threshold_ratio", CODING, "sensitivity")):
        workshop.oneshot("llava", recipe(RTN, f"coding: {CODING}, timesteps: 5, threshold_ratio: auto", None))


def test_the_dense_baseline_says_that_it_does_not_know_them(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tb" / "run_trace.py", bundle, "--dense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert CODING in done.stderr
    assert "tc_lif" in done.stderr
