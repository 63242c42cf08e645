"""Spiking attention in place of transformers' own: masks, the KV cache, and which modules can have it.

A module stays what it is. Transformers looks the attention function up by the name in the module's config, so the
module gets a copy of its config with our name there, and other modules keep theirs.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from compressed_tensors.modeling.attention import IMPL_ATTR, QuantizedAttentionImpl
from compressed_tensors.modeling.kvcache import KV_CACHE_ATTR, QuantizedKVCache
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spike_compressor.errors import InputError
from spike_compressor.modality import ModalityAdapter
from spike_compressor.runtime.attention import SpikingAttention
from spike_compressor.runtime.cache import CodedCache
from spike_compressor.runtime.precision import without_autocast
from spike_compressor.runtime.spec import AttentionSpec
from spike_compressor.runtime.straight_through import Settings, attend

#: Name of our function among transformers' attention implementations.
IMPLEMENTATION = "spike_compressor"
#: Implementations whose masks say everything: True/False or numbers to add, [batch, heads, queries, keys], or None.
_MASKS_UNDERSTOOD = (None, "eager", "sdpa")
_STATE = "_spiking_attention"
_OF_ANOTHER_SEQUENCE = {"encoder_hidden_states", "cross_attention_states", "key_value_states"}


# Installing


class _Installed:
    """The spiking products of a module, and what they took the place of; kept on the module."""

    def __init__(self, module: nn.Module, products: SpikingAttention) -> None:
        self.products = products
        self.config: Any = module.config
        self._hook: Any = None
        self._became: dict[nn.Module, tuple[type[nn.Module], Any]] = {}
        if hasattr(module, IMPL_ATTR):  # online rotations of queries and keys: they come first
            self._become(getattr(module, IMPL_ATTR), _SpikingImpl)
        else:
            config: Any = copy.copy(self.config)
            config._attn_implementation_internal = IMPLEMENTATION
            module.config = config
        if hasattr(module, KV_CACHE_ATTR):
            self._become(getattr(module, KV_CACHE_ATTR), _SpikingKVCache)
        elif "past_key_values" in _parameters(module):
            # a bound method, not a closure: a copied or unpickled model then has a hook of its own
            self._hook = module.register_forward_pre_hook(self._code_cache, with_kwargs=True)

    def remove(self, module: nn.Module) -> None:
        """Give the module its own attention back."""
        module.config = self.config
        for child, (kind, forward) in self._became.items():
            child.__class__ = kind
            if forward is not None:
                child.__dict__["forward"] = forward
        if self._hook is not None:
            self._hook.remove()

    @property
    def replaces(self) -> str | None:
        """The attention implementation that the model is set to, whose masks reach us."""
        name: str | None = self.config._attn_implementation
        return name

    def _become(self, child: nn.Module, kind: type[nn.Module]) -> None:
        """Change the class of a hooked child; it has no parameters, so an offloading wrapper has nothing to do."""
        self._became[child] = type(child), child.__dict__.pop("forward", None)
        child.__class__ = kind

    def _code_cache(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        cache = kwargs.get("past_key_values")
        return args, kwargs if cache is None else {**kwargs, "past_key_values": CodedCache(cache, self.products)}


def install(module: nn.Module, products: SpikingAttention) -> None:
    """Let the attention of a module, which must be one that can spike, compute its products by spikes."""
    module.__dict__[_STATE] = _Installed(module, products)


def uninstall(module: nn.Module) -> None:
    """Give a module with spiking products its own attention back."""
    installed: _Installed = module.__dict__.pop(_STATE)
    installed.remove(module)


def why_inactive(module: nn.Module, products: SpikingAttention) -> str | None:
    """What keeps the products of the module from spiking, or None."""
    installed = module.__dict__.get(_STATE)
    if installed is None or installed.products is not products:
        return "its attention was taken for another's"
    if hasattr(module, IMPL_ATTR):
        return None if type(getattr(module, IMPL_ATTR)) is _SpikingImpl else "its hooked attention was replaced"
    name = getattr(module.config, "_attn_implementation", None)
    return None if name == IMPLEMENTATION else f"its config names the attention implementation {name!r}"


# The interface


def _masks(
    mask: Tensor | None, queries: int, keys: int, is_causal: bool, name: str, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Which keys may be attended to (bool), and what is to be added to their scores, from a mask of transformers."""
    if mask is None:
        if not is_causal or queries == 1:
            return None, None
        return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()[None, None], None
    if not isinstance(mask, Tensor) or mask.dim() != 4:
        raise InputError(
            f"attention {name} needs a mask [batch, heads, queries, keys] or none; call "
            "model.set_attn_implementation('sdpa') or ('eager')"
        )
    mask = mask[..., :keys].expand(-1, -1, queries, -1)
    if mask.dtype == torch.bool:
        return mask, None
    allowed = mask > torch.finfo(mask.dtype).min / 2
    bias = mask.to(torch.float32).masked_fill(~allowed, 0.0)
    return allowed, bias if torch.compiler.is_compiling() or bool(bias.any()) else None


def spiking_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls for a module with a `SpikingAttention`.

    Args and result are transformers': query, key, value [batch, heads, length, width], output [batch, length, heads,
    width] and the probabilities where the model is set to `eager`.

    Raises:
        InputError: something that spikes do not do: dropout, attention sinks, position biases, masks of other
            implementations.
    """
    installed: _Installed = module.__dict__[_STATE]
    attention = installed.products
    for argument in ("s_aux", "position_bias"):
        if kwargs.get(argument) is not None:
            raise InputError(
                f"attention {attention.name} cannot spike: it has {argument}. List it in `attention.ignore`."
            )
    if dropout:
        raise InputError(f"attention {attention.name} spikes without dropout only; call model.eval()")
    original = installed.replaces
    hooked = hasattr(module, IMPL_ATTR)
    if original not in _MASKS_UNDERSTOOD and not hooked:
        raise InputError(
            f"attention {attention.name} cannot spike with the masks of {original!r}; call "
            "model.set_attn_implementation('sdpa') or ('eager')"
        )
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if attention_mask is None and causal and 1 < query.shape[2] < key.shape[2]:  # the empty end of a static cache
        key, value = key[:, :, : query.shape[2]], value[:, :, : query.shape[2]]
    allowed, bias = _masks(attention_mask, query.shape[2], key.shape[2], causal, attention.name, query.device)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    with without_autocast(query.device), contextlib.ExitStack() as stack:
        for context in attention.contexts:
            stack.enter_context(context())
        settings = Settings(allowed, bias, scale, softcap, original == "eager")
        out, weights = attend(attention, query, key, value, settings)
    out = out.to(query.dtype).transpose(1, 2).contiguous()
    return out, None if weights is None else weights.to(query.dtype)


ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, spiking_attention_forward)


class _SpikingImpl(QuantizedAttentionImpl):
    """compressed-tensors' hooked attention, whose hooks rotate queries, with spikes in place of what it calls."""

    def forward(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        return spiking_attention_forward(module, query, key, value, *args, **kwargs)


class _SpikingKVCache(QuantizedKVCache):
    """compressed-tensors' hooked cache, whose hooks rotate keys before they are coded."""

    def forward(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        installed: _Installed = self.attn_module().__dict__[_STATE]
        cache = cast(Any, self).past_key_values
        self.past_key_values = None
        if cache is None:
            return key_states, value_states
        return CodedCache(cache(), installed.products).update(key_states, value_states, *args, **kwargs)


# Finding


def _parameters(module: nn.Module) -> Mapping[str, Any]:
    return inspect.signature(type(module).forward).parameters


def _calls_the_interface(module: nn.Module) -> bool:
    forward = inspect.unwrap(type(module).forward)
    code = getattr(forward, "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names and hasattr(module, "config")


def why_no_spiking_attention(module: nn.Module) -> str | None:
    """Why the attention products of `module` cannot spike, or None if they can."""
    if not _calls_the_interface(module):
        return f"a {type(module).__name__} does not call transformers' attention interface"
    if _OF_ANOTHER_SEQUENCE & set(_parameters(module)):
        return f"a {type(module).__name__} may attend to another sequence, whose tokens have no known modality"
    scheme = getattr(module, "quantization_scheme", None)
    if scheme is not None and scheme.input_activations is not None:
        return "the recipe quantizes its attention or KV cache already; drop that scheme"
    return None


def decoder_attention(model: nn.Module, adapter: ModalityAdapter) -> dict[str, nn.Module]:
    """The self-attention modules of the decoder layers that call transformers' attention interface, by name.

    Raises:
        InputError: the decoder layers are not known, or none of them has such a module.
    """
    found: dict[str, nn.Module] = {}
    for layer_name, layer in adapter.decoder_layers(model).items():
        for name, module in layer.named_modules(prefix=layer_name):
            if _calls_the_interface(module) and not _OF_ANOTHER_SEQUENCE & set(_parameters(module)):
                found[name] = module
    if not found:
        raise InputError(
            f"the decoder layers of {type(model).__name__} have no attention that calls transformers' attention "
            "interface, so its products cannot spike; drop `attention` from TCLIFModifier"
        )
    return found


def prepare_attention(
    model: nn.Module, specs: Mapping[str, AttentionSpec], adapter: ModalityAdapter, backend: str
) -> dict[str, SpikingAttention]:
    """The spiking products of the attention modules named in `specs`, by name, to be installed; changes nothing.

    Raises:
        InputError: naming the module, and why it cannot spike; or an unknown backend.
    """
    modules = dict(model.named_modules())
    prepared: dict[str, SpikingAttention] = {}
    for name, spec in specs.items():
        reason = "no such module" if name not in modules else why_no_spiking_attention(modules[name])
        if reason is not None:
            raise InputError(f"the attention of {name} cannot spike: {reason}.")
        spec = AttentionSpec(spec.rows.only(adapter.modalities, name), spec.kv_cache)
        prepared[name] = SpikingAttention(name, spec, backend, adapter.fixed_modality(name))
    return prepared
