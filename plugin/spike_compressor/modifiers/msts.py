"""Modality-specific temporal scales: how many timesteps each layer spends on vision and on text rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from llmcompressor.core import Event, State
from llmcompressor.modifiers import Modifier
from pydantic import Field, PrivateAttr, field_validator
from torch import nn
from tqdm import tqdm

from spike_compressor.coding import MAX_TIMESTEPS, Coding, get_coding
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.files import require_writable
from spike_compressor.modality import adapter_for
from spike_compressor.modifiers.allocation import (
    Allocation,
    Budget,
    Measured,
    Need,
    Slot,
    apply_overrides,
    get_allocation,
    overridden,
)
from spike_compressor.modifiers.calibration import CalibrationRows
from spike_compressor.modifiers.chosen import fitted
from spike_compressor.modifiers.distributed import is_first_rank, same_on_all_ranks
from spike_compressor.modifiers.probe import Probe
from spike_compressor.modifiers.recipe import ObeysSpikePlan, modifiers_of_type, that_need_data
from spike_compressor.modifiers.sensitivity import ErrorTable
from spike_compressor.modifiers.unreached import Siblings
from spike_compressor.runtime.plan import (
    Override,
    TemporalScale,
    require_timesteps,
    scales_by_modality,
    timesteps_by_modality,
    write_plan,
)

#: Modifiers that change what flows into Linears at the end of an epoch: what was measured before it is no longer true.
_RESCALING = ("SmoothQuantModifier", "AWQModifier")


#: T, or what is fixed of T and ratio; `overrides_by_modality` says what may stand there.
_Override: TypeAlias = int | float | dict[str, int | float]


class MSTSModifier(CheckedFields, Modifier):
    """Decides the timesteps T of every spiking layer by modality, and its threshold ratios where they are to be fitted.

    The plan is handed to `TCLIFModifier`.

    Stands before `TCLIFModifier`, whose targets it plans for:

        MSTSModifier:
          allocation: sensitivity
          budget: {mean_timesteps: 3.25}
          min_timesteps: 2
          overrides: {"re:.*down_proj": {text: 6}}

    The idea that vision and text tokens deserve different temporal scales is SpikeMLLM's (arXiv 2604.18610).

    Attributes:
        allocation: `fixed` (the same T in every layer), `uniform` (as equal as the budget allows), `med` (by modality
            evolution discrepancy), `sensitivity` (by measured error) or `file` (a plan written earlier or by hand).
        timesteps: for `fixed`: one T, or one per modality.
        budget: for `uniform`, `med`, `sensitivity`: `{mean_timesteps: 3.25}`, weighted by calibration tokens x MACs, or
            `{sops_per_token: 2.0e6}` or `{spikes_per_input: 0.75}`, weighted by the outputs that a spike reaches.
        min_timesteps: for the same three: least T, one or by modality; 1 if left out.
        max_timesteps: likewise the greatest; 7 if left out.
        weighting: for `sensitivity`: `gradient` (if left out) weights errors by the gradient of the loss, which takes a
            backward pass over prompts; `output` takes errors of layers' outputs as shares of the outputs.
        samples: for weighting `gradient`: how many prompts, spread evenly over the calibration data, that pass runs;
            if left out 64, as many as hold 8,192 tokens, or all, whichever is least.
        med_gain: for `med`: difference of T of two modalities where theirs is greatest; 1 if left out.
        plan: for `file`: path of a YAML plan, module name -> modality -> T, or `{timesteps: 7, ratio: 0.4}`.
        write_plan: path to write the resulting plan to, as YAML that `file` reads.
        overrides: module name or `re:` pattern -> T, `{ratio: 0.4}`, or `{timesteps: 7, ratio: 0.4}`, one or by
            modality; they stand whatever the allocation and `TCLIFModifier.threshold_ratio` say, and count towards the
            budget. Later ones win.
        allow_text_only: a multimodal model calibrated without a single vision token is an error unless this is set.
    """

    allocation: str = "fixed"
    timesteps: int | dict[str, int] | None = None
    budget: Budget | None = None
    min_timesteps: int | dict[str, int] | None = None
    max_timesteps: int | dict[str, int] | None = None
    weighting: Literal["output", "gradient"] | None = None
    samples: int | None = Field(default=None, ge=1)
    med_gain: float | None = Field(default=None, ge=0, le=2 * MAX_TIMESTEPS)
    plan: str | None = None
    write_plan: str | None = None
    overrides: dict[str, _Override | dict[str, _Override]] = Field(default_factory=dict)
    allow_text_only: bool = False

    _strategy: Allocation | None = PrivateAttr(default=None)
    _follower: ObeysSpikePlan | None = PrivateAttr(default=None)
    _modules: dict[str, nn.Linear] = PrivateAttr(default_factory=dict)
    _codec: Coding = PrivateAttr()
    _modalities: tuple[str, ...] = PrivateAttr(default=())
    _rows: CalibrationRows | None = PrivateAttr(default=None)
    _probe: Probe | None = PrivateAttr(default=None)
    _measured: Measured | None = PrivateAttr(default=None)
    _plan: dict[str, dict[str, TemporalScale]] | None = PrivateAttr(default=None)

    @field_validator("allocation")
    @classmethod
    def _known(cls, value: str) -> str:
        get_allocation(value)
        return value

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        strategy = get_allocation(self.allocation)(self)  # refuses settings that do not fit, before anything runs
        self.requires_calibration_data = bool(strategy.needs)

    # Lifecycle

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        followers = modifiers_of_type(ObeysSpikePlan)
        if len(followers) != 1:
            raise InputError(
                f"MSTSModifier plans for exactly one TCLIFModifier in the recipe, found {len(followers)}; add "
                "`TCLIFModifier: {targets: [Linear], ignore: [lm_head]}` after it."
            )
        follower = self._follower = followers[0]
        self._modules = follower.targeted(state.model)
        self._codec = get_coding(follower.coding)
        self._strategy = get_allocation(self.allocation)(self)
        needs = self._strategy.needs
        adapter = adapter_for(state.model)
        self._modalities = adapter.modalities
        for field in ("timesteps", "min_timesteps", "max_timesteps"):  # a modality left out is refused before data runs
            if getattr(self, field) is not None:
                where = f"MSTSModifier.{field}"
                self._require_coded(timesteps_by_modality(getattr(self, field), where, self._modalities), where)
        modules = {name: adapter.modalities_of(name) for name in self._modules}
        pinned = self._pinned()  # refuses patterns of overrides that match nothing, too
        for (name, modality), fixed in pinned.items():
            if fixed.timesteps is not None:
                self._require_coded({modality: fixed.timesteps}, f"MSTSModifier.overrides: {name}")
        self._strategy.check(modules, pinned)
        if any(one.ratio is not None for one in pinned.values()):
            follower.refuse_ratios("MSTSModifier.overrides")
        if self.write_plan is not None:
            require_writable(self.write_plan)
        if not needs:
            self._decide(Measured(self._modalities))
        dataloader = kwargs.get("calib_data")
        if dataloader is None:
            return True
        # where nobody calibrates, nobody's thresholds or weights are calibrated for text alone
        allow_text_only = self.allow_text_only or follower.allow_text_only or not that_need_data()
        self._rows = CalibrationRows(dataloader, adapter, allow_text_only)
        # rows and curves cost next to nothing and are worth having of every plan
        self._probe = Probe(
            state.model,
            self._modules,
            self._rows,
            # modalities that turn differently: where there is one, no curve changes the plan
            needs if adapter.multimodal else needs - {Need.EVOLUTION},
            partial(self._trials, pinned),
            curves=True,
        )
        if not self._measures_errors:
            # what is counted does not depend on weights, so any modifier's pass over the data serves
            self._probe.watch(self.register_hook, state)
            others = [one for one in modifiers_of_type(Modifier) if one is not self]
            self.requires_calibration_data = bool(needs) and not any(one.requires_calibration_data for one in others)
        else:
            self.requires_calibration_data = self._watches_errors
        return True

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        if not self._watches_errors or self._measured is not None:
            return
        together = [type(one).__name__ for one in modifiers_of_type(Modifier)]
        spoilers = [name for name in together if name in _RESCALING]
        if spoilers:
            raise InputError(
                f"MSTSModifier: {spoilers[0]} rescales activations at the end of the very pass that errors would be "
                "measured in; run oneshot with pipeline='independent', which gives each modifier a pass of its own"
            )
        assert self._probe is not None
        if not self._hooks:
            self._probe.watch(self.register_hook, state)

    def on_calibration_end(self, state: State, event: Event, **kwargs: Any) -> None:
        if not self._watches_errors or self._measured is not None:
            return
        assert self._probe is not None
        self.remove_hooks()
        self._measured = self._probe.result(self._pinned())

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        if self._probe is not None and self._measured is None:
            self.remove_hooks()
            if self._by_gradient:  # not within a pipeline: they forbid gradients and leave out the logits
                self._probe.gradient_pass(partial(tqdm, desc="Measuring gradients"), self.samples)
            self._measured = self._probe.result(self._pinned())
        if self._plan is None:
            assert self._measured is not None
            if not self._measured.rows:
                raise InputError(
                    "MSTSModifier: no modifier ran the calibration data through the model, so there is nothing to "
                    "plan by; use pipeline='independent', 'sequential' or 'basic'"
                )
            self._decide(self._measured)
        return True

    def _decide(self, measured: Measured) -> None:
        assert self._strategy is not None
        assert self._follower is not None
        chosen = {
            name: scales_by_modality(table, f"allocation {self.allocation!r}: {name}", self._modalities)
            for name, table in self._strategy.plan(list(self._modules), measured).items()
        }
        plan = apply_overrides(chosen, self.overrides, self._modalities)
        if any(scale.ratio is not None for table in plan.values() for scale in table.values()):
            self._follower.refuse_ratios(f"the plan of allocation {self.allocation!r}")
        if self.chooses_ratios:
            siblings = Siblings(plan)
            plan = {name: fitted(name, table, measured.best_ratio, siblings) for name, table in plan.items()}
        for name, table in plan.items():
            self._require_coded({modality: scale.timesteps for modality, scale in table.items()}, name)
        # sums of floats should be the same on every rank; this makes it certain
        self._plan = same_on_all_ranks(plan)

    def _require_coded(self, timesteps: Mapping[str, int], where: str) -> None:
        """Refuse a T that the coding does not have."""
        for modality, T in timesteps.items():
            what = f"{where}: T of {modality} with coding {self._codec.name!r}"
            require_timesteps(T, what, self._codec.max_timesteps)

    @property
    def _measures_errors(self) -> bool:
        return self._strategy is not None and Need.ERRORS in self._strategy.needs

    @property
    def _watches_errors(self) -> bool:
        return self._measures_errors and not self._by_gradient

    @property
    def _by_gradient(self) -> bool:
        return self.allocation == "sensitivity" and self.weighting != "output"

    def _pinned(self) -> dict[Slot, Override]:
        changes = overridden(list(self._modules), self.overrides, self._modalities)
        return {(name, modality): fixed for name, table in changes.items() for modality, fixed in table.items()}

    def _trials(self, pinned: Mapping[Slot, Override], slot: Slot, width: int) -> ErrorTable:
        assert self._follower is not None
        fixed = pinned.get(slot, Override()).ratio
        ratios = self._follower.candidate_ratios(slot[1]) if fixed is None else (fixed,)
        return ErrorTable(width, self._follower.coding, ratios, self._follower.threshold_statistic)

    # What TCLIFModifier asks

    @property
    def rows(self) -> CalibrationRows | None:
        """The modality of the calibration data's rows, if there are any; watched until `TCLIFModifier` releases it."""
        return self._rows

    @property
    def chooses_ratios(self) -> bool:
        """True if threshold ratios are to be fitted, and are in the pass that measures errors."""
        return self._measures_errors and self._follower is not None and self._follower.fits_ratios

    @property
    def has_all_ratios(self) -> bool:
        """True if the plan is there already, with a threshold ratio for every layer and modality."""
        return self._plan is not None and all(
            scale.ratio is not None for table in self._plan.values() for scale in table.values()
        )

    def most_timesteps(self) -> dict[str, int]:
        """The largest T that each layer may get, as far as it is known before there is a plan."""
        if self._plan is not None:
            return {name: max(scale.timesteps for scale in table.values()) for name, table in self._plan.items()}
        assert self._strategy is not None
        bounds, pinned = self._strategy.most_timesteps(self._modalities), self._pinned()
        if bounds is None:
            return {}
        return {
            name: max(pinned.get((name, m), Override()).timesteps or bounds[m] for m in self._modalities)
            for name in self._modules
        }

    def spike_plan(self) -> dict[str, dict[str, TemporalScale]]:
        """The plan: module name -> modality -> T, and a threshold ratio where the plan decides it.

        Raises:
            InputError: asked before there was one.
        """
        if self._plan is None:
            raise InputError("MSTSModifier has no plan yet; it is made when the recipe is finalized")
        return self._plan

    def write(self, ratios: Mapping[str, Mapping[str, float]]) -> None:
        """Write the plan to the path of the field `write_plan`, if there is one.

        Args:
            ratios: by layer and modality, those that were fitted to the plan's T: they stand where it has none.
        """
        if self.write_plan is None or not is_first_rank():
            return
        plan = {
            name: {
                m: TemporalScale(scale.timesteps, ratios.get(name, {}).get(m)) if scale.ratio is None else scale
                for m, scale in table.items()
            }
            for name, table in self.spike_plan().items()
        }
        write_plan(plan, self.write_plan, self._headline())

    def seen(self, name: str) -> list[str]:
        """The modalities of a layer whose errors were measured."""
        errors = {} if self._measured is None else self._measured.errors
        return [m for m in self._modalities if (name, m) in errors and errors[name, m].rows]

    def facts(self) -> dict[str, Any]:
        """What is to be kept with the model: the budget and what became of it, the raw curves."""
        plan, measured = self.spike_plan(), self._measured
        budget: dict[str, Any] = {"allocation": self.allocation}
        if self.budget is not None:
            budget["requested"] = self.budget.model_dump(exclude_none=True)
        if self.allocation == "sensitivity":
            budget["weighting"] = "gradient" if self._by_gradient else "output"
            if self._by_gradient and measured is not None:
                budget["samples"] = measured.samples
        facts: dict[str, Any] = {"budget": budget}
        if measured is not None and measured.rows:
            budget["mean_timesteps"] = sum(plan[name][m].timesteps for name, m in measured.rows) / len(measured.rows)
            budget["mean_timesteps_weighted"] = measured.mean_timesteps(plan)
            if measured.errors:
                budget["sops_per_token"] = measured.sops_per_token(plan)
            if measured.evolution is not None and measured.evolution.curves:
                facts["evolution"] = measured.evolution.to_dict()
        return facts

    def _headline(self) -> str:
        budget = self.facts()["budget"]
        asked = "".join(f", {key} {value:g} asked for" for key, value in budget.get("requested", {}).items())
        lines = [f"spike plan, module name -> timesteps by modality ({', '.join(self._modalities)})"]
        lines.append(f"allocation {self.allocation}{asked}")
        if "mean_timesteps_weighted" in budget:
            lines.append(
                f"mean timesteps {budget['mean_timesteps_weighted']:.6g} weighted by calibration tokens x MACs, "
                f"{budget['mean_timesteps']:.6g} over layers and modalities"
            )
        return "\n".join(lines)
