"""`oneshot` on a model that spikes already.

Its layers become plain again before the first modifier looks at the model: the recipe under way gives them other
timesteps, thresholds or codings on the same integer weights. Whatever changes weights is refused before any data is
read: the floats from which the integers were rounded are gone, and integers rounded once more would be others. A recipe
that fails leaves the model spiking as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llmcompressor.core import active_session
from llmcompressor.entrypoints.oneshot import Oneshot
from llmcompressor.recipe import Recipe
from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.reading import read_recipe
from spike_compressor.modifiers.recipe import followed_by
from spike_compressor.modifiers.tclif import TCLIFModifier
from spike_compressor.runtime import attach, detach, is_spiking, spiking_state

_MARK = "_takes_spiking_models"


def take_spiking_models() -> None:
    """Let `oneshot` take models that spike. LLM Compressor has no event before the first modifier is initialized."""
    plain = Oneshot.apply_recipe_modifiers
    if hasattr(plain, _MARK):
        return

    @functools.wraps(plain)
    def apply(self: Any, *args: Any, **kwargs: Any) -> None:
        if not is_spiking(self.model):
            plain(self, *args, **kwargs)
            return
        stage = kwargs.get("recipe_stage", args[1] if len(args) > 1 else None)
        self.recipe = read_recipe(self.recipe or [], stage)
        _check(self.recipe)
        earlier = spiking_state(self.model).facts.get("recipe")
        restore = _detach(self.model)
        try:
            plain(self, *args, **kwargs)
            facts = spiking_state(self.model).facts
            facts["recipe"] = followed_by(earlier, facts["recipe"])
        except BaseException:
            active_session().reset()  # takes the recipe's hooks away
            restore()
            raise

    setattr(apply, _MARK, True)
    Oneshot.apply_recipe_modifiers = apply


def _check(recipe: Recipe) -> None:
    """
    Raises:
        InputError: the recipe would do something else to a spiking model than let it spike another way.
    """
    others = [type(step).__name__ for step in recipe.modifiers if not isinstance(step, (TCLIFModifier, MSTSModifier))]
    if others:
        raise InputError(
            f"this model spikes already, and {', '.join(others)} would start from its integer weights, not from the "
            "floats that they were rounded from. Open the float model anew; or leave TCLIFModifier (and MSTSModifier) "
            "alone in the recipe to give the model other timesteps."
        )
    if not any(isinstance(step, TCLIFModifier) for step in recipe.modifiers):
        raise InputError("this model spikes already, and without TCLIFModifier the recipe would change nothing in it")


def _detach(model: nn.Module) -> Callable[[], None]:
    """Make the layers of a spiking model plain.

    Returns:
        What lets it spike as it did.
    """
    state = spiking_state(model)
    specs = {name: layer.spec for name, layer in state.layers.items()}
    backend = next(layer.backend.name for layer in state.layers.values())
    attention = {name: products.spec for name, products in state.attention.items()}
    detach(model)

    def restore() -> None:
        if is_spiking(model):
            detach(model)
        attach(model, specs, state.tracker.adapter, backend, attention).facts.update(state.facts)

    return restore
