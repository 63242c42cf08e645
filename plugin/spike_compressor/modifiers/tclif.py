"""TC-LIF: the modifier that puts spiking neurons in front of a quantized model's Linears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from compressed_tensors.utils import match_named_modules
from llmcompressor.core import Event, State
from llmcompressor.modifiers import Modifier
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor, nn

from spike_compressor.checkpoint import make_saveable
from spike_compressor.coding import NonFiniteInputError, get_coding, get_statistic, raise_if_non_finite
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modality import ModalityAdapter, adapter_for
from spike_compressor.modifiers.activity import report_activity, report_plan
from spike_compressor.modifiers.attention import AttentionSettings
from spike_compressor.modifiers.calibration import CalibrationRows
from spike_compressor.modifiers.chosen import Observed
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.recipe import (
    EndsRecipe,
    ObeysSpikePlan,
    modifiers_of_type,
    recipe_text,
    require_read,
    that_need_data,
)
from spike_compressor.modifiers.reinterpret import (
    activation_scheme,
    inherited_coding,
    refuse_fields,
    reinterpret,
    set_activation_bits,
)
from spike_compressor.modifiers.starting import take_over
from spike_compressor.modifiers.sums import require_sums
from spike_compressor.modifiers.thresholds import MagnitudeHistogram, RatioHistogram
from spike_compressor.modifiers.unreached import Reached, lend_input_scales
from spike_compressor.modifiers.upstream import work_around
from spike_compressor.modifiers.weight_reads import weights_read
from spike_compressor.runtime import (
    AttentionSpec,
    LayerSpec,
    attach,
    not_affine,
    not_spiking,
    require_integer_weights,
)
from spike_compressor.runtime.plan import (
    TemporalScale,
    checked_ratios,
    checked_timesteps,
    ratios_by_modality,
    scales_by_modality,
)
from spike_compressor.runtime.weights import why_not_integer


class TCLIFModifier(CheckedFields, Modifier, ObeysSpikePlan):
    """Gives every targeted Linear a TC-LIF neuron for each of its inputs: signed spikes of weight 2^(T-1-t).

    Stands after the modifiers that make weights integer. T comes from an `MSTSModifier` before it, or from `timesteps`,
    or, with neither, from the activation scheme that the recipe gave the layer, which is then *reinterpreted*: b bits,
    symmetric, are T = b - 1 timesteps.

        TCLIFModifier:
          targets: [Linear]
          ignore: [lm_head]
          timesteps: {vision: 3, text: 4}
          threshold_ratio: 0.9

    The neuron is SpikeMLLM's (arXiv 2604.18610); its rounding and scales are fixed in docs/numerics.md.

    Attributes:
        targets: class names, module names or `re:` patterns of the Linears that spike.
        ignore: likewise, those that do not.
        coding: how spikes encode codes, a name of `available_codings`: tc_lif, tc_lif_rdoq, csd, group4 and others.
        timesteps: T of every layer, one or by modality (`{vision: 3, text: 4}`).
        threshold: `dynamic` (each row its own scale) or `static` (calibrated, one scale per layer and modality). Left
            out: what the reinterpreted scheme says, else dynamic.
        threshold_statistic: dynamic thresholds only: what a row's threshold is proportional to. `absmax`: s = ratio *
            absmax(row) / (2^T - 1). `rms`, `mean_abs`: s = ratio * rms(row), ratio * mean |row|, T being range alone.
        threshold_ratio: dynamic thresholds only: that ratio, 0 < ratio <= 2, one or by modality (`{vision: 0.5, text:
            0.7}`); or `auto`: chosen by layer, modality and T on the calibration data, for the least error, or as a
            budget of operations allows. Ratios of a plan take precedence.
        threshold_observer: static thresholds only: `absmax`, or `mse` for the scale of least squared error.
        allow_text_only: a multimodal model calibrated without a single vision token is an error unless this is set.
        attention: lets attention products spike too, e.g. `{timesteps: 5}`; see `AttentionSettings`. Off by default.
    """

    targets: str | list[str] = Field(default_factory=lambda: ["Linear"])
    ignore: str | list[str] = Field(default_factory=lambda: ["lm_head"])
    coding: str = "tc_lif"
    timesteps: int | dict[str, int] | None = None
    threshold: Literal["dynamic", "static"] | None = None
    threshold_statistic: str = "absmax"
    threshold_ratio: float | Literal["auto"] | dict[str, float] = 1.0
    threshold_observer: Literal["absmax", "mse"] = "absmax"
    allow_text_only: bool = False
    attention: AttentionSettings | None = None

    _adapter: ModalityAdapter | None = PrivateAttr(default=None)
    _modules: dict[str, nn.Linear] = PrivateAttr(default_factory=dict)
    _attention: dict[str, AttentionSpec] = PrivateAttr(default_factory=dict)
    _planner: MSTSModifier | None = PrivateAttr(default=None)
    _plan: dict[str, dict[str, TemporalScale]] | None = PrivateAttr(default=None)
    _loader: Any = PrivateAttr(default=None)
    _rows: CalibrationRows | None = PrivateAttr(default=None)
    _observed: Observed = PrivateAttr()
    _reached: Reached = PrivateAttr()
    _complete: bool = PrivateAttr(default=False)
    _undo_workarounds: list[Callable[[], None]] = PrivateAttr(default_factory=list)

    @field_validator("targets", "ignore")
    @classmethod
    def _as_list(cls, value: str | list[str]) -> list[str]:
        return [value] if isinstance(value, str) else value

    @field_validator("coding")
    @classmethod
    def _known_coding(cls, value: str) -> str:
        return get_coding(value).name

    @field_validator("threshold_statistic")
    @classmethod
    def _known_statistic(cls, value: str) -> str:
        return get_statistic(value).name

    @field_validator("threshold_ratio")
    @classmethod
    def _ratio_in_range(cls, value: float | str | dict[str, float]) -> float | str | dict[str, float]:
        if isinstance(value, (int, float)) and not 0 < value <= 2:
            raise ValueError("must be in (0, 2], or `auto`")
        return checked_ratios(value, "TCLIFModifier.threshold_ratio") if isinstance(value, dict) else value

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if self.timesteps is not None:
            self.timesteps = checked_timesteps(
                self.timesteps, "TCLIFModifier.timesteps", get_coding(self.coding).max_timesteps
            )
        if self.threshold == "static" and self.threshold_ratio != 1.0:
            raise InputError("TCLIFModifier.threshold_ratio is for dynamic thresholds; drop it or `threshold: static`")
        if self.threshold == "static" and self.threshold_statistic != "absmax":
            raise InputError(
                "TCLIFModifier.threshold_statistic is for dynamic thresholds; drop it or `threshold: static`"
            )
        if self.threshold_observer == "mse":
            get_coding(self.coding).require_rounding("TCLIFModifier.threshold_observer: mse", "use `absmax`")
        if self.threshold != "static" and self.threshold_observer != "absmax":
            raise InputError("TCLIFModifier.threshold_observer is for static thresholds; add `threshold: static`")
        # LLM Compressor chooses a pipeline that runs the model on data only if a modifier asks for it
        self.requires_calibration_data = self.threshold == "static" or self.threshold_ratio == "auto"

    @property
    def fits_ratios(self) -> bool:
        return self.threshold_ratio == "auto"

    def candidate_ratios(self, modality: str) -> tuple[float, ...]:
        if self.threshold_ratio == "auto":
            return get_statistic(self.threshold_statistic).ratios
        return (ratios_by_modality(self.threshold_ratio, "TCLIFModifier.threshold_ratio")[modality],)

    def refuse_ratios(self, who: str) -> None:
        if self.threshold == "static":
            raise InputError(
                f"{who} has threshold ratios, which are for dynamic thresholds; drop them or `threshold: static`"
            )

    @property
    def _modalities(self) -> tuple[str, ...]:
        assert self._adapter is not None
        return self._adapter.modalities

    @property
    def _calibrates(self) -> bool:
        if self.threshold == "static":
            return True
        planner = self._planner
        return self.fits_ratios and not (planner is not None and (planner.chooses_ratios or planner.has_all_ratios))

    def targeted(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The Linears that are to spike, by name.

        Raises:
            InputError: nothing matches, or something matches that is no Linear.
        """
        matches = dict(match_named_modules(model, self.targets, self.ignore))
        for name, module in matches.items():
            if not isinstance(module, nn.Linear):
                raise InputError(
                    f"TCLIFModifier.targets matches {name}, a {type(module).__name__}; only Linears spike. Narrow "
                    "`targets` or list it in `ignore`."
                )
        for name, reason in not_affine(matches).items():
            raise InputError(
                f"TCLIFModifier.targets matches {name}, which cannot spike: {reason}. List it in `ignore`, and in the "
                "quantization modifier's."
            )
        if not matches:
            raise InputError(f"TCLIFModifier: targets {self.targets} minus ignore {self.ignore} match no module")
        return matches

    # Lifecycle

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        self._adapter = adapter_for(state.model)
        self._modules = self.targeted(state.model)
        take_over(state.model, self._modules, modifiers_of_type(Modifier))
        if self.attention is not None:
            self._attention = self.attention.specs(state.model, self._adapter)
        planners = modifiers_of_type(MSTSModifier)
        if len(planners) > 1:
            raise InputError("the recipe has more than one MSTSModifier; a plan can have only one author")
        if isinstance(self.threshold_ratio, dict):  # a modality without a ratio is refused before data run
            ratios_by_modality(self.threshold_ratio, "TCLIFModifier.threshold_ratio", self._modalities)
        if planners and self.timesteps is not None:
            raise InputError("both MSTSModifier and TCLIFModifier.timesteps set T; remove one of them")
        if planners:
            if not planners[0].initialized:
                raise InputError("MSTSModifier must stand before TCLIFModifier in the recipe")
            self._planner = planners[0]
            self.requires_calibration_data = self._calibrates
        elif self.timesteps is not None:
            table = scales_by_modality(self.timesteps, "TCLIFModifier.timesteps", self._adapter.modalities)
            self._plan = dict.fromkeys(self._modules, table)
        dataloader = kwargs.get("calib_data")  # the one that pipelines iterate over; state.data.calib is a copy of it
        self._loader = dataloader
        if dataloader is not None:
            shared = None if self._planner is None else self._planner.rows
            text_only = self.allow_text_only or not that_need_data()
            self._rows = shared or CalibrationRows(dataloader, self._adapter, text_only)
        self._check_early()
        for name in weights_read(state.model, self._modules, dataloader):
            raise InputError(
                f"{name} cannot spike: the model multiplies by its weight without calling it, and its neurons would be "
                "bypassed. List it in `ignore` of TCLIFModifier."
            )
        self._reached, self._observed = Reached(self._modules), Observed(self._modules, self._adapter)
        self._undo_workarounds = work_around(state.model)
        return True

    def _check_early(self) -> None:
        """What would stop `on_finalize` stops the recipe here, before hours of calibration."""
        if self._calibrates and self.fits_ratios:
            get_coding(self.coding).require_rounding("threshold_ratio: auto", "give one, or let `sensitivity` choose")
        most = {} if self._planner is None else self._planner.most_timesteps()
        for name, module in self._modules.items():
            require_integer_weights(module, name)
            coding, T = self.coding, most.get(name)
            if self._plan is not None:
                T = max(scale.timesteps for scale in self._plan[name].values())
            elif self._planner is None:
                get_coding(self.coding).require_rounding(f"the activation scheme of {name}", "set `timesteps`")
                scheme = activation_scheme(name, module)
                chosen = {
                    "threshold_ratio": self.threshold_ratio != 1,
                    "threshold_statistic": self.threshold_statistic != "absmax",
                }
                refuse_fields(name, scheme, self.threshold, [field for field, given in chosen.items() if given])
                coding, T = inherited_coding(scheme, self.coding), scheme.num_bits - 1
            if T is not None:
                require_sums(name, module, coding, T)

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        self._reached.watch(self._modules, self.register_hook)
        if not self._calibrates or self._observed.begun:
            return
        assert self._rows is not None
        self._rows.follow(state.model, self._modules, state)
        histogram = partial(RatioHistogram, self.threshold_statistic)
        self._observed.begin(MagnitudeHistogram if self.threshold == "static" else histogram)
        for name, module in self._modules.items():
            self.register_hook(module, partial(self._collect, name, state), "forward_pre")

    def on_calibration_end(self, state: State, event: Event, **kwargs: Any) -> None:
        require_read(0 if self._rows is None else self._rows.samples)
        self._complete = True
        if self._hooks:
            self.remove_hooks()
            self._reached.end()
            self._observed.end()

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        assert self._adapter is not None
        while self._undo_workarounds:
            self._undo_workarounds.pop()()
        if self._rows is not None:
            self._rows.release()
        if not self._complete:  # LLM Compressor finalizes a recipe that failed before it begins the next one
            self.remove_hooks()
            return True
        if self._planner is not None:
            self._plan = self._planner.spike_plan()
        missed = self._reached.missed
        if self._plan is None:
            lend_input_scales(self._modules, set(missed), self._observed.siblings)
        specs = {name: self._spec(name, module) for name, module in self._modules.items()}
        if self._planner is not None:
            self._planner.write({name: spec.ratio for name, spec in specs.items()} if self.fits_ratios else {})
        known = set(self._observed.uncalibrated)
        self._observed.uncalibrated += [name for name in missed if name not in known]
        spiking = attach(state.model, specs, self._adapter, attention=self._attention)
        if self._plan is not None:
            for name, module in self._modules.items():
                set_activation_bits(module, min(8, specs[name].timesteps["text"] + 1))
        spiking.facts.update(self._facts(), recipe=recipe_text(), not_spiking=self._why_not_spiking(state.model))
        report_plan(specs, self._attention, self._observed.uncalibrated)
        make_saveable(state.model)
        if not modifiers_of_type(EndsRecipe):
            report_activity(state.model, self._loader)
        return True

    def _why_not_spiking(self, model: nn.Module) -> dict[str, str]:
        """Modules that could multiply by spikes and do not, and what in the recipe or in them is the reason."""
        reasons = not_spiking(model, self._modules)
        chosen = {name for name, _ in match_named_modules(model, self.targets, [])}
        for name in reasons:
            module = model.get_submodule(name)
            if type(module) is nn.Linear:
                listed = "listed in `ignore`" if name in chosen else "not among the `targets`"
                missing = why_not_integer(module)
                reasons[name] = f"{listed} of TCLIFModifier{f'; {missing}' if missing else ''}"
        return reasons

    # Calibration

    def _collect(self, name: str, state: State, module: nn.Module, args: tuple[Any, ...]) -> None:
        assert self._rows is not None
        rows: Tensor = args[0].reshape(-1, args[0].shape[-1])
        try:
            raise_if_non_finite(rows)
        except NonFiniteInputError as error:
            raise error.at(f"layer {name}, while calibrating") from None
        for modality, mask in self._rows.of_module(name, args[0], state.current_batch_idx).items():
            self._observed.update(name, modality, rows[mask.reshape(-1)])

    def _spec(self, name: str, module: nn.Linear) -> LayerSpec:
        try:
            return self._chosen_spec(name, module)
        except ValueError as error:
            raise error if name in str(error) else InputError(f"{name}: {error}") from None

    def _chosen_spec(self, name: str, module: nn.Linear) -> LayerSpec:
        plan = self._plan
        if plan is None:
            inherited = reinterpret(name, module, self.coding, self._modalities)
            if inherited.threshold == "static" and self.threshold is None:
                return inherited
            if inherited.threshold == "static" and self.threshold == "static" and not inherited.symmetric:
                return inherited
            timesteps, coding, symmetric = inherited.timesteps, inherited.coding, inherited.symmetric
        else:
            timesteps = {m: scale.timesteps for m, scale in plan[name].items()}
            coding, symmetric = self.coding, True
        if self.threshold == "static":
            scale = self._observed.choose(name, timesteps, self._static_scale)
            if scale is not None:
                return LayerSpec(timesteps, coding, "static", scale=scale)
            return LayerSpec(timesteps, coding, ratio=dict.fromkeys(timesteps, 1.0))  # nothing is known: by row
        ratio = self._ratios(name, timesteps)
        return LayerSpec(timesteps, coding, ratio=ratio, symmetric=symmetric, statistic=self.threshold_statistic)

    def _static_scale(self, histogram: Any, T: int) -> float:
        scale = histogram.scale(get_coding(self.coding), T, self.threshold_observer)
        return float(torch.tensor(scale, dtype=torch.float32))  # what the runtime divides by

    def _ratios(self, name: str, timesteps: Mapping[str, int]) -> Mapping[str, float]:
        if self._planner is not None and self._planner.chooses_ratios:
            self._observed.note(name, self._planner.seen(name))
        planned = {} if self._plan is None else {m: scale.ratio for m, scale in self._plan[name].items()}
        chosen = {m: ratio for m, ratio in planned.items() if ratio is not None}
        if len(chosen) == len(timesteps):
            return chosen
        if self.threshold_ratio == "auto":
            best = partial(RatioHistogram.best_ratio, rounding=get_coding(self.coding).rounding)
            found = self._observed.choose(name, timesteps, best)
            return (found or dict.fromkeys(timesteps, 1.0)) | chosen
        return ratios_by_modality(self.threshold_ratio, "TCLIFModifier.threshold_ratio", tuple(timesteps)) | chosen

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"uncalibrated": self._observed.uncalibrated}
        if self._rows is not None and self._rows.samples:
            facts["calibration"] = {"samples": self._rows.samples, "tokens": dict(self._rows.tokens)}
        return facts | ({} if self._planner is None else self._planner.facts())
