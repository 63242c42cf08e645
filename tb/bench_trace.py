"""cocotb test behind `run_trace.py`: every layer of a bundle, one after the other, through one core."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import cocotb
import numpy as np
from core_driver import CoreDriver, Stalls, check_counters
from images import MismatchError, compare
from spike_compressor.trace import open_bundle


@cocotb.test()
async def replay(dut):
    """Every spike and accumulator of the bundle; verdicts go to a file, a line a layer."""
    job = json.loads(os.environ["SPIKE_JOB"])
    rng = np.random.default_rng(job["seed"])
    driver = CoreDriver(dut, job["seed"])
    bundle = open_bundle(job["bundle"])
    await driver.reset()
    planes = int(dut.planes.value) if job["dense"] else None
    with Path(job["results"]).open("a") as results:
        for name in job["layers"]:
            layer = bundle.layer(name)
            stalls = Stalls.random(rng) if job["stalls"] else None
            start = time.monotonic()
            verdict = {"layer": name, "error": None, "cycles": None}
            try:
                result = await driver.run(layer, stalls, spike_stream=job["spike_stream"])
                verdict["cycles"] = result.counters["cycles"]
                verdict["counters"] = result.counters
                compare(layer, result.spikes, result.acc)
                check_counters(layer, driver.shape, result.counters, result.errors, planes=planes)
            except MismatchError as mismatch:
                verdict["error"] = str(mismatch)
                await driver.reset()
            verdict["seconds"] = time.monotonic() - start
            results.write(json.dumps(verdict) + "\n")
            results.flush()
