"""One case: a damaged file, what its reader makes of it, and what is wrong with that."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from spike_compressor.errors import InputError

from fuzz.mutate import CANARY
from fuzz.targets import TARGETS, Target

#: Of a message, in letters; of what a case may take beside what the process had before, in bytes.
LONGEST_MESSAGE = 2000
MOST_MEMORY = 512 << 20
#: What audit hooks tell of that no reader does: programs, networks, objects out of pickles.
_NEVER = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
)
_CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def chosen(seed: int, number: int, only: str | None = None) -> tuple[str, Random]:
    """The target of a case and its `Random`; both follow from seed and number."""
    random = Random(f"{seed}:{number}")
    names = TARGETS.names()
    name = random.choices(names, [TARGETS.get(one).share for one in names])[0]
    return only or name, random


class Bench:
    """A scratch folder with the good files of each target that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._targets: dict[str, Target] = {}
        self._watching = False
        self._seen: list[str] = []

    def target(self, name: str) -> Target:
        """The target of this name, its good files written and read once."""
        if name not in self._targets:
            made = TARGETS.get(name)(self.folder / name)
            made.put(*next(iter(made.good.items())))
            with _quiet():
                made.read()
            self._targets[name] = made
        return self._targets[name]

    def run(self, target: Target, name: str, data: bytes) -> str | None:
        """Let a target read its files with this one in the place of the one of its name.

        Returns:
            What is wrong with how it went; None if it was taken, or refused as it should be.
        """
        target.put(name, data)
        _forget_peak()
        before = _peak()
        self._seen = []
        said = io.StringIO()
        try:
            self._watching = True
            with _quiet(said):
                target.read()
        except InputError as error:
            return self._of_message(str(error)) or self._of_traces(before)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        finally:
            self._watching = False
        return self._of_traces(before)

    def _of_message(self, message: str) -> str | None:
        if not message.strip() or len(message) > LONGEST_MESSAGE or "\n" in message:
            return f"a message of {len(message)} letters and {message.count(chr(10)) + 1} lines: {message[:200]!r}"
        if "MemoryError" in message or "llocate" in message:
            return f"memory was asked for that there is not: {message[:300]}"
        return None

    def _of_traces(self, before: int) -> str | None:
        if self._seen:
            return f"it did what no reader does: {self._seen[:3]}"
        if Path(CANARY).exists():
            Path(CANARY).unlink()
            return "code in a file was executed"
        taken = _peak() - before
        return f"it took {taken >> 20} MiB" if taken > MOST_MEMORY else None

    def watch(self) -> None:
        """From now on see to it that no case writes outside of the folder, or starts anything; for good."""
        sys.dont_write_bytecode = True
        inside = (f"{self.folder}{os.sep}", os.devnull)

        def outside(path: Any) -> bool:
            return isinstance(path, (str, bytes)) and not os.path.realpath(os.fsdecode(path)).startswith(inside)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if not self._watching:
                return
            if event in _NEVER:
                self._seen.append(event)
            elif (event in _CHANGES or (event == "open" and args[2] & _WRITES)) and outside(args[0]):
                self._seen.append(f"{event} {os.fsdecode(args[0])}")
            elif event == "exec" and str(getattr(args[0], "co_filename", "")).startswith(inside[0]):
                self._seen.append(f"{event} {args[0].co_filename}")

        sys.addaudithook(hook)


def keep(corpus: Path, target: str, name: str, data: bytes) -> Path:
    """Put a damaged file where it is read again by every run; the same one once."""
    path = corpus / target / hashlib.sha256(name.encode() + data).hexdigest()[:12] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def kept(corpus: Path) -> Iterator[tuple[str, str, bytes]]:
    """Target, file and content of all that was kept."""
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        target, _, *name = path.relative_to(corpus).parts
        yield target, "/".join(name), path.read_bytes()


@contextlib.contextmanager
def _quiet(said: io.StringIO | None = None) -> Iterator[None]:
    said = said or io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Most memory that this process has had, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
    return 0
