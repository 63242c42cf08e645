"""Liberty files as they are found: plain or gzipped, several for one library, in units of their own.

Only what a flow reads is kept apart: groups, their arguments and attributes. Numbers come in ns, pF, V and pJ, whatever
a file's units are. The grammar is that of the Liberty User Guide, chapter "Building a Technology Library"; functions
have its operators: `!A`, `A'`, `A & B`, `A * B`, `A B`, `A + B`, `A | B`, `A ^ B`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spike_compressor.errors import InputError

STATEMENT = re.compile(
    r"""[\s;]*(?:
    (?P<close>\})
    | (?P<name>[A-Za-z_]\w*)\s*(?:
        :\s*(?P<value>"(?:[^"\\]|\\.)*"|[^;{}\n]*?)\s*(?:;|\n|(?=\}))
        | \((?P<arguments>(?:[^()"]|"(?:[^"\\]|\\.)*")*)\)\s*(?P<open>\{)?
    ))""",
    re.VERBOSE,
)
PREFIX = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}


@dataclass
class Group:
    """`kind (arguments) { … }`; attributes are text without quotes, of complex ones what stands in the brackets."""

    kind: str
    arguments: str
    start: int  # where it begins in the text
    end: int = 0  # behind its closing brace
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its first argument."""
        return self.arguments.split(",")[0].strip().strip('"')

    def all(self, kind: str) -> Iterator[Group]:
        """Its groups of a kind."""
        return (group for group in self.groups if group.kind == kind)

    def flag(self, name: str) -> bool:
        """Whether an attribute is there and true."""
        return self.attributes.get(name) == "true"


@dataclass(frozen=True)
class Units:
    """What one of a file's units is in ns, pF, V."""

    time: float
    capacitance: float
    voltage: float

    @property
    def energy(self) -> float:
        """Of internal power, in pJ: the guide's unit of capacitance times that of voltage squared."""
        return self.capacitance * self.voltage**2


@dataclass(frozen=True)
class LibertyFile:
    """One file: its text without comments, its library group, its units."""

    path: Path
    text: str
    library: Group
    units: Units

    def only(self, names: Sequence[str]) -> str:
        """The text with no other cells than these, and without a wire load that would be put on unasked."""
        keep, pieces, at = set(names), [], 0
        for cell in self.library.all("cell"):
            if cell.name not in keep:
                pieces.append(self.text[at : cell.start])
                at = cell.end
        text = "".join([*pieces, self.text[at:]])
        return re.sub(r"^\s*default_wire_load\s*:[^;\n]*;?", "", text, flags=re.MULTILINE)


def read(path: Path) -> LibertyFile:
    """One Liberty file, plain or gzipped. Raises InputError if it is not there or is none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Liberty file {path} cannot be read ({error.strerror}): give paths to .lib or .lib.gz"
        ) from None
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise InputError(f"Liberty file {path} is damaged ({error}): fetch it again") from None
    text = re.sub(r"/\*.*?\*/", " ", raw.decode("utf-8", "replace"), flags=re.DOTALL)
    text = re.sub(r"\\\r?\n", " ", text)
    library = parse(text, path)
    if library.attributes.get("delay_model", "table_lookup") != "table_lookup":
        raise InputError(f"Liberty file {path} has the delay model {library.attributes['delay_model']}: "
                         "this flow reads table_lookup (NLDM) alone")  # fmt: skip
    if next(library.all("cell"), None) is None:
        raise InputError(f"Liberty file {path} holds no cells: give the standard cells' files")
    return LibertyFile(path, text, library, units(library, path))


def parse(text: str, path: Path) -> Group:
    """The library group of a text without comments. Raises InputError with the line where it is no Liberty any more."""
    root = Group("file", "", 0)
    open_groups, at = [root], 0

    def wrong(what: str) -> InputError:
        return InputError(f"{path} is no Liberty file: {what} in line {text.count(chr(10), 0, at) + 1}")

    while match := STATEMENT.match(text, at):
        here = open_groups[-1]
        if match["close"]:
            if here is root:
                raise wrong("a brace too many")
            here.end = match.end()
            open_groups.pop()
        elif match["open"]:
            group = Group(match["name"], match["arguments"], match.start("name"))
            here.groups.append(group)
            open_groups.append(group)
        elif match["arguments"] is not None:
            here.attributes[match["name"]] = match["arguments"].strip()
        else:
            here.attributes[match["name"]] = match["value"].strip().strip('"').strip()
        at = match.end()
    if text[at:].strip(" \t\r\n;"):
        raise wrong(f"{text[at:].split(maxsplit=1)[0][:30]!r} means nothing")
    libraries = list(root.all("library"))
    if len(libraries) != 1:
        raise wrong("there should be one library group" + (", not several" if libraries else ", there is none"))
    if len(open_groups) > 1:
        raise wrong(f"the file ends within {open_groups[-1].kind} ({open_groups[-1].name})")
    return libraries[0]


def units(library: Group, path: Path) -> Units:
    """The units of a file. Raises InputError where one is missing or none that is known."""

    def number(name: str, unit: str) -> float:
        given = library.attributes.get(name, "").replace('"', "")
        match = re.fullmatch(rf"\s*([\d.eE+-]+)\s*,?\s*([fpnumkM]?)({unit})\s*", given, re.IGNORECASE)
        if match is None or not float(match[1]) > 0:
            raise InputError(
                f"Liberty file {path} says {name} ({given or 'nothing'}): expected a number and a unit of {unit}"
            )
        return float(match[1]) * PREFIX[match[2].lower() if match[2] != "M" else "M"]

    return Units(
        number("time_unit", "s") * 1e9,
        number("capacitive_load_unit", "f") * 1e12,
        number("voltage_unit", "V") if "voltage_unit" in library.attributes else 1.0,
    )


def floats(text: str) -> tuple[float, ...]:
    """Numbers of an attribute as `index_1 ("1, 2")`."""
    return tuple(map(float, re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text)))


TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\]]*)|([01])|(.))")


def truth_table(function: str, inputs: Sequence[str]) -> int | None:
    """Truth table of a Liberty function: bit i is its value where input j has bit j of i.

    Returns None where it hangs on something that is no input, as a latch's does. Raises ValueError for what is no
    function.
    """
    rows = 1 << len(inputs)
    ones = (1 << rows) - 1
    value = {name: sum(1 << i for i in range(rows) if i >> j & 1) for j, name in enumerate(inputs)}
    tokens = [match.groups() for match in TOKEN.finditer(function.strip().strip('"').strip())]
    foreign, at = False, 0

    def peek() -> str:
        if at >= len(tokens):
            return ""
        name, constant, sign = tokens[at]
        return "name" if name else "constant" if constant else sign

    def atom() -> int:
        nonlocal at, foreign
        kind = peek()
        name, constant, _ = tokens[at] if kind else ("", "", "")
        at += 1
        if kind == "!":
            found = ones ^ atom()
        elif kind == "(":
            found = either()
            if peek() != ")":
                raise ValueError(f"no function: {function}")
            at += 1
        elif kind == "constant":
            found = ones if constant == "1" else 0
        elif kind == "name":
            foreign |= name not in value
            found = value.get(name, 0)
        else:
            raise ValueError(f"no function: {function}")
        while peek() == "'":
            at += 1
            found ^= ones
        return found

    def exclusive() -> int:
        nonlocal at
        found = atom()
        while peek() == "^":
            at += 1
            found ^= atom()
        return found

    def both() -> int:
        nonlocal at
        found = exclusive()
        while (kind := peek()) in ("&", "*", "name", "constant", "(", "!"):
            at += kind in "&*"
            found &= exclusive()
        return found

    def either() -> int:
        nonlocal at
        found = both()
        while peek() in ("+", "|"):
            at += 1
            found |= both()
        return found

    table = either()
    if at < len(tokens):
        raise ValueError(f"no function: {function}")
    return None if foreign else table
