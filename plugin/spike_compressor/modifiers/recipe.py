"""A modifier's view of the recipe that it is part of."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml
from llmcompressor.core import active_session
from llmcompressor.modifiers import Modifier
from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.yaml_files import parse_yaml

KindT = TypeVar("KindT")


class ObeysSpikePlan:
    """Mixin of the modifiers that take their timesteps from `MSTSModifier`'s plan."""

    coding: str
    allow_text_only: bool
    threshold_statistic: str

    @property
    def fits_ratios(self) -> bool:
        """True if threshold ratios are to be chosen on calibration data."""
        raise NotImplementedError

    def candidate_ratios(self, modality: str) -> tuple[float, ...]:
        """The threshold ratios of rows of a modality that errors are to be measured for."""
        raise NotImplementedError

    def refuse_ratios(self, who: str) -> None:
        """Refuse ratios of a plan where they cannot apply.

        Args:
            who: gives them.

        Raises:
            InputError: thresholds are static.
        """
        raise NotImplementedError

    def targeted(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The modules that are to spike, by name."""
        raise NotImplementedError


class EndsRecipe:
    """Mixin of the modifiers that change how a model spikes after `TCLIFModifier`, and report what fires then."""


def modifiers_of_type(kind: type[KindT]) -> list[KindT]:
    """The modifiers of one type in the recipe that is being run, in its order."""
    modifiers: list[Any] = active_session().lifecycle.recipe.modifiers
    return [modifier for modifier in modifiers if isinstance(modifier, kind)]


def that_need_data() -> list[str]:
    """Which modifiers of the recipe, or of the part of it that a pipeline runs by itself, look at calibration data."""
    return list(
        dict.fromkeys(type(one).__name__ for one in modifiers_of_type(Modifier) if one.requires_calibration_data)
    )


def require_read(samples: int) -> None:
    """At the end of a pipeline's run: who needs calibration data must have been given some.

    Args:
        samples: that the pipeline read.

    Raises:
        InputError: a modifier of those that ran needs data, and there were none; names it.
    """
    needy = that_need_data()
    if needy and not samples:
        raise InputError(
            f"{' and '.join(needy)} had no calibration data: the pipeline read none. Give a `dataset` that is not "
            "empty, and another pipeline than 'datafree' ('independent', 'sequential' or 'basic')"
        )


class _Plain(yaml.SafeLoader):
    """Reads what LLM Compressor writes: enums come as Python tags and are read as their values."""


def _value_of_tag(loader: _Plain, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        values = loader.construct_sequence(node, deep=True)
        return values[0] if len(values) == 1 else values
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Plain.add_multi_constructor("tag:yaml.org,2002:python/", _value_of_tag)

#: Fields that modifiers fill in while they run, and stumble over when they find them filled.
_RESULTS = ("transform_config", "requires_calibration_data")


def recipe_text() -> str:
    """The recipe under way as plain YAML that runs again."""
    recipe: Any = active_session().lifecycle.recipe
    # a subclass of SafeLoader that builds nothing but plain values
    content = yaml.load(recipe.yaml(), Loader=_Plain)
    for modifier in recipe.modifiers:
        if "ignore" not in modifier.model_fields_set:  # a default need not match, what is written must
            groups = content[f"{recipe.stage}_stage"]
            groups[f"{modifier.group or recipe.stage}_modifiers"][type(modifier).__name__].pop("ignore", None)
    return str(yaml.safe_dump(_without_results(content), sort_keys=False))


def _without_results(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_results(value) for key, value in content.items() if key not in _RESULTS}
    return [_without_results(value) for value in content] if isinstance(content, list) else content


def followed_by(earlier: str | None, later: str) -> str:
    """One recipe of two that were run on a model one after the other, of which the later decides how it spikes.

    What the earlier one says of spikes is left out, unless the weights learned from these spikes.

    Args:
        earlier: YAML, or None if it is not known.
        later: YAML of a recipe with spiking modifiers only.
    """
    stages: dict[str, Any] = parse_yaml(earlier, "the recipe") if earlier else {}
    kept = {}
    for stage, groups in stages.items():
        if isinstance(groups, dict) and not any(_learned(modifiers) for modifiers in groups.values()):
            groups = {key: _without_spiking(modifiers) for key, modifiers in groups.items()}
            groups = {key: modifiers for key, modifiers in groups.items() if modifiers}
        if groups:
            kept[stage] = groups
    for stage, groups in parse_yaml(later, "the recipe").items():
        name, number = stage, 1
        while name in kept:
            number += 1
            name = f"{stage.removesuffix('_stage')}_{number}_stage"
        kept[name] = groups
    return str(yaml.safe_dump(kept, sort_keys=False))


def _learned(modifiers: Any) -> bool:
    return isinstance(modifiers, dict) and "SpikeReconstructionModifier" in modifiers


def _without_spiking(modifiers: Any) -> Any:
    if not isinstance(modifiers, dict):
        return modifiers
    return {name: fields for name, fields in modifiers.items() if name not in ("TCLIFModifier", "MSTSModifier")}
