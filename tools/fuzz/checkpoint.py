"""A small spike-ready checkpoint of a text model with static thresholds, in less than 100 KB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}
  spike_modifiers:
    TCLIFModifier: {targets: [Linear], ignore: [lm_head], timesteps: 4, threshold: static}
"""


def make(folder: Path, sharded: bool) -> None:
    """Write it into a folder that exists and is empty."""
    import spike_compressor
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    source = folder.with_name(f"{folder.name}-source")
    LlamaForCausalLM(config).save_pretrained(source)
    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    rows: Any = [torch.arange(1, 9)]
    data: Any = DataLoader(rows, collate_fn=lambda rows: {"input_ids": torch.stack(rows)})
    oneshot(model=model, processor=_NoProcessor(), dataset=data, recipe=RECIPE)
    size: Any = {"max_shard_size": "10KB"} if sharded else {}
    spike_compressor.save(model, folder, **size)


class _NoProcessor:
    """Batches come ready made."""
