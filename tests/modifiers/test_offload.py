"""A model that does not fit into memory: parameters on disk change neither the plan nor a byte of the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from compressed_tensors.offload import disable_onloading, load_offloaded_model
from helpers import tiny_models
from helpers.workshop import GPTQ, RTN, Workshop, recipe
from spike_compressor.runtime import spiking_state

BUDGET = "budget: {mean_timesteps: 3.25}"
#: name -> recipe, and the pipeline that runs it. What is measured, and by what passes, differs.
RECIPES = {
    "smoothing, MED": (
        recipe("SpikeSmoothingModifier: {samples: 2}\n" + RTN, msts=f"{{allocation: med, {BUDGET}}}"),
        "independent",
    ),
    "ratios, sensitivity": (
        recipe(RTN, "threshold_ratio: auto", f"{{allocation: sensitivity, weighting: output, {BUDGET}}}"),
        "independent",
    ),
    "GPTQ, static": (
        recipe(GPTQ, "threshold: static, threshold_observer: mse", "{allocation: fixed, timesteps: 4}"),
        "sequential",
    ),
}


def opened(source: Path, folder: Path, share: float, upstream: bool = True) -> Any:
    """A tiny LLaVA, a share of whose bytes may be in memory; offloaded as LLM Compressor does it, or by accelerate."""
    kind = tiny_models.CLASSES["llava"]
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    where = {"device_map": "auto", "max_memory": {"cpu": int(size * share)}, "offload_folder": str(folder)}
    if not upstream:
        return kind.from_pretrained(source, dtype=torch.float32, **where).eval()
    with load_offloaded_model(kind):
        return kind.from_pretrained(source, dtype=torch.float32, **where).eval()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("name", "share", "upstream"),
    [("smoothing, MED", 0.0, True), ("ratios, sensitivity", 0.5, False), ("GPTQ, static", 0.5, True)],
)
def test_the_checkpoint_is_that_of_a_model_in_memory(
    name: str, share: float, upstream: bool, workshop: Workshop, tmp_path: Path
) -> None:
    text, pipeline = RECIPES[name]
    workshop.oneshot("llava", text, pipeline=pipeline, output_dir=str(tmp_path / "here"))
    model = opened(workshop.source("llava"), tmp_path / "offloaded", share, upstream)
    workshop.oneshot("llava", text, model, pipeline=pipeline, output_dir=str(tmp_path / "out"))
    assert files(tmp_path / "out") == files(tmp_path / "here")
    with disable_onloading():
        assert any(parameter.device.type == "meta" for parameter in model.parameters())  # it is offloaded still

    batch = workshop.batch("llava")
    assert torch.equal(
        tiny_models.logits(model, batch), tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch)
    )
    model.save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again")["model.safetensors"] == files(tmp_path / "here")["model.safetensors"]
    assert all(layer.leads_to_neurons() for layer in spiking_state(model).layers.values())
