"""spike_pack: units into beats of another width, lowest first; TKEEP says how far a packet's last beat is full."""

import cocotb
from unit import Sink, Source, rng, start


def beats_of(packet, width, unit):
    """What a packet of units becomes: (data, keep, last) of each beat."""
    if unit > width:
        found = [(value >> at & ((1 << width) - 1), width // 8) for value in packet for at in range(0, unit, width)]
    else:
        slot = 1 << (unit - 1).bit_length()
        count = max(1, width // slot)
        parts = [packet[at : at + count] for at in range(0, len(packet), count)]
        data = [sum(value << slot * i for i, value in enumerate(part)) for part in parts]
        found = [
            (word, len(part) * slot // 8 if count > 1 else width // 8) for word, part in zip(data, parts, strict=True)
        ]
    return [(word, (1 << size) - 1, int(i == len(found) - 1)) for i, (word, size) in enumerate(found)]


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.6])
async def packets(dut, stall):
    """Packets of every length around a beat's, one behind the other."""
    random = rng(dut)
    width, unit = len(dut.data_o), len(dut.data_i)
    await start(dut, valid_i=0, ready_i=0)
    source = Source(dut, "valid_i", "ready_o", ("data_i", "last_i"), stall)
    sink = Sink(dut, "valid_o", "ready_i", ("data_o", "keep_o", "last_o"), stall)
    sent = [[int(v) for v in random.integers(0, 1 << unit, size)] for size in (1, 2, 3, 4, 5, 8, 9, 1, 1, 7)]
    want = [beat for packet in sent for beat in beats_of(packet, width, unit)]
    units = [(value, int(i == len(packet) - 1)) for packet in sent for i, value in enumerate(packet)]
    cocotb.start_soon(source.send(units))
    assert await sink.expect(len(want)) == want
