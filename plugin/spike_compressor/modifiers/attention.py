"""The `attention` field of `TCLIFModifier`: which attention products spike, and how."""

from __future__ import annotations

from typing import Any, ClassVar

from compressed_tensors.utils import match_named_modules
from pydantic import Field, field_validator
from torch import nn

from spike_compressor.coding import get_coding
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modality import ModalityAdapter
from spike_compressor.modifiers.matching import ModuleNames
from spike_compressor.runtime import AttentionSpec, LayerSpec, decoder_attention, why_no_spiking_attention
from spike_compressor.runtime.plan import checked_timesteps, timesteps_by_modality


class AttentionSettings(CheckedFields):
    """Lets the products of attention spike: queries into keys, probabilities into values.

        TCLIFModifier:
          attention: {timesteps: 5}

    Attributes:
        timesteps: T of queries, keys, values and probabilities, one or by modality; a row has that of its token.
        targets: class names, module names or `re:` patterns of attention modules. Left out: the self-attention of all
            decoder layers. Vision towers spike where they are named.
        ignore: likewise, those that do not.
        coding: a signed coding: tc_lif, tc_lif_rdoq, csd or unary.
        threshold_ratio: s = ratio * absmax(row) / (2^T - 1), 0 < ratio <= 2. Thresholds are always dynamic.
        kv_cache: the KV cache holds integer codes, a scale per row, not what the model gives it. Changes memory
            and no result.
    """

    path_in_messages: ClassVar[str] = "TCLIFModifier.attention"

    timesteps: int | dict[str, int]
    targets: str | list[str] | None = None
    ignore: str | list[str] = Field(default_factory=list)
    coding: str = "tc_lif"
    threshold_ratio: float = 1.0
    kv_cache: bool = True

    @field_validator("targets", "ignore")
    @classmethod
    def _as_list(cls, value: str | list[str] | None) -> list[str] | None:
        return [value] if isinstance(value, str) else value

    @field_validator("coding")
    @classmethod
    def _signed_coding(cls, value: str) -> str:
        if not get_coding(value).signed:
            raise ValueError("must be a signed coding, such as tc_lif or csd")
        return value

    @field_validator("threshold_ratio")
    @classmethod
    def _ratio_in_range(cls, value: float) -> float:
        if not 0 < value <= 2:
            raise ValueError("must be in (0, 2]")
        return value

    def model_post_init(self, context: Any, /) -> None:
        longest = get_coding(self.coding).max_timesteps
        self.timesteps = checked_timesteps(self.timesteps, "TCLIFModifier.attention.timesteps", longest)

    def specs(self, model: nn.Module, adapter: ModalityAdapter) -> dict[str, AttentionSpec]:
        """The attention modules that are to spike, by name, in the order of the model.

        Raises:
            InputError: nothing matches, or something matches whose products cannot spike; says why.
        """
        timesteps = timesteps_by_modality(self.timesteps, "TCLIFModifier.attention.timesteps", adapter.modalities)
        ratio = dict.fromkeys(timesteps, float(self.threshold_ratio))
        spec = AttentionSpec(LayerSpec(timesteps, self.coding, ratio=ratio), self.kv_cache)
        return dict.fromkeys(self._targeted(model, adapter), spec)

    def _targeted(self, model: nn.Module, adapter: ModalityAdapter) -> list[str]:
        targets = list(decoder_attention(model, adapter)) if self.targets is None else self.targets
        names = ModuleNames(model)
        names.require_targets(targets, "TCLIFModifier.attention.targets")
        names.require_ignored(self.ignore, targets, "TCLIFModifier.attention.ignore")
        chosen = []
        for name, module in match_named_modules(model, targets, self.ignore):
            reason = why_no_spiking_attention(module)
            if reason is not None:
                raise InputError(
                    f"TCLIFModifier.attention.targets matches {name}, whose products cannot spike: {reason}. Narrow "
                    "`targets`, or list it in `ignore`."
                )
            chosen.append(name)
        if not chosen:
            raise InputError(
                f"TCLIFModifier.attention: targets {self.targets} minus ignore {self.ignore} match no module; leave "
                "`targets` out for all decoder layers"
            )
        return chosen
