"""What `torch.compile` makes of a spiking model: graphs, graph breaks, seconds, and whether bits are those of eager.

    python benchmarks/compiled.py
    python benchmarks/compiled.py --backend inductor

Two models: the embedded LLaVA (6 decoder layers, 4 of the vision tower), and a random Llama of the same decoder.
Prefill of a prompt of its own, then three tokens with a KV cache: the first one compiles, the second may compile anew
for a length that varies, the third must not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, prepare

RECIPE = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"


def models(folder: Path) -> Iterator[tuple[str, Any, dict[str, torch.Tensor]]]:
    """Name, spiking model and prompt."""
    from llmcompressor import oneshot
    from spike_compressor.demo.data import items
    from spike_compressor.demo.model import load_model, load_processor, prompt
    from transformers import LlamaForCausalLM

    llava, processor = load_model(), load_processor()
    torch.manual_seed(0)
    LlamaForCausalLM(llava.config.text_config).save_pretrained(folder / "llama")
    llama = LlamaForCausalLM.from_pretrained(folder / "llama", dtype=torch.float32)
    item = items("test", 1)[0]
    question = dict(processor(images=item.image, text=prompt(item.question), return_tensors="pt"))
    ids = torch.randint(10, llava.config.text_config.vocab_size, (2, 24))
    for name, model, inputs in (
        ("llama", llama, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}),
        ("llava", llava, question),
    ):
        oneshot(model=model, processor=processor, recipe=str(RECIPE), output_dir=str(folder / f"{name}-spiking"))
        import spike_compressor

        yield name, spike_compressor.load(folder / f"{name}-spiking"), inputs


@torch.no_grad()
def measured(model: Any, inputs: dict[str, torch.Tensor], backend: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each call compiled, and whether it computed the bits of the same call without compilation."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend)
    caches: list[Any] = [None, None]
    for step in ("prefill", "token 1", "token 2", "token 3"):
        counters.clear()
        results, seconds = [], []
        for which, call in enumerate((model, compiled)):
            begin = time.monotonic()
            results.append(call(**inputs, past_key_values=caches[which], use_cache=True))
            seconds.append(time.monotonic() - begin)
        caches = [result.past_key_values for result in results]
        token = results[0].logits[:, -1:].argmax(-1)
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(token)], 1)
        inputs = {"input_ids": token, "attention_mask": mask}
        yield (
            step,
            {
                "graphs": counters["stats"]["unique_graphs"],
                "graph breaks": sum(counters["graph_break"].values()),
                "same bits": torch.equal(results[0].logits, results[1].logits),
                "eager s": round(seconds[0], 3),
                "compiled s": round(seconds[1], 3),
                "reasons": sorted({str(reason).splitlines()[0] for reason in counters["graph_break"]}),
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="aot_eager", help="of torch.compile")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    prepare(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for name, model, inputs in models(Path(folder)):
            for step, row in measured(model, inputs, args.backend):
                print(
                    name, step, *(f"{key}: {value}" for key, value in row.items() if value != []), sep="; ", flush=True
                )


if __name__ == "__main__":
    main()
