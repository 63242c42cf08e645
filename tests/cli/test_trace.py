"""`trace`: bundles of chosen layers and rows."""

from __future__ import annotations

import pytest
import torch
from spike_compressor.trace import export, validate


@pytest.fixture
def trace(cli, checkpoint, samples, tmp_path):
    def call(*more, data=samples, out=tmp_path / "trace", checkpoint=checkpoint):
        return cli("trace", checkpoint, "--data", data, "--out", out, *more)

    return call


def test_all_layers(trace, tmp_path):
    done = trace()
    bundle = validate(tmp_path / "trace")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-1] == f"{len(bundle)} layers in {tmp_path / 'trace'}"
    assert [line.split()[0] for line in lines[1:-1]] == [info.name for info in bundle.infos]


def test_layers_and_tokens(trace, tmp_path):
    pattern, name = "re:.*self_attn.q_proj", "model.multi_modal_projector.linear_1"
    answer = trace("--layers", pattern, name, "--tokens", 6, "--samples", 3, "--json").json
    bundle = validate(answer["bundle"])
    assert [layer["name"] for layer in answer["layers"]] == [info.name for info in bundle.infos]
    assert len(bundle) == 3  # tower, projector, decoder
    assert all(info.tokens == 6 for info in bundle.infos)
    decoder = next(layer for layer in bundle if "language_model" in layer.name)
    assert sorted(decoder["modality"].tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(decoder["timesteps"].tolist()) == [3, 3, 3, 4, 4, 4]


def test_a_small_model_runs_on_one_thread_meanwhile(trace, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    real, seen = export.export_trace, []

    def watched(*args, **settings):
        seen.append(torch.get_num_threads())
        return real(*args, **settings)

    monkeypatch.setattr(export, "export_trace", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert trace("--layers", "model.multi_modal_projector.linear_1", "--tokens", 2).code == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


def test_overwrite(trace, tmp_path):
    names = ("--layers", "model.multi_modal_projector.linear_1", "--tokens", 2)
    assert trace(*names).code == 0
    before = (tmp_path / "trace" / "manifest.json").read_bytes()
    assert "--overwrite" in trace(*names).line
    assert (tmp_path / "trace" / "manifest.json").read_bytes() == before
    assert trace(*names, "--overwrite", "--backend", "unrolled").code == 0
    assert (tmp_path / "trace" / "manifest.json").read_bytes() != before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--layers", "model.nothing"], "model.nothing"),
        (["--layers", "re:["], "'re:['"),
        (["--layers", "lm_head"], "lm_head"),
        (["--backend", "quantum"], "quantum"),
    ],
)
def test_refused(trace, tmp_path, more, says):
    assert says in trace(*more).line
    assert not (tmp_path / "trace").exists()
    assert list(tmp_path.iterdir()) == []


def test_refused_places(trace, tmp_path, model_dir):
    assert "none.jsonl: no such file" in trace(data=tmp_path / "none.jsonl").line
    assert "is no spike-ready checkpoint: it has no spike_config.json" in trace(checkpoint=model_dir).line
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes").write_text("precious")
    assert str(folder) in trace(out=folder, checkpoint=model_dir).line
    assert str(folder) in trace("--overwrite", out=folder).line
    assert (folder / "notes").read_text() == "precious"
