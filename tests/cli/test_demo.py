"""`demo` from end to end on the untrained model: every documented field, every artefact."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from spike_compressor.demo import model as demo_model
from spike_compressor.demo.data import KINDS
from spike_compressor.demo.report import print_report
from spike_compressor.rtl import VARIABLE
from spike_compressor.trace import open_bundle

ROOT = Path(__file__).parents[2]
RTN = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """The demo's model without training takes the place of the embedded one."""
    model, processor = demo_model.build(seed=0)
    path = tmp_path / "model"
    model.save_pretrained(path)
    processor.save_pretrained(path)
    monkeypatch.setattr(demo_model, "MODEL_DIR", path)
    return path


def leaves(value, path=()):
    """Paths of all plain values, with names of kinds and modalities as the documentation spells them."""
    if not isinstance(value, dict):
        yield ".".join(path)
        return
    for key, inner in value.items():
        name = "KIND" if key in KINDS else "MODALITY" if key in ("text", "vision") else key
        yield from leaves(inner, (*path, name))


def documented(page="demo.md", heading="## The fields of `--json`"):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(heading)[1].split("\n## ")[0]
    fields = re.findall(r"^\| `([^`]*)` \|", section, re.MULTILINE)
    three = [field.removeprefix("accuracy.float.") for field in fields if field.startswith("accuracy.float.")]
    return {whole for field in fields for whole in ([field[:-1] + t for t in three] if field[-1] == "…" else [field])}


@pytest.mark.usefixtures("simulated_core")
def test_every_field_and_artefact(cli, untrained, tmp_path, capsys):
    out, layers = tmp_path / "out", r"re:.*layers\.1\."
    done = cli(
        "demo", "--recipe", RTN, "--questions", 2, "--out", out, "--backend", "rtl", "--rtl-layers", layers, "--json"
    )
    answer = done.json
    assert set(leaves(answer)) == documented() | documented("rtl_backend.md", "## In the demo")
    simulated = answer["rtl"]
    assert (simulated["layers"], simulated["spiking"]) == (6 + 7, 68)
    assert simulated["passes"][0]["tokens"] > 16
    assert sum(one["cycles"] for one in simulated["passes"]) == simulated["cycles"] > 1000
    assert simulated["equal"]["accumulators"] > 10_000
    assert re.search(r"picture and question, \d+ tokens -> .*: [\d,]+ cycles, [\d,]+ spikes, ", done.err)
    assert set(answer["questions"]["by_kind"]) == set(KINDS)
    assert set(answer["questions"]["by_kind"].values()) == {2}
    assert answer["timesteps"] == {"text": 4, "vision": 3}
    assert 0 < answer["firing_rate"]["vision"] < 1
    assert 0.5 < answer["coverage"] < 1
    assert json.loads((out / "report.json").read_text()) == answer
    assert sorted(path.name for path in out.iterdir()) == ["answer.png", "checkpoint", "report.json", "trace"]
    assert {info.tokens for info in open_bundle(answer["trace"]).infos} == {24}
    Image.open(answer["picture"]["path"]).verify()
    inspected = cli("inspect", answer["checkpoint"], "--json").json
    assert len(inspected["config"]["plan"]) == 68

    print_report(answer)
    shown = capsys.readouterr().out
    assert "on the simulated core, 13 of 68 layers" in shown
    for heading in ("blind", "float", "weight-only", "spiking", "firing rate", "coverage", "checkpoint", *KINDS):
        assert heading in shown
    assert "make rtl TRACE=" in shown


def test_bad_input(cli, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert "--backend rtl" in cli("demo", "--rtl-layers", "x", "--out", out).line
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path / "nothing"))
        line = cli("demo", "--backend", "rtl", "--out", out).line
        assert "needs the simulated core, and there is no" in line
        assert "make rtl-library" in line
    assert "none.yaml" in cli("demo", "--recipe", tmp_path / "none.yaml", "--out", out).line
    assert "--questions 999999" in cli("demo", "--questions", 999999, "--out", out).line
    assert not out.exists()
