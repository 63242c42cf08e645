"""Damage: to bytes, and to trees of plain values that were parsed from them. Everything follows from the `Random`."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

#: Where code in a file would leave its mark, if it ran: relative to the working directory.
CANARY = "code_was_executed"
_CODE = f"__import__('pathlib').Path({CANARY!r}).touch()"
_PICKLE = b"cposix\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR."

_NUMBERS = (0, -1, 1, 2, 7, 8, 9, 255, 65536, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, -(2**63))
_FLOATS = (0.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"), 2.0000001, 0.1)
_TEXTS = (
    "",
    " ",
    "\0",
    "\n",
    "\ud7ff",
    "é" * 40,
    "x" * 5000,
    "../" * 12 + "etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "a/../../b",
    "C:\\x",
    "re:(a+)+$",
    "re:[",
    "{{7*7}}",
    "${HOME}",
    "%s%n",
    "NaN",
    "true",
    "null",
    "__class__",
    "0",
    "-1",
    "text",
    "vision",
    "1e999",
    _CODE,
)


def value(random: Random) -> Any:
    """A value that somebody did not think of."""
    kind = random.randrange(8)
    if kind == 0:
        return random.choice((None, True, False, [], {}, [[]], {"": None}))
    if kind <= 2:
        return random.choice(_NUMBERS)
    if kind == 3:
        return random.choice(_FLOATS)
    if kind <= 5:
        return random.choice(_TEXTS)
    if kind == 6:
        return [random.choice(_NUMBERS) for _ in range(random.choice((1, 3, 2000)))]
    inner: Any = random.choice(_NUMBERS)
    for _ in range(random.choice((1, 5, 40))):
        inner = [inner] if random.random() < 0.5 else {random.choice(_TEXTS): inner}
    return inner


def _places(tree: Any, found: list[tuple[Any, Any]]) -> None:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        found.append((tree, key))
        _places(tree[key], found)


def tree(random: Random, content: Any, changes: int = 0) -> Any:
    """The tree with one to four of its nodes replaced, removed, renamed, doubled or exchanged."""
    content = copy.deepcopy(content)
    for _ in range(changes or random.choice((1, 1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        _places(content, places)
        if not places or random.random() < 0.01:
            return value(random)
        # small containers get their share beside large ones
        holder, key = random.choice(places)
        kind = random.randrange(9)
        if kind <= 2:
            holder[key] = value(random)
        elif kind == 3:
            del holder[key]
        elif kind == 4 and isinstance(holder, dict):
            new = (
                random.choice((key[:-1], key + "s", key.upper(), random.choice(_TEXTS))) if isinstance(key, str) else 0
            )
            holder[new] = holder.pop(key)
        elif kind == 5:
            other, place = random.choice(places)
            if (isinstance(other, dict) and place in other) or (isinstance(other, list) and place < len(other)):
                holder[key] = copy.deepcopy(other[place])
        elif kind == 6 and isinstance(holder[key], list):
            holder[key] = holder[key] * random.choice((2, 300))
        elif kind == 7 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = random.choice(
                (holder[key] + 1, holder[key] * 2, -holder[key], str(holder[key]), holder[key] + 0.5)
            )
        elif isinstance(holder, dict):
            holder[random.choice(_TEXTS)] = value(random)
        else:
            holder.append(value(random))
    return content


def raw(random: Random, data: bytes) -> bytes:
    """The bytes with some of them flipped, cut off, doubled, replaced or moved."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        size = len(damaged)
        at, length = random.randrange(size + 1), random.choice((1, 1, 2, 4, 16, 200))
        kind = random.randrange(7)
        if kind == 0 and size:
            damaged[at % size] ^= 1 << random.randrange(8)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = bytes(random.randrange(256) for _ in range(length))
        elif kind == 4:
            damaged[at:at] = damaged[at : at + length] * random.choice((1, 2, 50))
        elif kind == 5:
            damaged[at : at + length] = random.choice((b"\0", b"\xff")) * length
        else:
            damaged[at:at] = random.choice(
                (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"[" * 3000, b"-", b"1" * 5000)
            )
    return bytes(damaged)


def json_text(random: Random, content: Any) -> bytes:
    """A damaged tree, or a text that is damaged, in a form that JSON's readers take or ought to refuse."""
    if random.random() < 0.15:
        return raw(random, json.dumps(content).encode())
    text = json.dumps(tree(random, content))
    if random.random() < 0.03:
        text = random.choice(("[" * 50_000, '{"a":' * 50_000 + "1", text + text, text.replace(":", "::"), "1" * 9000))
    return text.encode("utf-8", "surrogatepass")


_YAML = (
    "!!python/object/apply:os.system ['touch " + CANARY + "']",
    "!!python/name:os.system",
    "!!python/object/new:type [x]",
    "!!binary x",
    "!!timestamp x",
    "!!int ''",
    "!!set {a}",
    "!tag x",
    "&a [*a]",
    "&a {b: *a}",
    "<<: [1]",
    "[" * 3000,
    "? [1]\n: 2",
    "\t",
    "1_000",
    "0o9",
    "1:60:00",
    ".inf",
    "=",
)


def yaml_text(random: Random, text: str) -> bytes:
    """A damaged tree as YAML, a damaged text, or one with what YAML can do and nobody wants."""
    kind = random.random()
    if kind < 0.15:
        return raw(random, text.encode())
    if kind < 0.3:
        lines = text.split("\n")
        at = random.randrange(len(lines))
        head, colon, _ = lines[at].partition(":")
        lines[at] = f"{head}{colon} {random.choice(_YAML)}"
        return "\n".join(lines).encode()
    if kind < 0.33:
        names = ["a: &a [" + "x, " * 9 + "x]"] + [
            f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]" for n in range(9)
        ]
        return ("\n".join(names) + "\n" + text).encode()
    dumped: str = yaml.safe_dump(tree(random, yaml.safe_load(text)), sort_keys=False, allow_unicode=True)
    return dumped.encode("utf-8", "surrogatepass")


def lines(random: Random, text: str, line: Callable[[Random, str], str]) -> bytes:
    """Lines of which one is damaged, doubled, or gone."""
    rows = text.split("\n")
    at = random.randrange(len(rows))
    kind = random.randrange(6)
    if kind <= 2:
        rows[at] = line(random, rows[at])
    elif kind == 3:
        rows[at:at] = [rows[at]] * random.choice((1, 200))
    elif kind == 4:
        del rows[at]
    else:
        return raw(random, text.encode())
    return "\n".join(rows).encode("utf-8", "surrogatepass")


def safetensors(random: Random, data: bytes) -> bytes:
    """A file of tensors with a damaged header: sizes, types and places that contradict each other and the file."""
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = random.randrange(6)
    if kind == 0:
        return raw(random, data[: 8 + size]) + body
    if kind == 1:
        return struct.pack("<Q", random.choice((0, 1, size - 1, size + 1, 2**32, 2**63, 2**64 - 1))) + data[8:]
    if kind == 2:
        return raw(random, data)
    name = random.choice(list(header))
    if kind == 3 and name != "__metadata__":
        entry = header[name]
        change = random.randrange(4)
        if change == 0:
            entry["dtype"] = random.choice(("F32", "F16", "BF16", "I8", "U8", "I64", "F64", "BOOL", "F8_E4M3", "X", ""))
        elif change == 1:
            entry["shape"] = random.choice((entry["shape"][::-1], [*entry["shape"], 1], [], [2**62, 4], [-1], [0]))
        elif change == 2:
            entry["data_offsets"] = random.choice(([0, 0], [0, 2**40], [8, 4], [-4, 4], [0, len(body)]))
        else:
            header[random.choice(_TEXTS) or "x"] = header.pop(name)
    else:
        header = tree(random, header)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body


def _npy(shape: Any, descr: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\x00" else "<I", len(head)) + head + body


def archive(random: Random, data: bytes) -> bytes:
    """An archive of arrays with a damaged member: its header, its bytes, its sizes, its name, or with one too many."""
    kind = random.randrange(4)
    if kind == 0:
        return raw(random, data)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    name = random.choice(list(members))
    body = members[name]
    shape, descr = (
        random.choice(("(2, 2)", "(2,)", "(4, 3)", "()", f"({2**40},)", "(-1,)", "(2.5,)", "[2]", _CODE)),
        "'<i4'",
    )
    if kind == 1:
        descr = random.choice(("'<i4'", "'|u1'", "'<f8'", "'|O'", "'<U9999999'", "[('a', '<i4')]", "'>i4'", "1", _CODE))
        content = _PICKLE if descr == "'|O'" else body[80:]
        members[name] = _npy(shape, descr, content, random.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00")))
    elif kind == 2:
        members[name] = raw(random, body)
    else:
        new = random.choice((f"../{name}", f"/{name}", name.upper(), "x", "", "a\0.npy", name + "/"))
        members[new] = members[name] if random.random() < 0.5 else members.pop(name)
    stream = io.BytesIO()
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(stream, "w", random.choice((zipfile.ZIP_DEFLATED, method))) as file:
        for member, content in members.items():
            bomb = random.random() < 0.01
            file.writestr(member or "empty", content + bytes(30_000_000) if bomb else content)
            if random.random() < 0.02:
                file.writestr(member or "empty", content)
    written = stream.getvalue()
    if random.random() < 0.2:  # the directory of an archive says other sizes than its members
        at = written.rfind(b"PK\x01\x02")
        damaged = bytearray(written)
        struct.pack_into("<I", damaged, at + random.choice((16, 20, 24)), random.choice((0, 1, 2**31, 2**32 - 1)))
        written = bytes(damaged)
    return written


def picture(random: Random, data: bytes) -> bytes:
    """A PNG that is damaged, or says that it is enormous."""
    if random.random() < 0.7:
        return raw(random, data)
    size = random.choice(((0, 0), (1, 2**31 - 1), (30_000, 30_000), (2**32 - 1, 2**32 - 1), (9000, 9000)))
    head = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, random.choice((0, 2, 3, 6)), 0, 0, random.randrange(2))
    return data[:8] + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
