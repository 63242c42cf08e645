"""Files and directories that are there as a whole or not at all, and their SHA-256. Standard library only.

What is written goes to a hidden sibling (`.NAME.new-` and a random number) and takes the target's place when it is
complete and on the disk. A block that raises leaves the target as it was. A run that is killed leaves the old one or
the new one, whole: a directory is exchanged with the one before it in one step. Only where a file system cannot do
that (few of those that are shared by a network can) it goes in two, and one that is killed between them leaves the old
one as `.NAME.old-…`; the next writer puts it back first. What a killed run leaves beside the target is removed when the
same target is written again. One process writes a target at a time (`claims`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from spike_compressor.claims import claimed
from spike_compressor.errors import InputError, shown

_BLOCK = 1 << 20
#: How long a file, whose writing takes a moment, waits for another process that is at it.
_PATIENCE_S = 30.0
#: What systems and file systems say that cannot exchange two directories.
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV})


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
    if os.path.isdir(_resolved(path)):
        raise InputError(f"cannot write {path}: it is a directory")
    _require_place(path)


def require_replaceable(path: str | os.PathLike[str], mark: str) -> None:
    """Check that a directory can be put in a place, before hours of work whose result it is to hold; writes nothing.

    Args:
        path: of the directory.
        mark: name of a file that every directory has that may be replaced; so may an empty one.

    Raises:
        InputError: there is a file, or a directory without the mark and not empty; or nothing can be written there.
    """
    target = _resolved(path)
    if os.path.exists(target) and not os.path.isdir(target):
        raise InputError(f"{path} is a file; name a directory")
    with writing(path):
        if target.is_dir() and any(target.iterdir()) and not (target / mark).is_file():
            # a float model among them: the directory is replaced as a whole, and what was there cannot be had back
            raise InputError(f"{path} is not empty and holds nothing of ours ({mark}); name another directory")
    _require_place(path)


def _require_place(path: str | os.PathLike[str]) -> None:
    """What is written beside a path first must have a place there."""
    target = _resolved(path)
    above = next(folder for folder in target.parents if os.path.exists(folder))
    if not above.is_dir():
        raise InputError(f"cannot write {path}: {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
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

    It keeps the suffix, by which libraries choose a format. A link stays a link, to the new file. Who finds another
    process at the same file waits for it; the last one's content stays.

    Raises:
        InputError: the file cannot be written; for whatever `OSError` the block raises, too.
    """
    target = _resolved(path)
    fresh = target.with_name(f".{target.stem}.new-{_token()}{target.suffix}")
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with claimed(path, patience_s=_PATIENCE_S) as alone:
            if alone:
                _sweep(target, target.stem, target.suffix)
            try:
                yield fresh
                _flush(fresh)
                os.replace(fresh, target)
                _flush_folder(target.parent)
            finally:
                fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A fresh directory, which becomes `path` if the block succeeds and vanishes if it does not.

    What stands at `path` is replaced whole; callers see to it that it may be. A link stays one, to the new directory.

    Raises:
        InputError: the directory cannot be made or moved, or another process is writing it. What the block raises
            passes unchanged.
    """
    target = _resolved(path)
    fresh, old = (target.with_name(f".{target.name}.{part}-{_token()}") for part in ("new", "old"))
    with contextlib.ExitStack() as stack:
        with writing(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            if stack.enter_context(claimed(path)):
                _sweep(target, target.name)
            fresh.mkdir()
        try:
            yield fresh
            with writing(path):
                _flush_all(fresh)
                _put(fresh, target, old)
                _flush_folder(target.parent)
        finally:
            _remove(fresh)  # after an exchange it is the old one
            if os.path.exists(target):
                _remove(old)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Clear away what killed runs left in a folder whose files and directories are written once, and then only read.

    What living processes are at stays, and so does what cannot be removed.
    """
    for lock in Path(folder).glob(".*.lock"):  # which a run that is killed leaves whatever else it leaves
        target = lock.with_name(lock.name[1 : -len(".lock")])
        with contextlib.suppress(InputError, OSError), claimed(target) as alone:
            if alone:
                _sweep(target, target.stem, target.suffix)
                _sweep(target, target.name)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever `OSError` the block raises is an `InputError` that names the path.

    Raises:
        InputError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def _resolved(path: str | os.PathLike[str]) -> Path:
    """The path without links; one that goes in a circle is told when it is written to."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise InputError(f"cannot write {shown(os.fspath(path))}: {error}") from error


def _put(fresh: Path, target: Path, old: Path) -> None:
    """Let `fresh` take the place of `target`; what was there is then at `fresh`, or at `old`, or still there."""
    if not target.exists():
        os.replace(fresh, target)
        return
    if _exchange(fresh, target):
        return
    os.replace(target, old)
    try:
        os.replace(fresh, target)
    except BaseException:
        os.replace(old, target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two directories in one step; False where that cannot be done. Raises OSError if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        failed = libc.renameat2(here, names[0], here, names[1], exchange)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, 2)  # RENAME_SWAP
    else:
        return False
    if failed and ctypes.get_errno() in _NO_EXCHANGE:
        return False
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return True


def _flush(path: Path) -> None:
    """Wait until a file's content is on the disk, where a full one shows at the latest."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems keep no folder open
        _flush(path)


def _flush_all(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            if stat.S_ISREG(os.lstat(Path(parent, name)).st_mode):
                _flush(Path(parent, name))
        _flush_folder(Path(parent))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _token() -> str:
    return secrets.token_hex(8)


def _sweep(target: Path, stem: str, suffix: str = "") -> None:
    """Clear away what killed runs left beside `target`, which is claimed: nobody else is at it."""
    left = re.compile(rf"\.{re.escape(stem)}\.(new|old)-[0-9a-f]{{16}}{re.escape(suffix)}")
    for leftover in sorted(target.parent.glob(f".{glob.escape(stem)}.*-*{glob.escape(suffix)}")):
        found = left.fullmatch(leftover.name)
        if found is None:
            continue
        if found[1] == "old" and not target.exists():
            os.replace(leftover, target)
        else:
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
