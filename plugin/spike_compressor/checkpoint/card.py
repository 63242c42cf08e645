"""The model card of a checkpoint: `README.md`, with the metadata that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from transformers.models.auto import modeling_auto

from spike_compressor.checkpoint.opening import AUTO_MODELS
from spike_compressor.checkpoint.schema import CONFIG_NAME, SpikeConfig
from spike_compressor.runtime import SpikingState
from spike_compressor.yaml_files import parse_yaml

CARD_NAME = "README.md"
TAGS = ("spike-compressor", "compressed-tensors", "llm-compressor", "spiking")

#: Where the Hub's cache keeps a downloaded model, and what an id on the Hub looks like.
_CACHED = re.compile(r"models--(.+?)--([^/\\]+)[/\\]snapshots[/\\]")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: A card's metadata stands between two lines of dashes at its head.
_METADATA = re.compile(r"\A---\s*\n(.*?\n)---\s*$", re.DOTALL | re.MULTILINE)
_LICENSE = ("license", "license_name", "license_link")
#: Modules that do not spike are listed by name up to this many with the same reason.
_FEW = 3


def write_card(model: Any, state: SpikingState, config: SpikeConfig, directory: Path) -> None:
    """Write the card of a spiking model into the directory of its checkpoint.

    The same model gives the same text. Nothing of the source model's own card is copied but its licence.

    Args:
        model: the model that is saved.
        state: its spikes.
        config: the checkpoint's `SpikeConfig`.
        directory: of the checkpoint.
    """
    metadata = card_metadata(model, config)
    measured = config.activity if config.activity is not None and config.activity.totals is not None else None
    reason = config.activity.not_measured if config.activity is not None else None
    base = metadata.get("base_model")
    calibration = config.calibration or {}
    spread = _spread(config)
    text = _template().render(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        title=f"{base.rpartition('/')[2] if base else type(model).__name__}, spiking",
        origin=f"[{base}](https://huggingface.co/{base})" if base else f"A `{type(model).__name__}`",
        weights=_weights(state),
        timesteps=_range(row[end] for row in spread for end in ("least", "most")),
        config=config,
        leave=", trust_remote_code=True" if any(name.endswith(".py") for name in config.sha256) else "",
        auto_class=_auto_class(model, config),
        steps=_steps(state.facts.get("recipe")),
        tokens=", ".join(f"{count:,} {name}" for name, count in calibration.get("tokens", {}).items()) + " tokens",
        spread=spread,
        thresholds=_thresholds(config),
        activity=measured,
        unmeasured=f": {reason}" if reason else "",
        reasons=_not_spiking(config),
    )
    (directory / CARD_NAME).write_text(text, encoding="utf-8")  # a directory that takes its place as a whole


def card_metadata(model: Any, config: SpikeConfig) -> dict[str, Any]:
    """What the Hub reads of the card: plain values, those that are not known left out."""
    source = str(getattr(model.config, "_name_or_path", "") or "")
    known = _metadata_of(Path(source, CARD_NAME)) if source else {}
    base = _hub_id(source, known) if source else None
    return {
        **({"base_model": base, "base_model_relation": "quantized"} if base else {}),
        "library_name": "transformers",
        **{field: known[field] for field in _LICENSE if isinstance(known.get(field), str)},
        **({"pipeline_tag": tag} if (tag := _pipeline_tag(model, config)) else {}),
        "tags": list(TAGS),
    }


def _hub_id(source: str, known: dict[str, Any]) -> str | None:
    """The base model's id on the Hub: not the path of a directory, which means nothing to others."""
    cached = _CACHED.search(f"{source}/")
    if cached:
        return f"{cached[1]}/{cached[2]}"
    if Path(source, CONFIG_NAME).is_file():  # a checkpoint that is saved again
        base = known.get("base_model")
        return base if isinstance(base, str) else None
    return source if _HUB_ID.fullmatch(source) and not Path(source).exists() else None


def _metadata_of(card: Path) -> dict[str, Any]:
    try:
        found = _METADATA.search(card.read_text(encoding="utf-8"))
        content = parse_yaml(found[1], str(card)) if found else None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _modalities(config: SpikeConfig) -> set[str]:
    """What the model takes beside text."""
    modules = config.adapter.modules if config.adapter is not None else {}
    return {*config.placeholders, *modules} - {"text"}


#: What a model takes beside text -> the Hub's name of its task; more than one: any-to-any.
_TASKS = {"vision": "image-text-to-text", "audio": "audio-text-to-text"}
#: Auto classes of transformers, and the tables of what they open; of several the first is taken.
_AUTO = {
    "AutoModelForImageTextToText": modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    "AutoModelForMultimodalLM": modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    "AutoModelForSpeechSeq2Seq": modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    "AutoModelForSeq2SeqLM": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
}


def _pipeline_tag(model: Any, config: SpikeConfig) -> str | None:
    if _auto_class(model, config) == "AutoModelForSpeechSeq2Seq":
        return "automatic-speech-recognition"
    others = _modalities(config)
    if len(others) > 1:
        return "any-to-any"
    if others:
        return _TASKS.get(next(iter(others)))
    return "text-generation" if type(model).__name__.endswith("ForCausalLM") else None


def _auto_class(model: Any, config: SpikeConfig) -> str:
    remote = getattr(model.config, "auto_map", None) or {}
    kind = type(model).__name__
    opens = [name for name, table in _AUTO.items() if kind in _classes(table.get(config.architecture))]
    known = "AutoModelForImageTextToText" if _modalities(config) else "AutoModelForCausalLM"
    return next((name for name in AUTO_MODELS if name in remote), opens[0] if opens else known)


def _classes(named: Any) -> tuple[str, ...]:
    """What a table of transformers has for an architecture: a class, several, or nothing."""
    return named if isinstance(named, tuple) else (named,) if named else ()


def _weights(state: SpikingState) -> str:
    """Bits and scales of the spiking layers' weights, in words."""
    kinds = set()
    for layer in state.layers.values():
        scheme: Any = layer.quantization_scheme
        weights = scheme.weights
        size = f" in groups of {weights.group_size}" if weights.group_size and weights.group_size > 0 else ""
        kinds.add(f"{layer.integer.bits}-bit weights{size}")
    return " and ".join(sorted(kinds))


def _steps(recipe: str | None) -> str:
    """The recipe's modifiers in order."""
    content = parse_yaml(recipe, "the recipe") if recipe else None
    names = [
        f"`{modifier}`"
        for stage in (content or {}).values()
        if isinstance(stage, dict)
        for group in stage.values()
        if isinstance(group, dict)
        for modifier in group
    ]
    return ", ".join(names) if names else "not known"


def _spread(config: SpikeConfig) -> list[dict[str, Any]]:
    """Least, mean and most T of the layers that see rows of a modality."""
    rows = []
    for modality in config.modalities:
        seen = [entry for entry in config.plan.values() if entry.modalities is None or modality in entry.modalities]
        T = [entry.timesteps[modality] for entry in seen]
        if T:
            rows.append(
                {"modality": modality, "layers": len(T), "least": min(T), "mean": sum(T) / len(T), "most": max(T)}
            )
    return rows


def _thresholds(config: SpikeConfig) -> str:
    """What the layers' thresholds are tied to, in words; empty where that is the largest input of a row everywhere."""
    dynamic = (entry for entry in config.plan.values() if entry.threshold == "dynamic")
    kinds = Counter(entry.threshold_statistic or "absmax" for entry in dynamic)
    if set(kinds) <= {"absmax"}:
        return ""
    return ", ".join(f"`{kind}` in {count} layers" for kind, count in sorted(kinds.items()))


def _not_spiking(config: SpikeConfig) -> dict[str, str]:
    """Reason -> the modules that do not spike for it."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in config.not_spiking.items():
        by_reason.setdefault(reason, []).append(name)
    return {
        reason: ", ".join(f"`{name}`" for name in names) if len(names) <= _FEW else f"{len(names)} modules"
        for reason, names in by_reason.items()
    }


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("spike_compressor.checkpoint"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    return environment.get_template("model_card.md.j2")
