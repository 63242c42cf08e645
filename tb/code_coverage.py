"""Line, branch and toggle coverage that simulations leave in Verilator's coverage.dat, added up over designs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Kinds of points, as Verilator names them in a point's page.
KINDS = ("line", "branch", "toggle")


@dataclass(frozen=True, order=True)
class Point:
    """What was counted: once for all instances and parameters of a module.

    Attributes:
        file: name of the source.
        line: where the point stands.
        kind: one of KINDS.
        what: which branch (`if`, `else`, `case`), or the bit of a signal and the edge.
        column: where in the line.
        lines: of the statements that run when the point is hit, as ranges `3-5,7`; empty for toggles.
    """

    file: str
    line: int
    kind: str
    what: str
    column: int
    lines: str = ""


def read(path: Path, folder: Path) -> dict[Point, int]:
    """Counts of the points in sources below `folder`. Raises ValueError if it is not a coverage file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("# SystemC::Coverage"):
        raise ValueError(f"{path} is no coverage file of Verilator")
    counts: dict[Point, int] = defaultdict(int)
    for entry in text.splitlines()[1:]:
        key, _, count = entry[len("C '") :].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in key.split("\x01") if part)
        source = Path(fields["f"])
        if folder not in source.parents:
            continue
        kind = fields["page"].partition("/")[0].removeprefix("v_")
        point = Point(
            str(source.relative_to(folder)),
            int(fields["l"]),
            kind,
            fields.get("o", ""),
            int(fields.get("n", 0)),
            fields.get("S", ""),
        )
        counts[point] += int(count)
    return counts


def merged(files: Iterable[Path], folder: Path) -> dict[Point, int]:
    """Counts over several simulations."""
    total: dict[Point, int] = defaultdict(int)
    for path in files:
        for point, count in read(path, folder).items():
            total[point] += count
    return total


def lines_of(point: Point) -> set[int]:
    """Numbers of the lines that a point stands for."""
    found = {point.line}
    for part in filter(None, point.lines.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def share(counts: Mapping[Point, int], kind: str) -> tuple[int, int]:
    """Points of a kind that were hit, and all; for lines: lines of code that ran, whatever point they belong to."""
    if kind == "line":
        code = {(p.file, n) for p in counts if p.kind in ("line", "branch") for n in lines_of(p)}
        return len(code - missed_lines(counts)), len(code)
    own = [count for point, count in counts.items() if point.kind == kind]
    return sum(map(bool, own)), len(own)


def missed_lines(counts: Mapping[Point, int]) -> set[tuple[str, int]]:
    """Lines that no point that was hit stands for: file and number."""
    ran: set[tuple[str, int]] = set()
    never: set[tuple[str, int]] = set()
    for point, count in counts.items():
        if point.kind in ("line", "branch"):
            (ran if count else never).update((point.file, line) for line in lines_of(point))
    return never - ran
