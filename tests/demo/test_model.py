"""The embedded model and its processor work like any published model's."""

import hashlib
import json

import pytest
import torch
from helpers.messages import naming
from safetensors import safe_open
from spike_compressor.demo.data import KINDS, calibration_batches, items
from spike_compressor.demo.evaluate import predict
from spike_compressor.demo.model import BOS, MODEL_DIR, build, build_processor, load_model, load_processor, prompt
from spike_compressor.demo.scenes import vocabulary


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def processor():
    return load_processor()


def test_size_and_architecture(model):
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert model.config.vision_config.num_hidden_layers >= 4
    assert model.config.text_config.num_hidden_layers >= 6
    assert 3e6 <= sum(p.numel() for p in model.parameters()) <= 10e6
    assert model.dtype == torch.float32
    file = MODEL_DIR / "model.safetensors"
    assert file.stat().st_size < 20e6
    with safe_open(file, "pt") as weights:
        assert {str(weights.get_slice(name).get_dtype()) for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_build_is_deterministic_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, second, other = build(3)[0], build(3)[0], build(4)[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "lm_head.weight"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_tokenizer_knows_every_word_and_gives_answers_back(processor):
    tokenizer = processor.tokenizer
    for item in items("validation", 12):
        ids = tokenizer(f"{prompt(item.question)} {item.answer}")["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert ids[0] == tokenizer.bos_token_id
        answer = tokenizer(item.answer, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(answer) == item.answer
    assert len(tokenizer) == 5 + len(vocabulary()) == len(build_processor().tokenizer)


def test_processor_expands_the_image_and_scales_pixels(processor):
    item = items("validation", 1)[0]
    encoded = processor(images=item.image, text=prompt(item.question), return_tensors="pt")
    assert (encoded["input_ids"] == processor.image_token_id).sum() == 16
    pixels = torch.tensor(list(item.image.tobytes())).view(64, 64, 3).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(encoded["pixel_values"][0], pixels, atol=1e-5)


def test_generate_answers_a_left_padded_batch_as_it_answers_one(model, processor):
    chosen = [item for item in items("validation", 2) if item.kind in ("pos", "read", "word", "vqa_yesno", "max")]
    encoded = processor(
        images=[i.image for i in chosen], text=[prompt(i.question) for i in chosen], padding=True, return_tensors="pt"
    )
    assert (encoded["attention_mask"] == 0).any()
    assert (encoded["attention_mask"][:, -1] == 1).all()
    generated = model.generate(**encoded, do_sample=False)[:, encoded["input_ids"].shape[1] :]
    together = [text.strip() for text in processor.batch_decode(generated, skip_special_tokens=True)]
    assert together == [predict(model, processor, i.image, i.question) for i in chosen]
    assert sum(text == i.answer for text, i in zip(together, chosen, strict=True)) >= 0.8 * len(chosen)


def test_chat_template_gives_the_prompt(processor):
    picture = items("validation", 1)[0].image
    message = {"role": "user", "content": [{"type": "text", "text": "largest digit?"}, {"type": "image"}]}
    assert processor.apply_chat_template([message], tokenize=False) == BOS + prompt("largest digit?")
    asked = [{"role": "user", "content": [{"type": "image", "image": picture}, *message["content"][:1]]}]
    given = processor.apply_chat_template(asked, tokenize=True, return_dict=True, return_tensors="pt")
    expected = processor(images=picture, text=prompt("largest digit?"), return_tensors="pt")
    assert torch.equal(given["input_ids"], expected["input_ids"])


def test_calibration_batches(processor):
    loader = calibration_batches(processor, samples=20, batch_size=8)
    batches = list(loader)
    assert [len(batch["input_ids"]) for batch in batches] == [8, 8, 4]
    for batch, again in zip(batches, loader, strict=True):
        assert sorted(batch) == ["attention_mask", "input_ids", "pixel_values"]
        assert all(torch.equal(batch[name], again[name]) for name in batch)
        assert batch["pixel_values"].shape[1:] == (3, 64, 64)
        ends = batch["attention_mask"].sum(1) - 1
        last = batch["input_ids"].gather(1, ends[:, None])
        assert (last == processor.tokenizer.eos_token_id).all()
        assert (batch["attention_mask"][:, 0] == 1).all()
    with pytest.raises(ValueError, match=naming("samples", 0, "batch_size", 8)):
        calibration_batches(processor, samples=0)


def test_reported_accuracy_meets_its_claims():
    """The report beside the weights: what was measured, on how much, and that the model really looks."""
    report = json.loads((MODEL_DIR / "accuracy.json").read_text(encoding="utf-8"))
    assert report["test"]["average"] >= 0.96
    assert set(report["test"]["by_kind"]) == set(KINDS)
    assert len(KINDS) >= 12
    for kind in KINDS:
        assert report["test"]["questions"][kind] >= 1000
        assert report["test"]["by_kind"][kind] - report["blind"]["by_kind"][kind] >= 0.25, kind
    weights = hashlib.sha256((MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()
    assert report["weights_sha256"] == weights
