"""A compiled model computes the bits of the model, in few graphs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor import load
from spike_compressor.coding import NonFiniteInputError
from spike_compressor.metrics import record_spikes
from spike_compressor.runtime import spiking_layers
from torch._dynamo.utils import counters

LAYERS = recipe(RTN)
MEANS = recipe(RTN, "threshold_statistic: mean_abs, threshold_ratio: 0.4")
ATTENTION = recipe(RTN, "attention: {timesteps: {vision: 4, text: 5}}")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Any:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graph_breaks() -> dict[str, int]:
    return dict(counters["graph_break"])


def calls(model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Logits of a prompt, and of a token after it."""
    with torch.no_grad():
        out = model(**batch)
        token = torch.full_like(batch["input_ids"][:, :1], 17)
        mask = torch.cat([batch["attention_mask"], torch.ones_like(token)], 1)
        return [out.logits, model(input_ids=token, attention_mask=mask, past_key_values=out.past_key_values).logits]


def test_prefill_and_decoding_are_one_graph_each(workshop: Workshop) -> None:
    model = load(workshop.made("llama", ATTENTION)[1])
    batch = workshop.batch("llama")
    plain = calls(model, batch)
    compiled = calls(torch.compile(model, backend="aot_eager"), batch)
    assert all(torch.equal(*pair) for pair in zip(plain, compiled, strict=True))
    assert graph_breaks() == {}
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize(
    "text", [LAYERS, pytest.param(MEANS, marks=pytest.mark.slow)], ids=["absmax", "mean magnitude"]
)
def test_modalities_are_told_apart_within_graphs_that_end_where_the_float_model_s_do(
    workshop: Workshop, text: str
) -> None:
    """Transformers' LLaVA compares numbers of image tokens and features, which no graph can hold."""
    model = load(workshop.made("llava", text)[1])
    batch = workshop.batch("llava")
    plain = calls(model, batch)
    compiled = calls(torch.compile(model, backend="eager"), batch)
    assert all(torch.equal(*pair) for pair in zip(plain, compiled, strict=True))
    ours = sum(graph_breaks().values())
    counters.clear()
    torch._dynamo.reset()
    calls(torch.compile(workshop.model("llava"), backend="eager"), batch)
    assert ours <= sum(graph_breaks().values())


def test_errors_observers_gradients_and_copies_go_on(workshop: Workshop) -> None:
    model = load(workshop.made("llama", LAYERS)[1])
    batch = workshop.batch("llama")
    name, layer = next(iter(spiking_layers(model).items()))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(compiled(x), layer(x))
        with pytest.raises(NonFiniteInputError, match=name):
            compiled(x * float("nan"))
        twin = copy.deepcopy(layer)
        del model, layer
        assert torch.equal(torch.compile(twin, backend="eager", fullgraph=True)(x), twin(x))

    model = load(workshop.made("llama", LAYERS)[1])
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(**batch)
        with record_spikes(model) as record:
            compiled(**batch)
        with record_spikes(model) as plain:
            model(**batch)
    assert record.to_dict() == plain.to_dict()
    plain_logits = tiny_models.logits(model, batch)
    logits = compiled(**batch).logits
    assert torch.equal(logits.detach(), plain_logits)
    logits.square().sum().backward()
    gradient = model.model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    model(**batch).logits.square().sum().backward()
    assert torch.allclose(gradient, model.model.embed_tokens.weight.grad, rtol=1e-3, atol=1e-5)
