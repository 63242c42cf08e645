"""Modality, thresholds and counts follow rows into experts, pruned blocks and stacks of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
import transformers
from helpers import tiny_models
from helpers.messages import naming
from helpers.tiny_moe import PER_TOKEN, TINY_MOE
from helpers.workshop import IGNORE, RTN, Processor, recipe
from llmcompressor import oneshot
from llmcompressor.utils.helpers import DisableQuantization
from spike_compressor.errors import InputError
from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.runtime import SpikingLinear, observing, spiking_layers, spiking_state
from torch import Tensor, nn

SCALES = recipe(RTN, msts="{allocation: fixed, timesteps: {vision: 1, text: 6}}")
VISION_LANGUAGE = ["llava_mixtral", "qwen3_vl_moe"]


ROOTS: list[Path] = []  # of the models' directories, from which they are loaded


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    ROOTS.append(tmp_path_factory.mktemp("rows"))
    yield
    ROOTS.pop()


def prepared(name: str, text: str = SCALES, **options: Any) -> Any:
    """A tiny mixture of experts that spikes."""
    moe = TINY_MOE[name]
    options.setdefault("dataset", moe.loader())
    return spiking(moe.model(), text, **options)


def spiking(model: Any, text: str, change: Any = None, **options: Any) -> Any:
    """A model that was loaded from a directory, changed and made to spike."""
    path = tempfile.mkdtemp(dir=ROOTS[-1])
    model.save_pretrained(path)
    model = type(model).from_pretrained(path, dtype=torch.float32).eval()
    if change is not None:
        change(model)
    oneshot(model=model, processor=Processor(), recipe=text, **options)
    return model


def replace_mlp(index: int, kind: type[nn.Module]) -> Any:
    """Put a module around the MLP of one decoder layer."""

    def change(model: Any) -> None:
        layers = model.model.language_model.layers
        layers[index].mlp = kind(layers[index].mlp)

    return change


@pytest.fixture(scope="module", params=VISION_LANGUAGE)
def experts(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, prepared(request.param)


class Calls:
    """What spiking layers did, with what came in and out of their modules."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.events: dict[str, list[Any]] = {}

    def run(self, **batch: Any) -> Any:
        def note(layer: SpikingLinear, event: Any) -> None:
            self.events.setdefault(event.name, []).append(event)

        with torch.no_grad(), observing(self.model, layers=note):
            return self.model(**batch)


def tokens_of(model: Any, batch: dict[str, Tensor]) -> TokenRows:
    rows = spiking_state(model).tracker.adapter.rows(batch)
    assert rows is not None
    return rows


def block_inputs(model: Any, block: str, batch: dict[str, Tensor]) -> Tensor:
    """Rows [B * S, K] that a block is called with."""
    seen: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).detach().clone())

    handle = model.get_submodule(block).register_forward_pre_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**batch)
    finally:
        handle.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


def test_each_row_in_an_expert_has_the_modality_of_its_token(experts: tuple[str, Any]) -> None:
    """The tokens are found by value: an expert's input rows are rows of its block's."""
    name, model = experts
    batch = TINY_MOE[name].batch(7)
    tokens = tokens_of(model, batch)
    calls = Calls(model)
    calls.run(**batch)
    block = "model.language_model.layers.1.mlp"
    rows = block_inputs(model, block, batch)
    kinds = (tokens.modality + 2 * tokens.valid).reshape(-1)  # type: ignore[operator]
    seen = 0
    for layer, events in calls.events.items():
        if not (layer.startswith(block) and ".experts." in layer and layer.endswith(("gate_proj", "up_proj"))):
            continue
        for event in events:
            matches = (event.x[:, None] == rows[None].float()).all(-1)
            expected = [set(kinds[one].tolist()) for one in matches]  # equal rows, as of padding, are of one kind
            assert [{kind} for kind in (event.modality + 2 * event.valid).tolist()] == expected
            assert event.timesteps.tolist() == [1 if m else 6 for m in event.modality.tolist()]
            seen += len(matches)
    assert seen == 2 * PER_TOKEN * len(rows)


def test_experts_compute_what_they_do_with_each_row_alone(experts: tuple[str, Any]) -> None:
    name, model = experts
    calls = Calls(model)
    calls.run(**TINY_MOE[name].batch(7))
    layers = spiking_layers(model)
    checked = 0
    for layer, events in calls.events.items():
        if ".experts." not in layer:
            continue
        for event in events:
            for row in range(0, len(event.x), 3):
                alone = TokenRows(event.modality[row].view(1, 1))
                with rows_scope(alone), torch.no_grad():
                    assert torch.equal(layers[layer](event.x[row : row + 1])[0], event.output[row])
                checked += 1
    assert checked > 20


def test_counts_of_experts_are_those_of_their_tokens(experts: tuple[str, Any]) -> None:
    """Padding is left out, and so it is where experts choose."""
    name, model = experts
    batch = TINY_MOE[name].batch(3)
    expected = tokens_of(model, batch).counts()
    with spike_compressor.record_spikes(model, operations=False) as record, torch.no_grad():
        model(**batch)
    assert record.tokens == expected
    for kind in ("gate_proj", "down_proj"):
        rows = dict.fromkeys(expected, 0)
        for (layer, modality), entry in record.layers.items():
            if "language_model.layers.0.mlp.experts." in layer and layer.endswith(kind):
                rows[modality] += entry.rows
        assert rows == {modality: PER_TOKEN * count for modality, count in expected.items()}


def test_experts_while_generating(experts: tuple[str, Any]) -> None:
    name, model = experts
    batch = TINY_MOE[name].batch(3)
    prompt = tokens_of(model, batch).counts()
    with spike_compressor.record_spikes(model, operations=False) as record:
        model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    rows = dict.fromkeys(prompt, 0)
    for (layer, modality), entry in record.layers.items():
        if "language_model.layers.1.mlp.experts." in layer and layer.endswith("up_proj"):
            rows[modality] += entry.rows
    sequences = batch["input_ids"].shape[0]
    assert record.tokens == {"text": prompt["text"] + 2 * sequences, "vision": prompt["vision"]}
    assert rows == {modality: PER_TOKEN * count for modality, count in record.tokens.items()}


@pytest.mark.parametrize("name", ["llama4", "deepseek_v3", "granitemoe"])
def test_padding_in_experts_of_text(name: str) -> None:
    """Repeated rows (every expert of Llama 4 gets all of them), shared experts, experts behind a sort."""
    heads = IGNORE.strip('[]"')
    model = prepared(name, recipe(RTN).replace(heads, "re:.*lm_head$|.*router$"), dataset=None)
    batch = TINY_MOE[name].batch(2)
    expected = int(batch["attention_mask"].sum())
    assert expected < batch["input_ids"].numel()
    with spike_compressor.record_spikes(model, operations=False) as record, torch.no_grad():
        model(**batch)
    assert record.tokens["text"] == expected
    by_layer = {layer: entry.rows for (layer, _), entry in record.layers.items()}
    attention = [rows for layer, rows in by_layer.items() if layer.endswith("o_proj")]
    assert set(attention) == {expected}
    routed = sum(
        rows for layer, rows in by_layer.items() if "layers.1." in layer and ".experts." in layer and "up" in layer
    )
    each = 4 if name == "llama4" else PER_TOKEN
    if routed:
        assert routed == each * expected
    shared = [rows for layer, rows in by_layer.items() if "shared_expert" in layer]
    assert set(shared) <= {expected}


def test_calibration_follows_rows_into_experts() -> None:
    """Only the rows that the router sends, where upstream is told not to send all: each threshold is their largest.

    Which rows those are is seen in a model that is quantized and does not spike, and their tokens are found by value.
    """
    moe = TINY_MOE["llava_mixtral"]
    options = {"moe_calibrate_all_experts": False, "pipeline": "basic"}
    spikes = prepared("llava_mixtral", recipe(RTN, "threshold: static, timesteps: 4", msts=None), **options)
    plain = prepared("llava_mixtral", f"quant_stage:\n  quant_modifiers:\n    {RTN}\n", **options)
    block = "model.language_model.layers.0.mlp"
    given: dict[str, list[Tensor]] = {}
    for name, module in plain.named_modules():
        if name.startswith(f"{block}.experts.") and name.endswith("up_proj"):
            module.register_forward_pre_hook(lambda _, args, name=name: given.setdefault(name, []).append(args[0]))
    largest: dict[tuple[str, str], float] = {}
    for batch in moe.loader():
        given.clear()
        with DisableQuantization(plain):  # as LLM Compressor runs the pass
            every = block_inputs(plain, block, batch)
        tokens = tokens_of(spikes, batch)
        assert tokens.valid is not None
        for name, calls in given.items():
            for x in calls:
                token = (x[:, None] == every[None]).all(-1).long().argmax(1)
                for code, modality in enumerate(("text", "vision")):
                    rows = x[((tokens.modality == code) & tokens.valid).reshape(-1)[token]]
                    if len(rows):
                        largest[name, modality] = max(largest.get((name, modality), 0.0), float(rows.abs().max()))
    assert len(largest) >= 6
    for (name, modality), absmax in largest.items():
        scale = spiking_layers(spikes)[name].spec.scale
        assert scale is not None
        assert scale[modality] * 15 == pytest.approx(absmax, rel=1e-6)


class Pruned(nn.Module):
    """A block that computes only half of the tokens, in the order of their size: mixture of depths, token pruning."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.chosen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1] // 2
        chosen = x.norm(dim=-1).topk(count, dim=1).indices
        self.chosen = chosen
        index = chosen.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        return torch.zeros_like(x).scatter(1, index, self.block(x.gather(1, index)))


def test_pruned_tokens() -> None:
    model = spiking(
        tiny_models.llava(), recipe(RTN, "timesteps: {vision: 1, text: 6}", msts=None), replace_mlp(0, Pruned)
    )
    layers = model.model.language_model.layers
    batch = tiny_models.collate([tiny_models.sample(30, 3), tiny_models.sample(31, 6)], "left")
    tokens = tokens_of(model, batch)
    calls = Calls(model)
    calls.run(**batch)
    chosen = layers[0].mlp.chosen
    expected = tokens.modality.gather(1, chosen).reshape(-1).tolist()
    assert len(set(expected)) == 2
    for kind in ("gate_proj", "up_proj", "down_proj"):
        (event,) = calls.events[f"model.language_model.layers.0.mlp.block.{kind}"]
        assert event.modality.tolist() == expected


class Unfollowed(nn.Module):
    """A block whose tokens go through NumPy, flat, in another order."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(-1, x.shape[-1])
        moved = torch.zeros(flat.shape[0] + 1, flat.shape[1])
        moved.numpy()[1:] = flat.detach().numpy()[::-1]
        return self.block(moved)[1:].flip(0).view(x.shape)


def test_rows_that_cannot_be_told_are_an_error() -> None:
    change = replace_mlp(1, Unfollowed)
    model = spiking(tiny_models.llava(), recipe(RTN, "timesteps: {vision: 1, text: 6}", msts=None), change)
    with pytest.raises(InputError, match=naming("model.language_model.layers.1.mlp.block.gate_proj", "ignore")):
        tiny_models.logits(model, tiny_models.collate([tiny_models.sample(30, 3)]))
    same = spiking(tiny_models.llava(), recipe(RTN, "timesteps: 4", msts=None), change)
    tiny_models.logits(same, tiny_models.collate([tiny_models.sample(30, 3)]))  # no modality to be told


# Encoder and decoder


def t5() -> Any:
    config = transformers.T5Config(
        vocab_size=64, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    model = tiny_models._loud(transformers.T5ForConditionalGeneration(config), 0)
    return spiking(model, recipe(RTN, "timesteps: 4", msts=None))


def bart() -> Any:
    config = transformers.BartConfig(
        vocab_size=64,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_position_embeddings=32,
        forced_eos_token_id=None,
    )
    model = tiny_models._loud(transformers.BartForConditionalGeneration(config), 0)
    return spiking(model, recipe(RTN, "timesteps: 4", msts=None))


ENCODER_IDS = torch.tensor([[11, 23, 35, 17, 42, 2], [33, 12, 2, 0, 0, 0]])
ENCODER_MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


@pytest.mark.parametrize("make", [t5, bart])
@pytest.mark.parametrize("length", [3, 6, 9], ids=["shorter", "as long", "longer"])
def test_encoder_and_decoder_have_rows_of_their_own(make: Any, length: int) -> None:
    model = make()
    answers = torch.randint(3, 60, (2, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(answers)
    mask[1, -1] = 0
    with spike_compressor.record_spikes(model, operations=False) as record, torch.no_grad():
        model(
            input_ids=ENCODER_IDS,
            attention_mask=ENCODER_MASK,
            decoder_input_ids=answers,
            decoder_attention_mask=mask,
        )
    encoded, decoded = 9, 2 * length - 1
    assert record.tokens["text"] == encoded + decoded
    for (layer, _), entry in record.layers.items():
        crossing = any(part in layer for part in ("EncDecAttention.k", "EncDecAttention.v")) or (
            "encoder_attn.k_proj" in layer or "encoder_attn.v_proj" in layer
        )
        expected = encoded if crossing or "encoder." in layer.replace("encoder_attn.", "") else decoded
        assert entry.rows == expected, layer


def test_the_encoder_runs_once_while_the_decoder_generates(tmp_path: Path) -> None:
    spike_compressor.save(t5(), tmp_path / "t5")
    model = spike_compressor.load(tmp_path / "t5")
    with spike_compressor.record_spikes(model, operations=False) as record:
        model.generate(
            input_ids=ENCODER_IDS, attention_mask=ENCODER_MASK, max_new_tokens=4, min_new_tokens=4, num_beams=2
        )
    assert record.layers["encoder.block.0.layer.0.SelfAttention.q", "text"].rows == 9
    assert record.layers["decoder.block.0.layer.0.SelfAttention.q", "text"].rows == 2 * 2 * 4
    assert record.sops_per_token("text") > 0
