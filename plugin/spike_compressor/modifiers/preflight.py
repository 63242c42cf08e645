"""What can be told of a recipe before any of its modifiers touches the model: order, data, names.

LLM Compressor tells a modifier of a recipe when its turn has come to be initialized, and a modifier that it never made
not at all. So the check stands in front of `CompressionLifecycle.initialize`, which every `oneshot` calls with the
recipe, the model and the data. A recipe without modifiers of ours passes as it is.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

from compressed_tensors.utils import match_named_modules
from llmcompressor.core.lifecycle import CompressionLifecycle
from llmcompressor.modeling.moe.linearize import get_linearized_moes, get_non_linearized_moes
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.autoround import AutoRoundModifier
from llmcompressor.modifiers.quantization.quantization.mixin import QuantizationMixin
from llmcompressor.modifiers.transform.quip import QuIPModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform.spinquant import SpinQuantModifier
from llmcompressor.utils.pytorch.module import infer_sequential_targets
from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.modifiers.distributed import require_group
from spike_compressor.modifiers.matching import ModuleNames
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.output import require_output
from spike_compressor.modifiers.reading import read_recipe
from spike_compressor.modifiers.reconstruction import SpikeReconstructionModifier
from spike_compressor.modifiers.smoothing import SpikeSmoothingModifier
from spike_compressor.modifiers.tclif import TCLIFModifier
from spike_compressor.modifiers.unreached import some

#: The modifiers of this package.
_OURS = (TCLIFModifier, MSTSModifier, SpikeSmoothingModifier, SpikeReconstructionModifier)
_MARK = "_checks_spiking_recipes"


def install_preflight() -> None:
    """Let every session of LLM Compressor check the recipes that name a modifier of ours before it runs them."""
    initialize = CompressionLifecycle.initialize
    if hasattr(initialize, _MARK):
        return

    @functools.wraps(initialize)
    def checked(self: Any, recipe: Any = None, recipe_stage: Any = None, recipe_args: Any = None, **kwargs: Any) -> Any:
        if recipe and not self.initialized_:
            recipe = read_recipe(recipe, recipe_stage)
            check_modifiers(recipe.modifiers)
            if spikes(recipe.modifiers):
                require_output()
                require_group(kwargs["model"])
                require_data(recipe.modifiers, kwargs.get("calib_data"))
                check_names(recipe.modifiers, kwargs["model"])
                check_routers(recipe.modifiers, kwargs["model"])
                check_autoround(recipe.modifiers, kwargs["model"], kwargs.get("sequential_targets"))
        return initialize(self, recipe, recipe_stage, recipe_args, **kwargs)

    setattr(checked, _MARK, True)
    setattr(CompressionLifecycle, "initialize", checked)  # noqa: B010


def spikes(modifiers: Sequence[Modifier]) -> bool:
    """Whether a recipe has modifiers of ours."""
    return any(isinstance(modifier, _OURS) for modifier in modifiers)


def check_modifiers(modifiers: Sequence[Modifier]) -> None:
    """The modifiers of a recipe must be able to work together, in their order.

    Raises:
        InputError: more than one `TCLIFModifier`, or something of LLM Compressor's after it; smoothing after
            quantization; reconstruction before `TCLIFModifier`.
    """
    quantizes = next((modifier for modifier in modifiers if isinstance(modifier, QuantizationMixin)), None)
    for modifier in reversed(modifiers):
        if modifier is quantizes:
            break
        if quantizes is not None and isinstance(modifier, SpikeSmoothingModifier):
            raise InputError(
                f"SpikeSmoothingModifier stands after {type(quantizes).__name__}, and would multiply weights that are "
                "integers already; move it before"
            )
    neurons = [place for place, modifier in enumerate(modifiers) if isinstance(modifier, TCLIFModifier)]
    if len(neurons) > 1:
        raise InputError(
            f"the recipe has {len(neurons)} TCLIFModifiers; a model gets its neurons from one: give it the `targets` "
            "of all, and their timesteps to an MSTSModifier before it (`overrides`)"
        )
    for place, modifier in enumerate(modifiers):
        if isinstance(modifier, SpikeReconstructionModifier) and (not neurons or place < neurons[0]):
            raise InputError(
                "SpikeReconstructionModifier learns how layers spike, and no TCLIFModifier stands before it; move it "
                "to the end of the recipe"
            )
    for modifier in modifiers[neurons[0] + 1 :] if neurons else ():
        if type(modifier).__module__.partition(".")[0] == "llmcompressor":
            raise InputError(
                f"{type(modifier).__name__} stands after TCLIFModifier, whose neurons go in front of finished weights; "
                "move it before TCLIFModifier and MSTSModifier"
            )


def require_data(modifiers: Sequence[Modifier], data: Any, because: str = "the recipe got none") -> None:
    """A recipe with modifiers that look at calibration data must have some.

    Args:
        modifiers: of the recipe.
        data: whatever they will get; None for none.
        because: why there are none.

    Raises:
        InputError: names the modifiers that look at data.
    """
    needy = dict.fromkeys(type(modifier).__name__ for modifier in modifiers if modifier.requires_calibration_data)
    if data is not None:
        with contextlib.suppress(TypeError):  # a stream does not know how many samples it has
            if len(data) == 0:
                data, because = None, "the data set is empty"
    if data is None and needy:
        verb = "need" if len(needy) > 1 else "needs"
        reasons = [reason for modifier in modifiers for reason in _reasons(modifier)]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise InputError(
            f"{' and '.join(needy)} {verb} calibration data{why}, and {because}; pass `dataset=` to oneshot, or "
            "--data on the command line"
        )


def _reasons(modifier: Modifier) -> list[str]:
    """Which fields of a modifier of ours ask for data."""
    if isinstance(modifier, TCLIFModifier) and modifier.requires_calibration_data:
        return ["`threshold: static`" if modifier.threshold == "static" else "`threshold_ratio: auto`"]
    if isinstance(modifier, MSTSModifier) and modifier.requires_calibration_data:
        return [f"allocation {modifier.allocation!r} with this budget"]
    return []


def check_names(modifiers: Sequence[Modifier], model: nn.Module) -> None:
    """What the user wrote into `targets` and `ignore` must have an effect on the model.

    Defaults may name modules that a model does not have.

    Raises:
        InputError: names the modifier, the field, the entry, and what was probably meant.
    """
    names = ModuleNames(model)
    for modifier in modifiers:
        kind, given = type(modifier).__name__, modifier.model_fields_set
        if isinstance(modifier, QuantizationMixin):
            for where, targets, weights in _quantized(modifier):
                names.require_targets(targets, f"{kind}.{where}", weights)
            if "ignore" in given:
                names.require_ignored(modifier.ignore, sorted(modifier.resolved_targets), f"{kind}.ignore")
        elif isinstance(modifier, (TCLIFModifier, SpikeSmoothingModifier, QuIPModifier)):
            targets, ignore = _as_list(modifier.targets), _as_list(modifier.ignore)
            if "targets" in given:
                names.require_targets(targets, f"{kind}.targets")
            if "ignore" in given:
                names.require_ignored(ignore, targets, f"{kind}.ignore")
        elif isinstance(modifier, SmoothQuantModifier) and modifier.ignore:
            names.require_targets(modifier.ignore, f"{kind}.ignore")


def check_routers(modifiers: Sequence[Modifier], model: nn.Module) -> None:
    """SpinQuant's R1 rotates what routers read; LLM Compressor rotates only Linears back, which most routers are not.

    Raises:
        InputError: such a rotation of a mixture of experts with such a router: it would send tokens to other experts.
    """
    if not any(isinstance(modifier, SpinQuantModifier) and "R1" in modifier.rotations for modifier in modifiers):
        return
    for experts, _ in [*get_linearized_moes(model), *get_non_linearized_moes(model)]:
        block = experts.rpartition(".")[0]
        for name, module in model.get_submodule(block).named_children():
            weight = module._parameters.get("weight")
            if weight is not None and weight.dim() == 2 and not isinstance(module, nn.Linear):
                raise InputError(
                    f"SpinQuantModifier.rotations: R1 rotates the hidden states that the router {block}.{name} reads, "
                    f"and not its weights, since it is a {type(module).__name__} and no Linear: tokens would go to "
                    "other experts. Leave R1 out, or use QuIPModifier"
                )


def check_autoround(
    modifiers: Sequence[Modifier], model: nn.Module, sequential_targets: str | list[str] | None = None
) -> None:
    """AutoRound finds scales of what lies in decoder layers, and leaves those of all else as memory happened to be.

    Args:
        modifiers: of the recipe.
        model: that it runs on.
        sequential_targets: `oneshot`'s: classes of the layers that AutoRound learns one by one.

    Raises:
        InputError: it is to quantize layers outside; names the first ones.
    """
    for modifier in modifiers:
        if not isinstance(modifier, AutoRoundModifier):
            continue
        classes = infer_sequential_targets(model, sequential_targets)
        learned = [f"{name}." for name, module in model.named_modules() if type(module).__name__ in classes]
        matched = match_named_modules(model, modifier.resolved_targets, modifier.ignore)
        left = [name for name, _ in matched if not name.startswith(tuple(learned))]
        if left:
            raise InputError(
                f"AutoRoundModifier quantizes decoder layers alone, and would leave {some(left)} without scales; list "
                "them in its `ignore` and in TCLIFModifier's, or give them another quantization modifier"
            )


def _quantized(modifier: QuantizationMixin) -> list[tuple[str, list[str], bool]]:
    """The lists of targets that a quantization modifier has: their place, their entries, whether weights are meant."""
    if modifier.config_groups:
        groups = modifier.config_groups.items()
        return [(f"config_groups.{name}.targets", group.targets, group.weights is not None) for name, group in groups]
    if isinstance(modifier.scheme, dict):
        return [(f"scheme.{name}", _as_list(targets), True) for name, targets in modifier.scheme.items()]
    return [("targets", _as_list(modifier.targets), True)] if "targets" in modifier.model_fields_set else []


def _as_list(entries: str | list[str]) -> list[str]:
    return [entries] if isinstance(entries, str) else list(entries)
