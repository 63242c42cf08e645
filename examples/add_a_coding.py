"""Add a coding of your own and use it in a recipe: other spikes for the same integers, so the same answers.

    python examples/add_a_coding.py

The coding here sends the least significant spike first. To have it in every process, in the command line's too, put it
into a package and name it in an entry point (CONTRIBUTING.md).
"""

from __future__ import annotations

import torch
from llmcompressor import oneshot
from spike_compressor import record_spikes
from spike_compressor.coding import Coding, get_coding, register_coding, spikes_from_codes
from spike_compressor.demo.data import items
from spike_compressor.demo.model import load_model, load_processor, prompt
from torch import Tensor

RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}
  spike_modifiers:
    TCLIFModifier: {ignore: [lm_head], timesteps: {vision: 3, text: 4}, coding: CODING}
"""


@register_coding("least_first_example")
class LeastFirst(Coding):
    """T steps of {-1, 0, 1} with weights 2^t: the bits of |q|, lowest first."""

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        """1, 2, 4, …"""
        return tuple(1 << t for t in range(timesteps))

    def fire(self, levels: Tensor, timesteps: int | Tensor, spikes: Tensor) -> None:
        """Bit t of the magnitude at step t, with the code's sign. Rows of fewer timesteps have no higher bits."""
        for t, plane in enumerate(spikes):
            plane.copy_((levels.abs() >> t & 1) * levels.sign())


def main() -> None:
    """Show the spikes of a code, check all codes, and run a model with both codings."""
    train = spikes_from_codes(torch.tensor([[-6]]), timesteps=3, coding="least_first_example")
    print("code -6 at T = 3:", train.spikes.flatten().tolist())
    for T in range(1, 8):
        low, high = get_coding("least_first_example").code_range(T)
        codes = torch.arange(low, high + 1).view(1, -1)
        assert torch.equal(spikes_from_codes(codes, T, "least_first_example").codes(), codes)
    print("every code of every T is decoded to itself")

    processor = load_processor()
    item = items("test", 1)[0]
    inputs = processor(images=item.image, text=prompt(item.question), return_tensors="pt")
    logits, rates = [], []
    for coding in ("tc_lif", "least_first_example"):
        model = load_model()
        oneshot(model=model, processor=processor, recipe=RECIPE.replace("CODING", coding))
        with torch.inference_mode(), record_spikes(model) as record:
            logits.append(model(**inputs).logits)
        rates.append(record.firing_rate("text"))
    print("same logits, to the bit:", torch.equal(*logits))
    print("same firing rate:", rates[0] == rates[1])


if __name__ == "__main__":
    main()
