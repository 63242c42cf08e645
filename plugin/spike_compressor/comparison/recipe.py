"""A recipe in two parts: what makes weights integer, and what makes the model spike."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError

#: One modifier: its name and its fields.
Step = tuple[str, Mapping[str, Any]]
_PLANNER, _NEURONS, _LEARNER = "MSTSModifier", "TCLIFModifier", "SpikeReconstructionModifier"


@dataclass(frozen=True)
class SplitRecipe:
    """A recipe of LLM Compressor, cut before its spiking modifiers.

    Weights take minutes or hours to quantize and do not depend on what follows, so one run of `weights` serves every
    `spikes`.

    Attributes:
        weights: modifiers up to the first spiking one, in order.
        spikes: `MSTSModifier`, if there is one, `TCLIFModifier`, and `SpikeReconstructionModifier`, if there is one.
    """

    weights: tuple[Step, ...]
    spikes: tuple[Step, ...]

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> SplitRecipe:
        """From a file, or from YAML text of more than one line.

        Raises:
            InputError: no such file, no YAML, no recipe; a part that has no effect; spiking modifiers missing or
                followed by others.
        """
        name = "the recipe" if "\n" in str(source) else str(source)
        if name == str(source) and not Path(source).is_file():
            raise InputError(f"cannot read the recipe {name}: there is no such file")
        # LLM Compressor takes seconds to import, and speaks meanwhile, which must not get into an answer
        with contextlib.redirect_stdout(sys.stderr):
            from spike_compressor.modifiers.reading import recipe_steps

        steps = recipe_steps(source)
        spiking = [step for step in steps if step[0] in (_PLANNER, _NEURONS, _LEARNER)]
        if not any(modifier == _NEURONS for modifier, _ in spiking) or steps[-len(spiking) :] != spiking:
            raise InputError(
                f"{name} must end in TCLIFModifier, with MSTSModifier before and SpikeReconstructionModifier after it "
                "if it has them"
            )
        return cls(tuple(steps[: -len(spiking)]), tuple(spiking))

    def spiking(self, msts: Mapping[str, Any] | None = None, **tclif: Any) -> SplitRecipe:
        """The same weights with other spikes: fields of `MSTSModifier` replaced, those of `TCLIFModifier` updated.

        A planner takes the place of timesteps that `TCLIFModifier` had: they can have only one author.
        """
        old = dict(self.spikes)
        planner = old.get(_PLANNER) if msts is None else msts
        neurons = dict(old[_NEURONS])
        if planner is not None:
            neurons.pop("timesteps", None)
        steps: list[Step] = [] if planner is None else [(_PLANNER, dict(planner))]
        learner = [(name, fields) for name, fields in self.spikes if name == _LEARNER]
        return SplitRecipe(self.weights, (*steps, (_NEURONS, {**neurons, **tclif}), *learner))

    def learning(self, **fields: Any) -> SplitRecipe:
        """The same, with weights that learn from spikes; fields are those of `SpikeReconstructionModifier`."""
        return SplitRecipe(self.weights, (*(step for step in self.spikes if step[0] != _LEARNER), (_LEARNER, fields)))

    def exact(self) -> SplitRecipe:
        """The same weights, and as many timesteps everywhere as there can be, whatever the recipe's spikes are."""
        where = {key: value for key, value in dict(self.spikes)[_NEURONS].items() if key in ("targets", "ignore")}
        return SplitRecipe(self.weights, ((_NEURONS, {**where, "timesteps": MAX_TIMESTEPS}),))

    @property
    def learns(self) -> bool:
        """Whether weights learn from spikes: they are then others for every way to spike."""
        return _LEARNER in dict(self.spikes)

    @property
    def reinterprets(self) -> bool:
        """Whether timesteps are left to the activation scheme that the weights' part gives the layers."""
        old = dict(self.spikes)
        return _PLANNER not in old and old[_NEURONS].get("timesteps") is None

    def text(self) -> str:
        """The whole recipe as YAML."""
        return recipe_text((*self.weights, *self.spikes))


def recipe_text(steps: tuple[Step, ...]) -> str:
    """Modifiers as a recipe's YAML, in their order."""
    groups = {f"step{index}_modifiers": {name: dict(fields)} for index, (name, fields) in enumerate(steps)}
    return str(yaml.safe_dump({"spike_stage": groups}, sort_keys=False))
