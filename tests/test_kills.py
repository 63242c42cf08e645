"""Whatever is written is the old or the new one, whole, at whatever moment its process is killed.

Each writer is killed at every one of its operations on files, and at moments that seeds draw over the time it takes.
Then what it was to write must be one of the two, the same writer must succeed, and nothing may be left beside it.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
from helpers import tiny_models
from helpers.faults import at_operation, content, forked, kill, killed_at_random
from helpers.workshop import RTN, Processor, Workshop, recipe
from spike_compressor import files
from spike_compressor.trace import validate
from spike_compressor.trace.export import export_trace

#: Of the moments of random kills.
SEEDS = range(30)


@dataclass
class Writer:
    """Something that writes one directory.

    Attributes:
        target: that it writes.
        old: what was there before.
        write: does it.
        new: what is there then.
    """

    target: Path
    old: dict[str, bytes]
    write: Callable[[], object]
    new: dict[str, bytes]

    @classmethod
    def of(cls, target: Path, old: Path, write: Callable[[], object]) -> Writer:
        target.parent.mkdir()
        write()
        new = content(target)
        assert new is not None
        before = content(old)
        assert before is not None
        assert before != new
        writer = cls(target, before, write, new)
        writer.write()
        assert content(target) == new, "what is written differs from time to time"
        return writer

    def begin(self, old: bool) -> None:
        """The folder as it is before: with the old directory alone, or empty."""
        shutil.rmtree(self.target.parent)
        self.target.parent.mkdir()
        for name, data in self.old.items() if old else ():
            (self.target / name).parent.mkdir(parents=True, exist_ok=True)
            (self.target / name).write_bytes(data)

    def faults(self, old: bool) -> list[str]:
        """What is wrong after a kill, or after the next run."""
        found = []
        allowed = (self.old if old else None, self.new)
        if content(self.target) not in allowed:
            found.append("neither the old one nor the new one")
        self.write()
        if content(self.target) != self.new:
            found.append("the next run does not write it")
        left = sorted(path.name for path in self.target.parent.iterdir())
        if left != [self.target.name]:
            found.append(f"left: {left}")
        return found

    def operations(self) -> list[str]:
        """Their names where the old one is replaced."""
        self.begin(old=True)
        return forked(at_operation(-1, self.target.parent, kill, self.write)).said.splitlines()

    def killed_at(self, number: int, old: bool = True) -> list[str]:
        """What is wrong after a kill at this operation."""
        self.begin(old)
        ended = forked(at_operation(number, self.target.parent, kill, self.write))
        assert ended.killed, ended.said
        return self.faults(old)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def old(workshop: Workshop) -> Path:
    return workshop.made("llama", recipe(RTN, "threshold_ratio: 0.5"))[1]


@pytest.fixture(scope="module")
def save(workshop: Workshop, folder: Path, old: Path) -> Writer:
    model = workshop.made("llama", recipe(RTN, "threshold: static"))[0]
    target = folder / "save" / "checkpoint"
    return Writer.of(target, old, lambda: spike_compressor.save(model, target, Processor()))


@pytest.fixture(scope="module")
def trace(workshop: Workshop, folder: Path) -> Writer:
    model, batch = workshop.made("llama", recipe(RTN, "threshold: static"))[0], workshop.batch("llama")
    target = folder / "trace" / "bundle"
    layers = ["re:.*layers.0.mlp"]
    before = export_trace(model, batch, folder / "before", layers=layers, tokens=2)
    return Writer.of(
        target, before, lambda: export_trace(model, batch, target, layers=layers, tokens=3, overwrite=True)
    )


@pytest.fixture(scope="module")
def oneshot(workshop: Workshop, folder: Path, old: Path) -> Writer:
    """What `oneshot(output_dir=)` does once the recipe has run."""
    entrypoint: Any = importlib.import_module("llmcompressor.entrypoints.oneshot")
    target = folder / "oneshot" / "checkpoint"
    calls: list[Callable[[], object]] = []
    real = entrypoint.post_process
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(entrypoint, "post_process", lambda **given: calls.append(lambda: real(**given)))
        workshop.oneshot("llama", recipe(RTN, "threshold: static"), output_dir=str(target))
    return Writer.of(target, old, calls[0])


def test_a_few_kills(save: Writer) -> None:
    """Where the new one is begun, just before it takes its place, and while the old one is removed."""
    names = save.operations()
    removed = names.index("shutil.rmtree")
    assert names[removed - 1] == "os.fsync"  # of the folder, in which the two have been exchanged
    for number in (names.index("open"), removed - 1, removed + 3):
        assert save.killed_at(number) == []


def test_a_replacement_in_two_steps_is_found(save: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests can fail: where directories cannot be exchanged there is a moment without any."""
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    moves = [number for number, name in enumerate(save.operations()) if name == "os.rename"]
    assert save.killed_at(moves[-1]) == ["neither the old one nor the new one"]  # and the next run succeeds


def test_processor_of_oneshot_is_written_with_the_model(oneshot: Writer) -> None:
    assert "processor_was_here.json" in oneshot.new


@pytest.mark.slow
@pytest.mark.parametrize("name", ["save", "trace", "oneshot"])
def test_killed_at_every_operation(name: str, request: pytest.FixtureRequest) -> None:
    """Replacing an old one; and every third where there is none."""
    writer: Writer = request.getfixturevalue(name)
    count = len(writer.operations())
    moments = [(number, True) for number in range(count)] + [(number, False) for number in range(0, count // 2, 3)]
    found = {moment: faults for moment in moments if (faults := writer.killed_at(*moment))}
    print(f"{name}: killed at {len(moments)} operations")
    assert found == {}
    assert len(moments) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["save", "trace", "oneshot"])
def test_killed_at_random_moments(name: str, request: pytest.FixtureRequest) -> None:
    writer: Writer = request.getfixturevalue(name)
    started = time.monotonic()
    forked(writer.write)
    seconds = time.monotonic() - started
    found = {}
    for seed in SEEDS:
        killed_at_random(seed, seconds, partial(writer.begin, old=True), writer.write)
        if faults := writer.faults(old=True):
            found[seed] = faults
    assert found == {}


def test_what_was_written_opens(save: Writer, trace: Writer) -> None:
    for writer in (save, trace):
        writer.begin(old=False)
        writer.write()
    assert tiny_models.logits(spike_compressor.load(save.target), {"input_ids": _ids()}).isfinite().all()
    validate(trace.target)


def _ids() -> Any:
    import torch

    return torch.tensor([[1, 7, 8]])
