"""Padding, batches, caches: a row's result does not depend on who shares the batch with it."""

from __future__ import annotations

from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.tiny_models import collate, sample
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.runtime import spiking_layers

PROMPTS = [sample(30, 3), sample(31, 6, 2), sample(32, 1, 0), sample(33, 8)]


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "llama"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, workshop: Workshop) -> Any:
    return spike_compressor.load(workshop.made(kind, recipe(RTN))[1])


def batches(kind: str, side: str) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """One padded batch, and the same prompts one by one."""
    if kind == "qwen2_vl":
        grids = ((4, 6), (2, 2), (4, 4))
        whole = tiny_models.qwen_batch(grids, side)
        singles, first = [], 0
        for number, (height, width) in enumerate(grids):
            ids = whole["input_ids"][number][whole["attention_mask"][number].bool()][None]
            singles.append(
                {
                    "input_ids": ids,
                    "attention_mask": torch.ones_like(ids),
                    "pixel_values": whole["pixel_values"][first : first + height * width],
                    "image_grid_thw": whole["image_grid_thw"][number : number + 1],
                    "mm_token_type_ids": (ids == tiny_models.IMAGE).int(),
                }
            )
            first += height * width
        return whole, singles
    prompts = [sample(30 + n, 3 + 2 * n, 0) for n in range(4)] if kind == "llama" else PROMPTS
    return collate(prompts, side), [collate([prompt]) for prompt in prompts]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_its_rows_one_by_one(kind: str, model: Any, side: str) -> None:
    whole, singles = batches(kind, side)
    together = tiny_models.logits(model, whole)
    for number, single in enumerate(singles):
        alone = tiny_models.logits(model, single)[0]
        row = together[number][whole["attention_mask"][number].bool()]
        # float32 attention and norms of another shape may differ in the last bit, and then a code by one at a tie
        torch.testing.assert_close(row, alone, rtol=1e-3, atol=1e-3)
        assert torch.equal(row.argmax(-1), alone.argmax(-1))


def test_a_spiking_layer_gives_each_row_the_same_bits_in_any_batch(model: Any) -> None:
    layer = next(reversed(spiking_layers(model).values()))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, layer.in_features, generator=generator)
    mask = torch.tensor([[0, 1, 1, 0, 1, 0, 0, 1, 1]], dtype=torch.uint8)
    from spike_compressor.modality import TokenRows, rows_scope

    with torch.no_grad():
        with rows_scope(TokenRows(mask)):
            together = layer(x)
        for row in range(9):
            with rows_scope(TokenRows(mask[:, row : row + 1])):
                assert torch.equal(layer(x[row : row + 1])[0], together[row])


def test_generation_with_a_cache_is_generation_without(kind: str, model: Any) -> None:
    whole, singles = batches(kind, "left")
    whole.pop("mm_token_type_ids", None)
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    extra = {} if kind != "qwen2_vl" else {"mm_token_type_ids": (whole["input_ids"] == tiny_models.IMAGE).int()}
    cached = model.generate(**whole, **extra, use_cache=True, **options)
    if kind != "qwen2_vl":
        assert torch.equal(model.generate(**whole, **extra, use_cache=False, **options), cached)
    for number, single in enumerate(singles):
        alone = model.generate(**single, use_cache=True, **options)
        assert torch.equal(alone[0, -5:], cached[number, -5:])


def test_beams_and_several_answers(workshop: Workshop) -> None:
    model = spike_compressor.load(workshop.made("llava", recipe(RTN))[1])
    batch = collate(PROMPTS[:2], "left")
    out = model.generate(
        **batch, num_beams=3, num_return_sequences=2, max_new_tokens=3, do_sample=False, eos_token_id=None
    )
    assert out.shape[0] == 4


def test_static_thresholds_are_chosen_by_modality(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(RTN, "threshold: static"))
    layer = spiking_layers(model)["model.language_model.layers.1.mlp.down_proj"]
    events: list[Any] = []
    layer.observers.append(lambda _, event: events.append(event))
    tiny_models.logits(model, collate(PROMPTS[:1]))
    layer.observers.clear()
    (event,) = events
    expected = torch.tensor([layer.spec.scale["text"], layer.spec.scale["vision"]])[event.modality.long()]
    assert torch.equal(event.scale, expected.float())
    assert layer.spec.scale["text"] != layer.spec.scale["vision"]


def test_a_head_that_gets_only_the_last_positions(workshop: Workshop) -> None:
    text = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      config_groups: {w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}}
  spike_modifiers:
    TCLIFModifier: {targets: [Linear], ignore: [], timesteps: {vision: 3, text: 4}}
"""
    model = workshop.oneshot("llava", text)
    assert "lm_head" in spiking_layers(model)
    batch = collate(PROMPTS[:2], "left")
    with torch.no_grad():
        full = model(**batch).logits
        assert torch.equal(model(**batch, logits_to_keep=1).logits, full[:, -1:])
        assert torch.equal(model(**batch, logits_to_keep=3).logits, full[:, -3:])
    model.generate(**batch, max_new_tokens=2, do_sample=False)
