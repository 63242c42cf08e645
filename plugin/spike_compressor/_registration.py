"""Registration of the modifiers with LLM Compressor, without importing it before the user does.

LLM Compressor has no entry points for modifiers: `ModifierFactory.register` must have been called before a recipe is
parsed. The import system tells us when `llmcompressor` has been imported; that is the moment to register.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from spike_compressor.supported import require_supported

_HOST = "llmcompressor"


def _register() -> None:
    require_supported("llmcompressor", "compressed-tensors", "transformers", "torch")
    importlib.import_module("spike_compressor.modifiers")  # which registers them while it is imported


class _RegisteringLoader(importlib.abc.Loader):
    """Runs the host package's own loader, then registers the modifiers."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # the module must not show that it was watched: tools look at its loader
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register()


class _HostFinder(importlib.abc.MetaPathFinder):
    """Finds only the host package, once, and steps aside."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _HOST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


def register_with_llmcompressor() -> None:
    """Register the modifiers now if LLM Compressor is imported, else as soon as it is."""
    host = sys.modules.get(_HOST)
    if host is not None and hasattr(host, "oneshot"):
        _register()
    elif not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())
