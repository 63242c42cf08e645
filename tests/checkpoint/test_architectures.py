"""Every architecture through the sequential pipeline: spikes by modality, calibration counts, generation, video.

`test_roundtrip.py` takes the same checkpoints through saving, loading and plain transformers.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_architectures import ARCHITECTURES
from helpers.workshop import GPTQ, RTN, Processor, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.runtime import spiking_layers

VIDEO = [name for name, architecture in ARCHITECTURES.items() if "video" in architecture.cases]
#: those whose video comes by another argument than pictures
OWN_VIDEO = [name for name in VIDEO if "video" in ARCHITECTURES[name].cases and name not in ("internvl", "smolvlm")]


def modalities_seen(model: Any, **inputs: Any) -> dict[str, torch.Tensor]:
    """Modality [rows] of what each spiking layer computed in one forward pass."""
    found = defaultdict(list)
    layers = spiking_layers(model)
    for layer in layers.values():
        layer.observers.append(lambda layer, event: found[event.name].append(event.modality))
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for layer in layers.values():
            layer.observers.pop()
    return {name: torch.cat(parts) for name, parts in found.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_linear_spikes_with_the_timesteps_of_its_rows(name: str, workshop: Workshop) -> None:
    architecture = ARCHITECTURES[name]
    model, path = workshop.made(f"every {name}", recipe(GPTQ))
    linears = {n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert set(spiking_layers(model)) == linears - {"lm_head"}
    loaded = spike_compressor.load(path)
    for case in architecture.cases.values():
        expected = torch.tensor(case.modality).flatten()
        seen = modalities_seen(loaded, **case.batch())
        assert set(seen) == set(spiking_layers(loaded))
        for layer, modality in seen.items():
            if layer.startswith(architecture.vision):
                assert bool(modality.all()), layer
            else:
                assert torch.equal(modality.long(), expected), layer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_calibration_counts_are_the_prompts(name: str, workshop: Workshop) -> None:
    cases = [ARCHITECTURES[name].cases[side] for side in ("right", "left")]
    vision = sum(mask.count("1") for case in cases for mask in case.masks)
    words = sum(len(row) - row.count(".") for case in cases for row in case.prompts)
    config = read_config(workshop.made(f"every {name}", recipe(GPTQ))[1])
    assert config.calibration == {"samples": 4, "tokens": {"text": words - vision, "vision": vision}}
    assert config.architecture == name
    assert config.activity is not None
    assert config.activity.run is not None, config.activity.not_measured
    assert config.activity.never_called == []
    assert set(config.activity.totals.firing_rate) == {"text", "vision"}
    assert [module + "." for module in config.adapter.modules["vision"]] == list(ARCHITECTURES[name].vision)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_generation_is_the_same_in_memory_and_loaded(name: str, workshop: Workshop) -> None:
    model, path = workshop.made(f"every {name}", recipe(GPTQ))
    loaded = spike_compressor.load(path)
    for case, prompt in ARCHITECTURES[name].cases.items():
        if case == "right":
            continue  # nobody generates after padding
        batch = prompt.batch()
        ours, theirs = (
            m.generate(
                **batch,
                max_new_tokens=4,
                do_sample=False,
                eos_token_id=None,
                output_logits=True,
                return_dict_in_generate=True,
            )
            for m in (model, loaded)
        )
        assert torch.equal(ours.sequences, theirs.sequences)
        assert all(map(torch.equal, ours.logits, theirs.logits))


@pytest.mark.parametrize("name", VIDEO)
def test_video_is_calibrated_and_decoder_layers_are_watched(name: str, workshop: Workshop) -> None:
    architecture = ARCHITECTURES[name]
    kind = f"every {name}"
    msts = "{allocation: med, budget: {mean_timesteps: 3.5}}"
    data = architecture.loader("video")
    model = workshop.oneshot(kind, recipe(RTN, msts=msts), dataset=data, pipeline="sequential")
    spike_compressor.save(model, workshop.root / f"video {name}", Processor())
    config = read_config(workshop.root / f"video {name}")
    case = architecture.cases["video"]
    vision = sum(mask.count("1") for mask in case.masks)
    assert config.calibration["tokens"]["vision"] == vision
    loaded = spike_compressor.load(workshop.root / f"video {name}")
    batch = case.batch()
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    assert len({entry.timesteps["text"] for entry in config.plan.values()}) > 1


@pytest.mark.parametrize("name", OWN_VIDEO)
def test_batches_of_other_inputs_are_refused_where_they_would_be_dropped(name: str, workshop: Workshop) -> None:
    """The sequential pipeline's graph knows the arguments of the first batch alone."""
    kind = f"every {name}"
    text = recipe(RTN)
    data = ARCHITECTURES[name].loader("left", "video")
    with pytest.raises(InputError, match=naming("batch 1", "pixel_values_videos", "sequential", "pipeline='basic'")):
        workshop.oneshot(kind, text, dataset=data, pipeline="sequential")
    model = workshop.oneshot(kind, text, dataset=data, pipeline="basic")
    assert spiking_layers(model)
