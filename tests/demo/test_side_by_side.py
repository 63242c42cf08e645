"""Processes side by side give the answers of one process; errors in them are errors here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from llmcompressor import oneshot
from spike_compressor.checkpoint import load, save
from spike_compressor.demo import side_by_side
from spike_compressor.demo.data import KINDS, items
from spike_compressor.demo.evaluate import batches, evaluate
from spike_compressor.demo.model import load_model, load_processor, model_directory
from spike_compressor.demo.side_by_side import Exam, Examinee, examination, worthwhile_jobs
from spike_compressor.errors import InputError
from spike_compressor.runtime.reference import weight_only

QUESTIONS = items("validation", 3)
COARSE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups: {w3: {targets: [Linear], weights: {num_bits: 3, type: int, symmetric: true, strategy: channel}}}
  spike_modifiers:
    TCLIFModifier: {timesteps: {vision: 3, text: 3}}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with weights so coarse that its three ways to compute give different answers."""
    model = load_model()
    oneshot(model=model, recipe=COARSE)
    return save(model, tmp_path_factory.mktemp("coarse") / "checkpoint", load_processor())


@pytest.mark.slow
def test_several_processes_answer_what_one_answers(checkpoint: Path) -> None:
    processor = load_processor()
    examinees = [
        Examinee(model_directory(), "float"),
        Examinee(checkpoint, "weight_only"),
        Examinee(checkpoint, "spiking"),
    ]
    with examination(1) as here, examination(2) as elsewhere:
        under_way = [Exam(elsewhere, examinee, processor, QUESTIONS) for examinee in examinees]
        nowhere = Exam(elsewhere, Examinee(checkpoint / "nowhere", "spiking"), processor, QUESTIONS)
        blind = Exam(elsewhere, examinees[0], processor, QUESTIONS, shuffle_images=True)
        alone = [Exam(here, examinee, processor, QUESTIONS).accuracy() for examinee in examinees]
        seen: list[tuple[int, int]] = []
        assert [exam.accuracy(lambda done, total: seen.append((done, total))) for exam in under_way] == alone
        assert seen[-1] == (len(QUESTIONS), len(QUESTIONS))
        assert len(seen) == 3 * len(batches(processor, QUESTIONS))
        assert blind.accuracy() == evaluate(load_model(), processor, QUESTIONS, shuffle_images=True)
        with pytest.raises(InputError, match="nowhere"):
            nowhere.accuracy()
    assert len({exam.average for exam in alone}) == 3
    assert torch.get_num_threads() == 1


def test_weights_of_a_reloaded_model_are_those_of_the_saved_one(checkpoint: Path) -> None:
    """So the weight-only model can be judged from its checkpoint."""
    model = load_model()
    oneshot(model=model, recipe=COARSE)
    processor, item = load_processor(), QUESTIONS[0]
    inputs = processor(images=item.image, text=f"<image> {item.question}", return_tensors="pt")
    reloaded = load(checkpoint)
    with torch.inference_mode(), weight_only(model), weight_only(reloaded):
        assert torch.equal(model(**inputs).logits, reloaded(**inputs).logits)


def test_processes_are_as_many_as_are_worth_their_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 4)
    assert [worthwhile_jobs(per_kind) for per_kind in (1, 80, 1000)] == [1, 4 * len(KINDS) * 80 // 2000, 4]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert worthwhile_jobs(1000) == 2
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 64)
    assert worthwhile_jobs(1000) == 8


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="jobs"), examination(0):
        pass
