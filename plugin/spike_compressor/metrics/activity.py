"""Does it really spike? A spiking model runs on a few batches, and what fired is counted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from compressed_tensors.offload import get_execution_device
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.metrics.recorder import record_spikes
from spike_compressor.metrics.records import LayerRecord, SpikeRecord
from spike_compressor.modality import in_order
from spike_compressor.runtime import (
    AttentionSpikes,
    LayerSpikes,
    SpikingAttention,
    SpikingInactiveError,
    SpikingLinear,
    SpikingState,
    observing,
    require_spiking,
    spiking_state,
)

Batch = Mapping[str, Any]


def measure_activity(model: nn.Module, batches: Iterable[Batch]) -> dict[str, Any]:
    """Run a spiking model and report what fired: the section `activity` of `spike_config.json`.

    Args:
        model: a spiking model.
        batches: keyword arguments of one forward pass each. Operations outside of spiking layers are counted on the
            first one only, and give the coverage.

    Returns:
        Plain numbers: what ran (`run`), `totals`, layers that were `never_called`, and `layers` by modality.

    Raises:
        SpikingInactiveError: a layer of the plan was called without its neurons, or nothing at all fired.
        InputError: the model does not spike, or there are no batches.
    """
    state = spiking_state(model)
    require_spiking(model)
    device = get_execution_device(model)
    record = SpikeRecord()
    coverage, samples, longest = 0.0, 0, 0
    with _evaluating(model), _neurons_that_run(model) as macs:
        for batch in batches:
            inputs = _on(device, batch)
            with record_spikes(model, operations=not samples) as one:
                model(**inputs)
            if not samples:
                # operations outside of spiking layers are counted with padding, so it counts in layers too
                spiking = sum(macs.values())
                coverage = spiking / (spiking + one.other_macs) if spiking else 0.0
            record.add(one)
            B, S = batch_shape(batch, state)
            samples, longest = samples + B, max(longest, S)
    if not samples:
        raise InputError("what spikes cannot be measured without a single batch")
    if not any(entry.spikes for entry in record.layers.values()):
        raise SpikingInactiveError(
            f"not one of the {len(state.layers)} layers of the spike plan fired a single spike on {samples} samples. "
            "Check that the model computes anything but zeros on the calibration data, and that no neuron is silenced."
        )
    return _report(state, record, coverage, {"samples": samples, "tokens": dict(record.tokens), "longest": longest})


def _report(state: SpikingState, record: SpikeRecord, coverage: float, run: dict[str, Any]) -> dict[str, Any]:
    layers: dict[str, Any] = {}
    for (name, modality), entry in record.layers.items():
        layer = layers.setdefault(name, {"inputs": entry.in_features, "dead": record.dead[name], "modalities": {}})
        layer["modalities"][modality] = _rows(entry)
    attention: dict[str, Any] = {}
    for (name, operand, modality), product in record.attention.items():
        attention.setdefault(name, {}).setdefault(operand, {})[modality] = _rows(product)
    seen = in_order({name for layer in layers.values() for name in layer["modalities"]})
    return {
        "run": run,
        "totals": {
            "coverage": _digits(coverage),
            "firing_rate": {name: _digits(record.firing_rate(name)) for name in seen},
            "spikes_per_neuron": {name: _digits(record.spikes_per_neuron(name)) for name in seen},
            "sops_per_token": {name: _digits(record.sops_per_token(name)) for name in seen},
            "saturation": {name: _digits(record.saturation(name)) for name in seen},
            "inputs": sum(layer["inputs"] for layer in layers.values()),
            "dead": sum(layer["dead"] for layer in layers.values()),
        },
        "never_called": [
            *(name for name in state.layers if name not in layers),
            *(name for name in state.attention if name not in attention),
        ],
        "layers": {name: layers[name] for name in state.layers if name in layers},
        **({"attention": attention} if attention else {}),
    }


def _rows(entry: LayerRecord) -> dict[str, Any]:
    return {
        "rows": entry.rows,
        "firing_rate": _digits(entry.firing_rate),
        "saturation": _digits(entry.saturated / entry.neurons if entry.neurons else 0.0),
    }


def _digits(value: float) -> float:
    """Six significant digits: all that a handful of samples can carry."""
    return float(f"{value:.6g}")


def _on(device: torch.device, value: Any) -> Any:
    """All tensors of a batch on a device, however deep they lie."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _on(device, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_on(device, item) for item in value)
    return value


def batch_shape(batch: Batch, state: SpikingState) -> tuple[int, int]:
    """Samples and tokens of each, padding included."""
    rows = state.tracker.adapter.rows(batch)
    if rows is not None:
        tokens = rows.modality
    else:  # a modality mask was stated around the call
        tokens = next(batch[key] for key in ("input_ids", "inputs_embeds") if batch.get(key) is not None)
    return int(tokens.shape[0]), int(tokens.shape[1])


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, and the mode that each module had afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _neurons_that_run(model: nn.Module) -> Iterator[Counter[str]]:
    """Compare how often each layer was called with how often its neurons ran.

    Yields:
        Multiply-accumulates of each layer and attention so far, padding included.

    Raises:
        SpikingInactiveError: a layer gave an output that no neuron took part in.
    """
    state = spiking_state(model)
    calls: Counter[str] = Counter()
    events: Counter[str] = Counter()
    macs: Counter[str] = Counter()

    def called(name: str) -> Any:
        return lambda module, args, output: calls.update((name,))

    def fired(layer: SpikingLinear, event: LayerSpikes) -> None:
        events[event.name] += 1
        macs[event.name] += event.x.shape[0] * layer.in_features * layer.out_features

    def multiplied(attention: SpikingAttention, event: AttentionSpikes) -> None:
        macs[event.name] += event.x.numel() * event.out_features

    handles = [layer.register_forward_hook(called(name)) for name, layer in state.layers.items()]
    try:
        with observing(model, layers=fired, attention=multiplied):
            yield macs
    finally:
        for handle in handles:
            handle.remove()
    bypassed = [name for name, count in calls.items() if events[name] != count]
    if bypassed:
        name = bypassed[0]
        more = f", as with {len(bypassed) - 1} more layers" if len(bypassed) > 1 else ""
        raise SpikingInactiveError(
            f"{name} is to spike and was called {calls[name]} times, but its neurons ran {events[name]} times{more}. "
            "Something computes the layer in their place; load the model anew."
        )
