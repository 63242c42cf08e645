"""cocotb tests of the whole core on random and directed layers."""

from __future__ import annotations

import os

import cocotb
import numpy as np
from core_driver import CoreDriver, Stalls
from generate import random_layer
from images import compare

SEED = int(os.environ.get("COCOTB_RANDOM_SEED", "1"))


@cocotb.test()
async def first(dut):
    """A plain layer."""
    rng = np.random.default_rng(SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    for i in range(4):
        layer = random_layer(rng, 10, 40, 20, coding=["tc_lif", "csd"][i % 2], groups=[1, 2, 5, 8][i], weight_bits=4)
        layer.check()
        stalls = Stalls.random(rng)
        result = await driver.run(layer, stalls)
        compare(layer, result.spikes, result.acc)
        cocotb.log.info("%s %s", result.counters, result.errors)


@cocotb.test()
async def big(dut):
    """A plain layer."""
    import time

    rng = np.random.default_rng(SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    layer = random_layer(rng, 64, 1024, 1024)
    t = time.time()
    result = await driver.run(layer)
    t2 = time.time()
    compare(layer, result.spikes, result.acc)
    cocotb.log.info("%s %s %s %s", result.counters, result.errors, t2 - t, time.time() - t2)
