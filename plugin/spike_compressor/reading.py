"""Files that somebody else wrote, and JSON in them, read in one place; `yaml_files` and `pictures` have their forms.

Parsers raise much more than their documentation says: `RecursionError` for what is nested deep, whatever a conversion
raises for a tagged scalar, `MemoryError` for a number that stands for a size. Here all of it is an `InputError` of one
line. Nothing that a file holds is executed, and no file makes more memory than a stated multiple of its own size.
Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from spike_compressor.errors import InputError

#: Bytes of a text that is read as a whole. YAML is parsed in Python, some 100 KB a second.
MAX_BYTES = {"JSON": 1 << 28, "YAML": 1 << 24}

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
    return parsed("JSON", where, lambda: json.loads(text))


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


def parsed(form: str, where: str, parse: Callable[[], _Result]) -> _Result:
    """What `parse` returns of a text of some form; `where` it is, for the message.

    Raises:
        InputError: whatever the parser raises.
    """
    try:
        return parse()
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{where} is no {form} that can be read: it is nested too deep") from error
    except BROKEN as error:
        raise InputError(f"{where} is no {form}: {one_line(error)}") from error
