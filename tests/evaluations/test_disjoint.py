"""Data that a model was calibrated on is found in the evaluation."""

from __future__ import annotations

import pytest
import torch
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.evaluations import require_disjoint, shingles


def test_a_passage_is_found_at_whatever_offset() -> None:
    calibration = torch.arange(1000, 1100)
    evaluation = torch.cat([torch.arange(7), calibration[13:50], torch.arange(40)])
    with pytest.raises(InputError, match=naming(6, "passages")):
        require_disjoint(shingles(calibration), shingles(evaluation), "passages")  # 37 tokens: 6 runs of 32


def test_what_is_shorter_than_a_passage_may_recur() -> None:
    calibration = torch.arange(1000, 1100)
    require_disjoint(shingles(calibration), shingles(torch.cat([torch.arange(90), calibration[:31]])), "passages")


def test_equal_pictures_are_found() -> None:
    with pytest.raises(InputError, match=naming(1, "pictures")):
        require_disjoint([b"a", b"b"], [b"c", b"b"], "pictures")
    require_disjoint([b"a", b"b"], [b"c", b"ab"], "pictures")
