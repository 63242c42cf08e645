"""Mixed precision around a spiking model leaves what spikes compute exact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor import load
from spike_compressor.metrics.fidelity import record_fidelity
from spike_compressor.modifiers.sensitivity import ErrorTable
from spike_compressor.runtime import AttentionSpikes, LayerSpikes, observing, spiking_layers
from spike_compressor.runtime.reference import integer_activations, weight_only

ASYMMETRIC = RTN.replace(
    "strategy: channel}",
    "strategy: channel}, input_activations: {num_bits: 5, type: int, symmetric: false, strategy: token, dynamic: true}",
    1,
)
RECIPES = {
    "groups and static": recipe(GPTQ_GROUP, "threshold: static, coding: csd"),
    "by mean magnitude": recipe(RTN, "threshold_statistic: mean_abs, threshold_ratio: 0.4"),
    "zero points": recipe(ASYMMETRIC, msts=None),
    "attention": recipe(RTN, "attention: {timesteps: {vision: 4, text: 5}}"),
}
HALVES = (torch.bfloat16, torch.float16)


def autocast(dtype: torch.dtype) -> Any:
    return torch.autocast("cpu", dtype=dtype)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def short_products() -> Iterator[None]:
    """The switches that let float32 products be computed from shorter operands."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def checked(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of a batch, every layer's integers held against products of int64."""
    seen = []

    def layer(layer: Any, event: LayerSpikes) -> None:
        weight = layer.integer
        codes = event.codes.long().view(len(event.codes), weight.groups, -1)
        exact = torch.einsum("mgk,ngk->mng", codes, weight.codes.long().view(len(weight.codes), weight.groups, -1))
        assert torch.equal(event.acc.view(exact.shape).long(), exact)
        sums = (event.acc.view(exact.shape).to(torch.float32) * event.scale.view(-1, 1, 1)) * weight.scale
        output = torch.zeros_like(event.output)
        for group in sums.unbind(2):
            output = output + group
        assert torch.equal(event.output, output if layer.bias is None else output + layer.bias)
        seen.append(event.name)

    def attention(_: Any, event: AttentionSpikes) -> None:
        assert event.x.dtype == event.scale.dtype == torch.float32
        seen.append(event.operand)

    with observing(model, layers=layer, attention=attention):
        logits = tiny_models.logits(model, batch)
    assert len(seen) >= len(spiking_layers(model))
    return logits


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_integers_are_exact_and_every_backend_gives_the_same_bits(workshop: Workshop, text: str) -> None:
    fused, path = workshop.made("llava", text)
    unrolled = load(path, backend="unrolled")
    batch = workshop.batch("llava")
    for dtype in HALVES:
        with autocast(dtype):
            logits = checked(fused, batch)
            assert torch.equal(tiny_models.logits(unrolled, batch), logits)
            with integer_activations(fused):
                assert torch.equal(tiny_models.logits(fused, batch), logits)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_layer_gives_what_it_gives_without_autocast(workshop: Workshop, dtype: torch.dtype) -> None:
    model, _ = workshop.made("llava", RECIPES["groups and static"])
    name, layer = next((name, one) for name, one in spiking_layers(model).items() if one.fixed_modality is not None)
    x = torch.randn(3, 5, layer.in_features, generator=torch.Generator().manual_seed(0))
    for reference in (contextlib.nullcontext, lambda: integer_activations(model), lambda: weight_only(model)):
        with torch.no_grad(), reference():
            alone = layer(x)
            with autocast(dtype):
                assert torch.equal(layer(x), alone), name
                assert layer(x.to(dtype)).dtype == dtype  # as its input, not as autocast


def test_attention_gives_what_it_gives_without_autocast(workshop: Workshop) -> None:
    """Where all that is left for autocast is the head: hidden states differ by no more than what others compute."""
    model, _ = workshop.made("llama", RECIPES["attention"])
    attention = model.model.layers[0].self_attn
    x = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(1))
    position = torch.arange(7)[None]
    embeddings = model.model.rotary_emb(x, position)
    outputs = []
    for context in (contextlib.nullcontext, *(lambda dtype=dtype: autocast(dtype) for dtype in HALVES)):
        with torch.no_grad(), context():
            outputs.append(attention(x, embeddings, None)[0])
    assert all(torch.equal(out, outputs[0]) for out in outputs)


def test_switches_and_default_types_change_no_bit(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", RECIPES["attention"])
    batch = workshop.batch("llava")
    plain = checked(model, batch)
    # the head does not spike: its products are those of bfloat16 where the processor has these, so it stays as it is
    whole = model.lm_head.register_forward_pre_hook(lambda *_: torch.set_float32_matmul_precision("highest"))
    with short_products():
        assert torch.equal(checked(model, batch), plain)
    whole.remove()
    for dtype in (torch.bfloat16, torch.float64):
        with default_dtype(dtype):
            assert torch.equal(checked(model, batch), plain)


def test_errors_are_measured_without_autocast(workshop: Workshop) -> None:
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(64, 32, generator=generator), torch.randn(16, 32, generator=generator)
    tables = []
    for context in (contextlib.nullcontext, lambda: autocast(torch.bfloat16), lambda: default_dtype(torch.bfloat16)):
        with context():
            table = ErrorTable(32, "tc_lif", (0.8, 1.0))
            table.update(x, weight)
            tables.append([(table.error(T), table.spikes_per_row(T)) for T in range(1, 8)])
    assert tables[0] == tables[1] == tables[2]

    model, _ = workshop.made("llava", RECIPES["groups and static"])
    layer = next(one for one in spiking_layers(model).values() if one.fixed_modality is not None)
    x = torch.randn(5, layer.in_features, generator=generator)
    snr = []
    for context in (contextlib.nullcontext, lambda: autocast(torch.bfloat16)):
        with context(), torch.no_grad(), record_fidelity(model) as record:
            layer(x)
        snr.append(record.to_dict())
    assert snr[0] == snr[1] != {}
