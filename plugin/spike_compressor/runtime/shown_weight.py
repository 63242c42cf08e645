"""What a spiking layer shows as its `weight`: shape, dtype and device, and no number that could be multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.runtime.integers import IntegerWeight

#: Properties of a tensor that say what it is, not what it holds.
_PROPERTIES = (
    "dtype device shape ndim requires_grad grad grad_fn is_leaf layout nbytes itemsize _version is_cuda is_cpu is_meta "
    "is_xpu is_mps is_sparse is_sparse_csr is_quantized is_nested is_mkldnn names retains_grad name _backward_hooks"
)
#: Methods that do.
_METHODS = (
    "size dim ndimension numel nelement element_size stride storage_offset is_contiguous is_floating_point is_complex "
    "is_signed get_device __len__ __hash__ __class__ requires_grad_"
)
#: Methods that give the same weight, maybe in another dtype or on another device.
_CASTS = "to float half bfloat16 double cpu cuda detach clone contiguous"


def _slots(names: Iterable[str]) -> frozenset[Any]:
    return frozenset(getattr(torch.Tensor, name).__get__ for name in names if hasattr(torch.Tensor, name))


_PLAIN = _slots(_PROPERTIES.split()) | frozenset(getattr(torch.Tensor, name) for name in _METHODS.split())
_GET_DATA, _SET_DATA = (getattr(vars(torch._C.TensorBase)["data"], slot) for slot in ("__get__", "__set__"))
_SAME = {getattr(torch.Tensor, name): name for name in _CASTS.split()}


def describes_weight(func: Any) -> bool:
    """Whether a function of torch tells what a weight is (dtype, shape, device), not what it holds."""
    return func in _PLAIN or func in (_GET_DATA, Tensor.data_ptr)


class ShownWeight(Tensor):
    """The weight of a spiking layer, seen from outside.

    The layer computes with integer codes, which spikes select. Code around it may ask what dtype or device its input is
    to have, and is told those of the model, whatever the codes are stored as. Whoever multiplies by it bypasses the
    spikes, and whoever writes into it would change nothing: both are errors that name the layer.

    It has no storage. `dequantize()` gives the numbers, float [N, K]; so do copying it into a tensor and pickling.
    """

    _layer: str
    _integer: IntegerWeight

    @staticmethod
    def __new__(cls, layer: str, integer: IntegerWeight, dtype: torch.dtype, device: torch.device) -> ShownWeight:
        shown: ShownWeight = Tensor._make_wrapper_subclass(
            cls, integer.shape, dtype=dtype, device=device, requires_grad=False
        )
        shown._layer, shown._integer = layer, integer
        shown._is_param = True  # for isinstance(weight, nn.Parameter)
        return shown

    def dequantize(self) -> Tensor:
        """The weights, codes times scales, [N, K] in the dtype that is shown."""
        return self._integer.floats().to(self.device, self.dtype)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PLAIN:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        shown = next((arg for arg in args if isinstance(arg, ShownWeight)), None)
        if shown is None:
            shown = next(value for value in _flat((args, kwargs)) if isinstance(value, ShownWeight))
        if func == _GET_DATA:
            return shown._as(shown.dtype, shown.device)
        if func in _SAME or func is Tensor.type:
            # what the same call makes of a tensor without elements tells dtype and device
            with torch._C.DisableTorchFunctionSubclass():
                like = func(torch.empty(0, dtype=shown.dtype, device=shown.device), *args[1:], **kwargs)
            return shown._as(like.dtype, like.device) if isinstance(like, Tensor) else like
        if func in (torch.equal, Tensor.equal):
            return shown._integer.equals(args[1] if args[0] is shown else args[0])
        if func is Tensor.copy_ and args[0] is not shown:
            return args[0].copy_(shown.dequantize(), *args[2:], **kwargs)
        if func is Tensor.data_ptr:
            return id(shown)  # tells this one from others, as an address does
        written = args and args[0] is shown and (func == _SET_DATA or _writes(func))
        shown._refuse_write() if written else shown._refuse(func)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # what came past `__torch_function__`
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        next(value for value in _flat((args, kwargs or {})) if isinstance(value, ShownWeight))._refuse(func)

    def __deepcopy__(self, memo: dict[int, Any]) -> ShownWeight:
        return self._as(self.dtype, self.device)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.dequantize().__reduce_ex__(protocol)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"ShownWeight({self._layer}, {list(self.shape)}, {self.dtype}, {self.device}, {self._integer.bits} bits)"

    def _as(self, dtype: torch.dtype, device: torch.device) -> ShownWeight:
        if (dtype, device) == (self.dtype, self.device):
            return self
        return ShownWeight(self._layer, self._integer, dtype, device)

    def _refuse(self, func: Any) -> NoReturn:
        raise InputError(
            f"the weight of {self._layer} is read ({getattr(func, '__name__', func)}) although the layer spikes: its "
            "spikes would be bypassed. List the layer in `ignore` of TCLIFModifier if the model multiplies by its "
            "weight without calling it; weight.dequantize() gives the numbers."
        )

    def _refuse_write(self) -> NoReturn:
        raise InputError(written(self._layer, "weight"))


def written(layer: str, what: str) -> str:
    """What is said to whoever writes into a parameter that a spiking layer does not compute with."""
    return (
        f"{layer} spikes with the weights that it had when it was made to, and its {what} cannot be changed: call "
        "spike_compressor.runtime.detach(model), change it, and run a recipe with TCLIFModifier again."
    )


def _writes(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    return name in ("__setitem__", "__set__") or (name.endswith("_") and not name.startswith("__")) or name[:3] == "__i"


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        yield value
        return
    for item in value:
        yield from _flat(item)
