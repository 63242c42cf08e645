"""Pictures of plans: what stands in them, in which formats, and what is said when there is nothing to draw with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from PIL import Image
from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.plot import plot_plan

DECODER = "model.language_model.layers"


def entry(text: int, vision: int, modalities: list[str]) -> dict[str, Any]:
    return {
        "timesteps": {"text": text, "vision": vision},
        "coding": "tc_lif",
        "threshold": "dynamic",
        "threshold_ratio": {"text": 1.0, "vision": 1.0},
        "modalities": modalities,
    }


def config(depth: int = 3, curves: bool = True, experts: int = 0) -> SpikeConfig:
    both = ["text", "vision"]
    plan = {}
    for layer in range(depth):
        plan[f"{DECODER}.{layer}.self_attn.q_proj"] = entry(4, 3, both)
        plan[f"{DECODER}.{layer}.mlp.down_proj"] = entry(6 if layer == 1 else 5, 2, both)
        for number in range(experts):
            plan[f"{DECODER}.{layer}.mlp.experts.{number}.up_proj"] = entry(3 + number % 2, 3, both)
    plan["model.vision_tower.layers.0.fc1"] = entry(4, 1, ["vision"])
    plan["model.projector.linear_1"] = entry(4, 7, ["vision"])
    evolution = {
        "layers": [f"{DECODER}.{layer}" for layer in range(depth)],
        "discrepancy": {"vision": [0.1 * (-1) ** layer for layer in range(depth)]},
        "modalities": {
            name: {"mean": [value] * depth, "half_width": [0.01] * depth, "tokens": tokens, "samples": 8}
            for name, value, tokens in (("text", 0.3, 1234), ("vision", 0.2, 5678))
        },
    }
    return SpikeConfig.model_validate(
        {
            "producer": {},
            "architecture": "llava",
            "modalities": both,
            "placeholders": {"vision": [5]},
            "coding": "tc_lif",
            "plan": plan,
            "not_spiking": {},
            "budget": {"mean_timesteps": 3.5, "mean_timesteps_weighted": 3.25, "allocation": "med"},
            "evolution": evolution if curves else None,
            "opens_in_plain_transformers": True,
            "sha256": {},
        }
    )


def texts(path: Path) -> list[str]:
    """The words of an SVG, in the order in which they are drawn."""
    return [re.sub(r"<[^>]*>", "", text).strip() for text in re.findall(r"<text[^>]*>(.*?)</text>", path.read_text())]


def test_the_words_and_numbers_of_a_plan(tmp_path: Path) -> None:
    path = plot_plan(config(), tmp_path / "made" / "plan.svg", title="my model")
    words = texts(path)
    everything = "\n".join(words)
    assert words.count("my model") == 1
    assert "mean T 3.25 weighted by tokens × MACs (3.50 unweighted)" in everything
    assert "allocation med" in everything
    assert "text: 1,234 tokens of 8 samples" in everything
    assert "vision: 5,678 tokens of 8 samples" in everything
    for title in (
        "How far a decoder layer turns",
        "MED: above zero",
        f"T of text rows, {DECODER}",
        f"T of vision rows, {DECODER}",
        "T of vision rows, model.vision_tower.layers",
        "T of the other layers",
        "model.projector.linear_1",
    ):
        assert title in everything, title
    assert {"q_proj", "down_proj", "fc1"} <= set(words)
    # cells come before the labels of their panel's axes; legend and axes have numbers of their own
    shown = [int(word) for word in words if re.fullmatch(r"\d", word)]
    assert shown.count(6) == 1 + 1  # one cell, and the legend
    assert shown.count(7) == 1 + 1


def test_formats(tmp_path: Path) -> None:
    with Image.open(plot_plan(config(32), tmp_path / "wide.png")) as picture:
        wide = picture.size
    with Image.open(plot_plan(config(2), tmp_path / "narrow.PNG")) as picture:
        assert picture.size[0] < wide[0] < 4000
        assert picture.size[1] == wide[1]
    assert plot_plan(config(), tmp_path / "plan.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(InputError, match=naming("plan.jpeg", ".png", ".svg", ".pdf")):
        plot_plan(config(), tmp_path / "plan.jpeg")


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("plan.svg", "plan.png", "plan.pdf"):
        one, two = (plot_plan(config(), tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two


def test_without_curves_it_says_so(tmp_path: Path) -> None:
    words = texts(plot_plan(config(curves=False), tmp_path / "plan.svg"))
    assert any("no MED curves" in word for word in words)
    assert f"T of text rows, {DECODER}" in words
    assert not any("How far a decoder layer" in word for word in words)


def test_one_modality_has_no_discrepancy(tmp_path: Path) -> None:
    content = config().model_dump(exclude_none=True)
    del content["evolution"]["discrepancy"], content["evolution"]["modalities"]["vision"]
    words = "\n".join(texts(plot_plan(SpikeConfig.model_validate(content), tmp_path / "plan.svg")))
    assert "text: 1,234 tokens" in words
    assert "MED: above zero" not in words


def test_experts_share_a_cell(tmp_path: Path) -> None:
    words = texts(plot_plan(config(experts=4), tmp_path / "plan.svg"))
    assert words.count("3–4") == 3
    assert words.count("up_proj") == 2


def test_a_checkpoint_is_read(workshop: Workshop, tmp_path: Path) -> None:
    _, path = workshop.made("llava", recipe(RTN))
    words = texts(plot_plan(path, tmp_path / "plan.svg"))
    assert path.name in words
    assert "model.multi_modal_projector.linear_1" in words
    with pytest.raises(InputError, match=naming(tmp_path, "spike_config.json")):
        plot_plan(tmp_path, tmp_path / "plan.svg")
