"""axil_checker: legal accesses break no rule, and each rule that is broken is named."""

import cocotb
from unit import broken, reset, start

IDLE = dict.fromkeys(
    [
        "awvalid_i",
        "awready_i",
        "wvalid_i",
        "wready_i",
        "bvalid_i",
        "bready_i",
        "bresp_i",
        "arvalid_i",
        "arready_i",
        "rvalid_i",
        "rready_i",
        "rdata_i",
        "rresp_i",
    ],
    0,
)
AW, W, AR = ({f"{one}valid_i": 1, f"{one}ready_i": 1} for one in ("aw", "w", "ar"))
B, R = {"bvalid_i": 1}, {"rvalid_i": 1}
TAKE_B, TAKE_R = B | {"bready_i": 1}, R | {"rready_i": 1}


@cocotb.test()
async def legal(dut):
    """Address before data and behind it, answers that wait, two accesses at once, a reset in the middle."""
    await start(dut, **IDLE)
    assert (
        await broken(dut, IDLE, AW, W, B, B, TAKE_B, W, AW | AR, TAKE_B | R, TAKE_R, AW | W, AW | W, TAKE_B, TAKE_B)
        == 0
    )
    assert await broken(dut, IDLE, AW, AR) == 0
    await reset(dut, **IDLE)
    assert await broken(dut, IDLE, AW | W, TAKE_B, AR, TAKE_R) == 0


ILLEGAL = {
    1: (AW | W, B, {}),
    2: (AR, R | {"rdata_i": 5}, R | {"rdata_i": 6}),
    3: (AW, TAKE_B),
    4: (AR, TAKE_R, TAKE_R),
}


@cocotb.test()
@cocotb.parametrize(rule=list(ILLEGAL))
async def illegal(dut, rule):
    """The rule alone."""
    await start(dut, **IDLE)
    assert await broken(dut, IDLE, *ILLEGAL[rule]) == 1 << rule


@cocotb.test()
async def offers_in_reset(dut):
    """From the second cycle of a reset on."""
    await start(dut, **IDLE)
    dut.rst_ni.value = 0
    assert await broken(dut, IDLE, {}, {}, R) == 1
