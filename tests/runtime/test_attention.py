"""Attention that spikes: exact integers against NumPy, one result whatever backend, mask or cache; off by default."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.simulated_core import backends
from helpers.tiny_architectures import ARCHITECTURES
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.modality import VISION, TokenRows, adapter_for, modality_mask, rows_scope
from spike_compressor.runtime import (
    AttentionSpec,
    LayerSpec,
    SpikingAttention,
    SpikingInactiveError,
    attach,
    decoder_attention,
    detach,
    require_spiking,
    spiking_attention,
    spiking_state,
    why_no_spiking_attention,
)
from spike_compressor.runtime.cache import pack_rows, unpack_rows
from spike_compressor.runtime.matmul import OperandMatmul
from spike_compressor.runtime.reference import weight_only
from spike_compressor.runtime.softmax import exp, softmax, tanh
from transformers import (
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    StaticCache,
)

F32 = np.float32
#: Every Linear spikes, the head too, so that nothing is left whose bits depend on how many rows there are.
EVERYTHING = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      config_groups:
        w4: {{targets: [Linear], weights: {{num_bits: 4, type: int, symmetric: true, strategy: channel}}}}
  spike_modifiers:
    TCLIFModifier:
      targets: [Linear]
      ignore: []
      timesteps: {{vision: 3, text: 4}}
      attention: {attention}
"""
BY_MODALITY = EVERYTHING.format(attention="{timesteps: {vision: 4, text: 5}}")
FLOAT_CACHE = EVERYTHING.format(attention="{timesteps: {vision: 4, text: 5}, kv_cache: false}")
KINDS = ("llama", "llava", "qwen2_vl")


def spec(vision: int = 4, text: int = 5, kv_cache: bool = True, **more: Any) -> AttentionSpec:
    return AttentionSpec(LayerSpec({"vision": vision, "text": text}, **more), kv_cache)


def spiking(model: Any, backend: str = "fused", vision_tower: bool = False, **settings: Any) -> Any:
    """The model with real Linears and spiking attention in its decoder, or everywhere."""
    adapter = adapter_for(model)
    names = list(decoder_attention(model, adapter))
    if vision_tower:
        names = [name for name, module in model.named_modules() if why_no_spiking_attention(module) is None]
    attach(model, {}, adapter, backend, dict.fromkeys(names, spec(**settings)))
    return model


def events_of(model: Any, batch: dict[str, torch.Tensor]) -> list[Any]:
    events: list[Any] = []
    for attention in spiking_attention(model).values():
        attention.observers.append(lambda _, event: events.append(event))
    tiny_models.logits(model, batch)
    for attention in spiking_attention(model).values():
        attention.observers.clear()
    return events


# Against NumPy. Nothing of the golden model is taken from the package.


def golden_codes(rows: np.ndarray, T: np.ndarray, coding: str = "tc_lif") -> tuple[np.ndarray, np.ndarray]:
    """Codes int64 and scales float32 of rows [..., K] with a T each [...]."""
    limit = (2**T - 1).astype(F32)
    scale = np.abs(rows).max(axis=-1) / limit
    scale = np.where(scale == 0, F32(1), scale).astype(F32)
    y = (rows / scale[..., None]).astype(np.float64)
    magnitude = np.floor(np.abs(y) + 0.5)
    if coding == "tc_lif_rdoq":  # the cheaper neighbour, by error and spikes; the larger one of equals
        floor = np.floor(np.abs(y))
        spikes = np.vectorize(lambda code: int(code).bit_count())
        stay, rise = ((np.abs(y) - q) ** 2 + spikes(q) / 2 for q in (floor, floor + 1))
        magnitude = floor + (rise <= stay)
    magnitude = np.minimum(magnitude, limit[..., None])
    return (np.sign(y) * magnitude).astype(np.int64), scale


def golden_exp(x: np.ndarray) -> np.ndarray:
    live = np.maximum(x, F32(-87))
    exponent = np.rint(live * F32(1.4426950216293335))
    r = live - exponent * F32(0.693359375) - exponent * F32(-2.1219444005469057e-4)
    value = np.full_like(r, F32(1 / 5040))
    for k in (720, 120, 24, 6, 2, 1, 1):
        value = value * r + F32(1 / k)
    assert value.dtype == F32
    return np.where(x < F32(-87), F32(0), value * np.exp2(exponent).astype(F32))


def golden_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    T: np.ndarray,
    allowed: np.ndarray,
    scaling: float,
    coding: str = "tc_lif",
) -> tuple[np.ndarray, np.ndarray]:
    """One sequence: q [H, L, D], k and v [Hkv, L, D], T [L], allowed [L, L] -> output [H, L, D], scores' integers."""
    heads, length, _ = q.shape
    group = heads // len(k)
    out, sums = np.zeros((heads, length, v.shape[-1]), F32), np.zeros((heads, length, length), np.int64)
    for h in range(heads):
        qc, qs = golden_codes(q[h], T, coding)
        kc, ks = golden_codes(k[h // group], T, coding)
        vc, vs = golden_codes(v[h // group], T, coding)
        sums[h] = np.einsum("id,jd->ij", qc, kc)
        scores = sums[h].astype(F32) * qs[:, None] * ks[None, :] * F32(scaling)
        for i in range(length):
            seen = scores[i, allowed[i]]
            if not len(seen):
                continue
            e = golden_exp(seen - seen.max())
            units = sum(int(np.rint(np.float64(one) * 2**32)) for one in e)
            p = e / (F32(units) * F32(2**-32))
            assert p.dtype == F32
            codes, scale = golden_codes((p * vs[allowed[i]])[None], T[i : i + 1], coding)
            out[h, i] = np.einsum("j,jd->d", codes[0], vc[allowed[i]]).astype(F32) * scale
    return out, sums


@pytest.mark.usefixtures("simulated_core")
@pytest.mark.parametrize(
    ("coding", "backend"),
    [(coding, one) for coding in ("tc_lif", "csd", "unary", "tc_lif_rdoq") for one in backends(coding)],
)
def test_the_products_are_those_of_the_golden_model_to_the_bit(backend: str, coding: str) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, heads, 9, 8, generator=generator) * 2 for heads in (6, 2, 2))
    v[0, 1, 3] = 0  # a row of zeros has scale 1
    modality = torch.tensor([[0, 1, 1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0]], dtype=torch.uint8)
    allowed = torch.ones(9, 9, dtype=torch.bool).tril().expand(2, 1, 9, 9).clone()
    allowed[1, :, :, :2] = False  # left padding: two rows see nothing at all
    attention = SpikingAttention("layer", spec(vision=3, text=4, coding=coding), backend, None)
    events: list[Any] = []
    attention.observers.append(lambda _, event: events.append(event))
    with rows_scope(TokenRows(modality)):
        out, weights = attention(q, k, v, allowed, None, 8**-0.5, None, True)
    assert weights is not None
    T = np.where(modality.numpy() == 1, 3, 4)
    for b in range(2):
        parts = (part[b].numpy() for part in (q, k, v))
        expected, _ = golden_attention(*parts, T[b], allowed[b, 0].numpy(), 8**-0.5, coding)
        assert np.array_equal(out[b].numpy(), expected)
    assert not out[1, :, :2].any()
    assert torch.equal(weights.sum(-1) > 0.999, allowed.any(-1).expand(2, 6, 9))
    (queries,) = (event for event in events if event.operand == "q")
    assert torch.equal(queries.attended.view(2, 6, 9)[:, 0], allowed.sum(-1)[:, 0])


def test_the_example_of_the_documentation_by_hand() -> None:
    """docs/numerics.md: two keys of equal probability, whose values have scales of their own."""
    q = torch.tensor([[[[3.0, -1.0]]]])
    k = torch.tensor([[[[3.0, 0.0], [0.0, 3.0]]]])
    v = torch.tensor([[[[3.0, 0.0], [0.0, 9.0]]]])
    attention = SpikingAttention("layer", spec(2, 2), "unrolled", 0)
    events: dict[str, Any] = {}
    attention.observers.append(lambda _, event: events.update({event.operand: event}))
    with rows_scope(TokenRows(torch.zeros(1, 1, dtype=torch.uint8))):
        out, weights = attention(
            q, pack_rows(*attention.code(k, 2)[:2]), v_rows(attention, v), None, None, 0.0, None, True
        )
    assert weights is not None
    assert weights.tolist() == [[[[0.5, 0.5]]]]
    assert events["q"].codes.tolist() == [[3, -1]]
    assert events["p"].x.tolist() == [[0.5, 1.5]]  # each probability times the scale of its value row
    assert events["p"].codes.tolist() == [[1, 3]]
    assert out.tolist() == [[[[1.5, 4.5]]]]


def v_rows(attention: SpikingAttention, v: torch.Tensor) -> torch.Tensor:
    return pack_rows(*attention.code(v, 2)[:2])


def test_an_accumulator_that_could_leave_int32_is_refused() -> None:
    operand = torch.ones(1, 4, 2, dtype=torch.int8)
    assert OperandMatmul(operand, 2**24 + 1, "x")._operand.dtype == torch.float64
    with pytest.raises(InputError, match=naming("layer: Q K^T", 2147483648, "int32")):
        OperandMatmul(operand, 2**31, "layer: Q K^T")


# The softmax


def test_the_exponential_is_accurate_and_the_same_in_numpy() -> None:
    x = torch.linspace(-87, 0, 200_001)
    assert float(((exp(x).double() - x.double().exp()) / x.double().exp()).abs().max()) < 1.5e-7
    assert np.array_equal(exp(x).numpy(), golden_exp(x.numpy()))
    assert exp(torch.tensor([0.0, -87.5, -1e30, float("-inf")])).tolist() == [1, 0, 0, 0]
    assert bool(exp(torch.tensor([float("nan")])).isnan())
    y = torch.linspace(-9, 9, 10_001)
    assert float((tanh(y).double() - y.double().tanh()).abs().max()) < 2e-7


def test_hidden_keys_change_no_bit_of_a_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 37, generator=generator) * 4
    alone = softmax(scores.clone(), None)
    for more in (1, 7, 64):
        padded = torch.cat([scores, torch.randn(50, more, generator=generator)], dim=1)
        allowed = torch.arange(37 + more) < 37
        assert torch.equal(softmax(padded, allowed)[:, :37], alone)
    assert float((alone.double() - scores.double().softmax(-1)).abs().max()) < 2e-7
    assert not softmax(scores.clone(), torch.zeros(37, dtype=torch.bool)).any()


# In models


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("side", ["left", "right"])
def test_backends_and_masks_give_the_same_bits(kind: str, side: str, workshop: Workshop) -> None:
    batch = workshop.batch(kind, side)
    expected = tiny_models.logits(spiking(workshop.model(kind), vision_tower=True), batch)
    unrolled = spiking(workshop.model(kind), "unrolled", vision_tower=True)
    assert torch.equal(tiny_models.logits(unrolled, batch), expected)
    eager = workshop.model(kind)
    eager.set_attn_implementation("eager")
    assert torch.equal(tiny_models.logits(spiking(eager, vision_tower=True), batch), expected)
    # the sdpa mask is True and False, the eager one numbers to add; at padding, which nobody reads, both hide all keys


def test_more_timesteps_come_closer_to_real_attention(kind: str, workshop: Workshop) -> None:
    batch = workshop.batch(kind)
    valid = batch["attention_mask"].bool()
    real = tiny_models.logits(workshop.model(kind), batch)[valid]
    errors = []
    for T in (3, 5, 7):
        out = tiny_models.logits(spiking(workshop.model(kind), vision=T, text=T, vision_tower=True), batch)[valid]
        errors.append(float((out - real).norm() / real.norm()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_every_row_has_the_timesteps_of_its_token(kind: str, side: str, workshop: Workshop) -> None:
    model = spiking(workshop.model(kind), vision=2, text=5, vision_tower=True)
    batch = workshop.batch(kind, side)
    vision = (batch["input_ids"] == tiny_models.IMAGE).unsqueeze(1)
    tower = [name for name in spiking_attention(model) if adapter_for(model).fixed_modality(name) == VISION]
    assert tower
    events = events_of(model, batch)
    assert {(event.name, event.operand) for event in events} == {
        (name, operand) for name in spiking_attention(model) for operand in "qkpv"
    }
    for event in events:
        largest = event.codes.to(torch.int64).abs().amax(dim=1)
        assert bool((largest == (1 << event.timesteps) - 1).logical_or(largest == 0).all())  # absmax is the limit
        if event.name in tower:
            assert bool((event.timesteps == 2).all())
            assert bool((event.modality == 1).all())
            continue
        B, L = batch["input_ids"].shape
        heads = len(event.codes) // (B * L)
        assert torch.equal(event.timesteps.view(B, heads, L), torch.where(vision, 2, 5).expand(B, heads, L))
        assert torch.equal(event.modality.view(B, heads, L).bool(), vision.expand(B, heads, L))
        assert event.valid.view(B, heads, L)[:, 0].tolist() == batch["attention_mask"].bool().tolist()


def test_queries_in_blocks_are_queries_together(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = workshop.batch("llava")
    model = spiking(workshop.model("llava"), vision=3)
    whole, events = tiny_models.logits(model, batch), events_of(model, batch)
    monkeypatch.setattr("spike_compressor.runtime.attention._BLOCK", 300)
    assert torch.equal(tiny_models.logits(model, batch), whole)
    parts = events_of(model, batch)
    assert len(parts) > len(events)
    for operand in "qp":
        together, apart = (
            sum(int(event.timesteps.sum()) for event in some if event.operand == operand) for some in (events, parts)
        )
        assert together == apart


# The cache


def positions_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Qwen2-VL's three positions a token, which `generate` would pass to each step; None for other models."""
    if "mm_token_type_ids" not in batch:
        return None
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    positions: torch.Tensor = model.model.get_rope_index(**{name: batch[name] for name in names})[0]
    return positions


def step_by_step(model: Any, batch: dict[str, torch.Tensor], prefill: int, cache: Any = None) -> torch.Tensor:
    """Logits of a batch from a prefill and then one token at a time."""
    extra = {name: batch[name] for name in ("pixel_values", "image_grid_thw") if name in batch}
    positions = positions_of(model, batch)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    parts = []
    with torch.no_grad():
        for first, last in [(0, prefill)] + [(t, t + 1) for t in range(prefill, ids.shape[1])]:
            more = dict(extra) if first == 0 else {}
            if positions is not None:
                more["mm_token_type_ids"] = batch["mm_token_type_ids"][:, first:last]
                more["position_ids"] = positions[..., first:last]
            out = model(
                input_ids=ids[:, first:last],
                attention_mask=mask[:, :last],
                past_key_values=cache,
                use_cache=True,
                **more,
            )
            cache = out.past_key_values
            parts.append(out.logits)
    step_by_step.cache = cache  # type: ignore[attr-defined]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("text", [BY_MODALITY, FLOAT_CACHE], ids=["codes", "floats"])
def test_decoding_with_a_cache_is_one_pass_to_the_bit(kind: str, text: str, side: str, workshop: Workshop) -> None:
    model, _ = workshop.made(kind, text)
    batch = workshop.batch(kind, side)
    prefill = batch["input_ids"].shape[1] - 3
    whole = tiny_models.logits(model, {**batch, "use_cache": False, "position_ids": positions_of(model, batch)})
    valid = batch["attention_mask"].bool()
    assert torch.equal(step_by_step(model, batch, prefill)[valid], whole[valid])


def test_the_cache_holds_codes_and_scales(kind: str, workshop: Workshop) -> None:
    coded, floats = (workshop.made(kind, text)[0] for text in (BY_MODALITY, FLOAT_CACHE))
    batch = workshop.batch(kind)
    assert torch.equal(tiny_models.logits(coded, batch), tiny_models.logits(floats, batch))  # memory, not results
    step_by_step(coded, batch, batch["input_ids"].shape[1])
    cache = step_by_step.cache  # type: ignore[attr-defined]
    assert type(cache) is DynamicCache
    B, L = batch["input_ids"].shape
    D = 16
    for layer in cache.layers:
        for rows in (layer.keys, layer.values):
            assert rows.dtype == torch.int8
            assert rows.shape == (B, 2, L, D + 4)  # a byte a code, four bytes a scale
            codes, scale = unpack_rows(rows)
            limit = torch.where(batch["input_ids"] == tiny_models.IMAGE, 15, 31)
            assert torch.equal(codes.amax(-1).maximum(-codes.amin(-1))[:, 0], limit.to(torch.int8))
            assert bool((scale > 0).all())
    step_by_step(floats, batch, L)
    layer = step_by_step.cache.layers[0]  # type: ignore[attr-defined]
    assert layer.keys.dtype == torch.float32
    expected = torch.where(batch["input_ids"] == tiny_models.IMAGE, 4.0, 5.0)
    assert torch.equal(layer.keys[:, 0, :, D], expected)  # a row's T stands behind it


def test_rows_survive_packing() -> None:
    codes = torch.randint(-127, 128, (2, 3, 5, 7), dtype=torch.int8)
    scale = torch.rand(2, 3, 5) * 1e-20
    packed = pack_rows(codes, scale)
    assert packed.shape == (2, 3, 5, 11)
    back, scales = unpack_rows(packed.transpose(0, 1).contiguous().transpose(0, 1))
    assert torch.equal(back, codes)
    assert torch.equal(scales, scale)


@pytest.mark.parametrize("text", [BY_MODALITY, FLOAT_CACHE], ids=["codes", "floats"])
def test_generate_goes_on_as_it_is(text: str, workshop: Workshop) -> None:
    model, _ = workshop.made("llava", text)
    batch = workshop.batch("llava")
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    options["suppress_tokens"] = [tiny_models.IMAGE]
    expected = model.generate(**batch, use_cache=False, **options)
    assert torch.equal(model.generate(**batch, **options), expected)
    assert torch.equal(model.generate(**batch, cache_implementation="static", **options), expected)
    beams = model.generate(**batch, num_beams=3, **options)
    assert torch.equal(model.generate(**batch, num_beams=3, use_cache=False, **options), beams)
    alone = tiny_models.collate([tiny_models.sample(22, 8)])
    answer = model.generate(**alone, **options)
    cache = DynamicCache(config=model.config.get_text_config())
    tiny_models.logits(model, {**alone, "past_key_values": cache})
    kept = copy.deepcopy(cache)  # of a prompt, for several answers
    longer = answer[:, :-3]
    more = {**options, "max_new_tokens": 3}
    assert torch.equal(model.generate(input_ids=longer, past_key_values=kept, **more), answer)


def test_a_static_cache_is_no_different(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", BY_MODALITY)
    batch = workshop.batch("llama", "right")
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    L = batch["input_ids"].shape[1]
    for prefill in (L - 2, 3):
        static = StaticCache(config=model.config, max_cache_len=L + 5)
        assert torch.equal(step_by_step(model, batch, prefill, static), tiny_models.logits(model, batch))
    assert static.layers[0].keys.dtype == torch.int8


def test_a_cache_that_quantizes_by_itself_is_refused(workshop: Workshop) -> None:
    from transformers.cache_utils import Cache, QuantizedLayer

    class Quantized(QuantizedLayer):
        def _quantize(self, tensor: torch.Tensor, axis: int) -> torch.Tensor:
            return tensor

        def _dequantize(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor

    model, _ = workshop.made("llama", BY_MODALITY)
    with pytest.raises(InputError, match=naming("layers.0.self_attn", "cache_implementation='quantized'")):
        tiny_models.logits(
            model, {**workshop.batch("llama"), "past_key_values": Cache(layers=[Quantized(), Quantized()])}
        )


def windowed(**more: Any) -> Any:
    return tiny_models._loud(MistralForCausalLM(MistralConfig(**tiny_models._text(sliding_window=4, **more))), 0)


def capped() -> Any:
    config = Gemma2Config(
        **tiny_models._text(sliding_window=4, query_pre_attn_scalar=16, attn_logit_softcapping=2.0),
        attn_implementation="eager",
    )
    return tiny_models._loud(Gemma2ForCausalLM(config), 0)


@pytest.mark.parametrize("make", [windowed, capped], ids=["sliding windows", "softcap and sliding windows"])
@pytest.mark.parametrize("kv_cache", [True, False], ids=["codes", "floats"])
def test_windows_and_softcaps_of_the_model_are_kept(make: Any, kv_cache: bool) -> None:
    model = make()
    batch = tiny_models.collate([tiny_models.sample(n, 10, 0) for n in range(2)])
    real = tiny_models.logits(model, batch)
    spiking(model, vision=7, text=7, kv_cache=kv_cache)
    whole = tiny_models.logits(model, batch)
    assert float((whole - real).norm() / real.norm()) < 0.02
    decoded = step_by_step(model, batch, 3)
    assert bool(step_by_step.cache.is_sliding[0])  # type: ignore[attr-defined]
    assert torch.allclose(decoded, whole, atol=0.02 * float(whole.abs().max()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_of_every_architecture_spikes_by_modality(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.model()
    adapter = adapter_for(model)
    assert list(decoder_attention(model, adapter)) == [f"{architecture.layers}.{n}.self_attn" for n in range(2)]
    prompts = {side: architecture.cases[side] for side in ("right", "left")}
    real = {side: tiny_models.logits(model, prompt.batch()) for side, prompt in prompts.items()}
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    answers = []
    for kv_cache in (True, False):
        spiking(model, vision=6, text=7, kv_cache=kv_cache, vision_tower=True)
        answers.append(
            model.generate(**prompts["left"].batch(), output_logits=True, return_dict_in_generate=True, **options)
        )
        detach(model)
    assert all(map(torch.equal, answers[0].logits, answers[1].logits))
    assert answers[0].past_key_values.layers[-1].keys.dtype == torch.int8
    for side, prompt in prompts.items():
        spiking(model, "unrolled", vision=6, text=7, vision_tower=True)
        unrolled = tiny_models.logits(model, prompt.batch())
        detach(model)
        spiking(model, vision=6, text=7, vision_tower=True)
        events = events_of(model, prompt.batch())
        assert torch.equal(tiny_models.logits(model, prompt.batch()), unrolled)
        detach(model)
        valid = prompt.batch()["attention_mask"].bool()
        error = float((unrolled - real[side])[valid].norm() / real[side][valid].norm())
        assert 0 < error < 0.05
        expected = torch.tensor(prompt.modality)
        for event in events:
            if event.name.startswith(architecture.vision):
                assert bool(event.modality.all()), event.name
            else:
                seen = event.modality.view(len(expected), -1, expected.shape[1]).long()
                assert torch.equal(seen, expected[:, None].expand_as(seen)), event.name


# On and off


def test_off_by_default_and_gone_after_detach(workshop: Workshop) -> None:
    model, path = workshop.made("llava", recipe(RTN))
    text = model.config.text_config
    layers = [layer.self_attn for layer in model.model.language_model.layers]
    assert spiking_attention(model) == {}
    assert all(layer.config is text and not layer._forward_pre_hooks for layer in layers)
    assert '"attention"' not in (path / "spike_config.json").read_text(encoding="utf-8")

    model = workshop.model("llava")
    batch = workshop.batch("llava")
    before = tiny_models.logits(model, batch)
    state = set(model.state_dict())
    attention = spiking(model, vision_tower=True).model.language_model.layers[0].self_attn
    assert set(model.state_dict()) == state
    assert not torch.equal(tiny_models.logits(model, batch), before)
    with weight_only(model):
        assert torch.equal(tiny_models.logits(model, batch), before)
    assert not torch.equal(tiny_models.logits(model, batch), before)
    detach(model)
    assert torch.equal(tiny_models.logits(model, batch), before)
    assert attention.config is model.config.text_config
    assert not attention._forward_pre_hooks


def test_only_what_is_named_spikes(workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    model = workshop.model("llava")
    name = "model.language_model.layers.1.self_attn"
    attach(model, {}, adapter_for(model), attention={name: spec()})
    assert {event.name for event in events_of(model, batch)} == {name}


def test_a_copy_spikes_by_itself(workshop: Workshop) -> None:
    model = spiking(workshop.model("llava"))
    pickled = pickle.loads(pickle.dumps(model))  # transformers itself adds hooks at the first pass that no pickle takes
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    for other in (copy.deepcopy(model), pickled):
        assert torch.equal(tiny_models.logits(other, batch), expected)
        assert len(events_of(other, batch)) == 8
        assert len(events_of(model, batch)) == 8
        theirs = next(iter(spiking_attention(other).values()))
        assert theirs is not next(iter(spiking_attention(model).values()))
        detach(other)
    assert torch.equal(tiny_models.logits(model, batch), expected)


def test_attention_that_no_longer_spikes_is_found_out(workshop: Workshop) -> None:
    model = spiking(workshop.model("llava"))
    require_spiking(model)
    model.model.language_model.layers[1].self_attn.config = model.config.text_config
    with pytest.raises(SpikingInactiveError, match=naming("layers.1.self_attn", "'sdpa'", "spike_compressor.load()")):
        tiny_models.logits(model, workshop.batch("llava"))


def test_rotated_queries_and_keys_are_coded_after_the_rotation(workshop: Workshop) -> None:
    text = """
spike_stage:
  quant_modifiers:
    SpinQuantModifier: {{rotations: [R1, R2, R3], transform_type: random-hadamard, precision: torch.float32}}
    {rtn}
  spike_modifiers:
    TCLIFModifier: {{timesteps: 7, attention: {{timesteps: 7}}}}
"""
    model = workshop.oneshot("llama", text.format(rtn=RTN))
    batch = workshop.batch("llama")
    attention = next(iter(spiking_attention(model).values()))
    seen: dict[str, torch.Tensor] = {}
    attention.observers.append(lambda _, event: seen.update({event.operand: event.x}))
    whole = tiny_models.logits(model, {**batch, "use_cache": False})
    rotated = seen["q"]
    attention.observers.clear()
    prefill = batch["input_ids"].shape[1] - 2
    decoded = step_by_step(model, batch, prefill)
    valid = batch["attention_mask"].bool()
    assert torch.allclose(decoded[valid], whole[valid], atol=1e-4 * float(whole.abs().max()))
    assert step_by_step.cache.layers[0].keys.dtype == torch.int8  # type: ignore[attr-defined]
    with weight_only(model):
        real = tiny_models.logits(model, batch)
    assert float((whole - real)[valid].norm() / real[valid].norm()) < 0.05
    plain = workshop.oneshot("llama", text.format(rtn=RTN).replace(", R3", ""))
    attention = next(iter(spiking_attention(plain).values()))
    attention.observers.append(lambda _, event: seen.update({event.operand: event.x}))
    tiny_models.logits(plain, {**batch, "use_cache": False})
    assert torch.allclose(seen["q"].norm(dim=1), rotated.norm(dim=1), rtol=0.05)  # the same vectors, in another basis
    assert not torch.allclose(seen["q"], rotated, rtol=0.1)


# Refused


def test_what_cannot_spike_is_refused_by_name(workshop: Workshop) -> None:
    model = workshop.model("llava")
    adapter = adapter_for(model)
    for name, names in (
        ("model.language_model.layers.0.mlp", ("LlamaMLP", "transformers")),
        ("nowhere", ()),
    ):
        with pytest.raises(InputError, match=naming(name, *names)):
            attach(model, {}, adapter, attention={name: spec()})
    assert not hasattr(model, "_spiking_state")
    with pytest.raises(InputError, match=naming("attention", "dynamic")):
        AttentionSpec(LayerSpec({"vision": 4, "text": 4}, threshold="static", scale={"vision": 1.0, "text": 1.0}))
    with pytest.raises(InputError, match=naming("attention", "absmax", "'rms'")):
        spec(statistic="rms")
    with pytest.raises(InputError, match=naming("'binary_unsigned'", "tc_lif", "csd", "unary")):
        spec(coding="binary_unsigned")
    with pytest.raises(InputError, match=naming("threshold_ratio", "vision", "text", 0.5)):
        spec(ratio={"vision": 1.0, "text": 0.5})


def test_what_spikes_do_not_do_is_refused(workshop: Workshop) -> None:
    model = spiking(workshop.model("llava"))
    batch = workshop.batch("llava")
    name = "layers.0.self_attn"
    with pytest.raises(InputError, match=naming(name, "spike_compressor.modality_mask")), torch.no_grad():
        model.model.language_model(inputs_embeds=torch.randn(1, 5, 64))
    with (
        pytest.raises(InputError, match=naming(name, "1 x 5", "1 x 7")),
        rows_scope(TokenRows(torch.tensor([[0, 1, 0, 0, 0, 0, 0]], dtype=torch.uint8))),
    ):
        model.model.language_model.layers[0].self_attn(
            torch.randn(1, 5, 64), (torch.ones(1, 5, 16), torch.zeros(1, 5, 16)), None
        )
    with torch.no_grad(), modality_mask(torch.zeros(1, 5, dtype=torch.uint8)):
        model(inputs_embeds=torch.randn(1, 5, 64))
    attention = model.model.language_model.layers[0].self_attn
    call = attention.config._attn_implementation
    assert call == "spike_compressor"
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    function = ALL_ATTENTION_FUNCTIONS[call]
    rows = torch.randn(1, 4, 5, 16), torch.randn(1, 2, 5, 16), torch.randn(1, 2, 5, 16)
    for argument in ("s_aux", "position_bias"):
        with pytest.raises(InputError, match=naming(name, argument, "attention.ignore")):
            function(attention, *rows, None, **{argument: torch.ones(4)})
    with pytest.raises(InputError, match=naming(name, "dropout", "model.eval()")):
        function(attention, *rows, None, dropout=0.1)
    with pytest.raises(InputError, match=naming(name, "[batch, heads, queries, keys]")):
        function(attention, *rows, torch.ones(1, 5))
    model.model.language_model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(InputError, match=naming(name, "'flash_attention_2'", "'sdpa'")):
        tiny_models.logits(model, batch)


def test_not_a_number_is_reported_with_its_place(workshop: Workshop) -> None:
    model = spiking(workshop.model("llama"))
    spiking_state(model)
    model.model.layers[1].self_attn.q_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=naming("model.layers.1.self_attn", "queries", "NaN")):
        tiny_models.logits(model, workshop.batch("llama"))
