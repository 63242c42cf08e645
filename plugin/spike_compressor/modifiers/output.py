"""`oneshot(output_dir=…)`: the directory is looked at before the recipe runs, and written as a whole.

LLM Compressor saves the model there and then lets the processor write its files into the finished directory, where a
run that is killed leaves some of them, or half of one. A spiking model takes the processor along when it is saved.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import os
from contextvars import ContextVar
from typing import Any

from spike_compressor.checkpoint import CONFIG_NAME
from spike_compressor.checkpoint.saving import SaveSpikeReady
from spike_compressor.files import require_replaceable

_MARK = "_writes_spiking_models_whole"
#: `output_dir` of the `oneshot` under way.
_DIRECTORY: ContextVar[str | None] = ContextVar("output_dir", default=None)


def require_output() -> None:
    """Check that the `oneshot` under way can write its result where it is to, if anywhere.

    Raises:
        InputError: `output_dir` is a file, holds something else than a spike-ready checkpoint, or cannot be written.
    """
    directory = _DIRECTORY.get()
    if directory is not None:
        require_replaceable(directory, CONFIG_NAME)


def install_output() -> None:
    """Let `oneshot` write spiking models and their processors in one step; other models as it does without."""
    entrypoint: Any = importlib.import_module("llmcompressor.entrypoints.oneshot")
    apply, post_process = entrypoint.Oneshot.apply_recipe_modifiers, entrypoint.post_process
    if hasattr(post_process, _MARK):
        return

    @functools.wraps(apply)
    def applied(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _DIRECTORY.set(_directory(self.output_dir, self.recipe_args))
        try:
            return apply(self, *args, **kwargs)
        finally:
            _DIRECTORY.reset(token)

    @functools.wraps(post_process)
    def written(model_args: Any = None, recipe_args: Any = None, output_dir: Any = None) -> Any:
        saver = getattr(getattr(model_args, "model", None), "save_pretrained", None)
        together: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(saver, SaveSpikeReady) and saver.spikes:
            together = saver.with_processor(model_args.processor)
            model_args = copy.copy(model_args)
            model_args.processor = None  # which would be written once more
        with together:
            return post_process(model_args, recipe_args, output_dir)

    setattr(written, _MARK, True)
    entrypoint.Oneshot.apply_recipe_modifiers = applied
    entrypoint.post_process = written


def _directory(output_dir: str | None, recipe_args: Any) -> str | None:
    stage = getattr(recipe_args, "stage", None)
    return output_dir if output_dir is None or stage is None else os.path.join(output_dir, stage)
