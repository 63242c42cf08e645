"""Files and directories appear as a whole or not at all, whatever ends the block, and errors name the path."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from spike_compressor import files
from spike_compressor.claims import claimed
from spike_compressor.errors import InputError
from spike_compressor.files import replacing_directory, replacing_file, sha256_of, write_text


def put_file(path: Path, content: str, during: Callable[[], object] = lambda: None) -> None:
    with replacing_file(path) as fresh:
        fresh.write_text(content)
        during()


def put_directory(path: Path, content: str, during: Callable[[], object] = lambda: None) -> None:
    with replacing_directory(path) as fresh:
        (fresh / "inner").write_text(content)
        during()


def content(path: Path) -> str:
    return (path / "inner" if path.is_dir() else path).read_text()


PUT = pytest.mark.parametrize("put", [put_file, put_directory])


class Crash(BaseException):
    """Nothing catches it by accident."""


def crash() -> None:
    raise Crash


@PUT
def test_what_was_there_is_replaced_whole(put: Callable[..., None], tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "target.txt"
    put(target, "first")
    put(target, "second")
    assert content(target) == "second"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


@PUT
@pytest.mark.parametrize("exists", [False, True])
def test_a_block_that_raises_leaves_what_was_there(put: Callable[..., None], exists: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if exists:
        put(target, "old")
    with pytest.raises(Crash):
        put(target, "new", crash)
    assert [path.name for path in tmp_path.iterdir()] == (["target"] if exists else [])
    if exists:
        assert content(target) == "old"


@PUT
def test_a_link_stays_a_link(put: Callable[..., None], tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    put(target, "old")
    link.symlink_to(target)
    put(link, "new")
    assert link.is_symlink()
    assert content(target) == "new"


@PUT
def test_the_next_writer_removes_what_a_killed_one_left(put: Callable[..., None], tmp_path: Path) -> None:
    target = tmp_path / "target.txt"
    put(target, "old")
    child = os.fork()
    if child == 0:
        try:
            put(target, "new", lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    assert content(target) == "old"
    assert len(list(tmp_path.iterdir())) == 3  # it, what was begun, and the claim
    put(target, "newest")
    assert [path.name for path in tmp_path.iterdir()] == ["target.txt"]


@PUT
@pytest.mark.parametrize("done", [False, True])
def test_a_folder_is_swept(
    put: Callable[..., None], done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what a run left that was killed when its file was in place, and that nobody writes again."""
    target, other = tmp_path / "target.txt", tmp_path / "other"
    (tmp_path / ".mine.new-0123456789abcdef").touch()

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            if done:
                monkeypatch.setattr(files, "_flush_folder" if put is put_file else "_remove", die)
            put(target, "new", (lambda: None) if done else die)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with claimed(other):
        files.sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            *(["target.txt"] if done else []),
            ".other.lock",
            ".mine.new-0123456789abcdef",
        }


@PUT
def test_what_is_no_leftover_stays(put: Callable[..., None], tmp_path: Path) -> None:
    names = (".target.new-notes", ".targets.new-0123456789abcdef", ".target.new-0123456789abcdef.txt", ".target.new-12")
    for name in names:
        (tmp_path / name).mkdir()
    put(tmp_path / "target", "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "target"])


@PUT
def test_errors_name_the_path(put: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file/below/target"):
        put(tmp_path / "file" / "below" / "target", "x")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(InputError, match="folder"):
        sha256_of(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()


def test_a_fresh_file_keeps_its_suffix(tmp_path: Path) -> None:
    with replacing_file(tmp_path / "plan.svg") as fresh:
        assert fresh.suffix == ".svg"
        assert fresh.parent == tmp_path
        fresh.touch()


def test_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "data").write_bytes(data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()
