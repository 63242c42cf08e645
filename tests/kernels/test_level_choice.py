"""Which level is used, and what is said where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.messages import naming
from loguru import logger
from spike_compressor.errors import InputError
from spike_compressor.kernels import VARIABLE, Panels, active_level, available_levels, library, using_level


@pytest.fixture
def said() -> object:
    lines: list[str] = []
    number = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(number)


def anew(monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> library.Library | None:
    """The library as a new process finds it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if wanted is not None:
        monkeypatch.setenv(VARIABLE, wanted)
    return library.library.__wrapped__()


def test_the_highest_level_is_taken_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = available_levels()
    for wanted, level in [(None, names[-1]), ("", names[-1]), ("portable", "portable"), (names[-1], names[-1])]:
        found = anew(monkeypatch, wanted)
        assert found is not None
        assert found.level is not None
        assert found.levels[found.level] == level
    found = anew(monkeypatch, "torch")
    assert found is not None
    assert found.level is None


def test_a_level_that_this_machine_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=naming(VARIABLE, "'sse9'", "portable", "torch")):
        anew(monkeypatch, "sse9")
    with pytest.raises(InputError, match=naming("'sse9'", "torch")), using_level("sse9"):
        pass


def test_a_level_that_fails_its_test_is_left_for_the_next_lower_one(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    class Wrong:
        """The library's functions, with a best level whose bits are wrong."""

        def __init__(self, call: object) -> None:
            self._call = call

        def __getattr__(self, name: str) -> object:
            return getattr(self._call, name)

        def spike_self_test(self, level: int) -> int:
            return 3 if level == self._best else 0

        _best = 0

    found = anew(monkeypatch, None)
    assert found is not None
    able = found.supported()
    wrong = Wrong(found.call)
    wrong._best = able[-1]
    found.call = wrong
    assert library._chosen(found, None) == (able[-2] if len(able) > 1 else None)
    assert found.levels[able[-1]] in said[0]
    assert len(said) == 1
    with pytest.raises(InputError, match=naming(found.levels[able[-1]], "test 3")):
        library._chosen(found, found.levels[able[-1]])


def test_without_a_library_torch_computes_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "_FILE", tmp_path / "libspike_kernels.so")
    assert anew(monkeypatch, None) is None
    assert len(said) == 1
    assert "libspike_kernels.so is missing" in said[0]
    assert anew(monkeypatch, "torch") is None  # asked for: nothing to say
    assert len(said) == 1
    with pytest.raises(InputError, match=naming(VARIABLE, "'avx2'", "libspike_kernels.so")):
        anew(monkeypatch, "avx2")
    (tmp_path / "libspike_kernels.so").write_text("no library", encoding="utf-8")
    assert anew(monkeypatch, None) is None
    assert "libspike_kernels.so" in said[1]


def test_a_package_without_a_library_says_so_once_and_gives_the_same_bits(tmp_path: Path) -> None:
    """In a process of its own, with a copy of the package: layers, panels and all."""
    package = Path(library.__file__).parents[1]
    shutil.copytree(
        package, tmp_path / "spike_compressor", ignore=shutil.ignore_patterns("*.so", "*.npz", "__pycache__")
    )
    program = """
import torch
from spike_compressor.kernels import Panels, active_level
from spike_compressor.runtime.neurons import Neurons
from spike_compressor.runtime.spec import LayerSpec
from spike_compressor.runtime.integers import IntegerWeight
codes = (torch.arange(18 * 40).view(18, 40) % 16 - 8).to(torch.int8)
neurons = Neurons("layer", LayerSpec({"text": 4}), IntegerWeight(codes, torch.full((18, 2), 0.1), 4), "fused", 0)
x = torch.linspace(-3, 2, 3 * 40).view(3, 40)
assert neurons.outputs(x, None) is None and active_level() == "torch"
drive, synapses = neurons.fire(x)
print(neurons.dequantize(synapses.acc, drive.scale, None).view(torch.int32).sum().item())
"""
    bits = []
    for path in (tmp_path, package.parent):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("assert ", "assert " if path is tmp_path else "1 or ")],
            env={"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        bits.append(int(done.stdout))
        assert done.stderr.count("libspike_kernels.so is missing") == (1 if path is tmp_path else 0), done.stderr
    assert bits[0] == bits[1]


def test_levels_are_those_of_the_block() -> None:
    before = active_level()
    with using_level("portable"):
        assert active_level() == "portable"
        with using_level("torch"):
            assert active_level() == "torch"
            assert Panels.of(torch.ones(3, 5, dtype=torch.int8), 1).codes().sum() == 15
        assert active_level() == "portable"
    assert active_level() == before
