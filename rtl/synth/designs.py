"""What is synthesised: cores of each organisation, in several sizes."""

from __future__ import annotations

from dataclasses import dataclass

from images import Shape

#: Modules that stay apart in the reports; smaller ones dissolve in the module that holds them.
PARTS = (
    "spike_regs",
    "spike_counters",
    "spike_sequencer",
    "spike_neuron_array",
    "spike_neuron",
    "spike_store",
    "spike_walker",
    "spike_picker",
    "spike_lane",
    "spike_weight_loader",
    "spike_array",
    "spike_column",
    "spike_accumulator",
    "dense_array",
    "dense_column",
    "dense_store",
    "dense_walker",
    "dense_weights",
    "dense_drain",
    "dense_offsets",
    "group_front",
    "group_encoder",
    "group_store",
    "group_walker",
    "group_array",
    "group_column",
    "group_drain",
)


@dataclass(frozen=True)
class Design:
    """One thing to synthesise: a core and its shape."""

    shape: Shape
    dense: bool = False
    multiply: bool = False
    planes: int | None = None  # of a baseline, in a pass; None: all
    groups: int | None = None  # of a row, at most, for which a baseline keeps numbers; None: any

    @property
    def top(self) -> str:
        """Its module."""
        if self.shape.units:
            return "group_core"
        return "dense_core" if self.dense else "spike_core"

    @property
    def kind(self) -> str:
        """`spike`, `dense` or `group`."""
        return self.top.removesuffix("_core")

    @property
    def parameters(self) -> dict[str, int]:
        """Of that module."""
        given = self.shape.parameters()
        if self.shape.units:
            other = ("Lanes", "Slots", "Tmax", "Csd")
            own = {"Groups": self.shape.lanes // 4, "Steps": self.shape.tmax}
            return {key: value for key, value in given.items() if key not in other} | own
        if self.dense:
            return {key: value for key, value in given.items() if key not in ("Slots", "Csd")} | {
                **({} if self.groups is None else {"MaxGroups": self.groups}),
                **({} if self.planes is None else {"Planes": self.planes}),
                "Multiply": int(self.multiply),
            }
        return given

    @property
    def macs(self) -> int:
        """Adder slots of the array, or products a cycle of the baseline; of groups, with rows of most steps."""
        shape = self.shape
        if shape.units:
            return round(shape.rows * shape.columns * shape.lanes / shape.tmax)
        return shape.columns * shape.lanes * (shape.rows if self.dense else 1)


def spike(columns: int, lanes: int, slots: int) -> Design:
    """A spike core for 4-bit weights, T up to 4, 2,048 inputs."""
    blocks = 2048 // (lanes * slots)
    return Design(Shape(8, columns, lanes, slots, lanes // 4, 4, 4, blocks, False))


def dense(
    columns: int,
    lanes: int,
    *,
    multiply: bool = False,
    planes: int | None = None,
    groups: int | None = None,
    tmax: int = 4,
) -> Design:
    """A baseline with the same limits; with `planes` one that takes larger magnitudes in two passes."""
    return Design(Shape(8, columns, lanes, 1, lanes, 4, tmax, 2048 // lanes, False), True, multiply, planes, groups)


def group(groups: int, units: int, steps: int) -> Design:
    """A group core for 4-bit weights, 2,048 inputs, 8 rows x 16 columns: groups of a chunk, encoders, largest S."""
    return Design(Shape(8, 16, 4 * groups, 1, groups, 4, steps, 512 // groups, False, units=units))


#: Groups of 64 inputs, the smallest that quantizers here use, of 2,048.
GROUPS = 32
#: Pairs of 512, 1,024 and 2,048 slots; others beside them.
DESIGNS = {
    "spike 32x16, 16 slots": spike(32, 16, 16),
    "spike 64x16, 16 slots": spike(64, 16, 16),
    "spike 64x16, 4 slots": spike(64, 16, 4),
    "spike 64x32, 16 slots": spike(64, 32, 16),
    "dense 8x8x8": dense(8, 8, groups=GROUPS),
    "dense 8x16x8": dense(16, 8, groups=GROUPS),
    "dense 8x16x16": dense(16, 16, groups=GROUPS),
    "dense 8x16x8, *": dense(16, 8, multiply=True, groups=GROUPS),
    "dense 8x16x8, 3 planes": dense(16, 8, planes=3, groups=GROUPS),
    "dense 8x16x16, T 3": dense(16, 16, groups=GROUPS, tmax=3),
    "group 8x16x32, S 6": group(32, 2, 6),
    "group 8x16x32, S 7": group(32, 2, 7),
}
