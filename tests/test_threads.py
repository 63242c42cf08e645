"""How many threads and cores: by affinity and quota, by the model's size, by what the user has said; and put back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.threads import SMALL, small_model_threads, threads_for, usable_cores, use_threads

VERSION_2 = "0::/slice/job\n"
VERSION_1 = "3:cpu,cpuacct:/slice/job\n2:memory:/\n"


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that torch has given two threads, of its own choice."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        (VERSION_2, {}, 8),
        (VERSION_2, {"cpu.max": "max 100000"}, 8),
        (VERSION_2, {"cpu.max": "250000 100000"}, 3),
        (VERSION_2, {"cpu.max": "max 100000", "slice/cpu.max": "200000 100000"}, 2),
        (VERSION_2, {"slice/cpu.max": "400000 100000", "slice/job/cpu.max": "50000 100000"}, 1),
        (VERSION_2, {"elsewhere/cpu.max": "100000 100000"}, 8),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        (
            VERSION_1,
            {"cpu,cpuacct/slice/cpu.cfs_quota_us": "150000", "cpu,cpuacct/slice/cpu.cfs_period_us": "100000"},
            2,
        ),
    ],
)
def test_cores_by_affinity_and_quota(
    group: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(tmp_path) == 8  # a system without control groups
    for path, text in {
        "proc/self/cgroup": group,
        **{f"sys/fs/cgroup/{path}": text for path, text in files.items()},
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert usable_cores(tmp_path) == cores


def test_cores_of_this_process() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("two_threads")
def test_small_models_use_one_thread_and_large_ones_torchs() -> None:
    assert small_model_threads() == 1
    assert threads_for(torch.nn.Linear(4, 4)) == 1
    assert threads_for(torch.nn.Linear(SMALL, 1, device="meta")) == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_user_says_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    assert small_model_threads() == 2
    assert threads_for(torch.nn.Linear(4, 4)) == 2


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()

    def compute() -> None:
        with use_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert torch.get_num_threads() == before
    with pytest.raises(InputError, match=naming("threads", 0, 1)), use_threads(0):
        pass
