"""Which rows are vision: adapters, the mask during forward passes, and what may not go wrong with it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.tiny_models import BOS, IMAGE, IMAGE_TOKENS, VIDEO
from spike_compressor.errors import InputError
from spike_compressor.modality import (
    AUDIO,
    TEXT,
    VISION,
    ModalityAdapter,
    ModalityTracker,
    TokenRows,
    adapter_for,
    available_adapters,
    current_rows,
    modality_mask,
    register_adapter,
    rows_scope,
)


class Watch:
    """Rows that one module of a model sees."""

    def __init__(self, model: Any, name: str) -> None:
        self.seen: list[TokenRows | None] = []
        model.get_submodule(name).register_forward_pre_hook(lambda *_: self.seen.append(current_rows()))


def tracked(kind: str) -> tuple[Any, ModalityTracker]:
    model = {"llava": tiny_models.llava, "qwen2_vl": tiny_models.qwen2_vl, "llama": tiny_models.llama}[kind]()
    return model, ModalityTracker(model, adapter_for(model))


LM_LAYER = {
    "llava": "model.language_model.layers.0.mlp",
    "qwen2_vl": "model.language_model.layers.0.mlp",
    "llama": "model.layers.0.mlp",
}


@pytest.mark.parametrize("side", ["left", "right"])
def test_llava_rows(side: str) -> None:
    model, _ = tracked("llava")
    watch = Watch(model, LM_LAYER["llava"])
    batch = tiny_models.collate([tiny_models.sample(0, 4, 1), tiny_models.sample(1, 3, 2)], side)
    tiny_models.logits(model, batch)
    (rows,) = watch.seen
    assert rows is not None
    expected = [[int(token == IMAGE) for token in row] for row in batch["input_ids"].tolist()]
    assert rows.modality.tolist() == expected
    assert sum(expected[0]) == IMAGE_TOKENS
    assert sum(expected[1]) == 2 * IMAGE_TOKENS
    assert rows.valid is not None
    assert rows.valid.tolist() == batch["attention_mask"].bool().tolist()
    valid = int(batch["attention_mask"].sum())
    assert rows.counts() == {"vision": 3 * IMAGE_TOKENS, "text": valid - 3 * IMAGE_TOKENS}
    assert current_rows() is None


def test_qwen2_vl_rows_of_images_and_videos() -> None:
    model, _ = tracked("qwen2_vl")
    watch = Watch(model, LM_LAYER["qwen2_vl"])
    batch = tiny_models.qwen_batch()
    tiny_models.logits(model, batch)
    (rows,) = watch.seen
    assert rows is not None
    assert torch.equal(rows.modality.bool(), batch["input_ids"] == IMAGE)
    assert rows.counts()["vision"] == 4 + 2
    adapter = adapter_for(model)
    assert adapter.token_rows(torch.tensor([[BOS, VIDEO, IMAGE, 9]])).modality.tolist() == [[0, 1, 1, 0]]
    assert adapter.fixed_modality("model.visual.blocks.0.mlp.fc1") == VISION
    assert adapter.fixed_modality("model.visual.merger.mlp.0") == VISION
    assert adapter.fixed_modality("model.visualizer") is None
    assert adapter.fixed_modality("model.language_model.layers.0.mlp.up_proj") is None


def test_llava_vision_modules() -> None:
    model, _ = tracked("llava")
    adapter = adapter_for(model)
    vision = {
        name
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and adapter.fixed_modality(name) == VISION
    }
    assert {name.split(".")[1] for name in vision} == {"vision_tower", "multi_modal_projector"}
    text = {name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)} - vision
    assert all(name.startswith(("model.language_model", "lm_head")) for name in text)


def test_a_text_only_model_is_text_with_ids_and_with_embeddings() -> None:
    model, _ = tracked("llama")
    watch = Watch(model, LM_LAYER["llama"])
    ids = torch.tensor([[0, BOS, IMAGE, 9]])
    mask = torch.tensor([[0, 1, 1, 1]])
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
        model(inputs_embeds=model.get_input_embeddings()(ids), attention_mask=mask)
        model.model(ids)
    assert [rows.modality.sum() for rows in watch.seen] == [0, 0, 0]
    assert [rows.counts()["text"] for rows in watch.seen] == [3, 3, 4]


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_decoding_with_a_cache_is_text_row_by_row(kind: str) -> None:
    model, _ = tracked(kind)
    watch = Watch(model, LM_LAYER[kind])
    batch = (
        tiny_models.qwen_batch(side="left")
        if kind == "qwen2_vl"
        else tiny_models.collate(tiny_models.samples(2), "left")
    )
    model.generate(**batch, max_new_tokens=3, do_sample=False, eos_token_id=None)
    shapes = [tuple(rows.modality.shape) for rows in watch.seen]
    assert shapes == [tuple(batch["input_ids"].shape), (2, 1), (2, 1)]
    assert watch.seen[0].counts()["vision"] == int((batch["input_ids"] == IMAGE).sum())
    for rows in watch.seen[1:]:
        assert rows.modality.tolist() == [[TEXT], [TEXT]]
        assert rows.valid is None  # the new tokens are no padding, though the mask of the whole past has some
    assert current_rows() is None


def test_positional_arguments_are_seen_too() -> None:
    model, _ = tracked("llava")
    watch = Watch(model, LM_LAYER["llava"])
    batch = tiny_models.collate([tiny_models.sample(0, 4, 1)])
    with torch.no_grad():
        model(batch["input_ids"], batch["pixel_values"], batch["attention_mask"])
        model.model(batch["input_ids"], batch["pixel_values"])
    assert [rows.counts()["vision"] for rows in watch.seen] == [IMAGE_TOKENS] * 2


def test_embeddings_need_a_mask() -> None:
    model, _ = tracked("llava")
    watch = Watch(model, LM_LAYER["llava"])
    ids = torch.tensor([[BOS, 11, 12, 13]])
    embeds = model.get_input_embeddings()(ids).detach()
    with torch.no_grad():
        model(inputs_embeds=embeds)
        assert watch.seen.pop() is None
        with modality_mask(torch.tensor([[0, 1, 1, 0]]), valid=torch.tensor([[True, True, True, False]])):
            model(inputs_embeds=embeds)
            rows = watch.seen.pop()
            assert rows.modality.tolist() == [[0, 1, 1, 0]]
            assert rows.counts() == {"text": 1, "vision": 2}
            model(input_ids=torch.tensor([[9]]))  # a decoding step
            assert watch.seen.pop().modality.tolist() == [[0]]
        model(inputs_embeds=embeds)
        assert watch.seen.pop() is None


def test_a_mask_that_does_not_fit_is_refused() -> None:
    model, _ = tracked("llava")
    embeds = torch.zeros(1, 4, 64)
    with (
        modality_mask(torch.zeros(1, 3, dtype=torch.long)),
        pytest.raises(InputError, match=naming("inputs_embeds", [1, 3], [1, 4])),
    ):
        model(inputs_embeds=embeds)
    assert current_rows() is None
    with (
        pytest.raises(InputError, match=naming("[batch, sequence]", "(3,)")),
        modality_mask(torch.zeros(3, dtype=torch.long)),
    ):
        pass
    with pytest.raises(InputError, match=naming(200, "0 text", "1 vision", "2 audio")):
        modality_mask(torch.full((1, 3), 200)).__enter__()
    with (  # a modality, and none of the model's
        modality_mask(torch.full((1, 4), AUDIO)),
        pytest.raises(InputError, match=naming(2, "0 text", "1 vision")),
    ):
        model(inputs_embeds=embeds)
    assert current_rows() is None


def test_an_exception_leaves_no_mask_behind() -> None:
    model, tracker = tracked("llava")
    batch = tiny_models.collate([tiny_models.sample(0, 4, 1)])

    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    for name in ("model.language_model.layers.1", "model.vision_tower", "model"):
        handle = model.get_submodule(name).register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            tiny_models.logits(model, batch)
        handle.remove()
        assert current_rows() is None
    first = model.register_forward_pre_hook(fail, prepend=True)  # before the tracker's own
    with rows_scope(TokenRows(torch.zeros(1, 1, dtype=torch.uint8))) as _:
        outer = current_rows()
        with pytest.raises(RuntimeError, match="on purpose"):
            tiny_models.logits(model, batch)
        assert current_rows() is outer
    first.remove()
    tracker.remove()
    watch = Watch(model, LM_LAYER["llava"])
    tiny_models.logits(model, batch)
    assert watch.seen == [None]


def test_threads_do_not_see_each_others_tokens() -> None:
    model, _ = tracked("llama")
    barrier = threading.Barrier(2)
    found: dict[int, int] = {}

    def hook(*_: Any) -> None:
        barrier.wait(20)
        found[threading.get_ident()] = current_rows().modality.shape[1]

    model.get_submodule(LM_LAYER["llama"]).register_forward_pre_hook(hook)
    lengths: dict[int, int] = {}

    def work(length: int) -> None:
        lengths[threading.get_ident()] = length
        with torch.no_grad():
            model(torch.full((1, length), 9))

    threads = [threading.Thread(target=work, args=(length,)) for length in (3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == lengths


def test_counting_happens_once_a_forward_pass() -> None:
    model, tracker = tracked("llava")
    counted: list[dict[str, int]] = []
    tracker.observers.append(lambda rows: counted.append(rows.counts()))
    tiny_models.logits(model, tiny_models.collate([tiny_models.sample(0, 4, 1)]))
    assert len(counted) == 1


def test_lookup_follows_the_rows() -> None:
    rows = TokenRows(torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8))
    values = rows.lookup((4, 3), torch.int64, torch.device("cpu"))
    assert values.tolist() == [4, 3, 3, 4]
    assert rows.lookup((0.5, 2.0), torch.float32, torch.device("cpu")).tolist() == [0.5, 2.0, 2.0, 0.5]


def test_an_attention_mask_of_four_dimensions_tells_no_padding() -> None:
    adapter = adapter_for(tiny_models.llava())
    rows = adapter.token_rows(torch.tensor([[9, IMAGE]]), torch.ones(1, 1, 2, 2))
    assert rows.valid is None
    assert adapter.token_rows(torch.tensor([[9, IMAGE]]), torch.tensor([[1, 0, 1]])).valid.tolist() == [[False, True]]


@pytest.mark.parametrize("key", ["vision_config", "audio_config", "speech_config", "thinker_config"])
def test_an_unknown_multimodal_architecture_is_refused_with_the_remedy(key: str) -> None:
    config = SimpleNamespace(model_type="seer", **{key: object(), "text_config": object()})
    with pytest.raises(InputError, match=naming("'seer'", key, "llava", "register_adapter")):
        adapter_for(SimpleNamespace(config=config))
    assert not adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="reader", vision_config=None))).multimodal


@pytest.mark.parametrize("key", ["visual", "mm_vision_tower"])
def test_configs_from_before_there_were_sub_configs_are_refused_too(key: str) -> None:
    config = SimpleNamespace(model_type="seer", **{key: {"width": 64}})
    with pytest.raises(InputError, match=naming("'seer'", key)):
        adapter_for(SimpleNamespace(config=config))


def test_a_mask_for_one_token_is_not_the_next_tokens() -> None:
    model, _ = tracked("llava")
    watch = Watch(model, LM_LAYER["llava"])
    with torch.no_grad(), modality_mask(torch.tensor([[1]])):
        past = model(inputs_embeds=torch.randn(1, 1, 64), use_cache=True).past_key_values
        model(input_ids=torch.tensor([[9]]), past_key_values=past, use_cache=True)
    assert [rows.modality.tolist() for rows in watch.seen] == [[[1]], [[0]]]


def test_a_real_unknown_architecture_is_refused() -> None:
    from transformers import Blip2Config

    with pytest.raises(InputError, match=naming("'blip-2'", "vision_config")):
        adapter_for(SimpleNamespace(config=Blip2Config()))


def test_an_adapter_of_ones_own() -> None:
    from spike_compressor.modality.base import ADAPTERS

    with ADAPTERS.temporarily():

        @register_adapter("seer", "prophet")
        class Seer(ModalityAdapter):
            vision_modules = ("eyes",)

        assert {"seer", "prophet"} <= set(available_adapters())
        adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="seer", image_token_id=3)))
        with pytest.raises(InputError, match=r"'prophet' .*Seer.*Blind"):
            register_adapter("prophet")(type("Blind", (ModalityAdapter,), {}))
    assert isinstance(adapter, Seer)
    assert "seer" not in available_adapters()
    assert adapter.token_rows(torch.tensor([[3, 4]])).modality.tolist() == [[VISION, TEXT]]


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (tiny_models.llava, "model.language_model.layers"),
        (tiny_models.qwen2_vl, "model.language_model.layers"),
        (tiny_models.llama, "model.layers"),
    ],
)
def test_decoder_layers_are_found_in_order(make: Any, path: str) -> None:
    model = make()
    layers = adapter_for(model).decoder_layers(model)
    assert list(layers) == [f"{path}.0", f"{path}.1"]
    assert all(model.get_submodule(name) is layer for name, layer in layers.items())


def test_unknown_decoder_layers_name_the_remedy() -> None:
    model = tiny_models.llama()
    adapter = adapter_for(model)
    del model.model.layers
    with pytest.raises(InputError, match=naming("LlamaForCausalLM", "decoder_path")):
        adapter.decoder_layers(model)
