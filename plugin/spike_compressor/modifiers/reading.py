"""Reading a recipe as LLM Compressor does, but for what it drops: a part that it does not know is an error here.

LLM Compressor looks for `NAME_stage` -> `NAME_modifiers` -> modifier -> fields and passes over everything else without
a word; of two equal keys YAML keeps the last. A recipe that names one of our modifiers in such a place would quantize
and never spike. Recipes that do not name them are LLM Compressor's own affair.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmcompressor.modifiers.factory import ModifierFactory
from llmcompressor.recipe import Recipe
from llmcompressor.recipe.utils import _parse_recipe_from_md
from pydantic import ValidationError

from spike_compressor.errors import InputError
from spike_compressor.fields import complaint
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.smoothing import SpikeSmoothingModifier
from spike_compressor.modifiers.tclif import TCLIFModifier
from spike_compressor.reading import read_text
from spike_compressor.registry import nearest
from spike_compressor.yaml_files import parse_yaml

#: The modifiers of this package; the last by name, since results without it do not depend on its code.
_OUR_NAMES = (
    TCLIFModifier.__name__,
    MSTSModifier.__name__,
    SpikeSmoothingModifier.__name__,
    "SpikeReconstructionModifier",
)
#: Keys beside the stages: `args` is LLM Compressor's, the others hold anchors by YAML's custom.
_BESIDE_STAGES = re.compile(r"args$|x-|\.")


def read_recipe(source: Any, stage: str | None = None, *, ours: bool = False) -> Recipe:
    """The recipe of a file, a text, modifiers or a recipe; whatever `oneshot(recipe=…)` takes.

    Args:
        source: path or text of YAML or JSON, a modifier, a list of them, or a `Recipe`.
        stage: `oneshot`'s argument: only stages whose names begin so are run.
        ours: it is to name a modifier of ours, so what is no YAML is an error here, not LLM Compressor's.

    Raises:
        InputError: the recipe names a modifier of ours, and something in it has no effect: a stage or a group with
            another ending, an unknown modifier or field, a key that stands twice. Names it and what was meant.
    """
    content = _content(source, ours) if isinstance(source, (str, os.PathLike)) else None
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if content is None or not any(nearest(key, _OUR_NAMES, 0.85) for key in _keys(content)):
        return Recipe.create_instance(source, target_stage=stage)
    steps = _steps(content, stage)
    try:
        return Recipe.create_instance(source, target_stage=stage)
    except ValidationError as error:  # of a modifier that is not ours
        fields = next((fields for name, fields in steps if name == error.title), None)
        raise InputError(complaint(error, fields, error.title, model=_modifiers().get(error.title))) from None


def recipe_steps(source: str | os.PathLike[str]) -> list[tuple[str, dict[str, Any]]]:
    """The modifiers of a recipe's file or text, in their order, with their fields as they are written.

    Raises:
        InputError: no YAML, no recipe, or a part of it that has no effect.
    """
    content = _content(source, ours=True)
    return [(name, dict(fields)) for name, fields in _steps(content, None)]


def _content(source: str | os.PathLike[str], ours: bool = False) -> Any:
    """What the YAML or JSON says; None if it is neither, which is LLM Compressor's to say unless the recipe is ours."""
    text, name = str(source), "the recipe"
    if os.path.isfile(source):
        name = os.fspath(source)
        text = read_text(source, "YAML")
        if name.lower().endswith(".md"):
            text = _parse_recipe_from_md(name, text.strip())
    try:
        return parse_yaml(text, name, unique=True)
    except InputError:
        if ours or any(modifier in text for modifier in _OUR_NAMES):
            raise
        return None


def _keys(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(content, list):
        for item in content:
            yield from _keys(item)


def _steps(content: Any, stage: str | None) -> list[tuple[str, Any]]:
    """The modifiers that LLM Compressor will run, with their fields.

    Raises:
        InputError: something else in the content has no effect.
    """
    if not isinstance(content, Mapping):
        raise InputError("no recipe: it maps stages to groups of modifiers: NAME_stage -> NAME_modifiers -> modifier")
    stages = {key: value for key, value in content.items() if not _BESIDE_STAGES.match(str(key))}
    for key in stages:
        _check_name(str(key), "stage", stages[key])
    if stage:
        chosen = {key: value for key, value in stages.items() if key.startswith(stage)}
        if not chosen:
            raise InputError(
                f"stage={stage!r} names no stage of the recipe, so nothing would run{_did_you_mean(stage, stages)}"
            )
        stages = chosen
    steps = []
    for name, groups in stages.items():
        for group, modifiers in groups.items():
            _check_name(str(group), "modifiers", modifiers, f"{name}.")
            for modifier, fields in modifiers.items():
                _check_modifier(str(modifier), fields, f"{name}.{group}.{modifier}")
                steps.append((str(modifier), fields))
    return steps


def _check_name(key: str, ending: str, value: Any, where: str = "") -> None:
    what = "a stage" if ending == "stage" else "a group of modifiers"
    if not key.endswith(f"_{ending}"):
        held = [name for name in _keys(value) if name.endswith("Modifier")]
        lost = f", {', '.join(dict.fromkeys(held))} included" if held else ""
        remedy = f"call it {_renamed(key, ending)!r}" if isinstance(value, Mapping) else "remove it"
        raise InputError(
            f"{where}{key} has no effect: LLM Compressor passes over everything here that is not called NAME_{ending}"
            f"{lost}; {remedy}"
        )
    if not isinstance(value, Mapping):
        raise InputError(f"{where}{key} must be a mapping, since it is {what}; it is {type(value).__name__}")


def _renamed(key: str, ending: str) -> str:
    """`spike_modifier`, `modifiers` or `default_stage_0` with the ending that counts."""
    stem = re.sub(r"[_-]?(stage|modifier)s?(?=$|[_-])", "", key, flags=re.IGNORECASE).strip("_-")
    if stem.endswith("Modifier") or not stem:
        stem = "spike"
    return f"{stem}_{ending}"


def _check_modifier(name: str, fields: Any, where: str) -> None:
    known = _modifiers()
    if name not in known:
        raise InputError(f"{where}: there is no modifier {name!r}{_did_you_mean(name, known)}")
    if not isinstance(fields, Mapping):
        found = "has nothing" if fields is None else f"has {type(fields).__name__}"
        raise InputError(f"{where} must be a mapping of fields, and {found}; write `{name}: {{}}` for the defaults")


def _modifiers() -> dict[str, Any]:
    if not ModifierFactory._loaded:
        ModifierFactory.refresh()
    return {
        **ModifierFactory._main_registry,
        **ModifierFactory._experimental_registry,
        **ModifierFactory._registered_registry,
    }


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = nearest(name, names)
    return f"; did you mean {close!r}?" if close else f"; there are: {', '.join(sorted(names))}"
