"""Finished results are found again, and only where everything is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from spike_compressor.comparison import Cells
from spike_compressor.fingerprint import digest_of_batches, digest_of_model


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> dict[str, Any]:
        self.done += 1
        return {"value": 0.1 + 0.2, "list": (1, 2)}


def test_a_cell_is_computed_once_whoever_asks(tmp_path: Path) -> None:
    work = Work()
    first = Cells(tmp_path).cell({"a": 1, "b": [1.5, "x"]}, work)
    again = Cells(tmp_path).cell({"b": [1.5, "x"], "a": 1}, work)
    assert first == again == {"value": 0.1 + 0.2, "list": [1, 2]}
    assert work.done == 1


def test_another_part_is_another_cell(tmp_path: Path) -> None:
    work = Work()
    for parts in ({"a": 1}, {"a": 2}, {"a": 1, "b": None}, {"a": "1"}):
        Cells(tmp_path).cell(parts, work)
    assert work.done == 4


def test_a_run_that_fails_or_a_file_that_is_torn_leaves_nothing(tmp_path: Path) -> None:
    cells, work = Cells(tmp_path), Work()

    def fail() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cells.cell({"a": 1}, fail)
    assert not list(tmp_path.iterdir())
    cells.cell({"a": 1}, work)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-20])
    assert cells.cell({"a": 1}, work)["list"] == [1, 2]
    assert work.done == 2


def test_a_result_under_another_ones_name_is_not_taken(tmp_path: Path) -> None:
    cells, work = Cells(tmp_path), Work()
    cells.cell({"a": 1}, work)
    (first,) = tmp_path.iterdir()
    cells.cell({"a": 2}, work)
    (second,) = set(tmp_path.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    cells.cell({"a": 2}, work)
    assert work.done == 3


def test_a_models_digest_follows_weights_and_config_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = digest_of_model(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert digest_of_model(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert digest_of_model(tmp_path) != before


def test_a_batch_that_differs_in_one_bit_type_or_order_differs() -> None:
    one, two = {"ids": torch.tensor([[1, 2]])}, {"ids": torch.tensor([[3, 4]])}
    all_of_them = [
        digest_of_batches(batches)
        for batches in ([one, two], [two, one], [one], [{"ids": one["ids"].int()}], [{"other": one["ids"]}])
    ]
    assert len(set(all_of_them)) == 5
    assert digest_of_batches([one, two]) == digest_of_batches([dict(one), dict(two)])
    empty_masks = {"attention_mask": torch.ones(2, 0), "flag": True}
    assert digest_of_batches([empty_masks]) == digest_of_batches([empty_masks])
