"""Modality-specific temporal scales: how many timesteps each layer spends on vision and on text rows."""

from __future__ import annotations

from typing import Any

from llmcompressor.core import State
from llmcompressor.modifiers import Modifier
from pydantic import Field, PrivateAttr, field_validator

from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation import SpikePlan, apply_overrides, get_allocation
from spike_compressor.modifiers.recipe import ObeysSpikePlan, modifiers_of_type


class MSTSModifier(Modifier):
    """Decides the timesteps T of every spiking layer by modality and hands the plan to `TCLIFModifier`.

    Stands before `TCLIFModifier`, whose targets it plans for:

        MSTSModifier:
          allocation: fixed
          timesteps: {vision: 3, text: 4}
          overrides: {"re:.*down_proj": {text: 6}}

    The idea that vision and text tokens deserve different temporal scales is SpikeMLLM's (arXiv 2604.18610).

    Attributes:
        allocation: `fixed` (the same T in every layer) or `file` (a plan written earlier or by hand).
        timesteps: for `fixed`: one T, or one a modality.
        plan: for `file`: path of a YAML plan, module name -> modality -> T.
        overrides: module name or `re:` pattern -> T, one or by modality; applied after the allocation, later ones win.
        allow_text_only: a multimodal model calibrated without a single vision token is an error unless this is set.
    """

    allocation: str = "fixed"
    timesteps: int | dict[str, int] | None = None
    plan: str | None = None
    overrides: dict[str, int | dict[str, int]] = Field(default_factory=dict)
    allow_text_only: bool = False

    _plan: SpikePlan | None = PrivateAttr(default=None)

    @field_validator("allocation")
    @classmethod
    def _known(cls, value: str) -> str:
        get_allocation(value)
        return value

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        get_allocation(self.allocation)(self)  # refuses settings that do not fit, before anything runs

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        followers = modifiers_of_type(ObeysSpikePlan)
        if len(followers) != 1:
            raise InputError(
                f"MSTSModifier plans for exactly one TCLIFModifier in the recipe, found {len(followers)}; add "
                "`TCLIFModifier: {targets: [Linear], ignore: [lm_head]}` after it."
            )
        modules = list(followers[0].targeted(state.model))
        strategy = get_allocation(self.allocation)(self)
        self._plan = apply_overrides(strategy.plan(modules), self.overrides)
        return True

    def spike_plan(self) -> SpikePlan:
        """The plan: module name -> modality -> T.

        Raises:
            InputError: asked before the modifier was initialized.
        """
        if self._plan is None:
            raise InputError("MSTSModifier has no plan yet: it must stand before TCLIFModifier in the recipe")
        return self._plan
