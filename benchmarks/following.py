"""What it costs to follow rows to their tokens while a prompt with a picture runs.

    python benchmarks/following.py

The embedded model with one T for all rows, so that the same work is done whether rows are followed or not: calls in
which somebody wants to know each layer's rows and calls in which nobody does, in turn. Ratio of medians, one process.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import ONE_T_RECIPE, prepare


@torch.no_grad()
def ratio(model: Any, inputs: dict[str, torch.Tensor], repeats: int) -> float:
    """Seconds of a followed call over those of one that is not."""
    from spike_compressor.runtime import spiking_state

    tracker = spiking_state(model).tracker
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * (repeats + 2)):
        followed = turn % 2 == 0
        with tracker.watched() if followed else contextlib.nullcontext():
            begin = time.process_time()
            model(**inputs)
            seconds[followed].append(time.process_time() - begin)
    return statistics.median(seconds[True][2:]) / statistics.median(seconds[False][2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="calls of each kind")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    prepare(args.threads)
    import spike_compressor
    from llmcompressor import oneshot
    from spike_compressor.demo.data import items
    from spike_compressor.demo.model import load_model, load_processor, prompt

    model, processor = load_model(), load_processor()
    with tempfile.TemporaryDirectory() as folder:
        oneshot(model=model, recipe=ONE_T_RECIPE, output_dir=str(Path(folder) / "spiking"))
        model = spike_compressor.load(Path(folder) / "spiking")
    for samples in (1, 8):
        chosen = items("test", samples)
        batch = processor(
            images=[one.image for one in chosen],
            text=[prompt(one.question) for one in chosen],
            padding=True,
            return_tensors="pt",
        )
        tokens = batch["input_ids"].numel()
        print(f"{samples} prompts, {tokens} tokens: {ratio(model, dict(batch), args.repeats):.3f}", flush=True)


if __name__ == "__main__":
    main()
