"""Writing trace bundles from a spiking model while it runs on real inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spike_compressor._version import __version__
from spike_compressor.coding import encode, get_coding
from spike_compressor.errors import InputError
from spike_compressor.modality import modality_names, rows_by_modality
from spike_compressor.runtime import (
    AttentionSpikes,
    LayerSpikes,
    SpikingAttention,
    SpikingLinear,
    chosen_names,
    observing,
    spiking_state,
)
from spike_compressor.trace.codecs import CODECS
from spike_compressor.trace.schema import least_frac_bits
from spike_compressor.trace.thresholds import Threshold
from spike_compressor.trace.writer import BundleWriter

#: What the products of an attention module are called, by the operand that fires.
_PRODUCTS = {"q": "q_k", "p": "p_v"}
#: Fractional bits of exported membranes. All that a coding needs give the same codes; 8 keep one of T = 7 in 16 bits.
FRAC_BITS = 8


def export_trace(
    model: Any,
    inputs: Mapping[str, Any],
    out_dir: str | os.PathLike[str],
    layers: Sequence[str] | None = None,
    tokens: int | Sequence[int] | None = None,
    *,
    frac_bits: int = FRAC_BITS,
    overwrite: bool = False,
) -> Path:
    """Run a spiking model once and write what its layers computed as a trace bundle.

    Every layer is written as soon as it has run: memory does not grow with their number. Padding is left out.

    Args:
        model: a spiking model (`load`, or after `oneshot`).
        inputs: keyword arguments of one forward pass (what a processor returns).
        out_dir: the bundle's directory; written to a temporary sibling first, then moved into place.
        layers: names or `re:` patterns of spiking layers, and of attention modules whose products spike; None for all
            that take part in the pass.
        tokens: a number of rows to keep in each layer, shared fairly between modalities and spread over the rows of
            each; or the row indices themselves, counted over the flattened batch; None for all rows.
        frac_bits: fractional bits of the membranes, where the coding does not fix them; 2 at least for `tc_lif_rdoq`.
        overwrite: replace an existing bundle.

    Returns:
        Path of the bundle.

    Raises:
        InputError: the model does not spike, a pattern matches nothing, a row index is out of range, a layer's coding
            has no place in a bundle or needs more fraction bits, neurons are silenced, or a chosen layer did not run
            on anything but padding.
        TraceError: `out_dir` exists.
    """
    state = spiking_state(model)
    chosen = chosen_names([*state.layers, *state.attention], layers)
    for name in chosen:
        spec = state.layers[name].spec if name in state.layers else state.attention[name].spec.rows
        if spec.coding not in CODECS or not spec.symmetric:
            raise InputError(
                f"layer {name} has coding {spec.coding!r}; trace bundles hold {', '.join(CODECS)}. Leave it out "
                "with `layers`, or make the checkpoint with one of these codings."
            )
        least = least_frac_bits(spec.coding)
        if frac_bits < least:
            raise InputError(
                f"layer {name} has coding {spec.coding!r}: `frac_bits` must be at least {least} there, not {frac_bits}"
            )
        if name in state.layers and state.layers[name].silenced is not None:
            raise InputError(
                f"layer {name} has silenced neurons, which a bundle cannot tell; call its silence(None) first"
            )
    config = model.config
    origin = {
        "architecture": getattr(config, "model_type", ""),
        "name": Path(getattr(config, "_name_or_path", "")).name,
    }
    computing: list[SpikingLinear | SpikingAttention] = [*state.layers.values(), *state.attention.values()]
    producer = {"name": "spike-compressor", "version": __version__, "backend": computing[0].backend.name}
    names = modality_names()
    with BundleWriter(out_dir, producer=producer, model=origin, modalities=names, overwrite=overwrite) as bundle:
        observer = _Exporter(bundle, tokens, frac_bits, chosen)
        linears = [name for name in chosen if name in state.layers]
        with (
            observing(model, layers=observer, attention=observer.product, names=linears),
            torch.inference_mode(),
        ):
            model(**inputs)
        idle = [name for name in chosen if name not in observer.written]
        if idle and layers is not None:
            raise InputError(
                f"layer {idle[0]} did not run on these inputs, or on padding alone; leave it out, or give inputs that "
                "use it"
            )
        if not observer.written:
            raise InputError("no spiking layer ran on these inputs, or each of them on padding alone")
    return Path(out_dir)


class _Exporter:
    """Observer that writes a layer's first call into the bundle, and the first of an attention's products."""

    def __init__(
        self, bundle: BundleWriter, tokens: int | Sequence[int] | None, frac_bits: int, chosen: Sequence[str]
    ) -> None:
        self.bundle, self.tokens, self.frac_bits, self.chosen = bundle, tokens, frac_bits, frozenset(chosen)
        self.written: set[str] = set()
        self._products: set[str] = set()

    def __call__(self, layer: SpikingLinear, event: LayerSpikes) -> None:
        if event.name in self.written:
            return
        rows = _chosen_rows(event, self.tokens)
        if not len(rows):  # padding alone
            return
        self.written.add(event.name)
        integer, bias = layer.integer, layer.bias
        self._write(
            event.name,
            layer.spec.coding,
            event,
            rows,
            acc=event.acc,
            weight=integer.codes,
            weight_bits=integer.bits,
            weight_scale=integer.scale if integer.groups > 1 else integer.scale[:, 0],
            output=event.output,
            bias=None if bias is None else _numpy(bias.detach().to(torch.float32)),
            threshold=_threshold(layer),
        )

    def product(self, attention: SpikingAttention, event: AttentionSpikes) -> None:
        """Write the product of queries or probabilities, each sequence and head of keys as a layer."""
        acc, product, spec = event.acc, event.product, attention.spec.rows
        name = f"{event.name}.{_PRODUCTS.get(event.operand)}"
        if acc is None or product is None or event.name not in self.chosen or name in self._products:
            return
        self._products.add(name)
        synapses = product.synapses()
        scales = torch.ones(synapses.shape[:2]) if product.scale is None else product.scale
        output = (acc.to(torch.float32) * event.scale.unsqueeze(1)).unflatten(0, (len(synapses), -1))
        output = (output * scales.unsqueeze(1)).flatten(0, 1)
        for entry, rows in enumerate(_rows_by_entry(event, len(synapses), self.tokens)):
            if not len(rows):  # a sequence of padding, or none of its tokens is asked for
                continue
            self.written.add(event.name)
            sequence, head = divmod(entry, len(synapses) // event.sequences)
            self._write(
                f"{name}.{sequence}.{head}",
                spec.coding,
                event,
                rows,
                acc=acc,
                weight=synapses[entry],
                weight_bits=max(spec.timesteps.values()) + 1,
                weight_scale=scales[entry],
                output=output,
                bias=None,
                threshold=Threshold("dynamic", "absmax", dict.fromkeys(spec.timesteps, attention.spec.ratio)),
            )

    def _write(
        self,
        name: str,
        coding: str,
        event: LayerSpikes | AttentionSpikes,
        rows: Tensor,
        *,
        acc: Tensor,
        weight: Tensor,
        weight_bits: int,
        weight_scale: Tensor,
        output: Tensor,
        bias: Any,
        threshold: Threshold,
    ) -> None:
        x, T, scale = event.x[rows], event.timesteps[rows], event.scale[rows]
        codec = get_coding(coding)
        self.bundle.add_layer(
            name,
            coding=coding,
            frac_bits=codec.membrane_bits or self.frac_bits,
            weight_bits=weight_bits,
            membrane=_numpy(codec.membrane(x, scale, T, self.frac_bits)),
            timesteps=_numpy(T.to(torch.uint8)),
            modality=_numpy(event.modality[rows]),
            codes=_numpy(event.codes[rows].to(torch.int16)),
            spikes=_numpy(encode(x, scale, T, codec.name).spikes),
            weight=_numpy(weight),
            acc=_numpy(acc[rows]),
            act_scale=_numpy(scale),
            weight_scale=_numpy(weight_scale),
            output=_numpy(output[rows]),
            bias=bias,
            output_dtype="float32",
            threshold=threshold,
        )


def _threshold(layer: SpikingLinear) -> Threshold:
    spec = layer.spec
    if spec.threshold == "static":
        return Threshold("static")
    return Threshold("dynamic", spec.statistic, {name: spec.ratio[name] for name in layer.modalities})


def _chosen_rows(event: LayerSpikes, tokens: int | Sequence[int] | None) -> Tensor:
    """Indices of the rows to keep, ascending."""
    M = event.x.shape[0]
    live = torch.arange(M, device=event.x.device)
    if event.valid is not None:
        live = live[event.valid]
    if tokens is None:
        return live
    if not isinstance(tokens, (int, np.integer)):
        rows = torch.tensor(sorted(set(tokens)), dtype=torch.int64, device=event.x.device)
        if not len(rows) or int(rows[0]) < 0 or int(rows[-1]) >= M:
            raise InputError(f"layer {event.name} has rows 0 to {M - 1}; `tokens` asks for {list(tokens)}")
        return rows
    return _fair(event, live, tokens)


def _rows_by_entry(event: AttentionSpikes, entries: int, tokens: int | Sequence[int] | None) -> list[Tensor]:
    """Likewise of each entry of a product: a sequence and a head of keys, which has `M / entries` rows."""
    M = event.x.shape[0]
    row = torch.arange(M, device=event.x.device)
    live = torch.ones_like(row, dtype=torch.bool) if event.valid is None else event.valid.clone()
    if not (tokens is None or isinstance(tokens, (int, np.integer))):
        # rows are sequences, heads, tokens
        token = row // (M // event.sequences) * event.length + row % event.length
        live &= torch.isin(token, torch.tensor(sorted(set(tokens)), dtype=token.dtype, device=token.device))
        tokens = None
    pools = [row[live & (row // (M // entries) == entry)] for entry in range(entries)]
    return pools if tokens is None else [_fair(event, pool, tokens) for pool in pools]


def _fair(event: LayerSpikes | AttentionSpikes, live: Tensor, tokens: int) -> Tensor:
    """So many of some rows, shared fairly between modalities and spread over the rows of each; ascending."""
    if tokens < 1:
        raise InputError(f"`tokens` must be at least 1, got {tokens}")
    if not len(live):
        return live
    pools = sorted((live[mask] for mask in rows_by_modality(event.modality[live]).values()), key=len)
    kept, left = [live[:0]], int(tokens)
    for position, pool in enumerate(pools):  # the smaller pool first: what it cannot fill, the next one gets
        count = min(len(pool), left // (len(pools) - position))
        kept.append(pool[torch.linspace(0, len(pool) - 1, count, dtype=torch.float64).round().long()])
        left -= count
    return torch.cat(kept).sort().values


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().numpy()
