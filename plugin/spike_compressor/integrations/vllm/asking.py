"""Linears that vLLM builds without asking for their method, such as the gate of a shared expert.

Its classes take these for floats in every checkpoint. In a model that spikes they ask like all others.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from vllm.config import get_current_vllm_config_or_none
from vllm.model_executor.layers.linear import LinearBase

_MARK = "_spike_compressor_asks"


def let_all_ask() -> None:
    """Let Linears of this process ask the checkpoint that is opened, if its plan has them; twice does no harm."""
    if getattr(LinearBase.__init__, _MARK, False):
        return
    init = LinearBase.__init__
    signature = inspect.signature(init)

    @functools.wraps(init)
    def asking(self: Any, *args: Any, **kwargs: Any) -> None:
        call = signature.bind(self, *args, **kwargs)
        if call.arguments.get("quant_config") is None:
            engine = get_current_vllm_config_or_none()
            config = None if engine is None else engine.quant_config
            spikes = getattr(config, "spikes", None)  # another method's has none
            if spikes is not None and spikes(call.arguments.get("prefix", "")):
                call.arguments["quant_config"] = config
        init(*call.args, **call.kwargs)

    asking.__dict__[_MARK] = True
    LinearBase.__init__ = asking
