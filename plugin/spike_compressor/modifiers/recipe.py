"""A modifier's view of the recipe that it is part of."""

from __future__ import annotations

from typing import Any, TypeVar

from llmcompressor.core import active_session
from torch import nn

KindT = TypeVar("KindT")


class ObeysSpikePlan:
    """Mixin of the modifiers that take their timesteps from `MSTSModifier`'s plan."""

    def targeted(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The modules that are to spike, by name."""
        raise NotImplementedError


def modifiers_of_type(kind: type[KindT]) -> list[KindT]:
    """The modifiers of one type in the recipe that is being run, in its order."""
    modifiers: list[Any] = active_session().lifecycle.recipe.modifiers
    return [modifier for modifier in modifiers if isinstance(modifier, kind)]
