"""Which modality every token row belongs to: adapters an architecture, and the mask during a forward pass."""

from spike_compressor.modality.adapters import LlavaAdapter, Qwen2VLAdapter
from spike_compressor.modality.base import (
    MODALITIES,
    TEXT,
    VISION,
    ModalityAdapter,
    TokenRows,
    adapter_for,
    available_adapters,
    register_adapter,
)
from spike_compressor.modality.tracker import ModalityTracker, current_rows, modality_mask, rows_scope

__all__ = [
    "MODALITIES",
    "TEXT",
    "VISION",
    "LlavaAdapter",
    "ModalityAdapter",
    "ModalityTracker",
    "Qwen2VLAdapter",
    "TokenRows",
    "adapter_for",
    "available_adapters",
    "current_rows",
    "modality_mask",
    "register_adapter",
    "rows_scope",
]
