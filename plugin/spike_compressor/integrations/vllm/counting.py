"""Counting what fires, request by request, in the process of vLLM that computes; installed only if it is asked for.

A step's rows are those of its requests, one after the other, in the order that vLLM's runner has them. The vision tower
is run for each request by itself, so that all its rows belong to one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.counts import KEY, Counts, Ledger
from spike_compressor.integrations.vllm.rows import carry_modalities, rows_of_context
from spike_compressor.integrations.vllm.scheme import Shard
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.metrics.encoded import spikes_by_row
from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import LayerSpikes, Neurons

#: Request and how many of a step's rows are its; None for all that there are.
Owners = list[tuple[str, int | None]]


class Part(Protocol):
    """Layers with one input, of which all have the same spikes."""

    shards: list[Shard]
    neurons: Neurons


class Counter:
    """What fires in this process, added up by request.

    Args:
        layers: False in processes whose layers have the spikes that another one counts.
        tokens: False where another process has the same tokens.
    """

    def __init__(self, layers: bool = True, tokens: bool = True) -> None:
        self.ledger = Ledger()
        self._layers, self._tokens = layers, tokens
        self._widths: dict[str, int] = {}
        self._owners: Owners = []
        self._chosen: Tensor | None = None

    @contextlib.contextmanager
    def rows_of(self, owners: Owners) -> Iterator[None]:
        """Within the block layers get rows of these requests, one after the other; those of nobody are not counted."""
        before, self._owners = self._owners, owners
        try:
            yield
        finally:
            self._owners = before

    @contextlib.contextmanager
    def chosen(self, rows: Tensor) -> Iterator[None]:
        """Within the block layers get only these rows of the step, int64 [M]."""
        self._chosen = rows
        try:
            yield
        finally:
            self._chosen = None

    def watch(self, part: Part, widths: Mapping[str, int]) -> None:
        """Count what a part of a merged layer does, whose layers have so many outputs in all processes together."""
        self._widths.update(widths)
        if self._layers:
            part.neurons.observers.append(self)

    def __call__(self, part: Part, event: LayerSpikes) -> None:
        if not self._owners:
            return
        kinds = [(layer_kind(shard.name, part.neurons.modalities), self._widths[shard.name]) for shard in part.shards]
        fired, K = spikes_by_row(part.neurons.spec, event), event.codes.shape[1]
        for request, modality, rows, (spikes,) in self._shares(event.modality, fired):
            for counts in (self.ledger.of(request), self.ledger.total):
                for kind, N in kinds:
                    counts.add(kind, modality, (rows * K, spikes, spikes * N))

    def count_tokens(self, modality: Tensor) -> None:
        """Count the language model's rows of a step, uint8 [M]."""
        if self._tokens:
            for request, name, rows, _ in self._shares(modality):
                for counts in (self.ledger.of(request), self.ledger.total):
                    counts.add_tokens(name, rows)
        self.ledger.drop(len(self._owners))

    def _shares(self, modality: Tensor, *of_rows: Tensor) -> Iterator[tuple[str, str, int, list[int]]]:
        """Request, modality, rows and sums of numbers int64 [M] of the rows; padding is no one's."""
        sizes = [modality.numel() if count is None else count for _, count in self._owners]
        owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        if self._chosen is not None:
            kept = self._chosen < len(owner)
            owner, modality = owner[self._chosen[kept]], modality[kept]
            of_rows = tuple(one[kept] for one in of_rows)
        elif len(owner) > modality.numel():
            raise InputError(f"{len(owner)} rows of requests were announced, and a layer got {modality.numel()}")
        for name, rows in rows_by_modality(modality[: len(owner)].cpu()).items():
            whose = owner[rows]
            counted = torch.bincount(whose, minlength=len(sizes)).tolist()
            summed = [
                torch.zeros(len(sizes), dtype=torch.int64).index_add_(0, whose, one[: len(owner)].cpu()[rows]).tolist()
                for one in of_rows
            ]
            for index, count in enumerate(counted):
                if count:
                    yield self._owners[index][0], name, count, [one[index] for one in summed]


def wanted(config: Any) -> bool:
    """Whether vLLM's settings ask for counts.

    Raises:
        InputError: they ask in words that are not understood, or for what cannot be counted.
    """
    settings = config.additional_config
    value = settings.get(KEY, False) if isinstance(settings, Mapping) else False
    if not isinstance(value, bool):
        raise InputError(f"additional_config: {KEY} is true or false, not {value!r}")
    if value and config.parallel_config.data_parallel_size > 1:
        raise InputError(f"{KEY} of one engine only can be told; pass data_parallel_size=1 (--data-parallel-size 1)")
    if value and config.use_v2_model_runner:
        raise InputError(f"{KEY} are known in vLLM's first model runner only; set VLLM_USE_V2_MODEL_RUNNER=0")
    multimodal = config.model_config.multimodal_config
    if value and getattr(multimodal, "mm_encoder_tp_mode", None) == "data":
        raise InputError(f"{KEY}: pictures are shared out over processes; pass mm_encoder_tp_mode='weights'")
    return value


def install() -> Counter:
    """A counter for the engine that is being built, and what tells it in this process whose rows come.

    vLLM's runner and worker find it as `counter` of the engine's quantization method.
    """
    from vllm.distributed import get_pp_group, get_tensor_model_parallel_rank
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner
    from vllm.v1.worker.worker_base import WorkerBase

    first = get_tensor_model_parallel_rank() == 0
    counter = Counter(layers=first, tokens=first and get_pp_group().is_first_rank)
    if hasattr(WorkerBase, KEY):
        return counter
    carry_modalities()
    encode, forward = GPUModelRunner._execute_mm_encoder, GPUModelRunner._model_forward

    @functools.wraps(encode)
    def execute_mm_encoder(self: Any, scheduler_output: Any) -> Any:
        counter = _counter_of(self)
        if counter is None:
            return encode(self, scheduler_output)
        made = []
        for request, inputs in scheduler_output.scheduled_encoder_inputs.items():
            only = dataclasses.replace(scheduler_output, scheduled_encoder_inputs={request: inputs})
            with counter.rows_of([(request, None)]):
                made += encode(self, only)
        return made

    @functools.wraps(forward)
    def model_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        counter = _counter_of(self)
        if counter is None:
            return forward(self, *args, **kwargs)
        requests = self.input_batch.req_ids
        sizes = np.diff(self.query_start_loc.np[: len(requests) + 1]).tolist()
        with counter.rows_of(list(zip(requests, sizes, strict=True))):
            made = forward(self, *args, **kwargs)
            counter.count_tokens(rows_of_context().modality.reshape(-1))
        return made

    def spike_counts(self: Any, request: str | None = None) -> dict[str, Any]:
        counter = _counter_of(self)
        return Counts().plain() if counter is None else counter.ledger.plain(request)

    GPUModelRunner._execute_mm_encoder = execute_mm_encoder
    GPUModelRunner._model_forward = model_forward
    setattr(WorkerBase, KEY, spike_counts)
    return counter


def _counter_of(one: Any) -> Counter | None:
    found: Counter | None = getattr(one.vllm_config.quant_config, "counter", None)
    return found
