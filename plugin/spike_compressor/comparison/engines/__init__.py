"""Engines: where the cells of a comparison are computed."""

from spike_compressor.comparison.engines.base import (
    ENGINES,
    Engine,
    Todo,
    available_engines,
    make_engine,
    register_engine,
)
from spike_compressor.registry import import_folder

import_folder(__name__, __path__)

__all__ = ["ENGINES", "Engine", "Todo", "available_engines", "make_engine", "register_engine"]
