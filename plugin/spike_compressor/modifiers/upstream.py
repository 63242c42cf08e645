"""Narrow cures for faults of LLM Compressor that stop spiking recipes, each with the test that tells when it is healed.

GPTQ over a vision tower: the sequential pipeline hands `on_sequential_epoch_end` only the modules that its tracer saw
as calls. A vision tower is called inside a wrapped function, so its modules are missing from the list although their
Hessians were collected, and `compress_modules` then asks their weight observers for statistics that nobody gathered
("No statistics available"). `tests/modifiers/test_upstream.py` fails when LLM Compressor no longer needs this.
"""

from __future__ import annotations

from typing import Any

from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization.calibration import observe

from spike_compressor.modifiers.recipe import modifiers_of_type


def observe_all_hessian_modules() -> None:
    """Let every GPTQModifier of the running recipe observe the weights of all modules that it is about to compress."""
    for modifier in modifiers_of_type(GPTQModifier):
        _cure(modifier)


def _cure(modifier: Any) -> None:
    compress_modules = modifier.compress_modules

    def observe_and_compress() -> None:
        # observers that have seen their weight ignore a second look
        observe(list(modifier._num_samples), base_name="weight")
        compress_modules()

    # on the instance only: recipes without spiking modifiers run upstream's own code
    object.__setattr__(modifier, "compress_modules", observe_and_compress)
