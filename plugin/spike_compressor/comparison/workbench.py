"""One model, many spike settings: weights are quantized once for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from spike_compressor.checkpoint import SCHEMA_VERSION, load, save
from spike_compressor.claims import claimed
from spike_compressor.comparison.dependencies import adapter_settings, spiking_code, weights_code
from spike_compressor.comparison.recipe import SplitRecipe, recipe_text
from spike_compressor.fingerprint import digest, digest_of_batches, digest_of_model, versions
from spike_compressor.fingerprint_code import digest_of_code
from spike_compressor.runtime import detach


@dataclass(frozen=True)
class Workbench:
    """A model, its calibration data, and a folder for what has been quantized.

    Attributes:
        directory: of the float model.
        open: makes a fresh float model from it.
        processor: that goes with it; stored with checkpoints.
        calibration: makes `oneshot`'s `dataset=`, the same at every call.
        folder: for checkpoints with quantized weights, named by content hash.
        seed: of torch, before each recipe. Random Hadamard rotations do not follow it: they are the same every time.
        trust_remote_code: run code that the model brings.
    """

    directory: Path
    open: Callable[[], Any]
    processor: Any
    calibration: Callable[[], Any]
    folder: Path
    seed: int = 0
    trust_remote_code: bool = False

    @cached_property
    def _source(self) -> dict[str, str]:
        return {"model": digest_of_model(self.directory), "calibration": digest_of_batches(self.calibration())}

    def parts(self, recipe: SplitRecipe | None = None) -> dict[str, Any]:
        """Everything that the spiking model of a recipe depends on, or the float model without one; plain values."""
        if recipe is None:
            return {"model": self._source["model"], "versions": versions()}
        return {
            **self.weights_parts(recipe),
            **adapter_settings(self.directory),
            "spikes": [[name, dict(fields)] for name, fields in recipe.spikes],
            "code": digest_of_code(type(self), *spiking_code(recipe, self.directory)),
        }

    def weights_parts(self, recipe: SplitRecipe) -> dict[str, Any]:
        """What a recipe's quantized weights depend on, and how checkpoints are laid out; plain values."""
        kept = recipe if recipe.reinterprets else recipe.exact()
        steps = [[name, dict(fields)] for name, fields in (*kept.weights, *kept.spikes)]
        # what is quantized does not depend on the code of spikes, unless they are quantized with it
        code = [*weights_code(kept), *(spiking_code(kept, self.directory) if recipe.reinterprets else [])]
        return {
            **self._source,
            **(adapter_settings(self.directory) if recipe.reinterprets else {}),
            **({"weights_code": digest_of_code(*code)} if code else {}),
            "versions": versions(),
            "checkpoint": SCHEMA_VERSION,
            "seed": self.seed,
            "weights": steps,
        }

    def quantized(self, recipe: SplitRecipe) -> Path:
        """The checkpoint with the recipe's quantized weights, made on the first call; it spikes with T = 7.

        A killed run leaves none; another process that is making them is waited for. Where the recipe reinterprets an
        activation scheme, it spikes as the recipe says.
        """
        path = self.folder / f"weights-{digest(self.weights_parts(recipe))[:32]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        # recipes that differ in their spikes alone have these weights in common, and may run side by side
        with claimed(path.with_name(f"{path.name}.making"), patience_s=math.inf):
            if not (path / "spike_config.json").is_file():
                model = self.open()
                torch.manual_seed(self.seed)
                self._oneshot(model, (recipe if recipe.reinterprets else recipe.exact()).text())
                save(model, path, self.processor)
        return path

    def exact(self, recipe: SplitRecipe) -> Any:
        """The model with the recipe's quantized weights, as `quantized` keeps it."""
        model = load(self.quantized(recipe), trust_remote_code=self.trust_remote_code)
        # where it comes from: `oneshot` looks there whether weights are quantized already, and warns if they are. But
        # what follows on these are spiking modifiers alone, which quantize no weights
        model.config.name_or_path = str(self.directory)
        return model

    def spiking(self, recipe: SplitRecipe) -> Any:
        """A model that spikes as the recipe says, on weights that were quantized before or are now.

        What the spiking modifiers measure they measure on the model with quantized weights, in a pass of their own. A
        recipe whose weights learn from spikes is run whole, on the float model.
        """
        if recipe.learns:
            model = self.open()
            torch.manual_seed(self.seed)
            self._oneshot(model, recipe.text())
            return model.eval()
        model = self.exact(recipe)
        if not recipe.reinterprets:
            detach(model)
            torch.manual_seed(self.seed)
            self._oneshot(model, recipe_text(recipe.spikes))
        return model.eval()

    def _oneshot(self, model: Any, text: str) -> None:
        from llmcompressor import oneshot

        oneshot(
            model=model,
            processor=self.processor,
            dataset=self.calibration(),
            recipe=text,
            trust_remote_code_model=self.trust_remote_code,
        )
