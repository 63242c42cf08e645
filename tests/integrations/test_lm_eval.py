"""Spiking checkpoints through lm-evaluation-harness, against what `spike_compressor.load` gives by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import lm_eval_tasks
from helpers.lm_eval_tasks import choices
from helpers.messages import naming
from spike_compressor.comparison import compare
from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import judge
from spike_compressor.demo.model import MODEL_DIR, load_model, load_processor, prompt
from spike_compressor.errors import InputError
from spike_compressor.evaluations import parse_evaluation

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is in the extra `eval`")

RECIPE = Path(__file__).parents[2] / "recipes" / "compare" / "rtn_w4_g64.yaml"
QUESTIONS = [("what colour is the sky", 2), ("what colour is grass", 1), ("what colour is the ball", 0)]
PROSE = ["the red square is left of the blue circle", "how many green shapes are there"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from llmcompressor import oneshot

    path = tmp_path_factory.mktemp("made") / "spiking"
    oneshot(model=load_model(), processor=load_processor(), recipe=str(RECIPE), output_dir=str(path))
    return path


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of task files with their data."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = {
        "colours": [{"question": question, "answer": answer} for question, answer in QUESTIONS],
        "prose": [{"text": text} for text in PROSE],
        "pictures": [],
    }
    for index, item in enumerate(items("test", 1)):
        item.image.save(folder / f"{index}.png")
        text = prompt(item.question)
        rows["pictures"].append({"text": text, "answer": item.answer, "file": str(folder / f"{index}.png")})
    texts = {
        "colours": choices(["red", "green", "blue"]),
        "prose": lm_eval_tasks.PROSE,
        "pictures": lm_eval_tasks.PICTURES,
    }
    lm_eval_tasks.write_tasks(folder, {name: (text, rows[name]) for name, text in texts.items()})
    return folder


def evaluated(checkpoint: Path, tasks: Path, name: str, model: str = "spike") -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from spike_compressor.integrations.lm_eval import register

    register()
    found = simple_evaluate(
        model=model,
        model_args={"pretrained": str(checkpoint)},
        tasks=[name],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        device="cpu",
        batch_size=2,
        bootstrap_iters=0,
    )
    return dict(found)


def log_likelihood(model: Any, tokenizer: Any, context: str, text: str) -> float:
    """Of the text after the context.

    Where there is no context, the harness begins with a token of its own beside the tokenizer's, and scores that.
    """
    head, whole = (tokenizer(part)["input_ids"] for part in (context, context + text))
    if not context:
        whole = head + whole
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
    chosen = logits.gather(1, torch.tensor(whole[1:]).unsqueeze(1)).squeeze(1)
    return float(chosen[len(head) - 1 :].sum())


def test_choices_have_the_likelihoods_of_the_spiking_model(checkpoint: Path, tasks: Path) -> None:
    found = evaluated(checkpoint, tasks, "colours")
    model, tokenizer = spike_compressor.load(checkpoint), load_processor().tokenizer
    right = 0
    for sample, (question, answer) in zip(found["samples"]["colours"], QUESTIONS, strict=True):
        expected = [log_likelihood(model, tokenizer, question, f" {word}") for word in ("red", "green", "blue")]
        assert [response[0] for response in sample["filtered_resps"]] == pytest.approx(expected, abs=1e-4)
        right += max(range(3), key=lambda index: expected[index]) == answer
    assert found["results"]["colours"]["acc,none"] == pytest.approx(right / 3)
    silent = load_model()  # the float model, so that the test would see if spikes were lost
    other = log_likelihood(silent, tokenizer, QUESTIONS[0][0], " red")
    assert abs(other - found["samples"]["colours"][0]["filtered_resps"][0][0]) > 1e-3


def test_perplexity_is_that_of_the_spiking_model(checkpoint: Path, tasks: Path) -> None:
    found = evaluated(checkpoint, tasks, "prose")["results"]["prose"]["word_perplexity,none"]
    model, tokenizer = spike_compressor.load(checkpoint), load_processor().tokenizer
    total = sum(log_likelihood(model, tokenizer, "", text) for text in PROSE)
    assert found == pytest.approx(math.exp(-total / sum(len(text.split()) for text in PROSE)), rel=1e-4)


def test_questions_about_pictures_are_answered_as_without_the_harness(checkpoint: Path, tasks: Path) -> None:
    found = evaluated(checkpoint, tasks, "pictures", "spike-multimodal")
    asked = items("test", 1)
    expected = judge(spike_compressor.load(checkpoint), load_processor(), asked)
    samples = sorted(found["samples"]["pictures"], key=lambda sample: sample["doc_id"])
    assert [bool(sample["exact_match"]) for sample in samples] == expected
    assert sum(expected) > len(asked) / 2


def test_the_command_line_is_the_harness_with_one_model_more(
    checkpoint: Path,
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from spike_compressor.integrations.lm_eval.__main__ import main

    command = [sys.executable, "-m", "spike_compressor.integrations.lm_eval", "run", "--model", "spike"]
    command += ["--model_args", f"pretrained={checkpoint}", "--tasks", "colours", "--include_path", str(tasks)]
    command += ["--device", "cpu", "--output_path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.rglob("results_*.json")
    told = json.loads(path.read_text(encoding="utf-8"))["results"]["colours"]
    here = evaluated(checkpoint, tasks, "colours")["results"]["colours"]
    assert (told["acc,none"], told["acc_norm,none"]) == (here["acc,none"], here["acc_norm,none"])
    command[command.index(f"pretrained={checkpoint}")] = f"pretrained={MODEL_DIR}"
    monkeypatch.setattr(sys, "argv", command[2:])
    capsys.readouterr()
    assert main() == 2
    assert "spike_config.json" in capsys.readouterr().err.splitlines()[-1]


def test_model_arguments_choose_the_backend_and_nothing_foreign(checkpoint: Path) -> None:
    from lm_eval.api.registry import get_model
    from spike_compressor.integrations.lm_eval import register
    from spike_compressor.runtime import spiking_layers

    register()
    model = get_model("spike")(pretrained=str(checkpoint), device="cpu", spike_backend="unrolled")
    assert {layer.backend.name for layer in spiking_layers(model.model).values()} == {"unrolled"}
    with pytest.raises(InputError, match=naming("spike", "peft")):
        get_model("spike")(pretrained=str(checkpoint), device="cpu", peft="somewhere")


def test_a_task_is_an_evaluation_of_a_comparison(tasks: Path, tmp_path: Path) -> None:
    from functools import partial

    from spike_compressor.cli.models import calibration_of_seed

    evaluation = f"lm_eval:{tasks}/colours.yaml@2"
    calibration = partial(calibration_of_seed, "demo", 8, 4)
    result = compare(MODEL_DIR, [RECIPE], ["3/4"], [evaluation], calibration, tmp_path)
    assert [row["kind"] for row in result["rows"]] == ["float", "weights", "spiking", "integer"]
    for row in result["rows"]:
        figure = row["figures"]["lm_eval:colours@2"]
        assert figure["count"] == 2
        assert figure["value"] == 50 * figure["detail"]["correct"]["colours"].count("1")
        assert figure["detail"]["metric"] == "acc_norm"


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("lm_eval", ("lm_eval:NAME", "lm_eval:FILE.yaml")),
        ("lm_eval:x@0", ("'0'", 1)),
        ("lm_eval:nowhere.yaml", ("nowhere.yaml",)),
    ],
)
def test_bad_tasks_are_refused(argument: str, names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming("--eval lm_eval", *names)):
        parse_evaluation(argument)


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(InputError, match=naming("lm_eval:no_such_task")):
        list(parse_evaluation("lm_eval:no_such_task").items(load_processor()))
