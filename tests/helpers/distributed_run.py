"""One rank of a distributed calibration: runs recipes on its share of the data and writes down what it decided.

torchrun --nproc_per_node=2 distributed_run.py MODEL_DIR OUT_DIR     (or plain python: one process, all data)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))


def main(source: Path, out: Path) -> None:
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if world > 1 else 0

    import spike_compressor
    from llmcompressor import oneshot
    from loguru import logger
    from spike_compressor.runtime import spiking_state

    from helpers import tiny_models
    from helpers.workshop import GPTQ, RTN, Processor, recipe

    logger.remove()
    assert spike_compressor.__version__
    budget = "budget: {mean_timesteps: 3.25}"
    recipes = {
        "med": recipe(RTN, msts=f"{{allocation: med, {budget}}}"),
        "sensitivity": recipe(
            RTN, "threshold_ratio: auto", f"{{allocation: sensitivity, weighting: output, {budget}}}"
        ),
        "gradient": recipe(RTN, msts=f"{{allocation: sensitivity, {budget}}}"),
        "static": recipe(RTN, "threshold: static, threshold_observer: mse"),
        "gptq": recipe(GPTQ, msts=f"{{allocation: med, {budget}}}"),
    }
    result = {}
    for name, text in recipes.items():
        model = tiny_models.CLASSES["llava"].from_pretrained(source, dtype=torch.float32)
        share = tiny_models.samples(8)[rank::world]
        data = torch.utils.data.DataLoader(share, batch_size=2, collate_fn=tiny_models.collate)
        oneshot(model=model, processor=Processor(), recipe=text, dataset=data, output_dir=str(out / f"{world}-{name}"))
        state = spiking_state(model)
        result[name] = {
            "saved": str(out / f"{world}-{name}"),
            "plan": {key: dict(layer.spec.timesteps) for key, layer in state.layers.items()},
            "scale": {key: layer.spec.scale for key, layer in state.layers.items()},
            "ratio": {key: dict(layer.spec.ratio) for key, layer in state.layers.items()},
            "facts": {key: state.facts.get(key) for key in ("budget", "calibration", "evolution")},
        }
    (out / f"{world}-{rank}.json").write_text(json.dumps(result), encoding="utf-8")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
