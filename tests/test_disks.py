"""A disk that fails, a target that cannot be written, another process that is at it: one error, and nothing broken."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spike_compressor
from helpers import tiny_models
from helpers.faults import DISKS, at_operation, content, fails_with, forked, in_another_process, kill
from helpers.messages import naming
from helpers.workshop import RTN, Processor, Workshop, recipe
from spike_compressor import files
from spike_compressor.claims import claimed
from spike_compressor.comparison.cells import Cells
from spike_compressor.errors import InputError
from spike_compressor.files import replacing_directory, require_replaceable, require_writable, write_text
from spike_compressor.trace import BundleWriter
from torch.utils.data import DataLoader

STATIC = recipe(RTN, "threshold: static")


def write_trace(path: Path) -> None:
    """A bundle of one small layer."""
    with BundleWriter(path, producer={}, model={}, overwrite=True) as bundle:
        bundle.add_layer(
            "a",
            coding="tc_lif",
            frac_bits=16,
            weight_bits=2,
            membrane=np.zeros((2, 2), "i4"),
            timesteps=np.ones(2, "u1"),
            modality=np.zeros(2, "u1"),
            codes=np.zeros((2, 2), "i2"),
            spikes=np.zeros((1, 2, 2), "i1"),
            weight=np.zeros((2, 2), "i1"),
            acc=np.zeros((2, 2), "i4"),
            act_scale=np.ones(2, "f4"),
            weight_scale=np.ones(2, "f4"),
            output=np.zeros((2, 2), "f4"),
        )


def write_cell(path: Path) -> None:
    """What `compare` keeps of a row."""
    Cells(path).put({"kind": "float"}, {"seconds": 1.0})


@pytest.fixture
def save(workshop: Workshop) -> Callable[[Path], object]:
    model = workshop.made("llama", STATIC)[0]
    return lambda path: spike_compressor.save(model, path, Processor())


def shown(path: Path) -> dict[str, bytes]:
    """Files that are not hidden."""
    return {name: data for name, data in (content(path) or {}).items() if not Path(name).name.startswith(".")}


def failing(write: Callable[[Path], object], target: Path, step: int) -> list[str]:
    """What is wrong where one operation of a writer fails, for every `step`th operation."""
    folder = target.parent
    folder.mkdir()
    write(target)
    before = shown(target)
    names = forked(at_operation(-1, folder, fails_with(0), partial(write, target))).said.splitlines()
    assert len(names) >= 8
    wrong = []
    for number in range(0, len(names), step):
        if names[number] == "shutil.rmtree":  # which is no operation of the disk, but stands for those that follow
            continue
        disk = list(DISKS)[number // step % len(DISKS)]
        where = f"{disk} at {names[number]} {number}: "
        ended = forked(at_operation(number, folder, fails_with(DISKS[disk]), partial(write, target)))
        if ended.raised and not (ended.said.startswith("InputError: ") and str(target) in ended.said):
            wrong.append(where + ended.said)
        if "\n" in ended.said and ended.raised:
            wrong.append(where + "several lines")
        if shown(target) != before:
            wrong.append(where + "something else is there")
        removes = names[number] in ("os.remove", "os.rmdir")  # which then leaves it to the next run
        left = [path.name for path in folder.rglob(".*") if path.suffix != ".lock"]
        if left and not removes:
            wrong.append(where + f"left {left}")
        if left:
            write(target)
    write(target)
    if content(target) != before or [path.name for path in folder.iterdir()] != [target.name]:
        wrong.append(f"the next run leaves {os.listdir(folder)}")
    return wrong


@pytest.mark.parametrize("write", [write_trace, write_cell])
def test_every_operation_fails_once(write: Callable[[Path], object], tmp_path: Path) -> None:
    assert failing(write, tmp_path / "folder" / "target", step=1) == []


@pytest.mark.slow
def test_every_operation_of_a_save_fails_once(save: Callable[[Path], object], tmp_path: Path) -> None:
    assert failing(save, tmp_path / "folder" / "target", step=1) == []


def test_some_operations_of_a_save_fail(save: Callable[[Path], object], tmp_path: Path) -> None:
    assert failing(save, tmp_path / "folder" / "target", step=17) == []


def test_an_error_that_is_not_told_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""
    monkeypatch.setattr(files, "writing", lambda _: contextlib.nullcontext())
    assert any("OSError" in fault for fault in failing(write_cell, tmp_path / "folder" / "target", step=1))


# Targets that cannot be written


@pytest.mark.parametrize("write", [write_trace, write_cell, "save"])
def test_targets(write: Any, save: Callable[[Path], object], tmp_path: Path) -> None:
    write = save if write == "save" else write
    file, loop, link, real = (tmp_path / name for name in ("file", "loop", "link", "real"))
    file.write_text("mine")
    loop.symlink_to(loop)
    for target in (file, file / "below", loop, loop / "below", tmp_path / ("x" * 300), tmp_path / "nul\0"):
        with pytest.raises(InputError) as error:
            write(target)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 700
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]
    assert file.read_text() == "mine"
    real.mkdir()
    link.symlink_to(real)
    write(link / "below")
    assert link.is_symlink()
    assert os.listdir(real) == ["below"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(save: Callable[[Path], object], tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        for write in (write_trace, write_cell, save):
            with pytest.raises(InputError, match=naming(tmp_path)):
                write(tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)
    assert list(tmp_path.iterdir()) == []


def test_places_are_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis").write_text("mine")
    for path, named in ((tmp_path / "file" / "below", tmp_path / "file"), (tmp_path / "nul\0", "null byte")):
        for require in (require_writable, partial(require_replaceable, mark="mark")):
            with pytest.raises(InputError, match=naming(named)):
                require(path)
    for path in (tmp_path / "file", tmp_path / "full"):
        with pytest.raises(InputError, match=naming(path)):
            require_replaceable(path, "mark")
    require_replaceable(tmp_path / "full", "thesis")
    require_replaceable(tmp_path / "new" / "folder", "mark")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for require in (require_writable, partial(require_replaceable, mark="mark")):
        with pytest.raises(InputError, match=naming(tmp_path, "not writable")):
            require(tmp_path / "new")


def test_oneshot_looks_at_its_output_before_it_runs(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("mine")

    class Unread(DataLoader[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("data were read")

    loader = Unread([{"input_ids": [1]}])
    chapter = tmp_path / "thesis" / "chapter"
    refused = {tmp_path / "thesis": "is not empty", chapter: "is a file; name a directory"}
    for target, says in {**refused, chapter / "below": f"{chapter} is a file"}.items():
        with pytest.raises(InputError, match=naming(target, says)):
            workshop.oneshot("llama", STATIC, dataset=loader, output_dir=str(target))
    assert content(tmp_path) == {"thesis/chapter": b"mine"}


# Two processes


@pytest.mark.parametrize("write", [write_trace, "save"])
def test_one_process_at_a_time_writes_a_directory(write: Any, save: Callable[[Path], object], tmp_path: Path) -> None:
    write = save if write == "save" else write
    target, link = tmp_path / "target", tmp_path / "link"
    write(target)
    before = content(target)
    link.symlink_to(target)
    with in_another_process(replacing_directory(tmp_path / "other")), in_another_process(claimed(target)) as other:
        for path in (target, link):
            with pytest.raises(InputError, match=naming(path, f"process {other} ")):
                write(path)
    assert content(target) == before
    write(target)
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link", "other"}


def test_the_other_process_wins(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def slowly() -> Any:
        with replacing_directory(tmp_path / "target") as fresh:
            (fresh / "file").write_text("theirs")
            yield

    with in_another_process(slowly()), pytest.raises(InputError), replacing_directory(tmp_path / "target"):
        raise AssertionError("both are at it")
    assert content(tmp_path) == {"target/file": b"theirs"}


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    def die() -> None:
        with claimed(tmp_path / "target"):
            kill()

    assert forked(die).killed
    with claimed(tmp_path / "target") as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


def test_files_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty processes at one file: it is whole all the time, and all of them succeed."""
    text = ["x" * 5000, "y" * 5000]
    write_text(tmp_path / "file", text[0])
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write_text(tmp_path / "file", text[number % 2])
                code = 0
            finally:
                os._exit(code)
        children.append(child)
        assert (tmp_path / "file").read_text() in text
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    monkeypatch.setattr(files, "_PATIENCE_S", 0.1)
    with in_another_process(claimed(tmp_path / "file")), pytest.raises(InputError, match=naming("file", "process")):
        write_text(tmp_path / "file", "z")


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed then, and nothing of what others may be at is cleared away."""

    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    other = tmp_path / ".target.new-0123456789abcdef"
    other.mkdir()
    write_trace(tmp_path / "target")
    assert {path.name for path in tmp_path.iterdir()} == {"target", other.name}


# In two steps


def test_an_old_one_that_was_moved_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where directories cannot be exchanged, a kill between two renames leaves the old one under another name."""
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    folder, target = tmp_path / "folder", tmp_path / "folder" / "target"
    folder.mkdir()
    write_trace(target)
    before = content(target)
    names = forked(at_operation(-1, folder, lambda: None, partial(write_trace, target))).said.splitlines()
    moves = [number for number, name in enumerate(names) if name == "os.rename"]
    assert len(moves) == 2
    assert forked(at_operation(moves[1], folder, kill, partial(write_trace, target))).killed
    assert not target.exists()
    with pytest.raises(ZeroDivisionError), replacing_directory(target):  # a run that fails, too, puts it back
        raise ZeroDivisionError
    assert content(target) == before
    shutil.rmtree(target)
    write_trace(target)
    assert [path.name for path in folder.iterdir()] == ["target"]


def test_logits_are_those_of_a_model_that_could_not_be_saved(
    workshop: Workshop, tmp_path: Path, save: Callable[[Path], object]
) -> None:
    """A failed save costs nothing that is in memory."""
    model, batch = workshop.made("llama", STATIC)[0], workshop.batch("llama")
    expected = tiny_models.logits(model, batch)

    def fail() -> None:
        with pytest.raises(InputError, match="save it elsewhere"):
            at_operation(9, tmp_path, fails_with(DISKS["ENOSPC"]), partial(save, tmp_path / "out"))()
        assert tiny_models.logits(model, batch).equal(expected)

    assert forked(fail).said == "None"
