"""Energy estimates, from counts made by hand."""

from __future__ import annotations

import pytest
import torch
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.metrics import ENERGY_TABLES, SpikeRecord, estimate
from spike_compressor.metrics.records import LayerRecord


def record(codes: list[int], timesteps: int = 3, outputs: int = 10, coding: str = "tc_lif") -> SpikeRecord:
    """One row of one layer with these codes, in two passes."""
    steps = timesteps + 1 if coding == "csd" else timesteps
    layer = LayerRecord(timesteps, steps, coding, len(codes), outputs, rows=1)
    layer.histogram += torch.bincount(torch.tensor(codes) + 256, minlength=513)
    made = SpikeRecord()
    made.layers["up", "text"] = layer
    made.passes["up"] = 2
    return made


def test_spikes_are_additions_whatever_their_sign() -> None:
    # 5 = 4 + 1, -3 = -2 - 1, 0, 7 = 4 + 2 + 1: seven spikes, each into 10 accumulators
    found = estimate(record([5, -3, 0, 7]), "45nm-int32", 4)
    assert found.spiking == pytest.approx(7 * 10 * 0.1)
    # 4 x 10 MACs of 4 x 4 bits: a quarter of an 8 x 8 multiplication, and an addition
    assert found.integer_rival == pytest.approx(40 * (0.2 * 16 / 64 + 0.1))
    assert found.dense == pytest.approx(40 * 0.3)
    assert found.ratio == pytest.approx(7.0 / 6.0)  # nothing is won where every neuron fires often
    assert found.label == "estimate"


def test_memory_traffic_by_hand() -> None:
    made = record([5, -3, 0, 7])
    found = estimate(made, "45nm-int32", 4, memory=True, row_sharing=2)
    assert found.traffic.weights == found.rival_traffic.weights == 2 * 4 * 10 * 4
    assert found.traffic.activations == found.rival_traffic.activations == 4 * (3 + 1)
    assert found.traffic.accumulators == found.rival_traffic.accumulators == 10 * 32
    assert found.traffic.fetched == 7 * 10 * 4
    assert found.rival_traffic.fetched == 40 * 4 // 2
    moved = (320 + 16 + 320) * 1300 / 64
    assert found.spiking == pytest.approx(7.0 + moved + 280 * 20 / 64)
    assert found.integer_rival == pytest.approx(40 * 0.15 + moved + 80 * 20 / 64)


def test_a_coding_with_one_step_more_moves_one_bit_more() -> None:
    found = estimate(record([7, 7], coding="csd"), "45nm-int32", 4)
    assert found.traffic.activations - found.rival_traffic.activations == 2
    assert found.spiking == pytest.approx(2 * 2 * 10 * 0.1)  # 7 = 8 - 1


def test_groups_and_unsigned_spikes_carry_fewer_bits() -> None:
    """A group has four bits a step for four inputs, its rival is as fine an integer; unsigned spikes have no sign."""
    layer = LayerRecord(6, 6, "group4", 8, 10, rows=1)
    made = SpikeRecord()
    made.layers["up", "text"], made.passes["up"] = layer, 1
    found = estimate(made, "45nm-int32", 4)
    assert found.traffic.activations == 8 * 6
    assert found.rival_traffic.activations == 8 * 5  # six times log2(3/2) is 3.5: as fine as T = 4
    assert found.integer_rival == pytest.approx(80 * (0.2 * 4 * 5 / 64 + 0.1))
    made.layers["up", "text"] = LayerRecord(3, 4, "binary_unsigned", 8, 10, rows=1)
    assert estimate(made, "45nm-int32", 4).traffic.activations == 8 * 4


def test_published_figures() -> None:
    costs = {name: (table.mac, table.addition) for name, table in ENERGY_TABLES.items()}
    assert costs["45nm-fp32"] == pytest.approx((4.6, 0.9))
    assert costs["45nm-fp16"] == pytest.approx((1.5, 0.4))
    assert costs["45nm-int8"] == pytest.approx((0.23, 0.03))
    assert all("Horowitz" in table.source for table in ENERGY_TABLES.values())


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match=naming("'7nm'", "45nm-fp32")):
        estimate(record([1]), "7nm", 4)
    with pytest.raises(InputError, match=naming("up")):
        estimate(record([1]), "45nm-fp32", {"down": 4})
