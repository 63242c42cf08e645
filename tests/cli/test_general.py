"""Help, version, arguments: what holds for every subcommand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import spike_compressor
from spike_compressor.cli.command import COMMANDS

RTN = Path(__file__).parents[2] / "recipes" / "rtn_w4_tclif_34.yaml"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse_as_this_command(cli, name):
    shown = cli(name, "--help")
    assert shown.code == 0
    assert "examples:" in shown.out
    assert f"spike-compressor {name} " in shown.out
    assert "--json" in shown.out


def test_version(cli):
    shown = cli("--version")
    assert shown.code == 0
    assert shown.out == f"spike-compressor {spike_compressor.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["inspect"], "checkpoint"),
        (["oneshot", "--model", "x"], "--recipe"),
        (["demo", "--questions", "0"], "--questions"),
        (["trace", "x", "--data", "demo", "--out", "y", "--tokens", "-3"], "--tokens"),
        (["trace", "x", "--data", "demo", "--out", "y", "--samples", "two"], "--samples"),
    ],
)
def test_wrong_arguments_are_one_line(cli, argv, names):
    assert names in cli(*argv).line


def test_console_script(checkpoint):
    script = Path(sys.executable).with_name("spike-compressor")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "spike_compressor.cli"]
    done = subprocess.run([*command, "inspect", str(checkpoint)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(checkpoint))


@pytest.mark.parametrize("verbose", [False, True])
def test_libraries_are_quiet_unless_asked(verbose, model_dir, samples, tmp_path, shell):
    """Of a whole run one line a step is on standard error; bars and log lines appear with `--verbose`, on it too."""
    argv = ["oneshot", "--model", model_dir, "--recipe", RTN, "--data", samples, "--out", tmp_path / "out", "--json"]
    shown = shell(*argv, *(["--verbose"] if verbose else []))
    assert shown.json["config"]["plan"]
    if verbose:
        for text in ("Applying quantization config", "Compressing model", "layers spike with", "save ...", "it/s]"):
            assert text in shown.err
    else:
        assert shown.steps == ["open model and data", "quantize and attach neurons", "save"]


def test_a_warning_that_tells_something_is_shown(model_dir, samples, tmp_path, cli):
    """An online rotation is no chatter: plain transformers would drop it."""
    recipe = tmp_path / "rotated.yaml"
    rotation = "QuIPModifier: {rotations: [v], transform_type: hadamard, transform_block_size: 64, ignore: [lm_head]}"
    first = "    QuantizationModifier:"
    recipe.write_text(RTN.read_text().replace(first, f"    {rotation}\n{first}", 1))
    shown = cli("oneshot", "--model", model_dir, "--recipe", recipe, "--data", samples, "--out", tmp_path / "out")
    assert shown.code == 0
    assert "WARNING: this checkpoint has online rotations" in shown.err
