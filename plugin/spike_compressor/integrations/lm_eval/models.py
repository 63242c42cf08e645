"""The model types that lm-evaluation-harness knows after importing this."""

from __future__ import annotations

from typing import Any

from lm_eval.api.registry import register_model
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM

from spike_compressor.errors import InputError
from spike_compressor.integrations.answering import open_spiking

#: Arguments of `_create_model` that would open something else than a directory with spikes.
_FOREIGN = ("peft", "delta", "autogptq", "gptqmodel", "gguf_file", "parallelize", "tp_plan", "subfolder")


class _Spiking:
    """Opens checkpoints with `spike_compressor.load`; a mixin of the harness's model classes.

    `spike_backend` (`fused`, `unrolled` or `rtl`) among the model arguments chooses how spikes are computed.
    """

    def _create_model(self, pretrained: str, **kwargs: Any) -> None:
        refused = [name for name in _FOREIGN if kwargs.get(name)]
        if refused:
            raise InputError(
                f"model `spike` does not take {', '.join(refused)}: a spiking checkpoint is whole as it is"
            )
        self._model = open_spiking(
            pretrained,
            "`hf`",
            device=self._device,  # type: ignore[attr-defined]
            backend=kwargs.get("spike_backend", "fused"),
            dtype=kwargs.get("dtype"),
            trust_remote_code=bool(kwargs.get("trust_remote_code")),
        )


@register_model("spike")
class SpikeLM(_Spiking, HFLM):
    """Language models, and vision-language models asked about text."""

    def _get_backend(self, config: Any, backend: str = "default", trust_remote_code: bool | None = False) -> None:
        # the harness asks the class name of a text model; those that see are causal, too
        super()._get_backend(config, "causal" if backend == "default" else backend, trust_remote_code)


@register_model("spike-multimodal")
class SpikeMultimodalLM(_Spiking, HFMultimodalLM):
    """Vision-language models asked about pictures."""
