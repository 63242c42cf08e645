"""An accelerator as a YAML file describes it: cores of one organisation, an array for what does not spike, memories."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from spike_compressor.errors import InputError
from spike_compressor.estimate.names import DATA, accelerator_names
from spike_compressor.estimate.organisations import Organisation, make
from spike_compressor.estimate.technology import Core, Technology, core, technology
from spike_compressor.fields import CheckedFields
from spike_compressor.reading import is_file
from spike_compressor.registry import nearest
from spike_compressor.yaml_files import read_yaml

#: Rung of the ladder that computes what does not spike.
SIDE_RUNG = "INT8 x INT8"
#: What stands around a rung's columns in a core, over the rung's own area and energy: `dense 8x16x8` over its rung.
AROUND = 1.18
FOLDER = DATA / "accelerators"


class SramFields(CheckedFields):
    """`sram`: the buffer between the cores and DRAM."""

    path_in_messages: ClassVar[str] = "sram"
    mib: float = Field(gt=0)
    pj_per_bit: float | None = Field(default=None, gt=0)


class DramFields(CheckedFields):
    """`dram`: where weights and the KV cache lie."""

    path_in_messages: ClassVar[str] = "dram"
    gb_per_s: float = Field(gt=0)
    gib: float = Field(gt=0)
    pj_per_bit: float = Field(gt=0)
    efficiency: float = Field(default=1.0, gt=0, le=1)
    source: str


class LinkFields(CheckedFields):
    """`link`: between chips, one direction of one chip."""

    path_in_messages: ClassVar[str] = "link"
    gb_per_s: float = Field(gt=0)
    us: float = Field(ge=0)
    pj_per_bit: float = Field(ge=0)
    source: str


class AcceleratorFields(CheckedFields):
    """The whole description; `docs/hardware.md` says what each field means."""

    path_in_messages: ClassVar[str] = "accelerator"
    name: str
    organisation: str
    array: dict[str, int]
    design: str
    technology: str
    area_mm2: float = Field(gt=0)
    side_area_mm2: float = Field(gt=0)
    area_factor: float = Field(default=1.0, gt=0)
    clock_derate: float = Field(default=1.0, gt=0, le=1)
    energy_factor: float = Field(default=1.0, gt=0)
    weight_bits: int = Field(default=4, ge=2, le=16)
    max_inputs: int = Field(default=2048, ge=1)
    max_timesteps: int = Field(default=4, ge=1, le=7)
    static_w: float = Field(default=0.0, ge=0)
    sram: SramFields
    dram: DramFields
    link: LinkFields


@dataclass(frozen=True)
class Chip:
    """An accelerator, worked out.

    Attributes:
        fields: as described.
        organisation: of its cores.
        core: one of them, in the chip's process.
        cores: how many there are room for.
        clock_hz: after `clock_derate`.
        side_macs: products a cycle of the array for what does not spike.
        side_pj: energy of one of them.
        sram_pj: of a bit read from or written to the buffer.
        label: of areas and clocks.
    """

    fields: AcceleratorFields
    organisation: Organisation
    core: Core
    cores: int
    clock_hz: float
    side_macs: float
    side_clock_hz: float
    side_pj: float
    sram_pj: float
    process: Technology

    @property
    def dram_bytes_per_s(self) -> float:
        """That can be reached."""
        return self.fields.dram.gb_per_s * 1e9 * self.fields.dram.efficiency

    def varied(self, changes: Mapping[str, float]) -> Chip:
        """The same chip with other values of what is uncertain: factors of `energy`, `sram`, `dram`, `clock`, ..."""
        fields, factor = self.fields, changes.get("energy", 1.0)
        dram = fields.dram.model_copy(
            update={
                "pj_per_bit": changes.get("dram_pj_per_bit", fields.dram.pj_per_bit),
                "efficiency": changes.get("dram_efficiency", fields.dram.efficiency),
            }
        )
        update = {"dram": dram, "static_w": changes.get("static_w", fields.static_w)}
        clock = changes.get("clock_derate", fields.clock_derate) / fields.clock_derate
        return replace(
            self,
            fields=fields.model_copy(update=update),
            core=replace(self.core, pj={event: value * factor for event, value in self.core.pj.items()}),
            clock_hz=self.clock_hz * clock,
            side_clock_hz=self.side_clock_hz * clock,
            side_pj=self.side_pj * factor,
            sram_pj=self.sram_pj * changes.get("sram", 1.0),
        )


def accelerator_path(name: str | os.PathLike[str]) -> Path:
    """The file of a description: a path, or the name of a shipped one.

    Raises:
        InputError: it is neither.
    """
    path = Path(name)
    if is_file(path):
        return path
    names = accelerator_names()
    if str(name) not in names:
        close = nearest(str(name), names)
        hint = f"; did you mean {close}?" if close else ""
        raise InputError(f"no accelerator at {name}, and none is shipped under that name: {', '.join(names)}{hint}")
    return FOLDER / f"{name}.yaml"


def read_accelerator(name: str | os.PathLike[str]) -> Chip:
    """An accelerator by its file, or the name of a shipped one.

    Raises:
        InputError: no such file; a field that is missing, unknown or out of range; an unknown organisation, design or
            technology; no room for a single core.
    """
    path = accelerator_path(name)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no description of an accelerator: a mapping is expected")
    return worked_out(AcceleratorFields.model_validate(content))


def worked_out(fields: AcceleratorFields) -> Chip:
    """What a description means.

    Raises:
        InputError: as `read_accelerator`.
    """
    process = technology(fields.technology)
    one = core(fields.design, process)
    one = replace(
        one,
        area_mm2=one.area_mm2 * fields.area_factor,
        pj={event: value * fields.energy_factor for event, value in one.pj.items()},
    )
    cores = int(fields.area_mm2 / one.area_mm2)
    if cores < 1:
        raise InputError(
            f"accelerator.area_mm2 is {fields.area_mm2:g}: one core takes {one.area_mm2:.3g} mm2 at {process.name}"
        )
    side = process.rung(SIDE_RUNG)
    return Chip(
        fields,
        make(fields.organisation, fields.array, constants()),
        one,
        cores,
        one.clock_hz * fields.clock_derate,
        fields.side_area_mm2 * 1e6 / (side["area_um2"] * AROUND) * 1024,
        1e9 / side["period_ns"] * fields.clock_derate,
        side["pj_per_mac"] * AROUND * fields.energy_factor,
        process.sram_pj_per_bit if fields.sram.pj_per_bit is None else fields.sram.pj_per_bit,
        process,
    )


@lru_cache
def constants() -> dict[str, dict[str, float]]:
    """Fitted constants of each organisation: `make rtl-estimate` made them."""
    content: dict[str, Any] = json.loads((DATA / "cycles.json").read_text(encoding="utf-8"))
    return {name: dict(one["constants"]) for name, one in content["organisations"].items()}
