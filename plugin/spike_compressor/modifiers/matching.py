"""Entries of `targets` and `ignore`: which of them have no effect on a model, and what was probably meant.

LLM Compressor matches an entry with a module's whole name, with the names of its classes, or, after `re:`, with the
beginning of its name. An entry that matches nothing is passed over without a word, and what it names is quantized or
spikes all the same. So is one that matches a module alone where what lies in it was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from compressed_tensors.utils import is_match, match_name
from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.registry import nearest

#: How recipes call a language model's output head, whatever the model calls it.
HEAD = "lm_head"


class ModuleNames:
    """The modules of a model, for looking entries up.

    Args:
        model: whose modules `targets` and `ignore` of a recipe name.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: dict[str, nn.Module] = {name: module for name, module in model.named_modules() if name}
        self.classes = {kind.__name__ for module in self.modules.values() for kind in type(module).__mro__[:-2]}
        self.head = _output_head(model, self.modules)

    def matching(self, entries: str | Iterable[str], where: str) -> list[str]:
        """Names of the modules that an entry, or any of several, matches.

        Raises:
            InputError: an entry is no regular expression.
        """
        entries = [entries] if isinstance(entries, str) else list(entries)
        for entry in entries:
            _check_expression(entry, where)
        return [name for name, module in self.modules.items() if is_match(name, module, entries)]

    def require_targets(self, targets: Sequence[str], where: str, weights: bool = False) -> None:
        """Every entry of `targets` must match something.

        Args:
            targets: the entries.
            where: they stand, for messages.
            weights: it is the weights of what matches that are meant, so something must have some.

        Raises:
            InputError: names the entry and the nearest name.
        """
        for entry in targets:
            matches = self.matching(entry, where)
            if not matches:
                raise InputError(f"{where}: {self._no_match(entry)}")
            if weights and not any(hasattr(self.modules[name], "weight") for name in matches):
                within = _within(matches, self.modules)
                if within is not None:
                    raise InputError(f"{where}: {_alone(entry, matches[0], within)}")

    def require_ignored(self, ignore: Sequence[str], targets: Sequence[str], where: str) -> None:
        """Every entry of `ignore` must match something, and not only a module whose own modules are targeted after all.

        An output head that the model does not have need not be ignored: `lm_head` is what every recipe says.

        Raises:
            InputError: names the entry and the nearest name.
        """
        targeted = set(self.matching(targets, where))
        ignored = set(self.matching(ignore, where))
        left = [name for name in self.modules if name in targeted and name not in ignored]
        for entry in ignore:
            matches = self.matching(entry, where)
            if not matches:
                if match_name(HEAD, entry) and (self.head is None or self.head not in left):
                    continue
                raise InputError(f"{where}: {self._no_match(entry)}")
            within = _within(matches, left) if targeted.isdisjoint(matches) else None
            if within is not None:
                raise InputError(f"{where}: {_alone(entry, matches[0], within)}")

    def _no_match(self, entry: str) -> str:
        said = f"{entry!r} matches no module of this model, so it has no effect"
        if match_name(HEAD, entry) and self.head is not None:
            return f"{said}; the output head of this model is {self.head!r}"
        meant = self._meant(entry)
        if meant is not None:
            return f"{said}; did you mean {meant}?"
        top = dict.fromkeys(".".join(name.split(".")[:2]) for name in self.modules)
        return f"{said}; it has: {', '.join(list(top)[:8])}. Correct it or remove it"

    def _meant(self, entry: str) -> str | None:
        """The entry that was probably meant."""
        bare = entry.removeprefix("re:")
        if "*" in bare and not entry.startswith("re:"):
            pattern = re.escape(bare).replace(r"\*", ".*")
            if any(re.match(pattern, name) for name in self.modules):
                return f"'re:{pattern}'"
        if entry.startswith("re:"):
            if any(re.match(".*" + bare, name) for name in self.modules):
                return f"'re:.*{bare}' (a pattern is matched from the beginning of a name)"
            bare = re.sub(r"\\([.])", r"\1", bare).strip("^$.*")
        behind = next((name for name in self.modules if name.endswith("." + bare)), None)
        if behind is not None:
            leaf = not any(name.startswith(behind + ".") for name in self.modules)
            return f"'re:.*{re.escape(bare)}$'" if leaf else f"'re:.*{re.escape(bare)}\\..*'"
        close = nearest(bare, [*self.modules, *sorted(self.classes)], 0.7)
        return None if close is None else repr(close)


def did_you_mean(entry: str, names: Iterable[str]) -> str:
    """What to say after an entry that names none of `names`: the nearest of them, or nothing."""
    close = nearest(entry.removeprefix("re:"), names)
    return f"; did you mean {close!r}?" if close else ""


def _check_expression(entry: str, where: str) -> None:
    if not entry.startswith("re:"):
        return
    try:
        re.compile(entry.removeprefix("re:"))
    except re.error as error:
        raise InputError(f"{where}: {entry!r} is no regular expression: {error}") from error


def _within(matches: Sequence[str], names: Iterable[str]) -> str | None:
    """One of the names that lies in a module that matches."""
    around = set(matches)
    return next((name for name in names if not around.isdisjoint(_above(name))), None)


def _above(name: str) -> Iterator[str]:
    """The modules that a module lies in."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _alone(entry: str, match: str, within: str) -> str:
    return (
        f"{entry!r} matches {match} itself, so it has no effect; write 're:{re.escape(match)}\\..*' for what lies in "
        f"it, such as {within}"
    )


def _output_head(model: Any, modules: Mapping[str, nn.Module]) -> str | None:
    try:
        head = model.get_output_embeddings()
    except (AttributeError, NotImplementedError):  # not transformers', or a model without one
        return None
    return next((name for name, module in modules.items() if module is head), None)
