"""The core's registers, of `rtl/registers/spike_core.json`, which `export.py` beside it makes of the SystemRDL."""

from __future__ import annotations

import json
from dataclasses import dataclass

from toolchain import RTL

OKAY, SLVERR = 0, 2

_MAP = json.loads((RTL / "registers" / "spike_core.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Field:
    """Bits of a register. `access` is R, R/W, W or R/W1C; `reset` is None where a core's parameters decide it."""

    name: str
    lsb: int
    width: int
    access: str
    reset: int | None
    text: str

    @property
    def mask(self) -> int:
        """Its bits."""
        return (1 << self.width) - 1 << self.lsb


@dataclass(frozen=True)
class Register:
    """A word of the map."""

    name: str
    address: int
    fields: tuple[Field, ...]

    def mask(self, *access: str) -> int:
        """Bits of the fields that software sees so."""
        return sum(field.mask for field in self.fields if field.access in access)

    def bit(self, name: str) -> int:
        """Mask of a field."""
        return next(field.mask for field in self.fields if field.name == name)


REGISTERS = {
    one["name"]: Register(one["name"], one["address"], tuple(Field(**field) for field in one["fields"]))
    for one in _MAP["registers"]
}
ID, VERSION, SHAPE, LIMITS, BLOCKS, CTRL, STATUS, ERROR, MODE = (
    REGISTERS[name].address
    for name in ("ID", "VERSION", "SHAPE", "LIMITS", "BLOCKS", "CTRL", "STATUS", "ERROR", "MODE")
)
ROWS, OUTPUTS, GROUPS, GROUP_INPUTS, IRQ_ENABLE, ABORT, JOBS, STREAMS = (
    REGISTERS[name].address
    for name in ("ROWS", "OUTPUTS", "GROUPS", "GROUP_INPUTS", "IRQ_ENABLE", "ABORT", "JOBS", "STREAMS")
)  # fmt: skip
ID_VALUE, VERSION_VALUE = (
    sum((field.reset or 0) << field.lsb for field in REGISTERS[name].fields) for name in ("ID", "VERSION")
)
#: ID of a group core, "SPG1"
GROUP_ID_VALUE = 0x5350_4731
ERRORS = tuple(field.name for field in REGISTERS["ERROR"].fields)
START, CLEAR = (REGISTERS["CTRL"].bit(name) for name in ("start", "clear"))
BUSY, DONE, FAULT, QUEUED = (REGISTERS["STATUS"].bit(name) for name in ("busy", "done", "error", "queued"))
IRQ_DONE, IRQ_ERROR = (REGISTERS["IRQ_ENABLE"].bit(name) for name in ("done", "error"))

#: Where the streamer's registers begin in a streamed core; they are named as the core's are.
STREAMER_BASE = 0x100
_STREAMER = json.loads((RTL / "registers" / "spike_streamer.json").read_text(encoding="utf-8"))
STREAMER = {
    one["name"]: Register(one["name"], STREAMER_BASE + one["address"], tuple(Field(**field) for field in one["fields"]))
    for one in _STREAMER["registers"]
}

COUNTER_BASE = _MAP["counters"]["base"]
COUNTERS = tuple(one["name"] for one in _MAP["counters"]["names"])
#: Every address that answers OKAY to a read
ADDRESSES = {one.address for one in REGISTERS.values()} | {COUNTER_BASE + 4 * i for i in range(2 * len(COUNTERS))}
