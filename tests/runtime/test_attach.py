"""Attaching neurons to a model and taking them off; copies, dtypes and pickles of a spiking model."""

from __future__ import annotations

import copy
import io
import sys
import weakref
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.simulated_core import BACKENDS
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.modality import adapter_for
from spike_compressor.rtl import Work, watching
from spike_compressor.runtime import (
    AttentionSpec,
    LayerSpec,
    SpikingLinear,
    attach,
    available_backends,
    detach,
    get_backend,
    integer_weight,
    set_backend,
    spiking_layers,
    spiking_state,
    suspended,
)

QUANT_ONLY = f"quant_stage:\n  quant_modifiers:\n    {RTN}\n"
SPEC = LayerSpec({"vision": 3, "text": 4})


@pytest.fixture(scope="module")
def quantized(workshop: Workshop) -> Any:
    """A W4 model that does not spike. Copy it before use."""
    return workshop.oneshot("llava", QUANT_ONLY)


def targets(model: Any) -> dict[str, LayerSpec]:
    return {
        name: SPEC
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and hasattr(module, "quantization_scheme")
    }


def spike(model: Any, backend: str = "fused") -> Any:
    attach(model, targets(model), adapter_for(model), backend)
    return model


def test_spikes_change_the_model_and_detach_brings_it_back_bit_for_bit(quantized: Any, workshop: Workshop) -> None:
    model = copy.deepcopy(quantized)
    batch = workshop.batch("llava")
    plain = tiny_models.logits(model, batch)
    spike(model)
    assert all(isinstance(layer, SpikingLinear) for layer in spiking_layers(model).values())
    assert len(spiking_layers(model)) == len(targets(model)) > 20
    spiking = tiny_models.logits(model, batch)
    assert not torch.equal(spiking, plain)
    with suspended(model):
        assert torch.equal(tiny_models.logits(model, batch), plain)
    assert torch.equal(tiny_models.logits(model, batch), spiking)
    detach(model)
    assert torch.equal(tiny_models.logits(model, batch), plain)
    assert not any(isinstance(module, SpikingLinear) for module in model.modules())
    with pytest.raises(InputError, match=naming("TCLIFModifier", "spike_compressor.load()")):
        spiking_state(model)
    spike(model)
    assert torch.equal(tiny_models.logits(model, batch), spiking)


def test_detach_after_load(workshop: Workshop) -> None:
    _, path = workshop.made("llava", recipe(RTN))
    model = spike_compressor.load(path)
    detach(model)
    plain = type(model).from_pretrained(path).eval()
    batch = workshop.batch("llava")
    assert torch.equal(tiny_models.logits(model, batch), tiny_models.logits(plain, batch))


@pytest.mark.usefixtures("simulated_core")
def test_backends_agree(quantized: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava", "right")
    first, *others = (tiny_models.logits(spike(copy.deepcopy(quantized), backend), batch) for backend in BACKENDS)
    assert all(torch.equal(other, first) for other in others)
    assert set(available_backends()) >= set(BACKENDS)
    with pytest.raises(InputError, match=naming("'magic'", "fused", "unrolled")):
        get_backend("magic")


@pytest.mark.usefixtures("simulated_core")
def test_chosen_layers_have_another_backend(quantized: Any, workshop: Workshop) -> None:
    model, batch = spike(copy.deepcopy(quantized)), workshop.batch("llava")
    expected, names = tiny_models.logits(model, batch), list(spiking_layers(model))
    for pattern in ("re:.*vision_tower", None):
        chosen, works = set_backend(model, "rtl", pattern), list[Work]()
        with watching(works.append):
            assert torch.equal(tiny_models.logits(model, batch), expected)
        assert sorted(work.name for work in works) == sorted(chosen)
        assert 0 < len(chosen) < len(names) or chosen == names
    set_backend(model, "fused", names[0])
    assert [one.backend.name for one in spiking_layers(model).values()] == ["fused", *["rtl"] * (len(names) - 1)]
    with pytest.raises(InputError, match=naming("layers", "'re:nothing'", names[0])):
        set_backend(model, "rtl", "re:nothing")


def test_all_layers_or_none(quantized: Any, workshop: Workshop) -> None:
    model = copy.deepcopy(quantized)
    batch = workshop.batch("llava")
    plain = tiny_models.logits(model, batch)
    good = targets(model)
    for bad, names in (
        ({"lm_head": SPEC}, ("lm_head", "quantized")),
        ({"model.nowhere": SPEC}, ("model.nowhere",)),
        ({"model.language_model.norm": SPEC}, ("model.language_model.norm", "LlamaRMSNorm")),
    ):
        with pytest.raises(InputError, match=naming(*names)):
            attach(model, {**good, **bad}, adapter_for(model))
        assert not any(isinstance(module, SpikingLinear) for module in model.modules())
        assert getattr(model, "_spiking_state", None) is None
        assert torch.equal(tiny_models.logits(model, batch), plain)
    spike(model)
    with pytest.raises(InputError, match=naming("detach()")):
        spike(model)


def test_float_weights_are_given_up_layer_by_layer(quantized: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all integers are held beside all the floats that they are made of."""
    model = copy.deepcopy(quantized)
    floats = {name: weakref.ref(model.get_submodule(name).weight) for name in targets(model)}
    alive = []

    def counting(module: torch.nn.Linear, name: str) -> Any:
        alive.append(sum(one() is not None for one in floats.values()))
        return integer_weight(module, name)

    monkeypatch.setattr("spike_compressor.runtime.attaching.integer_weight", counting)
    spike(model)
    assert alive == list(range(len(floats), 0, -1))


def test_a_late_layer_that_is_refused_leaves_the_others(quantized: Any) -> None:
    model = copy.deepcopy(quantized)
    name = list(targets(model))[-1]
    weight = model.get_submodule(name).weight
    weight.data[0, 0] = float("nan")
    before = everything_on(model)
    with pytest.raises(InputError, match=naming(name, "NaN")):
        spike(model)
    assert everything_on(model) == before
    assert model.get_submodule(name).weight is weight


def everything_on(model: Any) -> list[tuple[str, set[str], int]]:
    """Names, attributes and hooks of all modules."""
    return [
        (name, set(vars(module)), len(module._forward_pre_hooks) + len(module._forward_hooks))
        for name, module in model.named_modules()
    ]


def test_what_is_refused_is_refused_before_anything_changes(quantized: Any) -> None:
    """Also where Linears could spike and another part, which is looked at later, cannot."""
    model = copy.deepcopy(quantized)
    before = everything_on(model)
    misspelled = adapter_for(model)
    misspelled.methods = ("generated",)  # which the model does not have
    attention = {"model.language_model.layers.0.self_attn": AttentionSpec(SPEC)}
    for arguments, name in (
        ((adapter_for(model), "fused", {**attention, "model.nowhere": AttentionSpec(SPEC)}), "model.nowhere"),
        ((adapter_for(model), "magic", attention), "magic"),
        ((misspelled, "fused", attention), "generated"),
    ):
        with pytest.raises(InputError, match=name):
            attach(model, targets(model), *arguments)
        assert everything_on(model) == before


def test_a_spiking_linear_has_one_attribute_more(quantized: Any) -> None:
    model = copy.deepcopy(quantized)
    before = {name: set(vars(model.get_submodule(name))) for name in targets(model)}
    spike(model)
    for name, layer in spiking_layers(model).items():
        assert set(vars(layer)) - {"neurons"} == before[name] - {"forward"}
        assert layer.neurons.name == name
    detach(model)
    assert {name: set(vars(model.get_submodule(name))) for name in before} == before


def test_attach_makes_a_model_spike_and_nothing_else(quantized: Any) -> None:
    """Whatever was imported: who wants more calls more."""
    assert "spike_compressor.checkpoint.saving" in sys.modules
    model = copy.deepcopy(quantized)
    before = vars(model).get("save_pretrained")
    spike(model)
    assert vars(model).get("save_pretrained") is before


def test_a_copy_is_a_model_of_its_own(quantized: Any, workshop: Workshop) -> None:
    model = spike(copy.deepcopy(quantized))
    batch = workshop.batch("llava")
    before = tiny_models.logits(model, batch)
    twin = copy.deepcopy(model)
    assert torch.equal(tiny_models.logits(twin, batch), before)
    assert spiking_state(twin) is not spiking_state(model)
    name, layer = next(iter(spiking_layers(twin).items()))
    assert layer is twin.get_submodule(name)
    assert layer is not model.get_submodule(name)
    with spike_compressor.record_spikes(twin) as record:
        tiny_models.logits(twin, batch)
    assert record.tokens["vision"] == 3 * tiny_models.IMAGE_TOKENS
    assert not model.get_submodule(name).observers
    layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
    assert not torch.equal(tiny_models.logits(twin, batch), before)
    assert torch.equal(tiny_models.logits(model, batch), before)
    detach(twin)
    assert torch.equal(tiny_models.logits(model, batch), before)


def test_a_spiking_model_can_be_pickled(workshop: Workshop) -> None:
    _, path = workshop.made("llava", recipe(RTN))
    model = spike_compressor.load(path)
    batch = workshop.batch("llava")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    expected = tiny_models.logits(model, batch)
    assert torch.equal(tiny_models.logits(twin, batch), expected)
    detach(twin)
    detach(model)
    assert torch.equal(tiny_models.logits(twin, batch), tiny_models.logits(model, batch))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_dtype_keeps_integers_and_scales(
    dtype: torch.dtype, quantized: Any, workshop: Workshop, tmp_path: Any
) -> None:
    model = spike(copy.deepcopy(quantized))
    before = {name: layer.integer for name, layer in spiking_layers(model).items()}
    model.to(dtype)
    batch = workshop.batch("llava")
    batch["pixel_values"] = batch["pixel_values"].to(dtype)
    out = tiny_models.logits(model, batch)
    assert out.dtype == dtype
    assert out.isfinite().all()
    spike_compressor.save(model, tmp_path / "half")
    again = spike_compressor.load(tmp_path / "half")
    assert again.dtype == dtype
    for name, integer in before.items():
        for layer in (model.get_submodule(name), again.get_submodule(name)):
            assert torch.equal(layer.integer.codes, integer.codes)
            assert torch.equal(layer.integer.scale, integer.scale)


def test_multihead_attention_reads_weights_without_calling_them(workshop: Workshop) -> None:
    text = "quant_stage:\n  quant_modifiers:\n    " + RTN.replace(".*vision_tower.*head.*", ".*head.mlp.*")
    model = workshop.oneshot("siglip", text)
    with pytest.raises(InputError, match=naming("head.attention.out_proj", "MultiheadAttention")):
        spike(model)


def test_extra_repr_says_what_the_neurons_do(quantized: Any) -> None:
    model = spike(copy.deepcopy(quantized))
    layers = spiking_layers(model)
    text = repr(layers["model.language_model.layers.0.mlp.up_proj"])
    assert "text T=4, vision T=3, backend=fused" in text
    assert "vision rows only" not in text
    assert "vision rows only" in repr(layers["model.multi_modal_projector.linear_1"])


def test_unknown_modality_is_an_error_with_the_remedy(quantized: Any) -> None:
    model = spike(copy.deepcopy(quantized))
    ids = torch.tensor([[1, 11, 12, 13]])
    embeds = model.get_input_embeddings()(ids).detach()
    with pytest.raises(InputError, match=naming("layers.0", "modality_mask")):
        model(inputs_embeds=embeds)
    with spike_compressor.modality_mask(torch.zeros(1, 4, dtype=torch.long)), torch.no_grad():
        with_mask = model(inputs_embeds=embeds).logits
    assert torch.equal(with_mask, tiny_models.logits(model, {"input_ids": ids}))
    with spike_compressor.modality_mask(torch.tensor([[0, 0, 0, 1]])), torch.no_grad():
        assert not torch.equal(model(inputs_embeds=embeds).logits, with_mask)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"timesteps": {}}, ("timesteps",)),
        ({"timesteps": {"text": 4, "visoin": 3}}, ("visoin", "vision")),
        ({"timesteps": {"text": 8, "vision": 3}}, ("timesteps", "text", 1, 7, 8)),
        ({"timesteps": {"text": True, "vision": 3}}, ("timesteps", "text", True)),
        ({"coding": "morse"}, ("'morse'",)),
        ({"ratio": {"text": 0.0, "vision": 1.0}}, ("threshold_ratio", "text", "(0, 2]")),
        ({"ratio": {"text": 1.0}}, ("threshold_ratio", "vision")),
        ({"threshold": "static"}, ("static", "scale")),
        ({"threshold": "static", "scale": {"text": float("nan"), "vision": 1.0}}, ("static", "text", "nan")),
        ({"symmetric": False}, ("'tc_lif'",)),
        (
            {
                "coding": "binary_unsigned",
                "symmetric": False,
                "threshold": "static",
                "scale": {"text": 1.0, "vision": 1.0},
                "zero_point": {"text": 3, "vision": 16},
            },
            ("zero_point", "vision", 16),
        ),
    ],
)
def test_specs_that_make_no_sense_are_refused(settings: dict[str, Any], names: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=naming(*names)):
        LayerSpec(**{"timesteps": {"text": 4, "vision": 3}, **settings})
