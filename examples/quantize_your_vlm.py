"""Quantize a vision-language model, let it spike, save it, and count what fires.

    python examples/quantize_your_vlm.py                             # the embedded model with its own data
    python examples/quantize_your_vlm.py --model path/to/model --data calibration.jsonl --out spiking

A line of the data is `{"text": "<image> what is it? a cat", "image": "cat.png"}`, the picture beside the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import spike_compressor  # makes MSTSModifier and TCLIFModifier known to recipes
from llmcompressor import oneshot
from PIL import Image
from spike_compressor.demo.data import calibration_batches
from spike_compressor.demo.model import MODEL_DIR
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

# GPTQ rounds the weights to 4 bits; then sensitivity chooses thresholds and timesteps of each layer and modality, so
# that an input fires .75 times, and every block learns to give what it gave in floats although its inputs are spikes.
# Widths of your model must be multiples of the group size.
RECIPE = """
spike_stage:
  quant_modifiers:
    GPTQModifier:
      ignore: [lm_head]
      config_groups:
        w4:
          targets: [Linear]
          weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 64, observer: memoryless_mse}
  spike_modifiers:
    MSTSModifier: {allocation: sensitivity, budget: {spikes_per_input: 0.75}}
    TCLIFModifier: {targets: [Linear], ignore: [lm_head], threshold_statistic: rms, threshold_ratio: auto}
    SpikeReconstructionModifier: {block_steps: 60}
"""


def batches(path: Path, processor, samples: int) -> DataLoader:
    """Calibration data: dictionaries that the model takes as keyword arguments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()][:samples]

    def collate(part):
        pictures = [Image.open(path.parent / row["image"]).convert("RGB") for row in part]
        return dict(processor(images=pictures, text=[row["text"] for row in part], padding=True, return_tensors="pt"))

    return DataLoader(rows, batch_size=4, collate_fn=collate)


def main(argv: list[str] | None = None) -> None:
    """Do it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="model directory (default: the embedded model)")
    parser.add_argument("--data", type=Path, help="calibration data, JSON lines (default: the embedded model's own)")
    parser.add_argument("--recipe", type=Path, help="recipe file (default: the one in this script)")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--out", default="spiking", help="directory of the checkpoint")
    args = parser.parse_args(argv)

    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype="float32")
    processor = AutoProcessor.from_pretrained(args.model)
    if args.data is None:
        data = calibration_batches(processor, samples=args.samples, batch_size=8)
    else:
        data = batches(args.data, processor, args.samples)
    oneshot(model=model, processor=processor, dataset=data, recipe=str(args.recipe) if args.recipe else RECIPE)
    spike_compressor.save(model, args.out, processor)

    # From here on, this is what users of the checkpoint do.
    spiking = spike_compressor.load(args.out)
    with spike_compressor.record_spikes(spiking) as record:
        spiking(**next(iter(data)))
    print(f"spikes do {record.coverage():.1%} of the multiply-accumulates")
    for modality in record.tokens:
        print(
            f"{modality:8} T = {record.mean_timesteps(modality):.2f}, "
            f"firing rate {record.firing_rate(modality):.3f}, "
            f"{record.sops_per_token(modality):,.0f} synaptic operations per token"
        )


if __name__ == "__main__":
    main()
