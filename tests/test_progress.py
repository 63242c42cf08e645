"""One line a step: redrawn on a terminal, written once elsewhere, and nothing of a step that failed."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from spike_compressor.progress import Steps


def run(*, terminal: bool, verbose: bool = False) -> str:
    stream = io.StringIO()
    steps = Steps(verbose=verbose, console=Console(file=stream, force_terminal=terminal, force_interactive=terminal))
    with steps.step("evaluate [bold]") as step:
        step(1, 40)
        step.note("recipe a")
        step(40, 40)
    return stream.getvalue()


def test_a_log_gets_one_line_when_the_step_is_finished() -> None:
    assert re.fullmatch(r"evaluate \[bold\]: \d\.\d s\n", run(terminal=False))


def test_a_step_that_ran_elsewhere_has_the_same_line() -> None:
    stream = io.StringIO()
    Steps(console=Console(file=stream)).finished("evaluate [bold]", 2.04)
    assert stream.getvalue() == "evaluate [bold]: 2.0 s\n"


def test_verbose_says_when_it_begins_too() -> None:
    for terminal in (False, True):
        assert re.fullmatch(
            r"evaluate \[bold\] \.\.\.\nevaluate \[bold\]: \d\.\d s\n", run(terminal=terminal, verbose=True)
        )


def test_a_terminal_shows_one_line() -> None:
    shown = run(terminal=True)
    assert shown.count("\n") <= 2
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.replace("\r", "\n")).strip().splitlines()[-1]
    assert "evaluate [bold]" in last
    assert "40/40" in last
    assert "✓" in last
    assert "recipe a" not in last


@pytest.mark.parametrize("terminal", [False, True])
def test_a_step_that_fails_leaves_no_line(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, force_interactive=terminal)
    with pytest.raises(ValueError, match="no"), Steps(console=console).step("evaluate"):
        raise ValueError("no")
    shown = stream.getvalue()
    assert "✓" not in shown
    assert " s\n" not in shown
    if terminal:
        assert shown.rstrip().endswith("\x1b[2K")  # the line is erased
    else:
        assert shown == ""
