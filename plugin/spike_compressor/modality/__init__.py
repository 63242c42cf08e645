"""Which modality every token row belongs to: an adapter per architecture, and the mask during a forward pass."""

from spike_compressor.modality import adapters as adapters  # each makes itself known
from spike_compressor.modality.base import (
    AdapterRecord,
    ModalityAdapter,
    TokenRows,
    available_adapters,
    register_adapter,
)
from spike_compressor.modality.choose import adapter_for
from spike_compressor.modality.configured import (
    Adapters,
    ConfiguredAdapter,
    configure_adapter,
    configured_adapters,
    use_adapters,
)
from spike_compressor.modality.frames import (
    RowSelection,
    carry,
    current_rows,
    own_operations,
    rows_of,
    rows_scope,
    tokens_here,
)
from spike_compressor.modality.names import (
    AUDIO,
    MODALITIES,
    TEXT,
    VISION,
    in_order,
    modality_code,
    modality_names,
    register_modality,
    rows_by_modality,
)
from spike_compressor.modality.scopes import Scopes, holders, main_input
from spike_compressor.modality.tracing import traced_modality
from spike_compressor.modality.tracker import ModalityTracker, modality_mask

__all__ = [
    "AUDIO",
    "MODALITIES",
    "TEXT",
    "VISION",
    "AdapterRecord",
    "Adapters",
    "ConfiguredAdapter",
    "ModalityAdapter",
    "ModalityTracker",
    "RowSelection",
    "Scopes",
    "TokenRows",
    "adapter_for",
    "available_adapters",
    "carry",
    "configure_adapter",
    "configured_adapters",
    "current_rows",
    "holders",
    "in_order",
    "main_input",
    "modality_code",
    "modality_mask",
    "modality_names",
    "own_operations",
    "register_adapter",
    "register_modality",
    "rows_by_modality",
    "rows_of",
    "rows_scope",
    "tokens_here",
    "traced_modality",
    "use_adapters",
]
