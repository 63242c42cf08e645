"""axi_write_checker: legal bursts break no rule, and each rule that is broken is named."""

import cocotb
from unit import broken, reset, start

IDLE = dict.fromkeys(
    [
        "awvalid_i",
        "awready_i",
        "awaddr_i",
        "awlen_i",
        "wvalid_i",
        "wready_i",
        "wdata_i",
        "wstrb_i",
        "wlast_i",
        "bvalid_i",
        "bready_i",
    ],
    0,
)
W = {"wvalid_i": 1, "wready_i": 1}
LAST = W | {"wlast_i": 1}
TAKE_B = {"bvalid_i": 1, "bready_i": 1}


def address(beats, **more):
    """An address that is taken."""
    return {"awvalid_i": 1, "awready_i": 1, "awlen_i": beats - 1} | more


@cocotb.test()
async def legal(dut):
    """Data behind their address, before it and with it; offers that wait; a reset in the middle of a burst."""
    await start(dut, **IDLE)
    waits = address(2, awaddr_i=64) | {"awready_i": 0}
    assert (
        await broken(dut, IDLE, address(3), W, W, LAST, TAKE_B, W, LAST | waits, address(2, awaddr_i=64), TAKE_B) == 0
    )
    assert await broken(dut, IDLE, address(1) | LAST, address(2), W | {"wready_i": 0}, W, LAST, TAKE_B, TAKE_B) == 0
    assert await broken(dut, IDLE, address(4), W, W) == 0
    await reset(dut, **IDLE)
    assert await broken(dut, IDLE, address(1), LAST, TAKE_B) == 0


ILLEGAL = {
    "address changes": (1, (address(1, awaddr_i=4, awready_i=0), address(1, awaddr_i=8))),
    "address goes": (1, (address(1, awready_i=0), {})),
    "data change": (2, (address(2), W | {"wready_i": 0, "wdata_i": 1}, W)),
    "last too early": (3, (address(2), LAST)),
    "last too early, before the address": (3, (W, LAST, address(3))),
    "no last": (3, (address(2), W, W)),
    "answer too early": (4, (address(2), W, TAKE_B)),
    "second answer": (4, (address(1), LAST, TAKE_B, TAKE_B)),
}


@cocotb.test()
@cocotb.parametrize(case=list(ILLEGAL))
async def illegal(dut, case):
    """The rule alone."""
    await start(dut, **IDLE)
    rule, cycles = ILLEGAL[case]
    assert await broken(dut, IDLE, *cycles) == 1 << rule


@cocotb.test()
async def offers_in_reset(dut):
    """From the second cycle of a reset on."""
    await start(dut, **IDLE)
    dut.rst_ni.value = 0
    assert await broken(dut, IDLE, {}, {}, {"wvalid_i": 1}) == 1
