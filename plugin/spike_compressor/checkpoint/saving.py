"""Saving a spiking model as a checkpoint that plain transformers opens too."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.config import CompressionFormat
from compressed_tensors.distributed import is_distributed, is_source_process
from compressed_tensors.modeling import IMPL_ATTR
from compressed_tensors.quantization.lifecycle.initialize import is_cached_attention_module
from compressed_tensors.quantization.utils import is_module_quantized
from loguru import logger
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import distributed as dist
from torch import nn

from spike_compressor.checkpoint.arguments import require_own_state, save_arguments
from spike_compressor.checkpoint.card import write_card
from spike_compressor.checkpoint.migrations import oldest
from spike_compressor.checkpoint.patterns import name_patterns
from spike_compressor.checkpoint.read import read_config
from spike_compressor.checkpoint.rotations import online_rotations
from spike_compressor.checkpoint.schema import (
    CONFIG_NAME,
    RECIPE_NAME,
    THRESHOLDS_NAME,
    Adapter,
    AttentionEntry,
    Budget,
    LayerEntry,
    Layout,
    OnlineRotations,
    SpikeConfig,
    sealed,
)
from spike_compressor.checkpoint.seal import SEALED
from spike_compressor.checkpoint.stored_form import stored_form, turned_back
from spike_compressor.checkpoint.verify import Extent, require_extent, verify_written
from spike_compressor.errors import InputError
from spike_compressor.files import replacing_directory, require_replaceable, sha256_of
from spike_compressor.reading import read_object
from spike_compressor.runtime import (
    SpikingState,
    not_spiking,
    require_spiking,
    spiking_state,
    suspended,
)

_PACKAGES = ("spike-compressor", "llmcompressor", "compressed-tensors", "transformers", "torch")


def save(
    model: Any, path: str | os.PathLike[str], processor: Any = None, *, verify: Extent = "sample", **kwargs: Any
) -> Path:
    """Write a spiking model, and its processor, as a spike-ready checkpoint directory.

    Everything is written to a temporary sibling first, which takes the place of the old directory in one step: a killed
    run leaves the old one or the new one. After `oneshot`, `model.save_pretrained(path)` does the same, without the
    processor; `oneshot(output_dir=)` does it with the processor.

    Args:
        path: of the directory; an existing checkpoint there is replaced.
        processor: anything with `save_pretrained` (processor or tokenizer) that belongs to the model.
        verify: what is read back from the files and compared with the model before they take their place: of each kind
            of layer one (`sample`), or `all`.
        kwargs: `max_shard_size` goes to transformers' `save_pretrained`. Its other arguments are taken where they
            change nothing (`state_dict` of the model itself, `safe_serialization=True`, ...), and otherwise refused.
            With `is_main_process=False` nothing is written, unless the run is a distributed one, where all take part.

    Returns:
        The path.

    Raises:
        InputError: the model does not spike, or not with all layers of its plan; or `path` holds something that is no
            spike-ready checkpoint, cannot be written, or is being written by another process. Or an argument would put
            other content into the checkpoint, or is not known.
    """
    # as for `_upstream_method`
    from spike_compressor.checkpoint import experts, plain

    state = spiking_state(model)
    require_spiking(model)
    target = Path(path)
    first = is_source_process()  # in a distributed run every rank compresses its share, and the first one writes
    if not _takes_part(kwargs.pop("is_main_process", True), first):
        return target
    require_own_state(model, kwargs.pop("state_dict", None))
    arguments = save_arguments(kwargs)
    require_extent(verify)
    require_replaceable(target, CONFIG_NAME)
    with replacing_directory(target) if first else contextlib.nullcontext(target) as directory, _writing(target):
        with stored_form(model, state), suspended(model, stored=True), turned_back(model), experts.as_stored(model):
            with _upstream_method(model) as save_pretrained:
                save_pretrained(str(directory), **arguments)
            if first:
                _write_explicit_targets(model, state, directory)
                _write_recipe(state, directory)
        if first:
            if processor is not None:
                processor.save_pretrained(str(directory))
            layout = experts.layout(model)
            why_not = None if layout is None else plain.why_not_plain(model, directory)
            config = _write_spike_files(model, state, directory, layout, why_not)
            verify_written(model, state, directory, config, verify, experts.restacked(model))
    if is_distributed():
        dist.barrier()  # no rank goes on to read what is not in its place yet
    return target


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """A disk that is full, or may not be written, costs no result: it is in memory as before."""
    try:
        yield
    except InputError:
        raise
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the checkpoint could not be written to {target}: {error}. The model is as it was; save it elsewhere."
        ) from error


class SaveSpikeReady:
    """`model.save_pretrained` of a spiking model: the checkpoint is spike-ready.

    An object instead of a closure, so that a spiking model can be copied and pickled with it.
    """

    _overridden = True  # LLM Compressor must not wrap it
    _processor: Any = None

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def spikes(self) -> bool:
        """Whether the model does, so that what is called writes a spike-ready checkpoint."""
        return getattr(self.model, "_spiking_state", None) is not None

    @contextlib.contextmanager
    def with_processor(self, processor: Any) -> Iterator[None]:
        """Within the block what is called writes this processor too."""
        self._processor = processor
        try:
            yield
        finally:
            del self._processor

    def __call__(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        if args and self.spikes:
            raise InputError("save_pretrained: give its arguments by their names; only the directory goes without")
        if not self.spikes:
            with _upstream_method(self.model) as plain:
                plain(save_directory, *args, **kwargs)
        else:
            save(self.model, save_directory, self._processor, **kwargs)


def _takes_part(is_main_process: Any, first: bool) -> bool:
    """Whether this process has anything to do: those that are not the main one still compress in a distributed run."""
    if is_main_process not in (True, False):
        raise InputError(f"save: is_main_process={is_main_process!r} is neither True nor False")
    if is_main_process or not is_distributed():
        return bool(is_main_process)
    if first:
        raise InputError("save: is_main_process=False in the first process, which is the one that writes; leave it out")
    return True


def make_saveable(model: Any) -> None:
    """Let `model.save_pretrained` write spike-ready checkpoints as long as the model spikes."""
    if hasattr(model, "save_pretrained"):
        model.__dict__["save_pretrained"] = SaveSpikeReady(model)


@contextlib.contextmanager
def _upstream_method(model: Any) -> Iterator[Any]:
    """LLM Compressor's `save_pretrained` of the model, in place of ours within the block."""
    # seconds of import time, which models that are only loaded need not wait for
    from llmcompressor.transformers.compression.compressed_tensors_utils import modify_save_pretrained

    ours = model.__dict__.pop("save_pretrained", None)
    try:
        modify_save_pretrained(model)
        yield model.save_pretrained
    finally:
        model.__dict__.pop("save_pretrained", None)
        if ours is not None:
            model.__dict__["save_pretrained"] = ours


def _write_recipe(state: SpikingState, directory: Path) -> None:
    """The recipe that made this model, in plain YAML that runs again.

    LLM Compressor writes the recipe of the session under way, whatever model is saved, appended to the one in the
    directory that the model came from; and with Python tags, which its own reader refuses.
    """
    path = directory / RECIPE_NAME
    recipe = state.facts.get("recipe")
    if recipe is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(recipe, encoding="utf-8")


def _write_explicit_targets(model: nn.Module, state: SpikingState, directory: Path) -> None:
    """Make `quantization_config` mean the same modules when it is read back.

    LLM Compressor writes the names of ignored modules as the checkpoint spells them, but they are matched against
    module names, which transformers spells differently for many multimodal models: the ignored modules would come back
    as quantized ones without scales. Both spellings are listed, module names as regular expressions. With more than one
    scheme the same goes for targets, which upstream leaves at the recipe's.
    """
    path = directory / "config.json"
    config = read_object(path)
    quantization = config["quantization_config"]
    schemes: list[Any] = []
    members: list[list[str]] = []
    modules = dict(model.named_modules())
    grouped = {name for name, module in modules.items() if _has_group(module)}
    kinds = {type(modules[name]) for name in grouped} | {type(layer) for layer in state.layers.values()}
    ignored: list[str] = []
    for name, module in modules.items():
        if name not in grouped:
            if type(module) in kinds or isinstance(module, nn.Linear):
                ignored.append(name)
            continue
        scheme: Any = module.quantization_scheme
        if scheme not in schemes:
            schemes.append(scheme)
            members.append([])
        members[schemes.index(scheme)].append(name)
    everything = [name for name, _ in model.named_modules()]
    ours = name_patterns(ignored, everything)
    spelled = {entry for entry in quantization["ignore"] if not entry.startswith("re:")}
    quantization["ignore"] = sorted((spelled - set(ignored)) | set(ours))
    groups = quantization["config_groups"]
    if len(schemes) > 1:
        # numbered in the order in which the schemes occur; the file sorts group_10 before group_2
        in_order = sorted(groups, key=lambda key: int(key.rpartition("_")[2]))
        named = {}
        for number, (key, names, scheme) in enumerate(zip(in_order, members, schemes, strict=True)):
            # of groups whose targets speak of experts, shared ones among them, transformers takes the first for all
            first = scheme.format == CompressionFormat.pack_quantized and any(".experts." in name for name in names)
            named[f"experts_{number}" if first else key] = {**groups[key], "targets": name_patterns(names, everything)}
        quantization["config_groups"] = named
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _has_group(module: nn.Module) -> bool:
    """Whether its scheme is one of `config_groups`; that of a KV cache is `kv_cache_scheme`, for all attention."""
    if not is_module_quantized(module):
        return False
    return not is_cached_attention_module(module) or hasattr(module, IMPL_ATTR)


def _write_spike_files(
    model: Any, state: SpikingState, directory: Path, experts: Layout | None, why_not_plain: str | None
) -> SpikeConfig:
    thresholds = {
        f"{name}.{modality}": torch.tensor([layer.spec.scale[modality]], dtype=torch.float32)
        for name, layer in state.layers.items()
        if layer.spec.scale is not None
        for modality in layer.spec.scale
    }
    if thresholds:
        save_file(thresholds, directory / THRESHOLDS_NAME)
    rotations = online_rotations(getattr(model, "transform_config", None))
    facts = state.facts
    adapter = state.tracker.adapter
    record = adapter.record()
    hashed = [path for pattern in SEALED for path in sorted(directory.glob(pattern))]
    config = SpikeConfig(
        producer={name: importlib.metadata.version(name) for name in _PACKAGES},
        architecture=str(getattr(adapter.config, "model_type", "")),
        modalities=list(adapter.modalities),
        placeholders={name: list(ids) for name, ids in record.placeholders.items()},
        adapter=Adapter(
            modules={name: list(modules) for name, modules in record.modules.items()},
            decoder_path=record.decoder_path,
            methods=list(record.methods),
            token_rows=record.token_rows,
            configured=record.configured,
        ),
        coding=", ".join(sorted({layer.spec.coding for layer in state.layers.values()})),
        plan={name: LayerEntry.of(layer.spec, layer.modalities) for name, layer in state.layers.items()},
        attention={name: AttentionEntry.of(module.spec) for name, module in state.attention.items()} or None,
        not_spiking=_not_spiking(model, state),
        budget=_budget(state),
        calibration=facts.get("calibration"),
        uncalibrated=facts.get("uncalibrated", []),
        evolution=facts.get("evolution"),
        activity=facts.get("activity"),
        online_rotations=OnlineRotations(transforms=rotations),
        experts=experts,
        opens_in_plain_transformers=not rotations and why_not_plain is None,
        why_not_plain=why_not_plain,
        sha256={path.name: sha256_of(path) for path in hashed},
    )
    content = sealed(oldest(config.model_dump(exclude_none=True)))
    (directory / CONFIG_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_card(model, state, config, directory)
    if rotations:
        logger.warning(
            f"this checkpoint has online rotations ({', '.join(rotations)}), which plain transformers drops without an "
            "error: open it with spike_compressor.load()"
        )
    if why_not_plain is not None:
        logger.warning(
            f"plain transformers does not open this checkpoint, or with random experts ({why_not_plain}): open it with "
            "spike_compressor.load()"
        )
    return read_config(directory)


def _not_spiking(model: nn.Module, state: SpikingState) -> dict[str, str]:
    """What does not spike, and why: as the recipe says, else as the module shows."""
    known: dict[str, str] = state.facts.get("not_spiking", {})
    return {name: known.get(name, reason) for name, reason in not_spiking(model, state.layers).items()}


def _budget(state: SpikingState) -> Budget:
    """What the plan's author measured; else mean T, weighted by each modality's calibration tokens x MACs."""
    known: dict[str, Any] = state.facts.get("budget") or {}
    if "mean_timesteps" in known:
        return Budget.model_validate(known)
    plain: list[int] = []
    weighted = total = 0
    tokens = (state.facts.get("calibration") or {}).get("tokens", {})
    for layer in state.layers.values():
        for modality in layer.modalities:
            T = layer.spec.timesteps[modality]
            weight = tokens.get(modality, 0) * layer.in_features * layer.out_features
            plain.append(T)
            weighted += weight * T
            total += weight
    return Budget.model_validate(
        {
            **known,
            "mean_timesteps": sum(plain) / len(plain),
            "mean_timesteps_weighted": weighted / total if total else None,
        }
    )
