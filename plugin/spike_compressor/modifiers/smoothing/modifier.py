"""Smoothing for spikes: factors of channels, moved from layers' inputs into weights, for least error per spike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from compressed_tensors.offload import get_execution_device
from compressed_tensors.utils import match_named_modules
from llmcompressor.core import Event, State
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.utils.hooks import HooksMixin
from llmcompressor.utils.helpers import (
    DisableQuantization,
    calibration_forward_context,
)
from loguru import logger
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor, nn
from tqdm import tqdm

from spike_compressor.coding import get_statistic
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modality import ModalityAdapter, adapter_for
from spike_compressor.modifiers.calibration import Unnoticed
from spike_compressor.modifiers.distributed import same_on_all_ranks
from spike_compressor.modifiers.looking import as_it_is, moved_by, on_device, output_of, rounding_of
from spike_compressor.modifiers.smoothing.folding import Group, fold
from spike_compressor.modifiers.smoothing.rows import sampled_rows
from spike_compressor.modifiers.smoothing.scales import (
    INPUT_STRENGTHS,
    WEIGHT_STRENGTHS,
    Choice,
    Spikes,
    choose_divisors,
)
from spike_compressor.modifiers.smoothing.structure import find_groups
from spike_compressor.modifiers.unreached import some

#: Rows of an input that divisors are chosen by, at most.
_ROWS = 512
#: Tokens of the prompt that a text-only model is looked at with: every layer sees them all.
_TOKENS = 64

Strength = float | Literal["auto"]


class SpikeSmoothingModifier(CheckedFields, Modifier):
    """Divides inputs of layers by factors of channels and multiplies weights by them: less error per spike.

    Stands before the modifiers that quantize weights:

        SpikeSmoothingModifier:
          threshold_ratio: 0.4      # about that of TCLIFModifier
        GPTQModifier: ...

    Divisors are folded into whatever makes the input (a norm, `v_proj` for `o_proj`, `up_proj` for `down_proj`), so the
    model computes what it did and nothing runs online. What makes an input is found by what the model computes
    (`structure`); inputs that nothing makes in proportion, such as those behind a GELU, are left as they are and listed
    in the log. How divisors are chosen is in `scales`.

    Attributes:
        targets: class names, module names or `re:` patterns of the Linears whose inputs may be divided.
        ignore: likewise, those whose inputs are no reason to. Layers that share an input with a target follow it.
        input_strength: exponent a of an input's power in its divisor, 0 … 1; `auto`: what measures best for the layers.
        weight_strength: exponent b of the norm of its column of weights, likewise.
        bound: divisors lie within 1 / bound … bound.
        threshold_statistic: the dynamic thresholds that are expected, as of `TCLIFModifier`.
        threshold_ratio: likewise; errors are compared at as many spikes as this ratio fires without divisors.
        samples: prompts of the calibration data that are run, spread evenly over it.
    """

    requires_calibration_data: bool = True

    targets: str | list[str] = Field(default_factory=lambda: ["Linear"])
    ignore: str | list[str] = Field(default_factory=lambda: ["lm_head"])
    input_strength: Strength = "auto"
    weight_strength: Strength = "auto"
    bound: float = Field(default=8.0, gt=1, le=1024)
    threshold_statistic: str = "rms"
    threshold_ratio: float = Field(default=0.4, gt=0, le=2)
    samples: int = Field(default=32, ge=1)

    _modules: dict[str, nn.Linear] = PrivateAttr(default_factory=dict)
    _loader: Any = PrivateAttr(default=None)
    _done: bool = PrivateAttr(default=False)

    @field_validator("targets", "ignore")
    @classmethod
    def _as_list(cls, value: str | list[str]) -> list[str]:
        return [value] if isinstance(value, str) else value

    @field_validator("input_strength", "weight_strength")
    @classmethod
    def _strength_in_range(cls, value: Strength) -> Strength:
        if isinstance(value, (int, float)) and not 0 <= value <= 1:
            raise ValueError("must be in [0, 1], or `auto`")
        return value

    @field_validator("threshold_statistic")
    @classmethod
    def _known_statistic(cls, value: str) -> str:
        get_statistic(value)
        return value

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if self.input_strength == self.weight_strength == 0:
            raise InputError(
                "SpikeSmoothingModifier: input_strength and weight_strength of 0 divide nothing; leave the modifier out"
            )

    # Lifecycle

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        matches = match_named_modules(state.model, self.targets, self.ignore)
        self._modules = {name: module for name, module in matches if isinstance(module, nn.Linear)}
        if not self._modules:
            raise InputError(
                f"SpikeSmoothingModifier: targets {self.targets} minus ignore {self.ignore} match no Linear"
            )
        self._loader = kwargs.get("calib_data")
        # it runs the prompts that it needs by itself, before any pipeline's pass, and needs none of its own
        self.requires_calibration_data = False
        return True

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        if self._done or self._loader is None:
            return
        self._done = True
        model: Any = state.model
        adapter, device = adapter_for(model), get_execution_device(model)
        run = partial(output_of, model, on_device(_probe_batch(self._loader, adapter), device))
        with as_it_is(model):
            groups, left = find_groups(model, run, self._modules)
            self._require_some(groups, left)
            before = run()
        leaders = {group.producer: next(name for name in group.readers if name in self._modules) for group in groups}
        with HooksMixin.disable_hooks(), calibration_forward_context(model), DisableQuantization(model):
            progress = partial(tqdm, desc="Sampling rows")
            rows = sampled_rows(model, self._loader, adapter, leaders.values(), self.samples, device, progress)
        chosen: list[tuple[Group, Choice]] = []
        for group in tqdm(groups, desc="Smoothing"):
            x = rows.pop(leaders[group.producer], None)
            if x is None:
                left.update(dict.fromkeys(group.readers, "no row of the calibration data reached it"))
                continue
            chosen.append((group, self._choose(model, group, leaders[group.producer], x)))
            if chosen[-1][1].divides:
                fold(model, group, chosen[-1][1].divisors)
        with as_it_is(model):
            self._require_unchanged(model, chosen, before, run())
        _report(chosen, {name: reason for name, reason in left.items() if name in self._modules})

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        self._loader = None
        self._modules = {}
        return True

    def _choose(self, model: nn.Module, group: Group, leader: str, x: Tensor) -> Choice:
        """The divisors of one group, by the rows x [R, K] that its first target sees."""
        follows = group.readers[leader]
        modules: list[Any] = [model.get_submodule(name) for name in group.readers if _alike(group, name, leader)]
        weights = [
            (module.weight.detach(), getattr(getattr(module, "quantization_scheme", None), "weights", None))
            for module in modules
        ]
        device = weights[0][0].device
        x = x[torch.linspace(0, x.shape[0] - 1, min(_ROWS, x.shape[0])).round().long()].to(device)
        choice = choose_divisors(
            x,
            weights,
            follows.to(device),
            group.channels,
            Spikes(self.threshold_statistic, self.threshold_ratio),
            self.bound,
            INPUT_STRENGTHS if self.input_strength == "auto" else (float(self.input_strength),),
            WEIGHT_STRENGTHS if self.weight_strength == "auto" else (float(self.weight_strength),),
        )
        # ranks that calibrate together see different rows
        return Choice(*same_on_all_ranks((choice.divisors.cpu(), choice.strengths, choice.error)))

    def _require_some(self, groups: list[Group], left: Mapping[str, str]) -> None:
        """
        Raises:
            InputError: there is nothing to smooth.
        """
        if not groups:
            name, reason = next(iter(left.items()))
            raise InputError(
                f"SpikeSmoothingModifier can divide no input of the {len(left)} layers that it targets ({name}: "
                f"{reason}); leave it out"
            )

    def _require_unchanged(
        self, model: nn.Module, chosen: list[tuple[Group, Choice]], before: Tensor, after: Tensor
    ) -> None:
        """
        Raises:
            InputError: the model computes something else than before, beyond what rounding of weights explains. All
                that was folded has been taken back.
        """
        moved = moved_by(before, after)
        if moved <= rounding_of(before):
            return
        for group, choice in chosen:
            if choice.divides:
                fold(model, group, 1 / choice.divisors)
        raise InputError(
            f"SpikeSmoothingModifier moves the model's output by {moved:.1%} of its largest value, and was taken back: "
            f" lower `bound` (now {self.bound:g}), or leave the modifier out"
        )


def _alike(group: Group, name: str, leader: str) -> bool:
    return torch.equal(group.readers[name], group.readers[leader])


def _probe_batch(loader: Any, adapter: ModalityAdapter) -> Mapping[str, Any]:
    """The batch that structure is looked at with: one that reaches towers, too; of text some tokens are enough."""
    first = None
    for batch in Unnoticed(loader):
        first = batch if first is None else first
        if not adapter.multimodal or any(batch.get(name) is not None for name in adapter.media_fields):
            first = batch
            break
    if first is None:
        raise InputError("SpikeSmoothingModifier: the calibration data are empty")
    if set(first) <= {"input_ids", "attention_mask", "labels"}:
        ids = first["input_ids"][:1]
        mask = first.get("attention_mask")
        if mask is not None and bool(mask[:1].any()):
            ids = ids[mask[:1].bool()].unsqueeze(0)
        ids = ids[:, :_TOKENS]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return dict(first)


def _report(chosen: list[tuple[Group, Choice]], left: Mapping[str, str]) -> None:
    divided = [choice for _, choice in chosen if choice.divides]
    mean = torch.tensor([choice.error for choice in divided]).log().mean().exp().item() if divided else 1.0
    logger.info(
        f"{len(divided)} of {len(chosen)} inputs are divided by channel; at as many spikes the error of their layers "
        f"is {mean:.3f} of what it was"
    )
    for group, choice in chosen:
        a, b = choice.strengths
        logger.debug(f"{group.producer}: input strength {a:g}, weight strength {b:g}, error {choice.error:.3f}")
    reasons = defaultdict(list)
    for name, reason in left.items():
        reasons[reason].append(name)
    for reason, names in reasons.items():
        logger.info(f"{len(names)} layers keep their input as it is ({reason}): {some(names)}")
