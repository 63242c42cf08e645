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
ATTENTION = recipe(RTN, "attention: {timesteps: {vision: 4, text: 5}}")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Any:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graph_breaks() -> dict[str, int]:
    return dict(counters["graph_break"])


@pytest.mark.parametrize(("kind", "text"), [("llama", ATTENTION), ("llava", LAYERS)], ids=["attention", "modalities"])
def test_prefill_and_decoding_are_one_graph_each(workshop: Workshop, kind: str, text: str) -> None:
    """Modalities have timesteps of their own: rows are told apart within the graph."""
    model = load(workshop.made(kind, text)[1])
    batch = workshop.batch(kind)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        plain, out = model(**batch), compiled(**batch)
        assert torch.equal(out.logits, plain.logits)
        token = plain.logits[:, -1:].argmax(-1)
        more = {"input_ids": token, "attention_mask": torch.cat([batch["attention_mask"], torch.ones_like(token)], 1)}
        plain = model(**more, past_key_values=plain.past_key_values)
        out = compiled(**more, past_key_values=out.past_key_values)
        assert torch.equal(out.logits, plain.logits)
    assert graph_breaks() == {}
    assert counters["stats"]["unique_graphs"] == 2


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
