"""How many threads a process computes with: one where the model is small, what torch has chosen where it is large.

A product of a small model takes tens of microseconds, and every one ends at a barrier of all threads. Beside a busy
process one of them waits for its core for milliseconds while the others spin, so two threads are ten times slower than
one. Small models use one thread a process, and processes side by side (`spike_compressor.processes`).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from spike_compressor.errors import InputError

#: Parameters, at most, of a model that computes with one thread.
SMALL = 50_000_000
#: Whoever sets one of these has decided; torch reads them as it starts.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: by its affinity, and by the quota of its control group; at least 1.

    Args:
        root: where `/proc` and `/sys` are.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([cores, *_quotas(root)]))


def _quotas(root: Path) -> Iterator[int]:
    """Cores, rounded up, of each control group that limits this process; both versions of the interface."""
    groups = root / "sys/fs/cgroup"
    folders = {groups, groups / "cpu", groups / "cpu,cpuacct"}
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if not names or "cpu" in names.split(","):
            own = groups / names / path.lstrip("/")
            folders.update(folder for folder in (own, *own.parents) if folder.is_relative_to(groups))
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
                period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
            if int(quota) > 0:  # "max" and -1 are no limit
                yield math.ceil(int(quota) / int(period))


def threads_are_set() -> bool:
    """Whether the user has said how many threads a process has, by `OMP_NUM_THREADS` or `MKL_NUM_THREADS`."""
    return any(os.environ.get(name) for name in _VARIABLES)


def small_model_threads() -> int:
    """Threads for a process that runs a small model: 1, or what the user has said."""
    return torch.get_num_threads() if threads_are_set() else 1


def threads_for(model: nn.Module) -> int:
    """Threads for a process that runs `model`: those of a small one if it has few parameters, else torch's own."""
    size = sum(parameter.numel() for parameter in model.parameters())
    return small_model_threads() if size <= SMALL else torch.get_num_threads()


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Within the block torch computes with `count` threads; then with as many as before.

    Raises:
        InputError: fewer than one thread.
    """
    if count < 1:
        raise InputError(f"threads is {count}; it must be at least 1")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
