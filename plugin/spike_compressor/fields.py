"""Fields that a user writes: pydantic models whose complaints are one `InputError` in plain words.

pydantic wraps every ValueError of a validator, `InputError` among them, into its own ValidationError, which is another
class with several lines of text and links. `CheckedFields` turns that back, whatever a model is built from and however
deep the bad field lies.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import from_json
from typing_extensions import Self

from spike_compressor.errors import InputError, shown
from spike_compressor.registry import nearest

#: pydantic's words for what YAML and JSON call otherwise, by the type of the error.
_WORDS = {"dict_type": "must be a mapping", "model_type": "must be a mapping", "list_type": "must be a list"}

_NOWHERE = object()


class CheckedFields(BaseModel):
    """Base of models that are built from what a user wrote, such as the fields of a modifier in a recipe.

    A bad field raises `InputError`, which names model, field and value and says what the field takes. Validators of
    such a model raise a ValueError with the last part alone (`must be in (0, 2]`).
    """

    model_config = ConfigDict(extra="forbid")

    #: How messages name the model: its place in a recipe. The name of the class if left empty.
    path_in_messages: ClassVar[str] = ""

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise self._input_error(error, fields) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's, but for what it raises.

        Raises:
            InputError: a field is missing, unknown, of a wrong type or out of range.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise cls._input_error(error, obj) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's, but for what it raises.

        Raises:
            InputError: no JSON; a field is missing, unknown, of a wrong type or out of range.
        """
        try:
            content = from_json(json_data)
        except ValueError as error:
            raise InputError(f"{cls._name()} is no JSON: {error}") from None
        return cls.model_validate(content, **options)

    @classmethod
    def _name(cls) -> str:
        return cls.path_in_messages or cls.__name__

    @classmethod
    def _input_error(cls, error: ValidationError, content: Any) -> InputError:
        ours = [base for base in cls.__mro__ if issubclass(base, CheckedFields)]  # the field's, not its framework's
        names = [name for base in reversed(ours) for name in inspect.get_annotations(base) if name in cls.model_fields]
        return InputError(complaint(error, content, cls._name(), names, cls))

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, content: Any) -> Any:
        """pydantic takes True for 1, and YAML reads `yes` and `on` as True."""
        for name, value in content.items() if isinstance(content, Mapping) else ():
            field = cls.model_fields.get(name)
            if field is not None and _holds_truth(value) and not _takes_truth(field.annotation):
                raise ValueError(f"{cls._name()}.{name} is {shown(value)}: true and false are no value of it")
        return content


def complaint(
    error: ValidationError,
    content: Any,
    where: str = "",
    fields: Iterable[str] = (),
    model: type[BaseModel] | None = None,
) -> str:
    """What pydantic found wrong, in one sentence a field: where it is, what stands there, what it takes.

    Args:
        error: of pydantic.
        content: what was validated, by which names of fields are told from pydantic's names of alternatives; None if
            it is not known.
        where: what the content is, for the first part of each path.
        fields: names that a field may have at the top of the content, for the message about one that is unknown; left
            out, those of the model.
        model: that the content is validated by, for the names that there are further down.
    """
    by_field: dict[Any, list[tuple[list[str], Any]]] = {}
    for item in error.errors(include_url=False):
        path = [where] if where else []
        path += _path(item["loc"], content, item["type"] in ("missing", "extra_forbidden"))
        by_field.setdefault(item["loc"][:1], []).append((path, item))
    sentences = []
    for found in by_field.values():
        # of the alternatives that a field has, the one that is meant
        deepest = max((path for path, _ in found), key=len)
        at_fault = [item for path, item in found if path == deepest]
        top = len(at_fault[0]["loc"]) == 1
        known = fields if top and fields else _fields_at(model, deepest[bool(where) : -1])
        sentences.append(_sentence(deepest, at_fault, where, known))
    return "; ".join(sentences)


def _path(location: tuple[int | str, ...], content: Any, named: bool) -> list[str]:
    """The keys of a location without pydantic's names of alternatives (`int`, `dict[str,int]`) between them."""
    path, value = [], content
    for number, part in enumerate(location):
        inner = _entry(value, part)
        absent = named and number == len(location) - 1  # a name that is missing stands nowhere
        if inner is _NOWHERE and content is not None and not absent:
            continue
        path.append(str(part))
        value = inner
    return path


def _fields_at(model: Any, path: list[str]) -> list[str]:
    """Names of the fields of the model that lies at a path of keys within a model; empty if that is not known."""
    kinds = [] if model is None else [model]
    for key in path:
        fields = [kind.model_fields[key] for kind in kinds if key in kind.model_fields]
        if fields:  # else it is a key of a mapping to the same models
            kinds = [kind for field in fields for kind in _types(field.annotation) if _is_model(kind)]
    return [name for kind in kinds for name in kind.model_fields]


def _types(annotation: Any) -> set[Any]:
    """Every type that an annotation names, `int` and `str` of `dict[str, int]` among them."""
    inner = typing.get_args(annotation)
    return {annotation} if not inner else set().union(*(_types(part) for part in inner))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _takes_truth(annotation: Any) -> bool:
    # models look at their own fields
    return any(kind in (bool, Any) or _is_model(kind) for kind in _types(annotation))


def _holds_truth(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_truth(inner) for inner in value.values())
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_holds_truth, value)))


def _entry(value: Any, key: Any) -> Any:
    """What lies at a key or an index of a value that has such, else `_NOWHERE`."""
    try:
        return value[key] if isinstance(value, (Mapping, list, tuple)) else _NOWHERE
    except (LookupError, TypeError):
        return _NOWHERE


def _sentence(keys: list[str], items: list[Any], where: str, fields: Iterable[str]) -> str:
    item, path = items[0], ".".join(keys)
    kind, value, raised = item["type"], item["input"], item.get("ctx", {}).get("error")
    if kind == "extra_forbidden":
        close = nearest(str(item["loc"][-1]), fields)
        known = f"; there are: {', '.join(fields)}" if fields else "; remove it"
        return f"{path} is no known field{f'; did you mean {close!r}?' if close else known}"
    if kind == "missing":
        return f"{path} is missing and has no default; give it a value"
    if item["loc"] and item["loc"][-1] == "[key]":
        return f"{'.'.join(keys[:-1])} has the key {shown(value)}, which {_rule(item)}"
    if raised is not None:
        said = str(raised)
        if not item["loc"] or (where and said.startswith(where)):  # of several fields, or of a model within
            return said
        if isinstance(value, (Mapping, list, tuple)) or repr(value) in said:
            return f"{path}: {said}"
        return f"{path} is {shown(value)}: {said}"
    rules = dict.fromkeys(_rule(one).removeprefix("must be ") for one in items)
    words = [word for one in items for word in re.findall(r"'([^']*)'", str(one.get("ctx", {}).get("expected", "")))]
    close = nearest(value, words) if isinstance(value, str) else None
    hint = f"; did you mean {close!r}?" if close else ""
    return f"{path} is {shown(value)}: must be {' or '.join(rules)}{hint}"


def _rule(item: Any) -> str:
    """What a field takes, in pydantic's words or better ones."""
    rule = _WORDS.get(item["type"]) or re.sub(r"^Input should be ", "must be ", item["msg"])
    return re.sub(r", (unable to|got a number).*", "", rule)
