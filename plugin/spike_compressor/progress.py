"""One line of progress for each step of a long command, on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Step:
    """The step under way; `progress=` of evaluations takes it as it is."""

    def __init__(self, name: str, console: Console, drawn: tuple[Progress, TaskID] | None = None) -> None:
        self.name = name
        self._console, self._drawn = console, drawn

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, completed=done, total=total)

    def write(self, line: str) -> None:
        """Write a line that stays, above that of the step."""
        if self._drawn is not None:
            self._drawn[0].console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._console.file, flush=True)

    def note(self, text: str) -> None:
        """Show beside the step's name what it is at; an empty text takes the last one away."""
        if self._drawn is not None:
            progress, task = self._drawn
            progress.update(task, description=f"{self.name}: {text}" if text else self.name)


class Steps:
    """Shows the steps of a command, one line each: its name, how far it is, its time.

    On a terminal the line is redrawn while the step runs. Elsewhere, in a log say, it is written once, when the step is
    finished.

    Args:
        verbose: write a line at the beginning of each step, too, and redraw none: the bars and log lines of libraries
            stand between them.
        console: where to draw; standard error by default.
    """

    def __init__(self, *, verbose: bool = False, console: Console | None = None) -> None:
        self.verbose = verbose
        self._console = console or Console(stderr=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """The block is a step. One that raises leaves no line; its error says enough."""
        started = time.monotonic()
        if self._console.is_interactive and not self.verbose:
            yield from self._redrawn(name)
            return
        if self.verbose:
            print(f"{name} ...", file=self._console.file, flush=True)
        yield Step(name, self._console)
        self.finished(name, time.monotonic() - started)

    def finished(self, name: str, seconds: float) -> None:
        """Write the line of a step that ran elsewhere, in another process say."""
        print(f"{name}: {seconds:.1f} s", file=self._console.file, flush=True)

    def _redrawn(self, name: str) -> Iterator[Step]:
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Count(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(name, total=None)
            try:
                yield Step(name, self._console, (progress, task))
            except BaseException:
                progress.live.transient = True  # the line goes
                raise
            whole = progress.tasks[0].total or 1
            progress.update(task, description=name, completed=whole, total=whole)


class _Count(ProgressColumn):
    """How many of how many, for steps that count."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total and task.total > 1 else "")
