"""Whatever a file holds, what comes out of reading it is its content or one `InputError` of one line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from spike_compressor import reading
from spike_compressor.errors import InputError, shown
from spike_compressor.pictures import open_picture
from spike_compressor.reading import parse_json, read_json, read_object
from spike_compressor.yaml_files import parse_yaml, read_yaml

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)  # nine to the power of nine


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that says its size, with these compressed bytes as its content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        ("{", "Expecting"),
        ("1" * 5000, "digits"),
        (b"\xff\xfe[", "decode"),
        ("", "Expecting value"),
    ],
)
def test_no_json(text: str | bytes, said: str) -> None:
    message = refusal(lambda: parse_json(text, "the thing"))
    assert message.startswith("the thing is no JSON")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 3000, "nested too deep"),
        ("a: !!float x", "float"),
        ("a: !!int ''", ""),
        ("a: !!bool perhaps", "perhaps"),
        ("a: !!timestamp x", ""),
        ("? [1]\n: 2", "unhashable"),
        ("!!python/object/apply:os.system [true]", "python"),
        (LAUGHS, "1,000,000 values"),
        ("&a [*a]", "alias"),
        ("a: b: c", "mapping values"),
        ("a: \x00", ""),
    ],
)
def test_no_yaml(text: str, said: str) -> None:
    message = refusal(lambda: parse_yaml(text, "the thing"))
    assert message.startswith("the thing is no YAML")
    assert said in message


def test_yaml_of_plain_values() -> None:
    assert parse_yaml("a: &x [1, 2.5]\nb: *x\nc: {d: null}", "") == {"a": [1, 2.5], "b": [1, 2.5], "c": {"d": None}}
    assert parse_yaml("", "") is None
    assert parse_yaml("a: 1\na: 2", "") == {"a": 2}
    assert "line 2: a stands twice, first in line 1" in refusal(lambda: parse_yaml("a: 1\na: 2", "it", unique=True))
    assert parse_yaml("x: &x {a: 1}\ny: {<<: *x, b: 2}", "", unique=True)["y"] == {"a": 1, "b": 2}


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    assert f"{file} cannot be read: No such file" in refusal(lambda: read_json(file))
    assert "the plan cannot be read: Is a directory" in refusal(lambda: read_yaml(tmp_path, "the plan"))
    assert "File name too long" in refusal(lambda: read_json(tmp_path / ("x" * 300)))
    file.write_bytes(b"\xff\xfea")
    assert "is no YAML: 'utf-8' codec" in refusal(lambda: read_yaml(file))
    file.write_text("[1]")
    assert read_json(file) == read_yaml(file) == [1]
    assert "holds no JSON object" in refusal(lambda: read_object(file))
    monkeypatch.setattr(reading, "MAX_BYTES", {"JSON": 1 << 20, "YAML": 1 << 20})
    file.write_bytes(b" " * (1 << 20) + b"1")
    assert "more than 1 MiB" in refusal(lambda: read_json(file))
    assert "more than 1 MiB" in refusal(lambda: read_yaml(file))


@pytest.mark.parametrize(
    "content",
    [
        png(30_000, 30_000, zlib.compress(b"")),  # 900 million pixels in 70 bytes
        png(4, 4, zlib.compress(b"")),
        png(4, 4, b"no zlib"),
        b"GIF89a" + bytes(20),
        b"\x89PNG\r\n\x1a\n",
        b"",
        b"II*\x00" + b"\xff" * 40,
    ],
)
def test_no_picture(content: bytes) -> None:
    assert refusal(lambda: open_picture(io.BytesIO(content), "row 3")).startswith(
        "row 3: this picture cannot be read: "
    )


def test_picture(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 2), "red").save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png", "a")
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (3, 2), (255, 0, 0))


def test_values_in_messages_are_short() -> None:
    for value in ("x" * 10**7, list(range(10**6)), 10**4000, {"a": {"b": ["c" * 1000] * 1000}}, b"x" * 10**6):
        assert len(shown(value)) < 500
    assert shown("short") == "'short'"


def test_one_place_reads() -> None:
    """No module parses JSON, YAML or pictures that somebody else wrote by itself."""
    package = Path(reading.__file__).parent
    allowed = {
        "reading.py",
        "yaml_files.py",
        "pictures.py",
        "modifiers/recipe.py",  # what LLM Compressor's Recipe just wrote, with its tags
    }
    for path in package.rglob("*.py"):
        if str(path.relative_to(package)) in allowed:
            continue
        text = path.read_text(encoding="utf-8")
        for call in ("json.load(", "yaml.load(", "yaml.safe_load(", "Image.open(", "pickle.load", "torch.load("):
            assert call not in text, f"{path.name} has {call}"
