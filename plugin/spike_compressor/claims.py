"""Claims: one process at a time writes a path, on this machine or on others that share its disk. Standard library only.

A claim is a lock of the operating system on a hidden file beside the path, `.NAME.lock`. It ends with its process,
whatever ends that, so no claim has to be cleared away by hand; the file itself goes when the path is written again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from spike_compressor.errors import InputError

try:
    import fcntl
except ImportError:  # a system without such locks
    fcntl = None  # type: ignore[assignment]

#: What file systems say that have no locks: nothing is claimed there.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
_NAP_S = 0.02


@contextlib.contextmanager
def claimed(path: str | os.PathLike[str], *, patience_s: float = 0.0) -> Iterator[bool]:
    """Within the block no other process, or thread, gets into such a block for the same path.

    Args:
        path: that is going to be written; it need not exist, but the folder that it lies in does. Links are followed.
        patience_s: how long to wait for another one that has claimed it.

    Yields:
        Whether it is claimed; False where the file system has no locks.

    Raises:
        InputError: another one has claimed it; says which process, of which machine.
        OSError: the folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name}.lock")
    handle = _lock(lock, path, time.monotonic() + patience_s)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is still ours: whoever waits for it looks whether it is the one that is there
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # for a process that was forked meanwhile and has it open, too
        os.close(handle)


def _lock(lock: Path, path: str | os.PathLike[str], deadline: float) -> int | None:
    """A handle on the locked file; None where there are no locks."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(lock, handle):
                with contextlib.suppress(OSError):  # a full disk: who holds it stays unsaid
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return handle
        except OSError as error:
            holder = os.pread(handle, 300, 0).decode("utf-8", "replace")
            os.close(handle)
            if error.errno in _NO_LOCKS:
                with contextlib.suppress(OSError):
                    lock.unlink()
                return None
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                raise InputError(
                    f"{path} is being written by {holder or 'another process'}; name another path, or wait until it is "
                    "through"
                ) from None
            time.sleep(_NAP_S)
        else:
            os.close(handle)  # of a claim that has just ended: its file is gone


def _is(lock: Path, handle: int) -> bool:
    """Whether a handle is of the file that lies at a path now."""
    try:
        there = os.stat(lock)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(handle))
