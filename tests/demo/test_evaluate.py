"""Exact match by one forward is exact match under generate; the blind baseline is blind."""

import pytest
import torch
from helpers.messages import naming
from PIL import Image
from spike_compressor.demo.data import KINDS, Item, items
from spike_compressor.demo.evaluate import evaluate, judge, predict, shuffled_images
from spike_compressor.demo.model import load_model, load_processor


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def processor():
    return load_processor()


def test_one_forward_agrees_with_generate_item_by_item(model, processor):
    drawn = items("validation", 3)
    # Half of the items get a foreign image, so that wrong answers are compared as well.
    foreign = shuffled_images(drawn)
    mixed = [
        Item(foreign[i] if i % 2 else item.image, item.question, item.answer, item.kind, item.family)
        for i, item in enumerate(drawn)
    ]
    judged = judge(model, processor, mixed, batch_size=16)
    generated = [predict(model, processor, item.image, item.question) == item.answer for item in mixed]
    assert judged == generated
    assert 0.3 < sum(judged) / len(judged) < 0.95


def test_batch_size_and_order_do_not_matter(model, processor):
    drawn = items("validation", 4)
    judged = judge(model, processor, drawn)
    assert judge(model, processor, drawn, batch_size=3) == judged
    assert judge(model, processor, drawn[::-1]) == judged[::-1]


def test_the_model_really_sees(model, processor):
    drawn = items("validation", 20)
    seen = evaluate(model, processor, drawn)
    blind = evaluate(model, processor, drawn, shuffle_images=True)
    assert seen.average > 0.9
    assert blind.average < 0.4
    assert seen.questions == dict.fromkeys(KINDS, 20)
    assert seen.average == pytest.approx(sum(seen.by_kind.values()) / len(KINDS))
    assert seen.to_dict() == {"average": seen.average, "by_kind": seen.by_kind, "questions": seen.questions}


def test_a_model_without_logits_to_keep_and_in_training_mode(model, processor):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.device, self.dtype = model, model.device, model.dtype

        def forward(self, input_ids, attention_mask, pixel_values, use_cache=False):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values)

    drawn = items("validation", 2)
    plain = Plain().train()
    assert judge(plain, processor, drawn) == judge(model, processor, drawn)
    assert plain.training
    model.eval()


def test_shuffling_keeps_families_and_changes_every_picture():
    drawn = items("test", 12)
    shuffled = shuffled_images(drawn)
    by_family = {}
    for item in drawn:
        by_family.setdefault(item.family, []).append(item.image.tobytes())
    used = {}
    for item, image in zip(drawn, shuffled, strict=True):
        assert image.tobytes() != item.image.tobytes()
        used.setdefault(item.family, []).append(image.tobytes())
    assert {f: sorted(i) for f, i in used.items()} == {f: sorted(i) for f, i in by_family.items()}
    assert [i.tobytes() for i in shuffled_images(drawn)] == [i.tobytes() for i in shuffled]


def test_equal_pictures_are_not_swapped_with_each_other():
    pictures = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (1, 1, 1, 2, 3, 4)]
    drawn = [Item(picture, "max?", "1", "max", "digits") for picture in pictures]
    for item, image in zip(drawn, shuffled_images(drawn), strict=True):
        assert image.tobytes() != item.image.tobytes()
    with pytest.raises(ValueError, match=naming(3, 5, "digits")):
        shuffled_images(drawn[:5])


def test_progress_reaches_the_total(model, processor):
    calls = []
    evaluate(model, processor, items("validation", 2), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2 * len(KINDS), 2 * len(KINDS))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_nothing_to_evaluate_is_an_error(model, processor):
    with pytest.raises(ValueError, match=naming("items")):
        evaluate(model, processor, [])
    with pytest.raises(ValueError, match=naming("batch_size", 0, 1)):
        evaluate(model, processor, items("test", 1), batch_size=0)
