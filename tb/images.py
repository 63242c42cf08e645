"""Between a layer's arrays and the core's streams: what to send, and what came back, bit for bit.

The layouts are those of `rtl/spike_pkg.sv` and `docs/rtl.md`; nothing here looks at the RTL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from beats import Streams, received, sent
from spike_compressor.trace import Layer, golden, steps_of
from spike_compressor.trace.golden_capped import BLOCK
from spike_compressor.trace.schema import CAPPED_CODINGS

#: A beat is a unit.
UNIT_BEATS = Streams()


@dataclass(frozen=True)
class Shape:
    """What a core was built for; the core reports it in its registers."""

    rows: int = 8
    columns: int = 16
    lanes: int = 16
    slots: int = 16
    weight_inputs: int = 16
    weight_bits: int = 8
    tmax: int = 7
    blocks: int = 32
    csd: bool = True
    streams: Streams = UNIT_BEATS
    capped: bool = False
    one_block: bool = False
    units: int = 0  # encoders of a group core; 0: it is another core

    @property
    def fire_lanes(self) -> int:
        """Inputs of a unit of the membrane stream."""
        return 4 * self.units or self.lanes

    def parameters(self) -> dict[str, int]:
        """Parameters of `spike_core` that give this shape; of its streams those that are not at their defaults."""
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "Lanes": self.lanes,
            "Slots": self.slots,
            "WeightInputs": self.weight_inputs,
            "WeightBits": self.weight_bits,
            "Tmax": self.tmax,
            "MaxInputs": self.capacity,
            "Csd": int(self.csd),
            **({"Capped": 1} if self.capped else {}),
            **({"OneBlock": 1} if self.one_block else {}),
            **self.streams.parameters(),
            **({"Units": self.units} if self.units else {}),
        }

    @property
    def codings(self) -> tuple[str, ...]:
        """Codings of layers that it computes. Capped firing is defined for lanes of blocks of 64 inputs."""
        capped = self.capped and self.lanes * self.slots == BLOCK
        return (
            "tc_lif",
            *(("csd",) if self.csd else ()),
            *(name for name, lanes in CAPPED_CODINGS.items() if capped and lanes == self.lanes),
        )

    @property
    def capacity(self) -> int:
        """Inputs of a row that the spike store holds."""
        return self.blocks * self.lanes * self.slots


@dataclass(frozen=True)
class Plan:
    """How a layer is cut for a core."""

    group_inputs: int
    groups: int
    group_units: int
    group_chunks: int
    group_blocks: int
    row_tiles: int
    column_tiles: int

    @property
    def row_units(self) -> int:
        """Units of membranes of one row."""
        return self.groups * self.group_units

    @property
    def row_chunks(self) -> int:
        """Chunks of one row."""
        return self.groups * self.group_chunks

    @property
    def row_blocks(self) -> int:
        """Blocks of one row."""
        return self.groups * self.group_blocks


class MismatchError(AssertionError):
    """The core and the bundle differ; the message says where, what was expected and what came."""


def plan(layer: Layer, shape: Shape) -> Plan:
    """Cut a layer into the core's tiles."""
    size = layer.info.in_features // layer.groups
    return Plan(
        group_inputs=size,
        groups=layer.groups,
        group_units=-(-size // shape.fire_lanes),
        group_chunks=-(-size // shape.lanes),
        group_blocks=-(-size // (shape.lanes * shape.slots)),
        row_tiles=-(-layer.info.tokens // shape.rows),
        column_tiles=-(-layer.info.out_features // shape.columns),
    )


def chunk_passes(layer: Layer, shape: Shape, planes: int) -> np.ndarray:
    """Which rows work on a chunk a second time, in a dense baseline of so many planes; bool [tokens, row_chunks].

    Those that have a magnitude of more bits in it. The chunk takes a second pass if one row of its tile does.
    """
    cut = plan(layer, shape)
    codes = np.abs(golden.decode(layer.spikes, layer.timesteps, layer.info.coding))
    large = np.zeros((layer.info.tokens, cut.groups, cut.group_chunks * shape.lanes), bool)
    large[:, :, : cut.group_inputs] = (codes >> planes != 0).reshape(-1, cut.groups, cut.group_inputs)
    return large.reshape(layer.info.tokens, cut.row_chunks, shape.lanes).any(axis=2)


def dense_words(layer: Layer, shape: Shape, planes: int) -> np.ndarray:
    """Passes over chunks of each row tile and group, for one column tile; int [row_tiles, groups]."""
    cut = plan(layer, shape)
    again = np.logical_or.reduceat(chunk_passes(layer, shape, planes), np.arange(0, layer.info.tokens, shape.rows))
    return (1 + again.astype(np.int64)).reshape(cut.row_tiles, cut.groups, cut.group_chunks).sum(axis=2)


def dense_products(layer: Layer, shape: Shape, planes: int) -> np.ndarray:
    """Products of each row in such a baseline, those of second passes too; float [tokens]."""
    again = chunk_passes(layer, shape, planes).mean(axis=1)
    return layer.info.in_features * layer.info.out_features * (1 + again)


def _padded(values: np.ndarray, cut: Plan, lanes: int, noise: np.random.Generator) -> np.ndarray:
    """[X, K] -> [X, chunks or units, lanes]. Places that hold no input get noise: the core must not care."""
    X = values.shape[0]
    low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    shape = (X, cut.groups, -(-cut.group_inputs // lanes) * lanes)
    out = noise.integers(low, high, shape, dtype=values.dtype, endpoint=True)
    out[:, :, : cut.group_inputs] = values.reshape(X, cut.groups, cut.group_inputs)
    return out.reshape(X, -1, lanes)


def membrane_image(layer: Layer, shape: Shape, noise: np.random.Generator) -> tuple[bytes, int]:
    """The membrane stream as bytes, and the beats of a packet (a row: header, then its chunks).

    Where T comes in TUSER there are no headers, and each beat has T behind it.

    Raises MismatchError if a membrane does not fit the stream.
    """
    cut = plan(layer, shape)
    M, bits = layer.info.tokens, shape.streams.membrane_bits
    membrane = layer.membrane.astype(f"<i{bits // 8}")
    if not np.array_equal(membrane, layer.membrane):
        raise MismatchError(f"layer {layer.name}: a membrane does not fit the stream's {bits} bits")
    units = np.empty((M, 1 + cut.row_units, shape.fire_lanes), membrane.dtype)
    units[:, 0] = noise.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (M, shape.fire_lanes))
    units[:, 0, 0] = (units[:, 0, 0] & ~0xFF) | layer.timesteps
    units[:, 1:] = _padded(membrane, cut, shape.fire_lanes, noise)
    user = shape.streams.user
    image, beats = sent(np.ascontiguousarray(units[:, int(user) :]).view(np.uint8), shape.streams.membrane, noise)
    if user:
        rows = image.reshape(M, beats, -1)
        image = np.concatenate([rows, np.broadcast_to(layer.timesteps[:, None, None], (M, beats, 1))], axis=2)
    return image.tobytes(), beats


def weight_image(layer: Layer, shape: Shape, noise: np.random.Generator) -> tuple[bytes, int]:
    """The weight stream of one row tile as bytes, and the beats of a packet (a column tile)."""
    cut = plan(layer, shape)
    N, C = layer.info.out_features, shape.columns
    values = noise.integers(-128, 128, (cut.column_tiles * C, cut.row_chunks, shape.lanes), dtype=np.int8)
    values[:N] = _padded(layer.weight, cut, shape.lanes, noise)
    units = values.reshape(cut.column_tiles, C, -1, shape.weight_inputs).transpose(0, 2, 3, 1)
    units = np.ascontiguousarray(units).view(np.uint8).reshape(cut.column_tiles, -1, shape.weight_inputs * C)
    if shape.streams.nibbles:
        units = units[:, :, ::2] & 15 | units[:, :, 1::2] << 4
    image, beats = sent(units, shape.streams.weight, noise)
    return image.tobytes(), beats


def units_of(layer: Layer, shape: Shape) -> tuple[int, int]:
    """Units of a layer's spike stream, which is silent in capped firing, and of its accumulator stream."""
    cut = plan(layer, shape)
    if layer.info.coding in CAPPED_CODINGS:
        return 0, layer.info.tokens * cut.column_tiles * cut.groups
    if shape.units:
        return layer.info.tokens * cut.row_units, layer.info.tokens * cut.column_tiles * cut.groups
    steps = int((layer.timesteps.astype(np.int64) + steps_of(0, layer.info.coding)).sum())
    return steps * cut.row_chunks, layer.info.tokens * cut.column_tiles * cut.groups


#: Units of a stream, uint8 [n, bytes], and bool [n]: whether TLAST came with one.
Units = tuple[np.ndarray, np.ndarray]


def spike_units(words: np.ndarray, shape: Shape) -> Units:
    """The spike stream, in the words that the harness writes. Raises BeatError for what no core may send."""
    return received(words, 4 * shape.units or 2 * shape.lanes // 8, shape.streams.spike)


def acc_units(words: np.ndarray, shape: Shape) -> Units:
    """The accumulator stream, as `spike_units`."""
    return received(words, 4 * shape.columns, shape.streams.acc)


def parse_spikes(units: Units, layer: Layer, shape: Shape) -> np.ndarray:
    """Spike stream -> int8 [steps, M, K]. Raises MismatchError on missing units or a wrong TLAST."""
    cut = plan(layer, shape)
    M, K = layer.info.tokens, layer.info.in_features
    steps = layer.timesteps.astype(np.int64) + steps_of(0, layer.info.coding)
    beats = np.full(M, cut.row_units) if shape.units else steps * cut.row_chunks
    data, last = units
    if len(data) != beats.sum():
        raise MismatchError(f"layer {layer.name}: spike stream: expected {beats.sum()} beats, got {len(data)}")
    ends = np.zeros(len(data), bool)
    ends[np.cumsum(beats) - 1] = True
    if not np.array_equal(last, ends):
        at = int(np.argmax(last != ends))
        raise MismatchError(
            f"layer {layer.name}: spike stream: TLAST at beat {at}: expected {ends[at]}, got {last[at]}"
        )
    if shape.units:
        return _group_spikes(data, layer, cut)
    bits = np.unpackbits(data, axis=1, bitorder="little")
    pairs = bits[:, 0::2] | bits[:, 1::2] << 1
    values = np.array([0, 1, 2, -1], np.int8)[pairs]  # 2 is no spike code and shows up as a mismatch
    spikes = np.zeros((layer.info.steps, M, K), np.int8)
    start = 0
    for m in range(M):
        row = values[start : start + beats[m]].reshape(cut.groups, cut.group_chunks, steps[m], shape.lanes)
        row = row.transpose(2, 0, 1, 3).reshape(steps[m], cut.groups, -1)
        if row[:, :, cut.group_inputs :].any():
            raise MismatchError(f"layer {layer.name}: row {m}: a lane beyond the last input of a group fired")
        spikes[: steps[m], m] = row[:, :, : cut.group_inputs].reshape(steps[m], K)
        start += beats[m]
    return spikes


def _group_spikes(data: np.ndarray, layer: Layer, cut: Plan) -> np.ndarray:
    """Units of a group core's spike stream -> int8 [steps, M, K]; raises MismatchError as `parse_spikes` does."""
    M, K, most = layer.info.tokens, layer.info.in_features, layer.info.steps
    words = np.ascontiguousarray(data).view("<u4").reshape(M, cut.groups, -1)
    groups = -(-cut.group_inputs // 4)
    spikes = np.zeros((most, M, cut.groups, 4 * words.shape[2]), np.int8)
    for m, steps in enumerate(layer.timesteps.tolist()):
        for t in range(8):
            field = words[m] >> np.uint32(4 * (7 - t)) & 15
            step = t - (8 - steps)  # the last step is lowest
            if step < 0 or (field[:, groups:] & 8).any():
                if (field & 8).any():
                    raise MismatchError(f"layer {layer.name}: row {m}: a spike in a step or of inputs that it has not")
                continue
            g, i = np.nonzero(field & 8)
            spikes[step, m, g, 4 * i + (field[g, i] & 3)] = np.where(field[g, i] & 4, -1, 1)
    if spikes[:, :, :, cut.group_inputs :].any():
        raise MismatchError(f"layer {layer.name}: an input beyond the last of a scale group fired")
    return spikes[:, :, :, : cut.group_inputs].reshape(most, M, K)


def parse_acc(units: Units, layer: Layer, shape: Shape) -> np.ndarray:
    """Accumulator stream -> int32 [M, N, G]. Raises MismatchError as `parse_spikes` does."""
    cut = plan(layer, shape)
    M, N, C = layer.info.tokens, layer.info.out_features, shape.columns
    sums, ends = np.ascontiguousarray(units[0]).view("<i4"), units[1]
    beats = M * cut.column_tiles * cut.groups
    if len(sums) != beats:
        raise MismatchError(f"layer {layer.name}: accumulator stream: expected {beats} beats, got {len(sums)}")
    out = np.empty((M, cut.column_tiles * C, cut.groups), np.int32)
    start = 0
    for first in range(0, M, shape.rows):
        rows = min(shape.rows, M - first)
        count = cut.column_tiles * cut.groups * rows
        form = (cut.column_tiles, cut.groups, rows)
        last = ends[start : start + count].reshape(form)
        want = np.zeros(rows, last.dtype)
        want[-1] = 1
        if (last != want).any():
            raise MismatchError(f"layer {layer.name}: accumulator stream: TLAST is off in the rows from {first} on")
        data = sums[start : start + count].reshape(*form, C)
        out[first : first + rows] = data.transpose(2, 0, 3, 1).reshape(rows, cut.column_tiles * C, cut.groups)
        start += count
    if out[:, N:].any():
        raise MismatchError(f"layer {layer.name}: accumulator stream: a column beyond N is not 0")
    return out[:, :N]


def compare(layer: Layer, spikes: np.ndarray, acc: np.ndarray) -> None:
    """Demand every spike, accumulator and dequantized output; raises MismatchError at the first difference."""
    wrong = np.argwhere(spikes != layer.spikes)
    if len(wrong):
        t, m, k = wrong[0]
        raise MismatchError(
            f"layer {layer.name}: spike at row {m}, column {k}, step {t}: "
            f"expected {layer.spikes[t, m, k]}, got {spikes[t, m, k]} ({len(wrong)} spikes differ)"
        )
    want = layer.grouped_acc()
    wrong = np.argwhere(acc != want)
    if len(wrong):
        m, n, g = wrong[0]
        group = f", group {g}" if layer.groups > 1 else ""
        raise MismatchError(
            f"layer {layer.name}: accumulator at row {m}, column {n}{group}: "
            f"expected {want[m, n, g]}, got {acc[m, n, g]} ({len(wrong)} accumulators differ)"
        )
    dtype = layer.info.output_dtype
    exact = golden.dequantize(acc.reshape(layer.acc.shape), layer.act_scale, layer.weight_scale, layer.bias)
    rounded = [golden.round_to(exact, name) for name in ((dtype,) if dtype else ("float32", "float16", "bfloat16"))]
    if not any(np.array_equal(candidate, layer.output) for candidate in rounded):
        m, n = np.argwhere(rounded[0] != layer.output)[0]
        raise MismatchError(
            f"layer {layer.name}: output at row {m}, column {n}: "
            f"expected {layer.output[m, n]!r}, the core's accumulators give {rounded[0][m, n]!r}"
        )
