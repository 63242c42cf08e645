"""Plan, config.json, codes and rotations held against each other: whole files may not belong together. No torch.

What is compared is what a file says of another one. Whether the model that transformers makes of them has every tensor
that it needs, and no other, shows when it is opened (`loading`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spike_compressor.checkpoint.schema import CONFIG_NAME, THRESHOLDS_NAME, SpikeConfig
from spike_compressor.checkpoint.seal import weight_files
from spike_compressor.errors import InputError, shown
from spike_compressor.reading import parse_json, read_object

#: Places of a rotation that is merged into weights; at all others it runs at inference.
_MERGED = ("weight_input", "weight_output")
#: What the table of a safetensors file says of a tensor, beside its dtype.
_LISTS = ("shape", "data_offsets")
#: Dtypes, as safetensors spells them, of weights that are not quantized.
_FLOATS = ("F64", "F32", "F16", "BF16")


def verify_agreement(directory: Path, config: SpikeConfig) -> None:
    """Check that the files of a checkpoint say the same of its layers and rotations.

    Raises:
        InputError: a layer of the plan that config.json does not quantize, or to other bits; thresholds or scales that
            are missing or belong to no layer; a rotation that only one of the two configs knows, or that no file holds.
    """
    model = read_object(directory / "config.json")
    settings = model.get("quantization_config")
    if not isinstance(settings, dict) or not isinstance(settings.get("config_groups"), dict):
        raise InputError(f"{directory / 'config.json'} has no quantization_config, and {CONFIG_NAME} has a plan")
    _require_form(settings, directory / "config.json")
    tensors = _tensors(directory, config)
    _require_so_many_layers(model, len(tensors), str(directory / "config.json"))
    _rotations(directory, config, settings, tensors)
    for name, entry in config.plan.items():
        group = group_of(name, settings)
        if group is None or not isinstance(group.get("weights"), dict):
            raise InputError(
                f"{directory / CONFIG_NAME}: {name} is in its plan, and config.json does not quantize its weights"
            )
        activations = group.get("input_activations")
        T = entry.timesteps.get("text")
        bits = None if T is None else min(8, T + 1)
        if isinstance(activations, dict) and bits is not None and activations.get("num_bits") != bits:
            raise InputError(
                f"{directory / CONFIG_NAME}: {name} has {T} timesteps for text, which are {bits} bits, and "
                f"{activations.get('num_bits')} bits in config.json"
            )
    held = _codes(directory, tensors)
    if len(held) < len(config.plan):
        # files spell some names otherwise, their ends hardly ever
        ends = {_end(name) for name in held}
        absent = [name for name in config.plan if _end(name) not in ends]
        raise InputError(
            f"{directory / CONFIG_NAME}: {len(config.plan)} layers are in its plan, and the weight files hold integers "
            f"of {len(held)}{f'; none of {absent[0]}' if absent else ''}"
        )
    _thresholds(directory, config)


def _require_form(settings: dict[str, Any], file: Path) -> None:
    """What is read below is of the form that compressed-tensors writes; the rest is left to it."""
    transforms = settings.get("transform_config") or {}
    rotations = transforms.get("config_groups") or {} if isinstance(transforms, dict) else None
    for where, groups, field in (
        ("config_groups", settings["config_groups"], "targets"),
        ("transform_config.config_groups", rotations, "apply"),
    ):
        if not isinstance(groups, dict):
            raise InputError(f"{file}: quantization_config.{where} must be a mapping")
        for name, group in groups.items():
            if not isinstance(group, dict) or not isinstance(group.get(field), list):
                raise InputError(f"{file}: quantization_config.{where}.{name} must be a mapping with a list `{field}`")
            if field == "apply" and not all(isinstance(args, dict) for args in group[field]):
                raise InputError(f"{file}: quantization_config.{where}.{name}.apply must be a list of mappings")
            if field == "targets":
                _require_patterns(group[field], f"{file}: quantization_config.{where}.{name}.targets")
    _require_patterns(settings.get("ignore") or [], f"{file}: quantization_config.ignore")


def _require_patterns(entries: Any, where: str) -> None:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise InputError(f"{where} must be a list of names and patterns")
    for entry in entries:
        try:
            re.compile(entry.removeprefix("re:") if entry.startswith("re:") else "")
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(f"{where}: {shown(entry)} is no regular expression: {error}") from None


def _require_so_many_layers(settings: Any, tensors: int, where: str) -> None:
    """transformers makes as many layers as a config says before it looks for their tensors: hours, for some numbers."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        _require_so_many_layers(value, tensors, f"{where}: {key}")
        counts = "layers" in key or "blocks" in key or key in ("depth", "n_layer", "depths")
        if counts and isinstance(value, int) and value > tensors:
            raise InputError(f"{where}: {key} is {shown(value)}, and the weight files hold {tensors} tensors in all")


def _end(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _codes(directory: Path, tensors: Mapping[str, Any]) -> set[str]:
    """The quantized modules, as files call them: each has scales, and integers (or floats of 8 bits) to be scaled."""
    scaled = {key.removesuffix("_scale") for key in tensors if key.endswith(".weight_scale")}
    for key in sorted(scaled):
        stored = tensors.get(key) or tensors.get(f"{key}_packed")
        if stored is None or stored.get("dtype") in _FLOATS:
            what = "no integer weights" if stored is None else f"weights of dtype {stored.get('dtype')}, not integers,"
            raise InputError(f"{directory}: its files hold scales and {what} of {key.removesuffix('.weight')}")
    for key, entry in tensors.items():
        if key.endswith(".weight") and entry.get("dtype") == "I8" and key not in scaled:
            raise InputError(f"{directory}: its files hold {key}, which are integers, and no {key}_scale")
    return {key.removesuffix(".weight") for key in scaled}


def _rotations(directory: Path, config: SpikeConfig, settings: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """The ones that run at inference, and where: as announced, as defined, and with matrices."""
    announced = {name: sorted(where) for name, where in config.online_rotations.transforms.items()}
    defined: dict[str, list[str]] = {}
    for name, scheme in ((settings.get("transform_config") or {}).get("config_groups") or {}).items():
        places = {str(args.get("location")) for args in scheme.get("apply", ())}
        if places - set(_MERGED):
            defined[name] = sorted(places - set(_MERGED))
    for name in (*announced, *defined):
        if announced.get(name) != defined.get(name):
            here, there = (", ".join(table.get(name, ())) or "none" for table in (announced, defined))
            raise InputError(
                f"{directory}: {CONFIG_NAME} announces the online rotation {name!r} at {here}, and config.json defines "
                f"it at {there}; copy both files again, from one checkpoint"
            )
        matrices = tuple(f".{name}_{place}.weight" for place in announced[name])
        if not any(key.endswith(matrices) for key in tensors):
            raise InputError(f"{directory}: no file holds a matrix {matrices[0][1:]} of the online rotation {name!r}")


def group_of(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The group of `quantization_config` that a Linear of this name falls into: by name, by pattern, or as a Linear."""
    if any(_names(entry, name) for entry in settings.get("ignore") or ()):
        return None
    groups = settings["config_groups"].values()
    for kind in (lambda t: t == name, lambda t: t.startswith("re:") and _names(t, name), lambda t: t == "Linear"):
        for group in groups:
            if any(kind(target) for target in group.get("targets", ())):
                return group
    # classes of Linears that are not called so
    return next((g for g in groups if any(_is_class(target) for target in g.get("targets", ()))), None)


def _names(entry: str, name: str) -> bool:
    if entry.startswith("re:"):
        return re.match(entry.removeprefix("re:"), name) is not None
    return entry == name


def _is_class(target: str) -> bool:
    return not target.startswith("re:") and "." not in target and target[:1].isupper()


def _thresholds(directory: Path, config: SpikeConfig) -> None:
    if THRESHOLDS_NAME not in config.sha256:
        return
    static = {name for name, entry in config.plan.items() if entry.threshold == "static"}
    for key in _header(directory / THRESHOLDS_NAME):
        if key.rpartition(".")[0] not in static:
            raise InputError(f"{directory}: {THRESHOLDS_NAME} has {key}, and the plan no static threshold of that name")


def _tensors(directory: Path, config: SpikeConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in weight_files(directory, config):
        for key, entry in _header(path).items():
            if key in found:
                raise InputError(f"{directory}: {key} is in more than one file of weights; save the checkpoint anew")
            found[key] = entry
    return found


def _header(path: Path) -> dict[str, Any]:
    """Names, dtypes and shapes of the tensors in a safetensors file: its first bytes are their table, as JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = file.read(length) if length < path.stat().st_size else None
    except (OSError, struct.error) as error:
        raise InputError(f"{path} is no safetensors file: {error}") from error
    table = None if head is None else parse_json(head, f"the table of tensors in {path}")
    if not isinstance(table, dict):
        raise InputError(f"{path} is no safetensors file: it has no table of tensors")
    found = {key: entry for key, entry in table.items() if key != "__metadata__"}
    for key, entry in found.items():
        if not isinstance(entry, dict) or not all(isinstance(entry.get(field), list) for field in _LISTS):
            raise InputError(f"{path}: the table of tensors has no dtype, shape and place of {shown(key)}")
    return found
