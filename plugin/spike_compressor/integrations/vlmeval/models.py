"""The class by which VLMEvalKit knows spiking checkpoints."""

from __future__ import annotations

from vlmeval.vlm.base import BaseModel

from spike_compressor.checkpoint import open_processor
from spike_compressor.integrations.answering import answers, open_spiking
from spike_compressor.pictures import open_picture


class Spike(BaseModel):
    """A vision-language model that spikes, by its chat template, greedily; prompts are the benchmark's own.

    Args:
        model_path: the checkpoint's directory.
        max_new_tokens: the longest answer.
        device: as torch names it.
        dtype: None or `auto` for the checkpoint's.
        backend: `fused`, `unrolled` or `rtl`.
        trust_remote_code: run code that the checkpoint brings.
    """

    INSTALL_REQ = False
    INTERLEAVE = True
    allowed_types = ("text", "image")

    def __init__(
        self,
        model_path: str,
        max_new_tokens: int = 512,
        device: str = "cpu",
        dtype: str | None = None,
        backend: str = "fused",
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self.model = open_spiking(
            model_path,
            "of the same architecture",
            device=device,
            backend=backend,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        self.processor = open_processor(model_path, trust_remote_code)
        self.max_new_tokens = max_new_tokens

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """The answer to texts and pictures in their order."""
        content = [
            {"type": "image", "image": open_picture(part["value"], f"VLMEvalKit's picture {part['value']}")}
            if part["type"] == "image"
            else {"type": "text", "text": part["value"]}
            for part in message
        ]
        (found,) = answers(self.model, self.processor, [[{"role": "user", "content": content}]], self.max_new_tokens)
        return found
