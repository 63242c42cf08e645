"""Processes side by side that compute for this one, and end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from spike_compressor.errors import InputError
from spike_compressor.quiet import quiet_worker


def require_jobs(jobs: int) -> None:
    """Refuse to work with no process at all.

    Raises:
        InputError: `jobs` is less than 1.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1")


@contextlib.contextmanager
def processes(jobs: int, *, threads: int = 1, verbose: bool = False) -> Iterator[Executor]:
    """`jobs` processes; they begin to import at once, and none of them outlives the block or this process.

    When the block ends as it should, what they are at is waited for. When it ends with an error or an interrupt, it is
    given up at once.

    Args:
        jobs: processes.
        threads: of torch, in each.
        verbose: let their libraries write what they like to standard error.

    Yields:
        What takes functions of modules with their arguments.

    Raises:
        InputError: `jobs` is less than 1.
        ChildProcessError: one of them was ended from outside.
    """
    require_jobs(jobs)
    context = multiprocessing.get_context("spawn")  # threads and CUDA do not survive a fork
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(theirs, threads, verbose))
    try:
        with _interrupts_wait():
            for _ in range(jobs):  # a process is started for each task that finds none idle
                pool.submit(_nothing)
        yield pool
    except BaseException as error:
        ours.close()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a process that worked for this one was ended from outside; if memory was short, use fewer --jobs"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Interrupts are put off until the block ends, and in processes that it starts until `_begin`.

    An interrupt that reached a process while its interpreter starts would be a traceback of its own.
    """
    resource_tracker.ensure_running()  # else it is started within the block, and lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: Connection, threads: int, verbose: bool) -> None:
    """First of all in each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interrupt reaches the parent, too, which ends its processes
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # for programs that the work starts
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    quiet_worker(verbose)
    import torch  # after what silences its kin

    torch.set_num_threads(threads)


def _end_with(parent: Connection) -> None:
    """End this process, whatever it is at, when the parent closes its end or is no more."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv_bytes()
    os._exit(1)


def _nothing() -> None:
    """A task that makes the pool start a process."""
