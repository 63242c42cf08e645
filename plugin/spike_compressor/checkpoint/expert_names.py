"""How files spell the names of experts, and transformers' rules that lead from files to modules."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from transformers import conversion_mapping
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import PrefixChange, WeightConverter, WeightRenaming

from spike_compressor.checkpoint.schema import Layout

#: What is changed in transformers for the length of a block is changed by one thread at a time.
REGISTRY = threading.RLock()


@contextlib.contextmanager
def original_rules() -> Iterator[None]:
    """Within the block transformers has its own rules, not those that LLM Compressor's `load_quantizable_moe` left."""
    with REGISTRY:
        registered = conversion_mapping._checkpoint_conversion_mapping_cache
        conversion_mapping._checkpoint_conversion_mapping_cache = None  # it is built when it is asked for
        try:
            yield
        finally:
            conversion_mapping._checkpoint_conversion_mapping_cache = registered


def _about_experts(conversion: Any) -> bool:
    return isinstance(conversion, WeightConverter) and all("experts" in source for source in conversion.source_patterns)


def _merges(conversion: Any) -> bool:
    """Is it a rule that makes stacked weights of one tensor for each expert?"""
    return _about_experts(conversion) and any(source.endswith(".weight") for source in conversion.source_patterns)


def _defaults(model: Any) -> list[Any]:
    """Transformers' rules from an architecture's original checkpoints to its modules."""
    with original_rules():
        rules = get_model_conversion_mapping(model, add_legacy=False)
    return [rule for rule in rules if not isinstance(rule, PrefixChange)]  # known only from the file that was opened


def conversions(model: Any, kind: Layout) -> list[Any]:
    """The rules, from file to modules, that saving must invert.

    Args:
        model: whose experts are Linears, or are about to be stacked.
        kind: how its checkpoint holds them.
    """
    defaults = _defaults(model)
    known = getattr(model, "_weight_conversions", None)
    others = [rule for rule in (defaults if known is None else known) if not _about_experts(rule)]
    about = [rule for rule in defaults if _about_experts(rule)]
    if kind == "stacked":
        # not one tensor for each expert: in a quantized model transformers expects those packed
        return others + [rule for rule in about if not _merges(rule)]
    known_already = {_patterns(rule) for rule in others}
    return others + [rule for rule in unmerged(about) if _patterns(rule) not in known_already]


def merged_by_transformers(model: Any, parameters: Iterable[str]) -> bool:
    """Does transformers have a rule that makes each of these stacked parameters of one tensor for each expert?"""
    reverse = [rule.reverse_transform() for rule in _defaults(model) if _merges(rule)]
    return all(any(rule.rename_source_key(name)[1] is not None for rule in reverse) for name in parameters)


def _patterns(rule: Any) -> tuple[Any, ...]:
    return type(rule), *rule.source_patterns, None, *rule.target_patterns, rule.scope_prefix


def unmerged(rules: list[Any]) -> list[Any]:
    """The rules without merging: experts' tensors are renamed at most, `w1` to `gate_proj`."""
    kept = []
    for rule in rules:
        if not _about_experts(rule):
            kept.append(rule)
        elif _merges(rule):
            kept += _renamings(rule)
    return kept


def _renamings(rule: Any) -> list[Any]:
    stored = [source.split(".")[-2] for source in rule._original_source_patterns]
    target = re.split(r"[.\\]", rule._original_target_patterns[0])[-1]
    names = ["gate_proj", "up_proj"] if target == "gate_up_proj" else [target]
    made = []
    for old, new in zip(stored, names, strict=True):
        if old != new:
            renaming = WeightRenaming(rf"\.experts\.(\d+)\.{old}\.", rf".experts.\1.{new}.")
            renaming.scope_prefix, renaming.base_model_prefix = rule.scope_prefix, rule.base_model_prefix
            made.append(renaming)
    return made
