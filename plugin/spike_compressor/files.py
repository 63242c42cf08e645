"""Files and directories that are there as a whole or not at all, and their SHA-256. Standard library only.

What is written goes to a hidden sibling (`.NAME.new-PID`) and takes the target's place when it is complete. A block
that raises leaves the target as it was. A killed run leaves the old one, the new one or, for a directory that is
replaced, none between two renames; what it leaves beside the target is removed when the same target is written again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from spike_compressor.errors import InputError

_BLOCK = 1 << 20


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                total.update(block)
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    return total.hexdigest()


def require_writable(path: str | os.PathLike[str]) -> None:
    """Check that a file can be written, before the work begins whose result it is to hold; writes nothing.

    Raises:
        InputError: the path is a directory, or lies where nothing can be written.
    """
    target = Path(path).absolute()
    above = next(folder for folder in target.parents if folder.exists())
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a directory")
    if not above.is_dir():
        raise InputError(f"cannot write {path}: {above} is a file")
    if not os.access(target if target.exists() else above, os.W_OK):
        raise InputError(f"cannot write {path}: {above} is not writable")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file, UTF-8 with the line ends that the text has; folders above it are made.

    Returns:
        The path.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="")
    return Path(path)


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, which becomes `path` if the block succeeds and vanishes if it does not.

    It keeps the suffix, by which libraries choose a format. A link stays a link, to the new file.

    Raises:
        InputError: the file cannot be written; for whatever `OSError` the block raises, too.
    """
    target = Path(path).resolve()
    fresh = target.with_name(f".{target.stem}.new-{os.getpid()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target, target.stem, target.suffix)
        try:
            yield fresh
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A fresh directory, which becomes `path` if the block succeeds and vanishes if it does not.

    What stands at `path` is replaced whole; callers see to it that it may be. A link stays one, to the new directory.

    Raises:
        InputError: the directory cannot be made or moved. What the block raises passes unchanged.
    """
    target = Path(path).resolve()
    fresh, old = (target.with_name(f".{target.name}.{part}-{os.getpid()}") for part in ("new", "old"))
    with _writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target, target.name)
        fresh.mkdir()
    try:
        yield fresh
        with _writing(path):
            if target.exists():
                os.replace(target, old)
            try:
                os.replace(fresh, target)
            except BaseException:
                if old.exists():
                    os.replace(old, target)
                raise
            _remove(old)
    finally:
        _remove(fresh)


@contextlib.contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _sweep(target: Path, stem: str, suffix: str = "") -> None:
    """Remove what killed runs, and none that are alive, left beside `target`."""
    for leftover in target.parent.glob(f".{glob.escape(stem)}.*-*{glob.escape(suffix)}"):
        kind, _, pid = leftover.name.removeprefix(f".{stem}.").removesuffix(suffix).partition("-")
        if kind in ("new", "old") and pid.isdigit() and (int(pid) == os.getpid() or not _alive(int(pid))):
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
