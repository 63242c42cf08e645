"""Help, version, arguments: what holds for every subcommand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import spike_compressor
from spike_compressor.cli.command import COMMANDS


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
