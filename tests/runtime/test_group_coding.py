"""Group coding in layers and models: every way to compute gives the golden's integers; records, files, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_models import logits, randomized_linear
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.metrics.records import recoded
from spike_compressor.modality import TokenRows, adapter_for, rows_scope
from spike_compressor.runtime import AttentionSpec, LayerSpec, attach, detach, integer_weight
from spike_compressor.runtime.reference import integer_activations
from spike_compressor.trace import golden
from spike_compressor.trace.golden_groups import decode_groups, fire_groups, group_membranes

ADAPTER = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llava", image_token_id=5)))
S = {"vision": 5, "text": 8}
SPEC = LayerSpec(S, "group4", ratio={"vision": 0.3, "text": 0.1}, statistic="rms")
RECIPE = recipe(
    RTN,
    "coding: group4, threshold_statistic: rms, threshold_ratio: {vision: 0.3, text: 0.2}",
    "{allocation: fixed, timesteps: {vision: 5, text: 6}}",
)


def layer(backend: str = "fused", spec: LayerSpec = SPEC, K: int = 70, **weights: Any) -> Any:
    model = torch.nn.Sequential(randomized_linear(24, K, **weights))
    attach(model, {"0": spec}, ADAPTER, backend)
    return model


def rows(K: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(K)
    x = torch.randn(count, K, generator=generator) * torch.randn(count, 1, generator=generator).exp()
    return x, torch.arange(count, dtype=torch.uint8).view(1, -1) % 2


def run(model: Any, x: torch.Tensor, modality: torch.Tensor, observed: bool = True) -> tuple[torch.Tensor, Any]:
    events: list[Any] = []
    if observed:
        model[0].observers.append(lambda _, event: events.append(event))
    with rows_scope(TokenRows(modality)), torch.no_grad():
        return model(x), events[0] if observed else None


GROUPS = {
    "channel": {},
    "groups": {"strategy": "group", "group_size": 24},
    "odd": {"strategy": "group", "group_size": 6},
}


@pytest.mark.parametrize("backend", ["fused", "unrolled"])
@pytest.mark.parametrize("weights", GROUPS)
def test_layers_are_the_golden_model(backend: str, weights: str) -> None:
    K = 70 if weights == "channel" else 72
    model = layer(backend, K=K, **GROUPS[weights])
    x, modality = rows(K)
    out, event = run(model, x, modality)
    T = np.array([[S["text"], S["vision"]][code] for code in modality[0].tolist()])
    spikes = fire_groups(group_membranes(x.numpy(), event.scale.numpy(), T), T, 8)
    codes = decode_groups(spikes, T)
    assert np.array_equal(event.codes.numpy(), codes)
    integer = model[0].integer
    acc = golden.accumulate(codes, integer.codes.numpy(), integer.groups)
    assert np.array_equal(event.acc.numpy().reshape(acc.shape), acc)
    bias = model[0].bias
    expected = golden.dequantize(
        acc.astype(np.int32),
        event.scale.numpy(),
        integer.scale.numpy(),
        None if bias is None else bias.detach().numpy(),
    )
    assert np.array_equal(out.numpy(), expected)
    assert torch.equal(run(model, x, modality, observed=False)[0], out)  # the way without codes
    with integer_activations(model):
        assert torch.equal(run(model, x, modality, observed=False)[0], out)


@pytest.mark.parametrize("backend", ["fused", "unrolled"])
def test_silenced_neurons_leave_their_steps_to_others(backend: str) -> None:
    model = layer(backend)
    x, modality = rows(70)
    never = torch.arange(70) % 3 == 0
    model[0].silence(never)
    out, event = run(model, x, modality)
    assert not bool(event.codes[:, never].any())
    assert torch.equal(out, run(model, x, modality, observed=False)[0])
    model[0].silence(None)
    whole, alone = run(model, x, modality)[1], event
    assert not torch.equal(whole.codes.masked_fill(never, 0), alone.codes)


def test_the_bound_knows_that_one_of_four_fires() -> None:
    """So large a layer would be refused if all inputs could have the largest code."""
    linear = randomized_linear(2, 40_000)
    linear.weight.data.copy_(linear.weight.sign() * linear.weight_scale * 7)
    model = torch.nn.Sequential(linear)
    largest = int(integer_weight(linear, "0").codes.abs().sum(dim=1, dtype=torch.int64).max())
    assert largest * (3**8 - 2**8) > 2**30
    attach(model, {"0": SPEC}, ADAPTER)
    assert model[0].neurons._matmul.bound == 10_000 * 7 * (3**8 - 2**8)
    detach(model)


def test_gradients_pass_straight_through() -> None:
    model = layer()
    x, modality = rows(70)
    x.requires_grad_()
    with rows_scope(TokenRows(modality)):
        model(x).sum().backward()
    weights = model[0].integer.floats().sum(dim=0)
    assert x.grad is not None
    assert torch.allclose(x.grad, weights.expand_as(x))  # nothing is beyond the largest code here


def test_a_recipe_makes_a_checkpoint_that_opens(workshop: Workshop) -> None:
    model, path = workshop.made("llava", RECIPE)
    config = read_config(path)
    assert {entry.coding for entry in config.plan.values()} == {"group4"}
    assert {entry.threshold_statistic for entry in config.plan.values()} == {"rms"}
    batch = workshop.batch("llava")
    expected = logits(model, batch)
    assert torch.equal(logits(spike_compressor.load(path), batch), expected)
    assert torch.equal(logits(spike_compressor.load(path, backend="unrolled"), batch), expected)


def test_records_count_one_spike_a_group_and_step(workshop: Workshop) -> None:
    model = workshop.made("llava", RECIPE)[0]
    batch = workshop.batch("llava")
    with spike_compressor.record_spikes(model, operations=False) as record:
        logits(model, batch)
    assert record.layers
    for (_, modality), entry in record.layers.items():
        steps = {"vision": 5, "text": 6}[modality]
        assert (entry.timesteps, entry.steps, entry.coding) == (steps, steps, "group4")
        assert 0 < entry.spikes <= entry.rows * steps * -(-entry.in_features // 4)
        assert all(0 < fired <= entry.rows * -(-entry.in_features // 4) for fired in entry.spikes_by_step())
        assert int(entry.histogram.sum()) == entry.neurons
    assert record.mean_timesteps("vision") == 5
    with pytest.raises(InputError, match=naming("group4")):
        recoded(record, "csd")


def test_sensitivity_chooses_steps(workshop: Workshop) -> None:
    text = recipe(
        RTN,
        "coding: group4, threshold_statistic: rms, threshold_ratio: 0.25",
        "{allocation: sensitivity, budget: {mean_timesteps: 5.5}, weighting: output, min_timesteps: 4}",
    )
    layers = spike_compressor.runtime.spiking_layers(workshop.oneshot("llava", text))
    chosen = {T for one in layers.values() for T in one.spec.timesteps.values()}
    assert len(chosen) > 1
    assert chosen <= set(range(4, 9))


REFUSED = {
    "T too large": ("coding: group4, timesteps: 9", ("TCLIFModifier.timesteps", 1, 8, 9)),
    "T of another coding": ("timesteps: 8", ("TCLIFModifier.timesteps", 1, 7, 8)),
    "no T": ("coding: group4", ("group4", "timesteps")),
    "auto by itself": (
        "coding: group4, timesteps: 5, threshold_ratio: auto",
        ("threshold_ratio", "group4", "sensitivity"),
    ),
    "mse": ("coding: group4, timesteps: 5, threshold: static, threshold_observer: mse", ("mse", "group4", "absmax")),
    "attention": ("timesteps: 4, attention: {timesteps: 4, coding: group4}", ("attention", "group4", "tc_lif")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_it_is_refused(case: str, workshop: Workshop) -> None:
    fields, names = REFUSED[case]
    with pytest.raises(InputError, match=naming(*names)):
        workshop.oneshot("llava", recipe(RTN, fields, None))


def test_attention_is_refused() -> None:
    with pytest.raises(InputError, match=naming("group4")):
        AttentionSpec(LayerSpec({"text": 4}, "group4"))
