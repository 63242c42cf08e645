"""Spiking checkpoints in lm-evaluation-harness: `python -m spike_compressor.integrations.lm_eval --model spike ...`.

The models `spike` and `spike-multimodal` take the arguments of the harness's `hf` and `hf-multimodal` and differ from
them in nothing but how a checkpoint is opened: with `spike_compressor.load`, so that it spikes.
"""

from __future__ import annotations

from spike_compressor.integrations.harness import Harness

HARNESS = Harness(
    "lm-evaluation-harness", "lm_eval", "0.4.13", "0.5", "pip install 'spike-compressor[eval]', or a tested lm_eval"
)


def register() -> None:
    """Make `spike` and `spike-multimodal` known to lm-evaluation-harness in this process.

    Raises:
        InputError: lm-evaluation-harness is not installed, or in a version that was not tested.
    """
    HARNESS.require()
    import spike_compressor.integrations.lm_eval.models  # noqa: F401


__all__ = ["HARNESS", "register"]
