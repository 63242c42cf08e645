"""Spiking checkpoints in lm-evaluation-harness: `python -m spike_compressor.integrations.lm_eval --model spike ...`.

The models `spike` and `spike-multimodal` take the arguments of the harness's `hf` and `hf-multimodal` and differ from
them in nothing but how a checkpoint is opened: with `spike_compressor.load`, so that it spikes.
"""

from __future__ import annotations

from spike_compressor.errors import InputError


def require_harness() -> None:
    """Raises `InputError` with the remedy if lm-evaluation-harness is not installed."""
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise InputError(
            "lm-evaluation-harness is not installed; pip install 'spike-compressor[eval]', or pip install lm_eval"
        ) from None


def register() -> None:
    """Make `spike` and `spike-multimodal` known to lm-evaluation-harness in this process.

    Raises:
        InputError: lm-evaluation-harness is not installed.
    """
    require_harness()
    import spike_compressor.integrations.lm_eval.models  # noqa: F401


__all__ = ["register", "require_harness"]
