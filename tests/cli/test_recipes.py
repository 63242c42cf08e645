"""Names on the command line: shipped recipes, and models of the Hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from spike_compressor.cli.names import model_directory
from spike_compressor.errors import InputError
from spike_compressor.shipped import about_recipe, recipe_names, recipe_path

FOLDER = Path(__file__).parents[2] / "recipes"


def test_every_recipe_of_the_folder_is_shipped_by_name(cli):
    names = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml")}
    assert set(recipe_names()) == names
    assert {"rtn_w4_tclif_34", "compare/rtn_w4_g64"} <= names
    listed = cli("recipes", "--json").json["recipes"]
    assert [(entry["name"], entry["about"]) for entry in listed] == [
        (name, about_recipe(name)) for name in recipe_names()
    ]
    for name in names:
        about = about_recipe(name)
        assert about
        assert about.split()[0] in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    shown = cli("recipes")
    assert shown.code == 0
    assert all(name in shown.out for name in names)


@pytest.mark.parametrize("name", ["rtn_w4_tclif_34", "compare/gptq_w4_g64"])
def test_one_recipe_is_printed_as_it_is(cli, name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert cli("recipes", name).out == text
    assert cli("recipes", name, "--json").json["text"] == text


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_path("rtn_w4_tclif_34") == FOLDER / "rtn_w4_tclif_34.yaml"
    Path("rtn_w4_tclif_34").write_text("mine")
    assert recipe_path("rtn_w4_tclif_34") == Path("rtn_w4_tclif_34")


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("rtn_w4_tclif_43", "rtn_w4_tclif_34"),
        ("recipes/rtn_w4_tclif_34.yaml", "rtn_w4_tclif_34"),
        ("compare/gptq_w4_g65", "compare/gptq_w4_g64"),
        ("somewhere/recipes/compare/awq_w4_g64.yaml", "compare/awq_w4_g64"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("demo", "--recipe"),
        ("oneshot", "--model", "demo", "--out", "out", "--recipe"),
        (
            "compare",
            "--model",
            "demo",
            "--data",
            "demo",
            "--budget",
            "3/4",
            "--eval",
            "answers:1",
            "--out",
            "out",
            "--recipes",
        ),
        ("recipes",),
    ],
    ids=lambda command: command[0],
)
def test_an_unknown_recipe_is_answered_with_the_nearest_name(cli, tmp_path, monkeypatch, command, given, nearest):
    monkeypatch.chdir(tmp_path)
    line = cli(*command, given).line
    assert given in line
    assert f"{nearest}?" in line
    assert not list(tmp_path.iterdir())


def test_nothing_is_near(cli):
    line = cli("recipes", "qqqqqqq").line
    assert "qqqqqqq" in line
    assert "did you mean" not in line


class Hub:
    """In the place of `snapshot_download`: a repository with some files, of which those that are asked for arrive."""

    def __init__(self, folder: Path, *files: str) -> None:
        self.folder, self.files, self.asked = folder, files, []

    def __call__(self, repo_id: str, allow_patterns: list[str]) -> str:
        self.asked.append(repo_id)
        for name in self.files:
            if any(Path(name).match(pattern) for pattern in allow_patterns):
                (self.folder / name).touch()
        return str(self.folder)


@pytest.mark.parametrize(
    ("files", "arrived"),
    [
        (["config.json", "model.safetensors", "model.gguf", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
        (["config.json", "pytorch_model.bin", "flax.msgpack"], ["config.json", "pytorch_model.bin"]),
    ],
)
def test_a_model_of_the_hub(tmp_path, monkeypatch, files, arrived):
    hub = Hub(tmp_path, *files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert model_directory("somebody/llama") == tmp_path
    assert set(hub.asked) == {"somebody/llama"}
    assert sorted(path.name for path in tmp_path.iterdir()) == arrived


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no connection"), OSError("no connection\nat all")])
def test_a_hub_that_does_not_answer(cli, tmp_path, monkeypatch, error):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    line = cli("oneshot", "--model", "somebody/llama", "--recipe", "rtn_w4_tclif_34", "--out", tmp_path / "out").line
    for part in ("somebody/llama", "no such directory", "Hub", "no connection"):
        assert part in line


def test_a_directory_is_never_asked_for_at_the_hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "llama").mkdir(parents=True)
    for name in ("models/llama", "./llama", "/nowhere/llama", "../llama", "a/b/c"):
        with pytest.raises(InputError, match=r"config\.json"):
            model_directory(name)
    assert not hub.asked
