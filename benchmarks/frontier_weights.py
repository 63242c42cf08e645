"""Weights of the frontier: a transform of the model, then a quantizer, each as modifiers of a recipe.

A name joins both: `none+gptq_g64`, `quip+gptq_g64`. What follows, the spikes, is the sweep's business.
"""

from __future__ import annotations

from typing import Any

from spike_compressor.comparison import SplitRecipe

Modifiers = tuple[tuple[str, dict[str, Any]], ...]

_HEAD = {"ignore": ["lm_head"]}


def _of_decoder(name: str) -> str:
    """A module of the text decoder, by the last part of its name."""
    return f"re:^(?!.*vision).*{name}$"


def _smoothquant(strength: float) -> Modifiers:
    attention, mlp = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
    mappings = [
        [[_of_decoder(name) for name in attention], _of_decoder("input_layernorm")],
        [[_of_decoder(name) for name in mlp], _of_decoder("post_attention_layernorm")],
    ]
    return (("SmoothQuantModifier", {"smoothing_strength": strength, "mappings": mappings}),)


TRANSFORMS: dict[str, Modifiers] = {
    "none": (),
    "smoothquant": _smoothquant(0.8),
    "smooth": (("SpikeSmoothingModifier", {"threshold_statistic": "rms", "threshold_ratio": 0.4}),),
    "quip": (
        (
            "QuIPModifier",
            {"rotations": ["v"], "transform_type": "random-hadamard", "precision": "torch.float32", **_HEAD},
        ),
    ),
}


def _scheme(bits: int, group: int | None, **more: Any) -> dict[str, Any]:
    cut = {"strategy": "channel"} if group is None else {"strategy": "group", "group_size": group}
    weights = {"num_bits": bits, "type": "int", "symmetric": True, **cut, **more}
    return {**_HEAD, "config_groups": {f"w{bits}": {"targets": ["Linear"], "weights": weights}}}


#: Weight scales of least squared error.
_MSE = {"observer": "memoryless_mse"}


def _autoround(group: int, iters: int) -> Modifiers:
    return (("AutoRoundModifier", {"iters": iters, "enable_torch_compile": False, **_scheme(4, group)}),)


QUANTIZERS: dict[str, Modifiers] = {
    "rtn_g64": (("QuantizationModifier", _scheme(4, 64)),),
    "gptq_g64": (("GPTQModifier", _scheme(4, 64, **_MSE)),),
    "gptq_g64_order": (("GPTQModifier", _scheme(4, 64, actorder="weight", **_MSE)),),
    "gptq_g32": (("GPTQModifier", _scheme(4, 32, **_MSE)),),
    "gptq_g32_order": (("GPTQModifier", _scheme(4, 32, actorder="weight", **_MSE)),),
    "autoround_g64": _autoround(64, 50),
    "autoround_g32": _autoround(32, 50),
    "rtn_w8": (("QuantizationModifier", _scheme(8, None)),),
}


def weights_recipe(name: str) -> SplitRecipe:
    """The recipe of `transform+quantizer`, which spikes with all timesteps there are.

    Raises:
        SystemExit: no such transform or quantizer; names those that there are.
    """
    transform, _, quantizer = name.partition("+")
    for part, table in ((transform, TRANSFORMS), (quantizer, QUANTIZERS)):
        if part not in table:
            raise SystemExit(f"no {part!r} in weights {name!r}; there are {', '.join(table)}")
    neurons: dict[str, Any] = {**_HEAD, "targets": ["Linear"], "timesteps": 7}
    return SplitRecipe((*TRANSFORMS[transform], *QUANTIZERS[quantizer]), (("TCLIFModifier", neurons),))
