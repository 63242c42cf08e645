"""Quantization-aware fine-tuning: train the weights of a spiking model with transformers' Trainer, and save it.

    python examples/finetune_with_spikes.py                       # the embedded model at T = 2 for vision, 3 for text
    python examples/finetune_with_spikes.py --steps 600 --seed 1 --out trained

Two timesteps for vision and three for text cost the embedded model some 18 points when weights are only rounded. Here
they are rounded, then trained for a few minutes with spikes in the forward pass: on scenes that are drawn from the
pictures of the calibration split, and towards the answers of the float model (distillation). Questions of the test
split, whose pictures and words are others, say what it brought.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import spike_compressor
import torch
from llmcompressor import oneshot
from spike_compressor.demo.data import KINDS, Item, items
from spike_compressor.demo.evaluate import judge
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.evaluations import accuracy_interval
from transformers import Trainer, TrainingArguments

# Nothing but rounding to 4 bits: no rotation, so that plain transformers opens the result, too.
RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 64}}
  spike_modifiers:
    TCLIFModifier: {ignore: [lm_head], timesteps: {vision: 2, text: 3}}
"""


class Answers:
    """Batches of questions with their answers; the loss sees the answers and the end token."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, batch: list[Item]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        answers = [f" {item.answer} {tokenizer.eos_token}" for item in batch]
        inputs = self.processor(
            images=[item.image for item in batch],
            text=[prompt(item.question) + answer for item, answer in zip(batch, answers, strict=True)],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        labels = torch.full_like(inputs["input_ids"], -100)
        for row, answer in enumerate(answers):
            length = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
            labels[row, -length:] = inputs["input_ids"][row, -length:]
        return {**inputs, "labels": labels}


class Distillation(Trainer):
    """The loss is the distance to what the float model says at the places of the answers."""

    teacher: torch.nn.Module

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        places = labels[:, 1:] != -100
        outputs = model(**inputs, use_cache=False)
        with torch.no_grad():
            teacher = self.teacher(**inputs, use_cache=False).logits[:, :-1][places]
        student = outputs.logits[:, :-1][places]
        loss = torch.nn.functional.kl_div(
            student.float().log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean"
        )
        return (loss, outputs) if return_outputs else loss


def accuracy(model, processor, asked: list[Item]) -> str:
    """Accuracy on questions, averaged over their kinds, with its 95 % interval."""
    by_kind: dict[str, list[bool]] = {}
    for item, right in zip(asked, judge(model, processor, asked), strict=True):
        by_kind.setdefault(item.kind, []).append(right)
    interval = accuracy_interval(by_kind)
    return f"{100 * interval.estimate:.2f} % ({100 * interval.low:.2f} .. {100 * interval.high:.2f})"


def main(argv: list[str] | None = None) -> None:
    """Quantize, train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, help="another recipe (default: the one in this script)")
    parser.add_argument("--steps", type=int, default=120, help="training steps")
    parser.add_argument("--batch", type=int, default=16, help="questions a step")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--questions", type=int, default=150, help="test questions of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("trained"), help="where the spike-ready checkpoint goes")
    args = parser.parse_args(argv)

    processor = load_processor()
    model = load_model()
    oneshot(model=model, processor=processor, recipe=str(args.recipe) if args.recipe else RECIPE)
    test = items("test", args.questions)
    print("spiking, not trained:", accuracy(model, processor, test), flush=True)

    # scenes are drawn anew for every seed; words and shapes come from what the calibration split has
    per_kind = min(10, args.steps * args.batch)
    rounds = -(-args.steps * args.batch // (per_kind * len(KINDS)))
    questions = [item for number in range(rounds) for item in items("calibration", per_kind, args.seed + number)]
    settings = TrainingArguments(
        output_dir=str(args.out.with_name(args.out.name + "-trainer")),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=args.steps // 20,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=args.seed,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        logging_steps=50,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    with spike_compressor.trainable(model):
        trainer = Distillation(model=model, args=settings, train_dataset=questions, data_collator=Answers(processor))
        trainer.teacher = load_model()
        trainer.train()

    model.eval()
    spike_compressor.save(model, args.out, processor)
    trained = spike_compressor.load(args.out)
    print("spiking, trained:    ", accuracy(trained, processor, test), flush=True)


if __name__ == "__main__":
    main()
