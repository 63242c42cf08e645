"""Does it really spike? The freshly attached model runs on a little calibration data, and what fired is reported."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from compressed_tensors.offload import get_execution_device
from loguru import logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spike_compressor.errors import InputError
from spike_compressor.metrics.recorder import LayerRecord, SpikeRecord, record_spikes
from spike_compressor.modality import MODALITIES, VISION
from spike_compressor.runtime import (
    AFTER_RECIPE,
    AttentionSpikes,
    LayerSpikes,
    SpikingAttention,
    SpikingInactiveError,
    SpikingLinear,
    SpikingState,
    require_spiking,
    spiking_state,
)

Batch = Mapping[str, Any]

#: Samples that the report runs on, and the most tokens of one forward pass.
SAMPLES, MAX_TOKENS = 4, 2048
#: Where samples without pictures are cut, so that the report stays a small part of a recipe: logits cost memory by the
#: token. What fires further along a text is not in the report.
MAX_TEXT = 64


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
    with _evaluating(model), _neurons_that_run(state) as macs:
        for batch in batches:
            inputs = _on(device, batch)
            with record_spikes(model, operations=not samples) as one:
                model(**inputs)
            if not samples:
                # operations outside of spiking layers are counted with padding, so it counts in layers too
                spiking = sum(macs.values())
                coverage = spiking / (spiking + one.other_macs) if spiking else 0.0
            record.add(one)
            B, S = _shape(batch, state)
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
    seen = [name for name in MODALITIES if any(name in layer["modalities"] for layer in layers.values())]
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


def _shape(batch: Batch, state: SpikingState) -> tuple[int, int]:
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
def _neurons_that_run(state: SpikingState) -> Iterator[Counter[str]]:
    """Compare how often each layer was called with how often its neurons ran.

    Yields:
        Multiply-accumulates of each layer and attention so far, padding included.

    Raises:
        SpikingInactiveError: a layer gave an output that no neuron took part in.
    """
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
    for layer in state.layers.values():
        layer.observers.append(fired)
    for attention in state.attention.values():
        attention.observers.append(multiplied)
    try:
        yield macs
    finally:
        for handle in handles:
            handle.remove()
        for layer in state.layers.values():
            layer.observers.remove(fired)
        for attention in state.attention.values():
            attention.observers.remove(multiplied)
    bypassed = [name for name, count in calls.items() if events[name] != count]
    if bypassed:
        name = bypassed[0]
        more = f", as with {len(bypassed) - 1} more layers" if len(bypassed) > 1 else ""
        raise SpikingInactiveError(
            f"{name} is to spike and was called {calls[name]} times, but its neurons ran {events[name]} times{more}. "
            "Something computes the layer in their place; load the model anew."
        )


# The end of a recipe


def report_activity(model: nn.Module, dataloader: Any) -> None:
    """Measure what spikes on a few samples of the calibration data, keep it for the checkpoint, and say it.

    A run that fails for another reason than neurons that do not run costs the report, not the recipe's result.

    Raises:
        SpikingInactiveError: as `measure_activity`.
    """
    state = spiking_state(model)
    require_spiking(model)
    begin = time.monotonic()
    activity: dict[str, Any]
    if dataloader is None:
        activity = {"not_measured": "the recipe ran without data"}
    else:
        try:
            batches = few_samples(dataloader, state)
            activity = (
                measure_activity(model, batches)
                if batches
                else {"not_measured": f"no calibration sample fits into {MAX_TOKENS} tokens"}
            )
        except SpikingInactiveError:
            raise
        except Exception as error:
            activity = {"not_measured": f"the run failed: {type(error).__name__}: {error}"}
            logger.opt(exception=error).debug("the activity report could not run")
    state.facts["activity"] = activity
    _say(state, activity, time.monotonic() - begin)


def few_samples(
    dataloader: Any,
    state: SpikingState,
    count: int = SAMPLES,
    longest: int = MAX_TOKENS,
    text: int = MAX_TEXT,
) -> list[Batch]:
    """Some samples of a data loader, spread evenly over its data set.

    They come in one batch if the loader makes batches of as many, and that has at most `longest` tokens with padding;
    else one by one. Samples longer than `longest` tokens are cut there, or left out if their pictures reach beyond, and
    batches without pictures are cut at `text` tokens. A loader without an indexable data set gives its first batch; of
    more than `longest` tokens of text, its first rows.
    """
    batches = [_shortened(batch, state, longest, text) for batch in _picked(dataloader, state, count, longest)]
    return [batch for batch in batches if batch is not None]


def _picked(dataloader: Any, state: SpikingState, count: int, longest: int) -> list[Batch]:
    dataset: Any = getattr(dataloader, "dataset", None)
    if not isinstance(dataloader, DataLoader) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        return [next(iter(dataloader))]
    size = len(dataset)
    count = min(count, size)
    collate: Any = dataloader.collate_fn
    if dataloader.batch_size is None:  # the data set's items are batches already
        first = collate(dataset[0])
        count = min(count, -(-count // max(1, _shape(first, state)[0])))
    chosen = [dataset[round(index)] for index in torch.linspace(0, size - 1, count).tolist()]
    if dataloader.batch_size is None:
        return [collate(item) for item in chosen]
    if dataloader.batch_size >= len(chosen):
        together: Batch = collate(chosen)
        B, S = _shape(together, state)
        if longest >= B * S:
            return [together]
    return [collate([item]) for item in chosen]


def _shortened(batch: Batch, state: SpikingState, longest: int, text: int) -> Batch | None:
    """At most `longest` tokens; None if pictures forbid that, since their features have no seams between rows."""
    B, S = _shape(batch, state)
    told = state.tracker.adapter.rows(batch)
    tokens = batch.get("input_ids") if batch.get("input_ids") is not None else batch.get("inputs_embeds")
    known = told is not None and isinstance(tokens, Tensor)  # else tokens lie deeper than we know
    vision = told.modality == VISION if told is not None else torch.ones(1, dtype=torch.bool)
    length = min(S, longest if not known or bool(vision.any()) else min(longest, text))
    rows = min(B, longest // length) if length else B
    if (rows, length) == (B, S):
        return batch
    if not known:
        return None
    if bool(vision[:, length:].any()) or (rows < B and bool(vision.any())):
        return None
    return {
        key: value[:rows, :length] if isinstance(value, Tensor) and value.shape[:2] == (B, S) else value
        for key, value in batch.items()
    }


def _say(state: SpikingState, activity: dict[str, Any], seconds: float) -> None:
    reasons = Counter(state.facts.get("not_spiking", {}).values())
    if state.attention:
        logger.info(f"attention products spike in {len(state.attention)} modules")
    logger.info(f"{len(state.layers)} layers spike, {sum(reasons.values())} that could multiply by weights do not")
    for reason, count in reasons.items():
        logger.info(f"not spiking: {count} ({reason})")
    if "not_measured" in activity:
        logger.warning(f"what really spikes was not measured: {activity['not_measured']}")
        return
    run, totals = activity["run"], activity["totals"]
    tokens = ", ".join(f"{count} {name}" for name, count in run["tokens"].items())
    logger.info(
        f"measured in {seconds:.1f} s on {run['samples']} calibration samples ({tokens} tokens): spikes do "
        f"{totals['coverage']:.1%} of the multiply-accumulates"
    )
    for name, rate in totals["firing_rate"].items():
        logger.info(
            f"{name}: {rate:.1%} of neurons fire in a timestep, {totals['sops_per_token'][name]:,.0f} synaptic "
            f"operations a token, {totals['saturation'][name]:.2%} of codes saturate"
        )
    logger.info(f"dead neurons: {totals['dead']:,} of {totals['inputs']:,} inputs never fired")
    if activity["never_called"]:
        logger.warning(f"in the spike plan, but never called in this run: {', '.join(activity['never_called'])}")


if report_activity not in AFTER_RECIPE:
    AFTER_RECIPE.append(report_activity)
