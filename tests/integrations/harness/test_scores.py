"""Three harnesses on one spiking checkpoint, by `load` and by vLLM: the same answers, and scores that agree.

`make harness-test` prepares the files and sets the variables; without them these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if "SPIKE_HARNESS_FILES" not in os.environ:
    pytest.skip("make harness-test runs these", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parent))

import kits
from kits import BENCHMARKS, Found

PAGE = Path(__file__).parents[3] / "docs" / "compare.md"
LMMS, VLMEVAL = ["load", "vllm", "server"], ["load", "server"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with kits.server() as found:
        yield found


def found_by(kit: Any, engine: str, request: pytest.FixtureRequest) -> Found:
    if engine != "server" or kits.is_done(f"{kit.__name__.removesuffix('_eval')}-server"):
        return kit(engine)
    return kit(engine, request.getfixturevalue("address"))


def require_the_same_answers(found: Found) -> None:
    assert {name: found.answers[name] for name in BENCHMARKS} == kits.own().answers


@pytest.mark.parametrize("engine", LMMS)
def test_lmms_eval_gets_the_answers_of_load(engine: str, request: pytest.FixtureRequest) -> None:
    require_the_same_answers(found_by(kits.lmms_eval, engine, request))


@pytest.mark.parametrize("engine", VLMEVAL)
def test_vlmevalkit_gets_the_answers_of_load(engine: str, request: pytest.FixtureRequest) -> None:
    require_the_same_answers(found_by(kits.vlmeval, engine, request))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_their_scores_are_those_of_compare(name: str, request: pytest.FixtureRequest) -> None:
    """But for ScienceQA, where lmms-eval takes letters only, and the model answers in words."""
    own = kits.own()
    assert own.scores[name] > 0
    letters = sum(bool(re.match(r"[A-D]\.?$", text)) for text in own.answers["scienceqa"])
    for kit, engines in ((kits.lmms_eval, LMMS), (kits.vlmeval, VLMEVAL)):
        for engine in engines:
            expected = own.scores[name]
            if kit is kits.lmms_eval and name == "scienceqa":
                assert letters == 0
                expected = 0
            # VLMEvalKit writes two digits
            assert found_by(kit, engine, request).scores[name] == pytest.approx(expected, abs=0.01), (kit, engine)


def test_the_benchmarks_are_neither_all_right_nor_all_wrong() -> None:
    assert 0 < kits.own().scores["ocrbench"] < 100
    assert 0 < kits.own().scores["mme"] < 600
    assert 0 < kits.own().scores["textvqa"] < 100


def test_lm_evaluation_harness_scores_choices_alike_by_load_and_vllm() -> None:
    spiking, served = kits.lm_eval("spike", "colours"), kits.lm_eval("vllm", "colours")
    assert spiking.score == served.score
    for one, other in zip(spiking.responses, served.responses, strict=True):
        likelihoods, theirs = ([float(choice[0]) for choice in found] for found in (one, other))
        assert likelihoods == pytest.approx(theirs, abs=0.02)


def test_lm_evaluation_harness_asks_about_pictures() -> None:
    assert kits.lm_eval("spike-multimodal", "pictures").score > 0.5


def test_the_table_of_the_documentation_is_what_was_measured(request: pytest.FixtureRequest) -> None:
    columns = {"`compare`": kits.own()}
    columns |= {f"lmms-eval, {engine}": found_by(kits.lmms_eval, engine, request) for engine in ("load", "vllm")}
    columns |= {f"VLMEvalKit, {engine}": found_by(kits.vlmeval, engine, request) for engine in VLMEVAL}
    lines = ["| benchmark | questions | " + " | ".join(columns) + " |", "| --- | --: |" + " --: |" * len(columns)]
    for name in BENCHMARKS:
        scores = " | ".join(f"{found.scores[name]:.2f}" for found in columns.values())
        lines.append(f"| `{name}` | {len(kits.own().answers[name])} | {scores} |")
    table = "\n".join(lines)
    assert table in PAGE.read_text(encoding="utf-8"), f"docs/compare.md should have\n{table}"


def test_lmms_eval_knows_the_model_by_its_name() -> None:
    assert importlib.util.find_spec("lmms_eval")
    from lmms_eval.models import get_model
    from spike_compressor.integrations.lmms_eval.models import Spike

    assert get_model("spike") is Spike
