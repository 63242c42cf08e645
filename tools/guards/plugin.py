"""A pytest plugin that takes guards away: `pytest -p guards.plugin`, with GUARDS_FOLDER for what it finds.

Every test runs as it is. Then, for each guard that raised in it and that no test has missed yet, it runs again in a
process that is forked off, without that guard. If it fails there, the guard is `missed`; if it never does, for any
test, nothing would tell that it is gone. A test that fails when it is forked with all guards in place says nothing,
and is passed over.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.machinery
import json
import os
import resource
import select
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from guards.sites import SWITCH, with_switches

PACKAGE = Path(__file__).resolve().parents[2] / "plugin" / "spike_compressor"
#: What a run without a guard may take: seconds, and address space beside what the process has, in bytes.
LIMIT_S = 90.0
ADDRESS_SPACE = 6 << 30
#: Tests that reach a guard and do not miss it, after which no other is tried.
MOST_TRIES = 8


class Switchboard:
    """What modules with switches ask."""

    def __init__(self) -> None:
        self.raised: dict[str, None] = {}
        self.away: str | None = None

    def __call__(self, place: str) -> bool:
        self.raised[place] = None
        return place != self.away


BOARD = Switchboard()


def _compiled(self: Any, data: Any, path: Any, *, _optimize: int = -1) -> Any:
    """Code of a module; of the package's, with switches in its guards."""
    source = Path(os.fsdecode(path))
    if not source.is_relative_to(PACKAGE):
        return _BEFORE(self, data, path, _optimize=_optimize)
    where = source.relative_to(PACKAGE).as_posix()
    return compile(with_switches(bytes(data).decode("utf-8"), where), path, "exec", dont_inherit=True)


_BEFORE = importlib.machinery.SourceFileLoader.source_to_code


def _install() -> None:
    assert not any(name.partition(".")[0] == "spike_compressor" for name in sys.modules)
    sys.pycache_prefix = tempfile.mkdtemp(prefix="guards-")  # what was compiled before has no switches
    setattr(builtins, SWITCH, BOARD)
    importlib.machinery.SourceFileLoader.source_to_code = _compiled  # type: ignore[method-assign]


_install()


class Missed:
    """Guards that a test has missed, by the test; shared with other workers by a file of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, place: str) -> Path:
        """Of a guard."""
        return self.folder / f"{place.replace('/', '%')}.json"

    def note(self, place: str, test: str, missed: bool) -> None:
        """That a test reached a guard, and whether it failed without it."""
        tries = self.of(place)["tries"] + 1
        self.file(place).write_text(json.dumps({"guard": place, "test": test, "missed": missed, "tries": tries}))

    def open(self, places: Iterator[str]) -> list[str]:
        """Those of the guards that no test has missed, of those that reached them, and that is worth a try."""
        return [place for place in places if not self.of(place)["missed"] and self.of(place)["tries"] < MOST_TRIES]

    def of(self, place: str) -> dict[str, Any]:
        """What is known of a guard."""
        known: dict[str, Any] = {"missed": False, "tries": 0}
        with contextlib.suppress(OSError, ValueError):
            known |= json.loads(self.file(place).read_text())
        return known


MISSED = Missed(Path(os.environ["GUARDS_FOLDER"]))


@pytest.hookimpl(hookwrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Tests run in the order that they are asked for: quick ones that reach a guard spare the long ones work."""
    before = list(items)
    yield
    kept = set(items)
    items[:] = [item for item in before if item in kept]


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test, then again without each of the guards that it reached."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    BOARD.raised.clear()
    beyond: Any = item.parent  # of which fixtures stay, while those of the test itself do not
    reports = runtestprotocol(item, nextitem=beyond)
    if all(report.passed for report in reports):
        places = MISSED.open(iter(list(BOARD.raised)))
        if places and not _fails(item, None):
            for place in places:
                MISSED.note(place, item.nodeid, _fails(item, place))
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _fails(item: pytest.Item, without: str | None) -> bool:
    """Whether a test fails in a process of its own, without a guard, or takes too long there."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            with open(os.devnull, "w") as nothing:
                for stream in (1, 2):
                    os.dup2(nothing.fileno(), stream)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, resource.RLIM_INFINITY))
            BOARD.away = without
            item._initrequest()  # type: ignore[attr-defined]
            beyond: Any = item.parent
            reports = runtestprotocol(item, nextitem=beyond, log=False)
            os.write(theirs, b"0" if all(report.passed or report.skipped for report in reports) else b"1")
        finally:
            os._exit(0)
    os.close(theirs)
    ready, _, _ = select.select([ours], [], [], LIMIT_S)
    answer = os.read(ours, 1) if ready else b""
    os.close(ours)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer != b"0"
