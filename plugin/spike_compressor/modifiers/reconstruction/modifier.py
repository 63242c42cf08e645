"""Reconstruction: a spiking model learns from the model in floats what rounding and spikes took from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from compressed_tensors.distributed import is_distributed
from compressed_tensors.offload import get_execution_device
from llmcompressor.core import State
from llmcompressor.modifiers import Modifier
from llmcompressor.utils.helpers import disable_cache, disable_hf_kernels, eval_context
from loguru import logger
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from tqdm import tqdm

from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modality import ModalityAdapter, adapter_for
from spike_compressor.modifiers.activity import report_activity
from spike_compressor.modifiers.calibration import CalibrationRows, Unnoticed
from spike_compressor.modifiers.looking import as_it_is, moved_by, on_device, output_of, rounding_of
from spike_compressor.modifiers.prompts import Prompts
from spike_compressor.modifiers.recipe import EndsRecipe, ObeysSpikePlan, modifiers_of_type
from spike_compressor.modifiers.reconstruction.blocks import Block, in_floats, keep_floats
from spike_compressor.modifiers.reconstruction.fitting import Rates
from spike_compressor.modifiers.reconstruction.learning import Learns
from spike_compressor.modifiers.reconstruction.rebuilding import Rebuilder, Settings, summary
from spike_compressor.runtime import is_spiking

Learnable = Literal["weights", "norms", "biases"]


class SpikeReconstructionModifier(CheckedFields, Modifier, EndsRecipe):
    """Lets a spiking model learn, on calibration data, what it gave in floats: rounding of weights, norms, biases.

    Stands last in the recipe, after the layers spike:

        TCLIFModifier: ...
        SpikeReconstructionModifier:
          block_steps: 60

    Integers stay within one step of those that the quantizer found; scales, timesteps and thresholds stay. Blocks are
    decoder layers, layers of a vision tower, and what lies between, such as a projector.

    Attributes:
        learns: `weights` (which way integers are rounded), `norms` (their gains and biases), `biases` (of layers that
            spike).
        block_steps: steps of Adam for each block, towards the block's output in floats; 0 for none.
        model_steps: steps for all blocks together, towards the model's logits in floats; 0 for none.
        weight_rate: how far a block's step moves a weight at most, in steps of its integers; a fifth for the model's.
        float_rate: how far it moves a gain or bias, likewise.
        batch_size: prompts in a step, at least; batches of the calibration data are joined, not cut.
        samples: prompts of the calibration data that are used, spread evenly over it; all if left out.
        seed: of the order in which they are.
    """

    requires_calibration_data: bool = True

    learns: list[Learnable] = Field(default_factory=lambda: list(get_args(Learnable)))
    block_steps: int = Field(default=60, ge=0)
    model_steps: int = Field(default=0, ge=0)
    weight_rate: float = Field(default=0.01, gt=0, le=1)
    float_rate: float = Field(default=0.001, gt=0, le=1)
    batch_size: int = Field(default=8, ge=1)
    samples: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    _adapter: ModalityAdapter | None = PrivateAttr(default=None)
    _blocks: list[Block] = PrivateAttr(default_factory=list)
    _loader: Any = PrivateAttr(default=None)
    _before: Tensor | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if not self.learns or not (self.block_steps or self.model_steps):
            raise InputError(
                "SpikeReconstructionModifier learns nothing with empty `learns`, or with block_steps and model_steps "
                "of 0; leave it out"
            )

    # Lifecycle

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        model: Any = state.model
        if is_distributed():
            raise InputError(
                "SpikeReconstructionModifier runs in one process, and this calibration runs on several ranks; run it "
                "on one, or leave the modifier out"
            )
        (neurons,) = modifiers_of_type(ObeysSpikePlan)
        layers = neurons.targeted(model)
        for name, layer in layers.items():
            if not layer.weight.is_floating_point():
                raise InputError(
                    f"SpikeReconstructionModifier needs the weights in floats that integers were rounded from, and "
                    f"those of {name} are integers already; start from the float model, or leave it out"
                )
        self._adapter = adapter_for(model)
        self._loader = kwargs.get("calib_data")
        self._blocks = keep_floats(model, layers)
        if self._loader is not None:
            with as_it_is(model):
                self._before = self._output(model)
        # what it runs, it runs by itself when the recipe is finalized
        self.requires_calibration_data = False
        return True

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        blocks, before, self._blocks, self._before = self._blocks, self._before, [], None
        model: Any = state.model
        if not is_spiking(model) or before is None:  # a recipe that failed is finalized before the next one begins
            return True
        assert self._adapter is not None
        _require_at_hand(model)
        with _evaluating(model):
            self._require_unchanged(model, blocks, before)
            rebuilder = Rebuilder(model, blocks, self._batches(model), self._adapter, self._settings(), tqdm)
            if self.block_steps:
                logger.info(summary(rebuilder.rebuild_blocks()))
            if self.model_steps:
                first, last = rebuilder.rebuild_model()
                logger.info(
                    f"the next token's divergence from the model in floats, on data that it did not learn from: "
                    f"{first:.4f} before, {last:.4f} after"
                )
        report_activity(model, self._loader)
        self._loader = None
        return True

    def _settings(self) -> Settings:
        learns = Learns(**{name: name in self.learns for name in get_args(Learnable)})
        return Settings(
            learns,
            self.block_steps,
            self.model_steps,
            Rates(self.weight_rate, self.float_rate),
            self.batch_size,
            self.seed,
        )

    # The model and its data

    def _batches(self, model: nn.Module) -> list[dict[str, Any]]:
        """The batches that are learned from, on the model's device.

        Raises:
            InputError: there are none.
        """
        assert self._adapter is not None
        device = get_execution_device(model)
        rows = CalibrationRows(Unnoticed(self._loader), self._adapter, allow_text_only=True)
        prompts, found = Prompts(rows.loader, self.samples), []
        for index, batch in enumerate(rows.loader):
            if prompts.takes(rows.batches[index]):
                found.append({k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()})
        if not found:
            raise InputError("SpikeReconstructionModifier: the calibration data are empty")
        return found

    def _output(self, model: Any) -> Tensor:
        """What the model gives for the first batch."""
        batch = next(iter(Unnoticed(self._loader)), None)
        if batch is None:
            raise InputError("SpikeReconstructionModifier: the calibration data are empty")
        with torch.no_grad():
            return output_of(model, on_device(batch, get_execution_device(model)))

    def _require_unchanged(self, model: nn.Module, blocks: list[Block], before: Tensor) -> None:
        """
        Raises:
            InputError: another modifier of the recipe has changed what flows between blocks.
        """
        with in_floats(model, blocks):
            after = self._output(model)
        moved = moved_by(before, after)
        if not moved <= rounding_of(before):
            raise InputError(
                f"SpikeReconstructionModifier: another modifier of the recipe has changed what flows between the "
                f"model's blocks (in floats its output moves by {moved:.1%}), as SpinQuantModifier's R1 does, so they "
                "cannot be held against what they were; leave one of the two out"
            )


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    with disable_cache(model), eval_context(model), disable_hf_kernels(model):
        yield


def _require_at_hand(model: nn.Module) -> None:
    """
    Raises:
        InputError: parameters are kept on another device than the model computes on.
    """
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None and (parameter.is_meta or getattr(module, key) is not parameter):
                raise InputError(
                    f"SpikeReconstructionModifier: the parameters of {name} are offloaded, and what learns has to be "
                    "on the device that computes; run oneshot on one device, or leave the modifier out"
                )
