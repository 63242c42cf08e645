"""The end of a recipe: what spikes how is logged, and what fires while the model runs on a little calibration data."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spike_compressor.metrics.activity import Batch, batch_shape, measure_activity
from spike_compressor.modality import TEXT
from spike_compressor.modifiers.unreached import some
from spike_compressor.runtime import (
    AttentionSpec,
    LayerSpec,
    SpikingInactiveError,
    SpikingState,
    require_spiking,
    spiking_state,
)

#: Samples that the report runs on, and the most tokens of one forward pass.
SAMPLES, MAX_TOKENS = 4, 2048
#: Where samples without pictures are cut, so that the report stays a small part of a recipe: logits cost memory per
#: token. What fires further along a text is not in the report.
MAX_TEXT = 64


def report_activity(model: nn.Module, dataloader: Any) -> None:
    """Measure what spikes on a few samples of the calibration data, keep it for the checkpoint, and log it.

    A run that fails for another reason than neurons that do not run costs the report, not the recipe's result.

    Args:
        model: a spiking model; its section `activity` of `spike_config.json` is set.
        dataloader: the calibration data, batches of keyword arguments of a forward pass; None where there was none.

    Raises:
        SpikingInactiveError: a layer of the plan was called without its neurons, or nothing at all fired.
        InputError: the model does not spike.
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
    _log(state, activity, time.monotonic() - begin)


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

    Args:
        dataloader: of the calibration data.
        state: of the spiking model, whose adapter knows which tokens are pictures.
        count: samples at most.
        longest: tokens of a batch at most, padding included.
        text: tokens at most of a batch without pictures.

    Returns:
        Batches of keyword arguments of a forward pass; an empty list where no sample fits.
    """
    batches = [_shorten(batch, state, longest, text) for batch in _pick(dataloader, state, count, longest)]
    return [batch for batch in batches if batch is not None]


def _pick(dataloader: Any, state: SpikingState, count: int, longest: int) -> list[Batch]:
    dataset: Any = getattr(dataloader, "dataset", None)
    if not isinstance(dataloader, DataLoader) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        return [next(iter(dataloader))]
    size = len(dataset)
    count = min(count, size)
    collate: Any = dataloader.collate_fn
    if dataloader.batch_size is None:  # the data set's items are batches already
        first = collate(dataset[0])
        count = min(count, -(-count // max(1, batch_shape(first, state)[0])))
    chosen = [dataset[round(index)] for index in torch.linspace(0, size - 1, count).tolist()]
    if dataloader.batch_size is None:
        return [collate(item) for item in chosen]
    if dataloader.batch_size >= len(chosen):
        together: Batch = collate(chosen)
        B, S = batch_shape(together, state)
        if longest >= B * S:
            return [together]
    return [collate([item]) for item in chosen]


def _shorten(batch: Batch, state: SpikingState, longest: int, text: int) -> Batch | None:
    """At most `longest` tokens; None if pictures forbid that, since their features have no seams between rows."""
    B, S = batch_shape(batch, state)
    given = state.tracker.adapter.rows(batch)
    tokens = batch.get("input_ids") if batch.get("input_ids") is not None else batch.get("inputs_embeds")
    known = given is not None and isinstance(tokens, Tensor)  # else tokens lie deeper than we know
    media = given.modality != TEXT if given is not None else torch.ones(1, dtype=torch.bool)
    length = min(S, longest if not known or bool(media.any()) else min(longest, text))
    rows = min(B, longest // length) if length else B
    if (rows, length) == (B, S):
        return batch
    if not known:
        return None
    if bool(media[:, length:].any()) or (rows < B and bool(media.any())):
        return None
    return {
        key: value[:rows, :length] if isinstance(value, Tensor) and value.shape[:2] == (B, S) else value
        for key, value in batch.items()
    }


def _log(state: SpikingState, activity: dict[str, Any], seconds: float) -> None:
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
            f"operations per token, {totals['saturation'][name]:.2%} of codes clip"
        )
    logger.info(f"dead neurons: {totals['dead']:,} of {totals['inputs']:,} inputs never fired")
    if activity["never_called"]:
        silent = activity["never_called"]
        logger.warning(f"in the spike plan, but no row reached them in this run: {len(silent)} layers ({some(silent)})")


def _label(timesteps: Mapping[str, int]) -> str:
    return ", ".join(f"{name} T={T}" for name, T in timesteps.items())


def report_plan(
    specs: Mapping[str, LayerSpec], attention: Mapping[str, AttentionSpec], uncalibrated: Sequence[str]
) -> None:
    """Log how many layers spike with which timesteps, and whose thresholds are borrowed."""
    by_plan = Counter(_label(spec.timesteps) for spec in specs.values())
    for label, count in sorted(by_plan.items()):
        logger.info(f"{count} layers spike with {label}")
    if attention:
        label = _label(next(iter(attention.values())).rows.timesteps)
        logger.info(f"the attention products of {len(attention)} modules spike with {label}")
    if uncalibrated:
        logger.warning(
            f"no calibration row, or none of a modality, reached {len(uncalibrated)} layers: {some(uncalibrated)}. "
            "Thresholds are borrowed from other experts or modalities; without any, each row has one of its own"
        )
