"""Wrappers that other libraries put around a layer's `forward`, and what the innermost of them calls.

Offloading puts its own `forward` on the instance and keeps what stood there, to call it and to put it back. Such a
wrapper only moves tensors between devices. So a layer spikes where the innermost wrapper calls the spiking `forward`,
and goes on to when wrappers come and go.
"""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

from torch import nn

from spike_compressor.errors import InputError

#: Modules of other libraries whose wrappers around `forward` only move tensors between devices, and where on the layer
#: they keep what they wrapped.
_KEPT_BY = {
    "accelerate.hooks": "_old_forward",
    "compressed_tensors.offload.module": "_original_forward_func",
}
#: compressed-tensors keeps a function, whose first argument is the layer; accelerate and the instance a bound method.
_UNBOUND = "_original_forward_func"


class SpikingInactiveError(InputError):
    """A layer of the spike plan that does not spike."""


def innermost(layer: nn.Module) -> tuple[str, Any]:
    """Where what the last of the wrappers calls is kept on the layer, and what it is.

    Returns:
        The attribute and its value; `forward` and None where the instance has nothing but its class's `forward`.
    """
    key, forward = "forward", layer.__dict__.get("forward")
    for _ in range(8):
        inner = _KEPT_BY.get(_home(forward))
        if inner is None or inner == key:
            break
        key, forward = inner, layer.__dict__.get(inner)
    return key, forward


def replace_innermost(layer: nn.Module, function: Any) -> None:
    """Let the wrappers around a layer's `forward` call another function, whose first argument is the layer.

    Args:
        layer: with or without wrappers.
        function: None for the `forward` of the layer's class.
    """
    key, _ = innermost(layer)
    if key == "forward" and function is None:
        layer.__dict__.pop("forward", None)
        return
    function = type(layer).forward if function is None else function
    layer.__dict__[key] = function if key == _UNBOUND else MethodType(function, layer)


def take_offloading(layer: nn.Module) -> Any:
    """Take compressed-tensors' wrapper off an instance that can do without: it moves inputs to the parameters' device.

    Returns:
        The wrapper, for `give_offloading`; None where there was none.
    """
    forward = layer.__dict__.get("forward")
    return layer.__dict__.pop("forward") if _KEPT_BY.get(_home(forward)) == _UNBOUND else None


def give_offloading(layer: nn.Module, wrapper: Any) -> None:
    """Put a wrapper that was taken off back, unless offloading has ended or begun anew since."""
    if _KEPT_BY.get(_home(wrapper)) == _UNBOUND and _UNBOUND in layer.__dict__ and "forward" not in layer.__dict__:
        layer.__dict__["forward"] = wrapper


def function_of(forward: Any) -> Any:
    """The plain function of a bound method or a partial."""
    if isinstance(forward, functools.partial):
        forward = forward.func
    return getattr(forward, "__func__", forward)


def origin(forward: Any) -> str:
    """What a `forward` is, for messages."""
    code = getattr(function_of(forward), "__code__", None)
    return f"{code.co_name} of {code.co_filename}" if code is not None else f"a {type(forward).__name__}"


def _home(forward: Any) -> str:
    # `functools.wraps` lends a wrapper its target's name and module, but not the code
    return str(getattr(function_of(forward), "__globals__", {}).get("__name__"))
