"""Tables on a terminal: aligned columns, and nothing cut off, since names are made to be copied."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    total: Sequence[str] | None = None,
    text: int = 1,
) -> None:
    """Print rows under their headings on standard output.

    Args:
        headings: one a column; without any, no line is printed for them.
        rows: cells as they are to be shown.
        title: stands above the table.
        total: a last row that sums up the others.
        text: so many columns at the left are text, the others are figures.
    """
    everything = [*rows, *([total] if total is not None else [])]
    columns = max((len(row) for row in (headings, *everything)), default=0)
    table = Table(
        box=None,
        show_header=bool(headings),
        header_style="bold",
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for index in range(columns):
        heading = Text(headings[index]) if headings else ""
        table.add_column(heading, justify="left" if index < text else "right", no_wrap=True)
    for row in everything:
        table.add_row(*map(Text, row), style="bold" if row is total else "")
    console = Console(highlight=False)
    needed = console.measure(table, options=console.options.update(width=10**6)).maximum
    console.width = max(console.width, needed, len(title))
    if title:
        console.print(Text(title, style="bold"))
    console.print(table)
