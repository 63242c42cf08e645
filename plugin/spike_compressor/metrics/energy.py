"""Energy estimates from counted operations, under published tables of what an operation costs.

Every figure is an *estimate*: counts are measured, costs are from a table, and neither control, clock nor leakage is
in them. A table says what an addition and a multiply-accumulate cost. Comparing the spikes' additions with
floating-point MACs is the field's habit and flatters spikes; the fair baseline is an integer MAC of equal bits with
the same memory traffic (arXiv 2409.08290), so it stands beside every estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from spike_compressor.coding import get_coding
from spike_compressor.errors import InputError
from spike_compressor.metrics.records import LayerRecord, SpikeRecord

_HOROWITZ = "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, 45 nm, 0.9 V"


@dataclass(frozen=True)
class EnergyTable:
    """What operations cost.

    Attributes:
        name: of the table.
        source: publication and node.
        addition: pJ of one addition into an accumulator: a synaptic operation; a spike's sign makes it a subtraction.
        mac: pJ of one multiply-accumulate of the dense model in this arithmetic.
        multiply_8: pJ of an 8 x 8 bit integer multiplication, for the integer baseline.
        accumulate: pJ of the integer baseline's addition into its accumulator.
        sram_bit: pJ to read one bit from a 32 KB SRAM.
        dram_bit: pJ to move one bit from or to DRAM.
    """

    name: str
    source: str
    addition: float
    mac: float
    multiply_8: float
    accumulate: float
    sram_bit: float
    dram_bit: float

    def baseline_mac(self, weight_bits: int, activation_bits: int) -> float:
        """pJ of an integer MAC of b_w x b_a bits: multipliers grow with the product of their operands' widths."""
        return self.multiply_8 * weight_bits * activation_bits / 64 + self.accumulate


def _horowitz(name: str, addition: float, mac: float, accumulate: float) -> EnergyTable:
    # 20 pJ for 64 bits of a 32 KB SRAM; DRAM 1.3 .. 2.6 nJ for 64 bits, of which the lower end
    return EnergyTable(name, _HOROWITZ, addition, mac, 0.2, accumulate, 20 / 64, 1300 / 64)


#: By name. The first three give spikes the addition of the arithmetic they are compared with, as the field does;
#: `45nm-int32` gives spikes and baseline alike the 32-bit accumulator that exact sums need.
ENERGY_TABLES: Mapping[str, EnergyTable] = {
    table.name: table
    for table in (
        _horowitz("45nm-fp32", addition=0.9, mac=3.7 + 0.9, accumulate=0.1),
        _horowitz("45nm-fp16", addition=0.4, mac=1.1 + 0.4, accumulate=0.1),
        _horowitz("45nm-int8", addition=0.03, mac=0.2 + 0.03, accumulate=0.03),
        _horowitz("45nm-int32", addition=0.1, mac=0.2 + 0.1, accumulate=0.1),
    )
}


@dataclass(frozen=True)
class Traffic:
    """Bits moved, of spiking layers.

    Attributes:
        weights: read from DRAM, once for every pass of a layer over its rows.
        activations: spikes to and from the array, `Coding.spike_bits` a value; `Coding.integer_bits` for the baseline.
        accumulators: 32 bits for each output.
        fetched: weights read from SRAM into adders: one row of N for each spike, or for each input of the baseline.
    """

    weights: int
    activations: int
    accumulators: int
    fetched: int

    def energy(self, table: EnergyTable) -> float:
        """pJ."""
        return (self.weights + self.activations + self.accumulators) * table.dram_bit + self.fetched * table.sram_bit


@dataclass(frozen=True)
class Estimate:
    """Energy of the spiking layers of what was recorded, in pJ.

    Attributes:
        table: name of the table.
        source: where its costs are from.
        memory: whether memory traffic is included.
        spiking: additions caused by spikes.
        integer_rival: MACs of equally fine integers, b_w x (T + 1) bits where codes are powers of two apart, over the
            same rows: the fair dense baseline.
        dense: MACs in the table's own arithmetic, without memory: the field's habit, given for context.
        traffic: bits moved for the spikes.
        rival_traffic: bits moved for the integer baseline.
        label: always `estimate`.
    """

    table: str
    source: str
    memory: bool
    spiking: float
    integer_rival: float
    dense: float
    traffic: Traffic
    rival_traffic: Traffic
    label: Literal["estimate"] = "estimate"

    @property
    def ratio(self) -> float:
        """Spiking over the integer baseline; below 1 spikes win."""
        return self.spiking / self.integer_rival if self.integer_rival else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, and the ratio."""
        return {**asdict(self), "ratio": self.ratio}


def estimate(
    record: SpikeRecord,
    table: str | EnergyTable,
    weight_bits: int | Mapping[str, int],
    *,
    memory: bool = False,
    row_sharing: int = 1,
) -> Estimate:
    """Energy of the spiking layers of a record, beside an integer baseline of equal bits.

    Args:
        record: what `record_spikes` counted.
        table: a table, or the name of one of `ENERGY_TABLES`.
        weight_bits: of all layers, or by module name.
        memory: include memory traffic of both.
        row_sharing: token rows that one weight fetch of the baseline's array serves; spikes of different rows fall on
            different weights, so theirs serves one.

    Raises:
        InputError: an unknown table, or a layer without weight bits.
    """
    if isinstance(table, str):
        if table not in ENERGY_TABLES:
            raise InputError(f"unknown energy table {table!r}; there are: {', '.join(ENERGY_TABLES)}")
        table = ENERGY_TABLES[table]
    layers = [(name, layer) for (name, _), layer in record.layers.items() if layer.rows]
    bits = {name: _bits(weight_bits, name) for name, _ in layers}
    spiking = sum(layer.sops for _, layer in layers) * table.addition
    baseline = sum(layer.macs * table.baseline_mac(bits[name], _integer_bits(layer)) for name, layer in layers)
    own = _traffic(layers, bits, record.passes, 1, spikes=True)
    theirs = _traffic(layers, bits, record.passes, row_sharing, spikes=False)
    if memory:
        spiking += own.energy(table)
        baseline += theirs.energy(table)
    dense = sum(layer.macs for _, layer in layers) * table.mac
    return Estimate(table.name, table.source, memory, spiking, baseline, dense, own, theirs)


def _traffic(
    layers: Iterable[tuple[str, LayerRecord]],
    bits: Mapping[str, int],
    passes: Mapping[str, int],
    row_sharing: int,
    *,
    spikes: bool,
) -> Traffic:
    weights: dict[str, int] = {}
    activations = accumulators = fetched = 0
    for name, layer in layers:
        weights[name] = passes[name] * layer.in_features * layer.out_features * bits[name]
        activations += layer.neurons * (_spike_bits(layer) if spikes else _integer_bits(layer))
        accumulators += layer.rows * layer.out_features * 32
        fetched += (layer.sops if spikes else layer.macs // row_sharing) * bits[name]
    return Traffic(sum(weights.values()), activations, accumulators, fetched)


def _spike_bits(layer: LayerRecord) -> int:
    return get_coding(layer.coding).spike_bits(layer.timesteps)


def _integer_bits(layer: LayerRecord) -> int:
    return get_coding(layer.coding).integer_bits(layer.timesteps)


def _bits(weight_bits: int | Mapping[str, int], name: str) -> int:
    if isinstance(weight_bits, int):
        return weight_bits
    if name not in weight_bits:
        raise InputError(f"no weight bits are known of {name}")
    return weight_bits[name]
