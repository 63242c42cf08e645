"""Bad fields of modifiers are `InputError`s that name modifier, field, value and remedy, however it is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from helpers.messages import naming
from llmcompressor.recipe import Recipe
from pydantic import Field, field_validator, model_validator
from spike_compressor import MSTSModifier, TCLIFModifier
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modifiers.allocation import Budget
from spike_compressor.modifiers.attention import AttentionSettings

UNIFORM = {"allocation": "uniform", "budget": {"mean_timesteps": 3}}

#: what is wrong -> modifier, fields, names that the message must have: where, what stands there, what may stand there
CASES: dict[str, tuple[Any, dict[str, Any], tuple[object, ...]]] = {
    "unknown field": (TCLIFModifier, {"colour": "red"}, ("TCLIFModifier.colour", "targets", "threshold_ratio")),
    "a typo": (MSTSModifier, {"timestep": 3, **UNIFORM}, ("MSTSModifier.timestep", "timesteps")),
    "wrong type": (TCLIFModifier, {"timesteps": "four"}, ("TCLIFModifier.timesteps", "four", "integer", "mapping")),
    "wrong type within": (
        TCLIFModifier,
        {"timesteps": {"text": "x", "vision": 3}},
        ("TCLIFModifier.timesteps.text", "x", "integer"),
    ),
    "wrong type of a framework's field": (TCLIFModifier, {"start": "soon"}, ("TCLIFModifier.start", "soon", "number")),
    "wrong item": (TCLIFModifier, {"targets": ["Linear", 7]}, ("TCLIFModifier.targets.1", 7, "string")),
    "no mapping": (TCLIFModifier, {"attention": 5}, ("TCLIFModifier.attention", 5, "mapping")),
    "none of a few": (MSTSModifier, {**UNIFORM, "weighting": "x"}, ("MSTSModifier.weighting", "output", "gradient")),
    "out of range": (TCLIFModifier, {"threshold_ratio": 3}, ("TCLIFModifier.threshold_ratio", 3, "(0, 2]", "auto")),
    "no number": (TCLIFModifier, {"threshold_ratio": float("nan")}, ("TCLIFModifier.threshold_ratio", "nan", "(0, 2]")),
    "beyond a bound": (MSTSModifier, {**UNIFORM, "med_gain": 99}, ("MSTSModifier.med_gain", 99, 14)),
    "T out of range": (TCLIFModifier, {"timesteps": 9}, ("TCLIFModifier.timesteps", 9, "1 to 7")),
    "unknown coding": (TCLIFModifier, {"coding": "morse"}, ("TCLIFModifier.coding", "morse", "tc_lif")),
    "unknown statistic": (
        TCLIFModifier,
        {"threshold_statistic": "rmss"},
        ("TCLIFModifier.threshold_statistic", "rmss", "rms"),
    ),
    "a statistic of static thresholds": (
        TCLIFModifier,
        {"threshold": "static", "threshold_statistic": "rms"},
        ("TCLIFModifier.threshold_statistic", "threshold: static"),
    ),
    "unknown allocation": (MSTSModifier, {"allocation": "guess"}, ("MSTSModifier", "allocation", "guess", "fixed")),
    "a field that is needed": (MSTSModifier, {"allocation": "fixed"}, ("MSTSModifier", "timesteps")),
    "two fields that do not fit": (
        TCLIFModifier,
        {"threshold": "static", "threshold_ratio": 0.5},
        ("TCLIFModifier.threshold_ratio", "threshold: static"),
    ),
    "missing within": (TCLIFModifier, {"attention": {}}, ("TCLIFModifier.attention.timesteps",)),
    "unknown within": (
        TCLIFModifier,
        {"attention": {"timesteps": 5, "colour": 1}},
        ("TCLIFModifier.attention.colour", "kv_cache"),
    ),
    "range within": (
        TCLIFModifier,
        {"attention": {"timesteps": 5, "threshold_ratio": 9}},
        ("TCLIFModifier.attention.threshold_ratio", 9, "(0, 2]"),
    ),
    "bound within": (
        MSTSModifier,
        {"allocation": "uniform", "budget": {"mean_timesteps": 9}},
        ("MSTSModifier.budget.mean_timesteps", 9, 7),
    ),
    "none of two within": (
        MSTSModifier,
        {"allocation": "uniform", "budget": {}},
        ("MSTSModifier.budget", "mean_timesteps", "sops_per_token"),
    ),
    "deep": (
        MSTSModifier,
        {"timesteps": 3, "overrides": {"re:.*down_proj": {"text": "x"}}},
        ("MSTSModifier.overrides.re:.*down_proj.text", "x", "integer"),
    ),
    "two at once": (TCLIFModifier, {"colour": 1, "targets": 5}, ("TCLIFModifier.colour", "TCLIFModifier.targets", 5)),
}


def _recipe(kind: Any, fields: dict[str, Any]) -> Any:
    text = yaml.safe_dump({"spike_stage": {"spike_modifiers": {kind.__name__: fields}}})
    return Recipe.create_instance(text).modifiers[0]


BUILDERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "called": lambda kind, fields: kind(**fields),
    "validated": lambda kind, fields: kind.model_validate(fields),
    "from JSON": lambda kind, fields: kind.model_validate_json(json.dumps(fields)),
    "from a recipe": _recipe,
}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("case", CASES)
def test_a_bad_field_is_an_input_error(case: str, builder: str) -> None:
    kind, fields, names = CASES[case]
    with pytest.raises(InputError, match=naming(*names)) as caught:
        BUILDERS[builder](kind, fields)
    message = str(caught.value)
    assert "\n" not in message
    for jargon in ("pydantic", "Value error", "Input should", "input_type", "dict[str"):
        assert jargon not in message


@pytest.mark.parametrize("builder", ["called", "validated", "from JSON"])
def test_settings_within_a_modifier_are_named_by_their_place_when_they_stand_alone(builder: str) -> None:
    build = BUILDERS[builder]
    with pytest.raises(InputError, match=naming("TCLIFModifier.attention.coding", "unary_unsigned", "signed")):
        build(AttentionSettings, {"timesteps": 5, "coding": "unary_unsigned"})
    with pytest.raises(InputError, match=naming("MSTSModifier.budget.sops_per_token", -1, 0)):
        build(Budget, {"sops_per_token": -1})


@pytest.mark.parametrize("builder", BUILDERS)
def test_good_fields_are_taken_as_they_were(builder: str) -> None:
    build = BUILDERS[builder]
    tclif = build(TCLIFModifier, {"targets": "Linear", "threshold_ratio": "auto", "attention": {"timesteps": 5}})
    assert (tclif.targets, tclif.ignore, tclif.threshold_ratio) == (["Linear"], ["lm_head"], "auto")
    assert tclif.attention.timesteps == 5  # by modality once there is a model, which says which it has
    msts = build(MSTSModifier, {**UNIFORM, "overrides": {"re:.*": {"text": 6}}})
    assert msts.budget.mean_timesteps == 3
    assert msts.overrides == {"re:.*": {"text": 6}}


def test_no_json_is_an_input_error() -> None:
    with pytest.raises(InputError, match=naming("TCLIFModifier", "JSON")):
        TCLIFModifier.model_validate_json("{timesteps: 4}")


def test_settings_of_another_package_are_named_alike() -> None:
    class Inner(CheckedFields):
        gain: float = Field(ge=0)

    class Settings(CheckedFields):
        inner: Inner
        table: dict[str, int] = Field(default_factory=dict)
        even: int = 0

        @field_validator("even")
        @classmethod
        def _even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("must be even")
            return value

        @model_validator(mode="after")
        def _fit(self) -> Settings:
            if self.even > 10 and self.table:
                raise InputError("Settings.even above 10 needs an empty table")
            return self

    for fields, names in (
        ({"inner": {"gain": -1}}, ("Inner.gain", -1, 0)),
        ({"inner": {"gain": 1}, "even": 3}, ("Settings.even", 3, "even")),
        ({"inner": {"gain": 1}, "even": 12, "table": {"a": 1}}, ("Settings.even", 10)),
        ({"inner": {"gain": 1}, "table": {5: 1}}, ("Settings.table", 5, "string")),
        ({"inner": {"gain": 1}, "table": {"int": "x"}}, ("Settings.table.int", "x", "integer")),
        ({}, ("Settings.inner",)),
    ):
        with pytest.raises(InputError, match=naming(*names)):
            Settings(**fields)
    assert Settings(inner=Inner(gain=1), even=4).even == 4
