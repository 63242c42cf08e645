"""Files that somebody else wrote: JSON, YAML and pictures, read in one place.

Parsers raise much more than their documentation says: `RecursionError` for what is nested deep, whatever a conversion
raises for a tagged scalar, `MemoryError` for a number that stands for a size. Here all of it is an `InputError` of one
line. Nothing that a file holds is executed, and no file makes more memory than a stated multiple of its own size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spike_compressor.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

#: Bytes of a text that is read as a whole. YAML is parsed in Python, some 100 KB a second.
MAX_BYTES = {"JSON": 1 << 28, "YAML": 1 << 24}
#: Values that a YAML document may stand for with all its aliases written out.
MAX_VALUES = 1_000_000

_Result = TypeVar("_Result")
#: All that parsers and their conversions have been seen to raise, beside errors of files.
BROKEN = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def read_json(path: str | os.PathLike[str], where: str = "") -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        where: what the message calls it; its path if left empty.

    Raises:
        InputError: it cannot be read, is larger than `MAX_BYTES`, or no JSON.
    """
    return parse_json(read_text(path, "JSON", where), where or str(path))


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: as `read_json`; or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object")
    return content


def parse_json(text: str | bytes, where: str) -> Any:
    """What a JSON text stands for; `where` it is, for the message.

    Raises:
        InputError: no JSON, or nested too deep.
    """
    return _parsed("JSON", where, lambda: json.loads(text))


def read_yaml(path: str | os.PathLike[str], where: str = "") -> Any:
    """What a YAML file holds: plain values alone.

    Args:
        path: of the file.
        where: what the message calls it; its path if left empty.

    Raises:
        InputError: it cannot be read, is larger than `MAX_BYTES`, or as `parse_yaml`.
    """
    return parse_yaml(read_text(path, "YAML", where), where or str(path))


def parse_yaml(text: str, where: str, *, unique: bool = False, tags: bool = False) -> Any:
    """What a YAML text stands for: plain values alone.

    Args:
        text: the document.
        where: it is, for the message.
        unique: a key that stands twice in a mapping is an error; YAML keeps the last.
        tags: a value with a tag of the document's own (`!function`) is None, not an error.

    Raises:
        InputError: no YAML, nested too deep, tags that are no plain value, an alias of what it stands in, aliases that
            stand for more than `MAX_VALUES` values, or a key twice.
    """
    import yaml

    class _Tagged(yaml.SafeLoader):
        pass

    _Tagged.add_multi_constructor("!", lambda *_: None)

    def parse() -> Any:
        try:
            loader = _Tagged(text) if tags else yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {}, where if unique else None)
            return loader.construct_document(node)
        except yaml.YAMLError as error:
            raise ValueError(error) from None

    return _parsed("YAML", where, parse)


def open_picture(source: Any, where: str) -> Image.Image:
    """A picture as RGB.

    Args:
        source: a path, or a binary file.
        where: it is, for the message.

    Raises:
        InputError: it is no picture, is damaged, or has more pixels than Pillow takes for harmless.
    """
    from PIL import Image

    try:
        with Image.open(source) as picture:
            return picture.convert("RGB")
    # SyntaxError is what Pillow raises for a broken chunk of a PNG
    except (OSError, SyntaxError, Image.DecompressionBombError, *BROKEN) as error:
        raise InputError(f"{where}: this picture cannot be read: {one_line(error)}") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file system takes is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def one_line(error: BaseException) -> str:
    """What an error says, short enough for one line; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"


def read_text(path: str | os.PathLike[str], form: str, where: str = "") -> str:
    """A text file that is to be parsed as JSON or YAML (`form`); `where` as `read_json`.

    Raises:
        InputError: it cannot be read, is larger than `MAX_BYTES`, or no UTF-8.
    """
    name = where or str(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES[form] + 1)
        if len(content) > MAX_BYTES[form]:
            raise InputError(f"{name}: more than {MAX_BYTES[form] >> 20} MiB are no {form} file that is read here")
        return content.decode("utf-8")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or one_line(error)}") from error
    except ValueError as error:
        raise InputError(f"{name} is no {form}: {one_line(error)}") from error


def _parsed(form: str, where: str, parse: Callable[[], _Result]) -> _Result:
    try:
        return parse()
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{where} is no {form} that can be read: it is nested too deep") from error
    except BROKEN as error:
        raise InputError(f"{where} is no {form}: {one_line(error)}") from error


def _count(node: Any, known: dict[int, int], unique: str | None) -> int:
    """Values below a node with every alias written out. Raises ValueError where there is no end, or too many.

    Args:
        node: of a document.
        known: what was found of other nodes, by their id.
        unique: name of the document, if no key may stand twice in a mapping.
    """
    found = known.get(id(node))
    if found is None:
        known[id(node)] = -1
        if unique is not None and node.id == "mapping":
            _require_unique_keys(node, unique)
        children = node.value if isinstance(node.value, list) else []
        pairs = [child for entry in children for child in (entry if isinstance(entry, tuple) else (entry,))]
        found = known[id(node)] = 1 + sum(_count(child, known, unique) for child in pairs)
    if found < 0:
        raise ValueError("an alias stands inside of what it is an alias of")
    if found > MAX_VALUES:
        raise ValueError(f"its aliases stand for more than {MAX_VALUES:,} values")
    return found


def _require_unique_keys(node: Any, name: str) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if key.id != "scalar":
            continue
        line = key.start_mark.line + 1
        if key.value != "<<" and key.value in seen:
            raise InputError(
                f"{name}, line {line}: {key.value} stands twice, first in line {seen[key.value]}, and only the last "
                "would count; remove one, or put a second modifier into a group of its own"
            )
        seen[key.value] = line
