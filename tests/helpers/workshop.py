"""Tiny models in directories, and recipes run on them, each once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch

from helpers import tiny_models
from helpers.tiny_architectures import ARCHITECTURES, Architecture

W4 = "{targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}"
W4_GROUP = "{targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 32}}"
#: SigLIP's pooling head is never called as Linears; one pattern, since other towers have none
IGNORE = '["re:lm_head$|.*vision_tower.*head.*"]'


def recipe(
    quant: str, spikes: str = "", msts: str | None = "{allocation: fixed, timesteps: {vision: 3, text: 4}}"
) -> str:
    """A recipe: YAML of the modifiers that quantize, then TCLIFModifier with further fields `spikes`."""
    lines = ["spike_stage:", "  quant_modifiers:"]
    lines += ["    " + line for line in quant.strip().splitlines()]
    lines.append("  spike_modifiers:")
    if msts is not None:
        lines.append(f"    MSTSModifier: {msts}")
    fields = ", ".join(filter(None, ["targets: [Linear]", f"ignore: {IGNORE}", spikes]))
    lines.append(f"    TCLIFModifier: {{{fields}}}")
    return "\n".join(lines) + "\n"


RTN = f"QuantizationModifier: {{ignore: {IGNORE}, config_groups: {{w4: {W4}}}}}"
GPTQ = f"GPTQModifier: {{ignore: {IGNORE}, config_groups: {{w4: {W4}}}}}"
GPTQ_GROUP = f"GPTQModifier: {{ignore: {IGNORE}, config_groups: {{w4: {W4_GROUP}}}}}"


class Processor:
    """Stands for a processor where none is needed: batches come ready made."""

    def save_pretrained(self, path: str, **kwargs: Any) -> None:
        Path(path, "processor_was_here.json").write_text("{}", encoding="utf-8")


class Workshop:
    """Tiny models on disk, recipes run on them, and the checkpoints that came out."""

    MAKERS: ClassVar[dict[str, Callable[[], Any]]] = {
        "llava": tiny_models.llava,
        "siglip": lambda: tiny_models.llava("siglip"),
        "llama": tiny_models.llama,
        "qwen2_vl": tiny_models.qwen2_vl,
        **{f"every {name}": architecture.model for name, architecture in ARCHITECTURES.items()},
    }

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: dict[tuple[str, str], tuple[Any, Path]] = {}

    def source(self, kind: str) -> Path:
        """Directory of the float model."""
        path = self.root / kind
        if not path.exists():
            self.MAKERS[kind]().save_pretrained(path)
        return path

    def model(self, kind: str, dtype: torch.dtype = torch.float32) -> Any:
        """A fresh float model, loaded from its directory."""
        path = self.source(kind)
        architecture = self.architecture(kind)
        model_class = tiny_models.CLASSES[kind] if architecture is None else architecture.model_class
        return model_class.from_pretrained(path, dtype=dtype).eval()

    @staticmethod
    def architecture(kind: str) -> Architecture | None:
        """The architecture of the kind "every NAME", of which there is one for each adapter."""
        return ARCHITECTURES.get(kind.removeprefix("every ")) if kind.startswith("every ") else None

    def data(self, kind: str, **options: Any) -> Any:
        """Calibration data for a kind of model."""
        architecture = self.architecture(kind)
        if architecture is not None:
            return architecture.loader(**options)
        if kind == "qwen2_vl":
            return tiny_models.qwen_loader()
        return tiny_models.loader(images=0 if kind == "llama" else 1, **options)

    def batch(self, kind: str, side: str = "left") -> dict[str, torch.Tensor]:
        """A padded batch that calibration has not seen."""
        architecture = self.architecture(kind)
        if architecture is not None:
            return architecture.cases["video" if "video" in architecture.cases else side].batch()
        if kind == "qwen2_vl":
            return tiny_models.qwen_batch(((4, 6), (4, 4)), side)
        rows = [tiny_models.sample(20 + n, 4 + 2 * n, 0 if kind == "llama" else 1) for n in range(3)]
        return tiny_models.collate(rows, side)

    def oneshot(self, kind: str, text: Any, model: Any = None, **options: Any) -> Any:
        """Run a recipe on a fresh model with LLM Compressor's plain `oneshot`."""
        from llmcompressor import oneshot

        model = self.model(kind) if model is None else model
        options.setdefault("dataset", self.data(kind))
        oneshot(model=model, processor=Processor(), recipe=text, **options)
        return model

    def made(self, kind: str, text: str) -> tuple[Any, Path]:
        """The spiking model in memory and its checkpoint, of a recipe; run once a session. Not to be changed."""
        if (kind, text) not in self._made:
            path = self.root / f"made-{len(self._made)}"
            options = {} if self.architecture(kind) is None else {"pipeline": "sequential"}
            self._made[kind, text] = self.oneshot(kind, text, output_dir=str(path), **options), path
        return self._made[kind, text]
