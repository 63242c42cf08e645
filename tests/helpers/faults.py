"""Faults where files are written: a forked child that is killed, or whose disk is full, at one of its operations.

Python tells audit hooks of every operation on files before it is done, and takes an exception for its failure. What
compiled libraries do by themselves lies between two operations of Python; kills at random moments fall there, too.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

#: Operations that change what lies on a disk, as audit hooks name them; `open` is one where it is for writing.
_CHANGES = frozenset(f"os.{name}" for name in ("link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate")) | {
    "shutil.rmtree",
    "fcntl.flock",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: Exit code of a child whose action raised; what it raised is in `Ended.said`.
_RAISED = 3


class Ended:
    """How a child ended: `killed`, or with what its action `said`: what it returned, or `KIND: message` if `raised`."""

    def __init__(self, status: int, said: str) -> None:
        self.killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        self.raised = os.waitstatus_to_exitcode(status) == _RAISED
        self.said = said
        assert self.killed or os.waitstatus_to_exitcode(status) in (0, _RAISED), status


def forked(action: Callable[[], object], watch: Callable[[int], None] | None = None) -> Ended:
    """Run an action in a forked child, and wait for it.

    Args:
        action: what it does.
        watch: called with the child's number once it runs.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            os.close(reading)
            tqdm.set_lock(threading.RLock())  # it has one that processes share, and who is killed would keep it
            said = str(action())
        except BaseException as error:
            code, said = _RAISED, f"{type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4096])
        os._exit(code)
    os.close(writing)
    if watch is not None:
        watch(child)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    return Ended(os.waitpid(child, 0)[1], said)


def at_operation(
    number: int, folder: Path, fault: Callable[[], object], action: Callable[[], object]
) -> Callable[[], str]:
    """The action, with a fault just before its operation of this number (from 0); it returns their names, a line each.

    Args:
        number: of the operation; one that there is not lets the action end as it would.
        folder: operations on what lies elsewhere do not count.
        fault: what happens; an exception is what the operation fails with.
        action: not to be run in this process, which would keep the hook.
    """
    names: list[str] = []

    def operation(name: str) -> None:
        names.append(name)
        if len(names) == number + 1:
            fault()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, (str, bytes)) and flags & _WRITES and _lies_in(path, folder):
                operation(event)
        elif event in _CHANGES and (event == "fcntl.flock" or _lies_in(args[0], folder)):
            operation(event)

    flush = os.fsync

    def fsync(handle: int) -> None:
        operation("os.fsync")
        flush(handle)

    def run() -> str:
        os.fsync = fsync  # type: ignore[assignment]  # which is not audited
        sys.addaudithook(hook)
        action()
        return "\n".join(names)

    return run


def _lies_in(path: Any, folder: Path) -> bool:
    """So do handles, and names without a folder: those of a directory that is being removed by a handle of it."""
    if isinstance(path, int):
        return True
    name = os.fsdecode(path)
    return not os.path.isabs(name) or name.startswith(f"{folder}{os.sep}") or name == str(folder)


def kill() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def fails_with(code: int) -> Callable[[], None]:
    """A fault: the operation fails, as the system says by this number of `errno`."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


#: What disks say that are full, may not be written, belong to somebody else, or break.
DISKS = {name: getattr(errno, name) for name in ("ENOSPC", "EROFS", "EACCES", "EIO")}


def killed_at_random(seed: int, seconds: float, begin: Callable[[], object], action: Callable[[], object]) -> None:
    """Run an action in a forked child and kill it from outside, at a moment that the seed draws.

    Args:
        seed: of the moment.
        seconds: that the action takes, about; a child that is through by then has another before it.
        begin: makes ready for the child.
        action: what it does.
    """
    moment = random.Random(seed).uniform(0, seconds)

    def watch(child: int) -> None:
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    begin()
    while not forked(action, watch).killed:
        moment *= 0.8
        begin()


def content(path: Path) -> dict[str, bytes] | None:
    """Every file below a directory by its path, or None if there is no directory."""
    if not path.is_dir():
        return None
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@contextlib.contextmanager
def in_another_process(block: contextlib.AbstractContextManager[Any]) -> Iterator[int]:
    """A forked child enters the block, and leaves it when this one ends; gives its number."""
    theirs, ours = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            with block:
                theirs.send("entered")
                theirs.recv()
        finally:
            os._exit(0)
    try:
        assert ours.recv() == "entered"
        yield child
    finally:
        ours.send("leave")
        os.waitpid(child, 0)
