"""The demo's data: splits share nothing, drawing is deterministic, answers are true and balanced."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from helpers.messages import naming
from PIL import Image
from spike_compressor.demo import scenes
from spike_compressor.demo.data import FAMILY, KINDS, SPLITS, items
from spike_compressor.demo.scenes import DIGIT_KINDS, DigitScene, ask_digits, digit_scene


def test_items_are_deterministic_and_differ_by_seed_and_split():
    def fingerprint(split, seed):
        drawn = items(split, 3, seed)
        return [(i.question, i.answer, hashlib.sha256(i.image.tobytes()).hexdigest()) for i in drawn]

    assert fingerprint("test", 0) == fingerprint("test", 0)
    assert fingerprint("test", 0) != fingerprint("test", 1)
    assert fingerprint("test", 0) != fingerprint("validation", 0)


def test_items_have_every_kind_and_plain_images():
    drawn = items("calibration", 2)
    assert Counter(item.kind for item in drawn) == dict.fromkeys(KINDS, 2)
    for item in drawn:
        assert item.family == FAMILY[item.kind]
        assert isinstance(item.image, Image.Image)
        assert (item.image.mode, item.image.size) == ("RGB", (64, 64))


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_balanced(split):
    drawn = items(split, 60)
    by_kind = {kind: Counter(i.answer for i in drawn if i.kind == kind) for kind in KINDS}
    for kind in ("present", "compare", "vqa_yesno"):
        assert by_kind[kind] == {"yes": 30, "no": 30}
    for kind in ("pos", "max", "min"):
        assert by_kind[kind] == dict.fromkeys("0123456789", 6)
    assert by_kind["count"] == dict.fromkeys("0123", 15)
    assert by_kind["where"] == dict.fromkeys(scenes.POSITIONS, 15)
    assert by_kind["color"] == dict.fromkeys(scenes.INKS, 10)


def test_yes_and_no_are_balanced_for_every_easy_vqa_wording():
    votes = Counter()
    for item in items("test", 200):
        if item.kind == "vqa_yesno":
            votes[item.question] += 1 if item.answer == "yes" else -1
    assert len(votes) > 40
    assert set(votes.values()) <= {-1, 0, 1}


def work_out(kind, scene, question):
    """The answer, from the question's text; fails where a question has more than one."""
    at = dict(zip(scenes.POSITIONS, scene.labels, strict=True))
    named = [at[place] for _, place in sorted((question.find(p), p) for p in at if p in question)]
    digit = next((int(c) for c in question if c.isdigit()), -1)
    if kind in ("color", "where"):
        assert scene.labels.count(digit) == 1
        place = scene.labels.index(digit)
        return scene.colors[place] if kind == "color" else scenes.POSITIONS[place]
    if kind in ("compare", "larger"):
        assert named[0] != named[1]
        return str(max(named)) if kind == "larger" else "yes" if named[0] > named[1] else "no"
    if kind == "present":
        return "yes" if digit in scene.labels else "no"
    plain = {"pos": named[:1], "read": scene.labels, "max": [max(scene.labels)], "min": [min(scene.labels)]}
    return " ".join(map(str, plain.get(kind, [scene.labels.count(digit)])))


def test_digit_answers_are_true():
    """Every answer follows from the scene, worked out here a second time from the question's text."""
    rng = np.random.default_rng(5)
    for number in range(3000):
        kind = DIGIT_KINDS[number % len(DIGIT_KINDS)]
        scene = digit_scene(kind, rng)
        asked = ask_digits(kind, scene, rng)
        if asked is None:
            continue
        question, answer = asked
        expected = work_out(kind, scene, question)
        assert answer == expected, (scene, question)


def test_a_question_without_an_answer_is_not_asked():
    rng = np.random.default_rng(0)
    same = DigitScene((4, 4, 4, 4), ("red",) * 4)
    for kind in ("color", "where", "compare", "larger"):
        assert ask_digits(kind, same, rng) is None


def test_drawn_digits_stay_in_their_quadrants():
    rng = np.random.default_rng(1)
    glyphs = np.zeros((4, 28, 28), np.uint8)
    glyphs[1] = 255
    image = scenes.draw_digits(glyphs, ("red",) * 4, rng).astype(int)
    ground = image[0, 0]
    assert (image[:32, :32] == ground).all()
    assert (image[32:] == ground).all()
    assert (image[4:28, 36:60, 0] > 150).all()


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match=naming("'train'", "calibration", "validation", "test")):
        items("train", 1)
    with pytest.raises(ValueError, match=naming("per_kind", 0, 1)):
        items("test", 0)
    with pytest.raises(ValueError, match=naming("calibration", 300, "per_kind")):
        items("calibration", 300)
