"""Processes end with the block and with their parent, whatever ends these, and say why in one error."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.processes import processes

#: A parent that has two processes at work and waits for them; the first argument is where it writes their ids.
PARENT = """
import multiprocessing, os, pathlib, signal, sys, time
from spike_compressor.processes import processes

def work():
    time.sleep(0.2)
    return os.getpid()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
    with processes(2) as pool:
        at_work = set()
        while len(at_work) < 2:  # an interpreter that is still starting may lose an interrupt
            at_work |= {one.result() for one in [pool.submit(work) for _ in range(2)]}
        waited_for = pool.submit(time.sleep, 600)
        ids = " ".join(str(process.pid) for process in multiprocessing.active_children())
        path = pathlib.Path(sys.argv[1])
        path.with_suffix(".new").write_text(ids)
        path.with_suffix(".new").rename(path)
        waited_for.result()
"""


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def eventually_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 60
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(lives, pids))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_or_error_leaves_no_process(error: type[BaseException]) -> None:
    before = set(multiprocessing.active_children())
    workers: list[int] = []

    def begin_and_fail() -> None:
        with processes(2) as pool:
            pool.submit(time.sleep, 600)
            workers.extend(child.pid or 0 for child in set(multiprocessing.active_children()) - before)
            assert all(map(lives, workers))
            raise error

    with pytest.raises(error):
        begin_and_fail()
    assert len(workers) == 2
    assert not any(map(lives, workers))


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks processes up in /proc")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_processes_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    script, ids = tmp_path / "parent.py", tmp_path / "ids"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, script, ids], start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        while not ids.is_file() and parent.poll() is None:
            time.sleep(0.05)
        workers = [int(pid) for pid in ids.read_text().split()]
        assert len(workers) == 2
        assert all(map(lives, workers))
        time.sleep(1)  # until it waits: CPython leaves a lock taken if an interrupt comes while it is being taken
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does
        else:
            parent.send_signal(number)
        _, err = parent.communicate(timeout=120)
        assert eventually_gone(workers)
        # a worker says nothing; an interrupted parent has one traceback
        assert err.count("Traceback") <= (number == signal.SIGINT)
    finally:
        parent.kill()
        parent.wait()


def test_a_process_that_is_killed_is_one_clear_error() -> None:
    before = set(multiprocessing.active_children())

    def kill_the_one() -> None:
        with processes(1) as pool:
            waited_for = pool.submit(time.sleep, 600)
            (child,) = set(multiprocessing.active_children()) - before
            child.kill()
            waited_for.result()

    with pytest.raises(ChildProcessError, match=naming("process", "--jobs")):
        kill_the_one()


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(InputError, match=naming("jobs", 0, 1)), processes(0):
        pass
