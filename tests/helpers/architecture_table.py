"""The table of architectures: what is in it, how its cells are proven, and how it is written.

`SUBJECTS` declares the rows, `Bench` does with one of them what the columns say, and `table()` prints what is declared.
`tests/test_architecture_table.py` proves every cell and holds the page in the documentation against `table()`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.runtime import spiking_layers
from spike_compressor.trace import validate
from torch import Tensor
from torch.utils.data import DataLoader

from helpers import tiny_audio, tiny_models
from helpers.messages import naming
from helpers.tiny_architectures import ARCHITECTURES, Case
from helpers.tiny_moe import EXPERTS, PER_TOKEN, TINY_MOE
from helpers.tiny_text import DECODERS, STATE_SPACE, encoder_decoder, question_and_answer, text_batch, text_model
from helpers.workshop import W4, Processor

Batch = dict[str, Tensor]
Counts = dict[str, int]

#: Columns, in the order in which they are proven on one model.
OPERATIONS = ("oneshot", "save", "load", "plain", "generate", "record", "trace")
PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
TIMESTEPS = {"text": 6, "vision": 3, "audio": 4}
#: How far logits with a cache may be from those without, in units of their spread. Kernels of different shapes round
#: differently, a code may then be another, and a model of two layers notices; a wrong cache is beyond 0.3.
NEAR = 0.1


@dataclass(frozen=True)
class No:
    """A cell that is not a yes.

    Attributes:
        reason: what the table says.
        error: what is raised; None for `plain`, where loading reports what it lacks instead of raising.
        names: what the message, or the report, names.
    """

    reason: str
    error: type[BaseException] | None = InputError
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A row of the table.

    Attributes:
        name: `model_type`, with the text model's where that tells rows apart.
        group: under which it stands.
        make: a fresh random model.
        batch: a padded batch, and what `generate` goes on from.
        tokens: the batch's tokens by modality as a reader counts them, padding left out.
        rows: given a layer's name (that of all experts of a layer together for an expert's), the rows that it must see
            by modality; None where every layer sees all tokens.
        no: operations that are not a yes.
        ignore: patterns of modules that neither are quantized nor spike, beside the output head.
        dispatched: why the model as `oneshot` leaves it does not generate, where only a loaded one does.
    """

    name: str
    group: str
    make: Callable[[], Any]
    batch: Callable[[], Batch]
    tokens: Counts
    rows: Callable[[str], Counts | None] = field(default=lambda name: None)
    no: Mapping[str, No] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    dispatched: No | None = None

    def proven(self) -> list[str]:
        """The operations that are tried: all, or those up to an `oneshot` or `save` that is refused."""
        found = []
        for operation in OPERATIONS:
            if "oneshot" in found and "oneshot" in self.no:
                break
            if operation in ("load", "plain") and "save" in self.no:
                continue
            found.append(operation)
        return found


class Bench:
    """One model on its way through the columns: each step is taken once, and later ones work with what came out."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.folder = folder

    @cached_property
    def model(self) -> Any:
        """The spiking model that a recipe made of a directory's, and that is not to be changed."""
        from llmcompressor import oneshot

        model = tiny_models.saved(self.subject.make(), self.folder / "float")
        before = self._logits(model)
        data = DataLoader([self.subject.batch()] * 2, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]
        oneshot(model=model, recipe=self.recipe(model), processor=Processor(), dataset=data)
        assert not torch.allclose(self._logits(model), before)
        return model

    @cached_property
    def logits(self) -> Tensor:
        """Of the model as `oneshot` left it."""
        return self._logits(self.model)

    @cached_property
    def path(self) -> Path:
        """The checkpoint."""
        assert self.logits.isfinite().all()  # as they are before saving
        return spike_compressor.save(self.model, self.folder / "spiking")

    @cached_property
    def loaded(self) -> Any:
        """The model of the checkpoint."""
        return spike_compressor.load(self.path)

    def recipe(self, model: Any) -> str:
        """Round-to-nearest weights of 4 bits and neurons; the output head stays as it is."""
        head = model.get_output_embeddings()
        ignore = [name for name, module in model.named_modules() if module is head] + list(self.subject.ignore)
        listed = "[" + ", ".join(f"'{name}'" for name in ignore) + "]"
        seen = {modality: TIMESTEPS[modality] for modality in ("text", "vision", *self.subject.tokens)}
        return f"""
spike_stage:
  quant_modifiers:
    QuantizationModifier: {{ignore: {listed}, config_groups: {{w4: {W4}}}}}
  spike_modifiers:
    TCLIFModifier: {{ignore: {listed}, timesteps: {seen}}}
"""

    def oneshot(self) -> None:
        """The recipe runs, and what comes out says something."""
        assert self.logits.isfinite().all()
        assert spiking_layers(self.model)

    def save(self) -> None:
        """The checkpoint has every spiking layer, and the model computes what it did before."""
        assert set(read_config(self.path).plan) == set(spiking_layers(self.model))
        self._same(self.model)

    def load(self) -> None:
        """The same layers and the same bits; from both backends in the first row of each group."""
        assert set(spiking_layers(self.loaded)) == set(spiking_layers(self.model))
        self._same(self.loaded)
        if self.subject is next(subject for subject in SUBJECTS.values() if subject.group == self.subject.group):
            self._same(spike_compressor.load(self.path, backend="unrolled"))

    def plain(self) -> str:
        """Plain transformers, without `load`: nothing missing, and every Linear has the spiking layer's weights."""
        model, report = type(self.model).from_pretrained(self.path, dtype=torch.float32, output_loading_info=True)
        problems = {key: sorted(map(str, value)) for key, value in report.items() if value}
        if problems:
            return str(problems)
        assert self._logits(model.eval()).isfinite().all()
        modules = dict(model.named_modules())
        layers = {name: layer for name, layer in spiking_layers(self.model).items() if name in modules}
        assert layers
        for name, layer in layers.items():
            torch.testing.assert_close(modules[name].weight.data, layer.integer.floats(), msg=name)
        return ""

    def generate(self) -> None:
        """Greedily with a cache: the same tokens and bits loaded and in memory, and near to those without a cache."""
        spiking = self.model
        if self.subject.dispatched is not None:
            with pytest.raises(self.subject.dispatched.error, match=naming(*self.subject.dispatched.names)):  # type: ignore[arg-type]
                self._generated(self.model)
            spiking = spike_compressor.load(self.path, backend="unrolled")
        ours = self._generated(spiking)
        if "load" not in self.subject.no and "save" not in self.subject.no:
            theirs = self._generated(self.loaded)
            assert torch.equal(ours.sequences, theirs.sequences)
            assert all(map(torch.equal, ours.logits, theirs.logits))
        stepped = self._generated(spiking, use_cache=False)
        agreeing = 0
        for with_cache, without in zip(ours.logits, stepped.logits, strict=True):
            distance = float((with_cache - without).abs().max() / without.std())
            assert distance < NEAR, f"after {agreeing} tokens logits are {distance:.2f} of their spread apart"
            if not torch.equal(with_cache.argmax(-1), without.argmax(-1)):
                break  # a near tie: what follows has another past
            agreeing += 1
        assert agreeing > 1

    def record(self) -> None:
        """Every layer sees the rows that a reader counts, by modality, and padding is none of them."""
        with spike_compressor.record_spikes(self.model) as record:
            self._logits(self.model)
        assert {name: count for name, count in record.tokens.items() if count} == self.subject.tokens
        seen: dict[str, Counts] = defaultdict(Counts)
        for (name, modality), entry in record.layers.items():
            merged = merge_experts(name)
            seen[merged][modality] = seen[merged].get(modality, 0) + entry.rows
        assert set(seen) == {merge_experts(name) for name in spiking_layers(self.model)}
        for name, counts in seen.items():
            expected = self.subject.rows(name)
            assert counts == (self.subject.tokens if expected is None else expected), name

    def trace(self) -> None:
        """A layer at each end: the bundle is what the golden model computes."""
        names = list(spiking_layers(self.model))
        chosen = [names[0], names[-1]]
        path = spike_compressor.export_trace(self.model, self.subject.batch(), self.folder / "trace", layers=chosen)
        bundle = validate(path)
        assert [layer.name for layer in bundle] == chosen
        assert all(layer.info.tokens for layer in bundle)

    def _logits(self, model: Any) -> Tensor:
        return tiny_models.logits(model, self.subject.batch())

    def _same(self, model: Any) -> None:
        got = self._logits(model)
        assert torch.equal(got, self.logits), f"logits differ by {float((got - self.logits).abs().max())}"

    def _generated(self, model: Any, **how: Any) -> Any:
        settings = {"do_sample": False, "eos_token_id": None, "output_logits": True, "return_dict_in_generate": True}
        settings["suppress_tokens"] = list(range(10))  # without a cache a placeholder would want another picture
        prompt = {key: value for key, value in self.subject.batch().items() if not key.startswith("decoder_")}
        return model.generate(**prompt, max_new_tokens=4, **settings, **how)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def merge_experts(name: str) -> str:
    """One name for the layers of the same kind in all experts of a decoder layer."""
    return re.sub(r"\.experts\.\d+\.", ".experts.*.", name)


# Text

_TEXT_TOKENS = {"text": 5 + 8}


def _text(group: str, model_type: str, no: Mapping[str, No] | None = None) -> Subject:
    ignore = _READ if model_type in ("mamba", "falcon_mamba") else ()
    return Subject(
        model_type, group, partial(text_model, model_type), text_batch, _TEXT_TOKENS, no=no or {}, ignore=ignore
    )


#: Mamba multiplies by the weight of this Linear itself and never calls it.
_READ = ("re:.*dt_proj",)
_NO: dict[str, dict[str, No]] = {
    "gpt2": {"oneshot": No("its layers are `Conv1D`s, and only Linears spike", names=("Linear",))},
}

# What sees and hears

#: Rows of the modules that see pictures alone, or hear alone, by the beginning of their names, the longest that fits:
#: patches and frames in the towers (a class token beside them where there is one), tokens where these were merged.
_OWN: dict[str, dict[str, tuple[str, int]]] = {
    "qwen2_vl": {"model.visual.": ("vision", 16 + 8 + 24), "model.visual.merger.": ("vision", 4 + 2 + 6)},
    "qwen2_5_vl": {"model.visual.": ("vision", 16 + 8 + 24), "model.visual.merger.": ("vision", 4 + 2 + 6)},
    "qwen3_vl": {
        "model.visual.": ("vision", 16 + 8 + 24),
        "model.visual.merger.": ("vision", 4 + 2 + 6),
        "model.visual.deepstack_merger_list.": ("vision", 4 + 2 + 6),
    },
    "internvl": {"model.vision_tower.": ("vision", 3 * (16 + 1)), "model.multi_modal_projector.": ("vision", 3 * 4)},
    "llava": {"model.vision_tower.": ("vision", 3 * (4 + 1)), "model.multi_modal_projector.": ("vision", 3 * 4)},
    "llava_next": {"model.vision_tower.": ("vision", 9 * (4 + 1)), "model.multi_modal_projector.": ("vision", 9 * 4)},
    "llava_onevision": {"model.vision_tower.": ("vision", 9 * 4), "model.multi_modal_projector.": ("vision", 9 * 4)},
    "idefics3": {"model.vision_model.": ("vision", 3 * 16), "model.connector.": ("vision", 3 * 4)},
    "smolvlm": {"model.vision_model.": ("vision", 3 * 16), "model.connector.": ("vision", 3 * 4)},
    "gemma3": {"model.vision_tower.": ("vision", 3 * 16)},
    "llava_mixtral": {
        "model.vision_tower.": ("vision", 2 * (4 + 1)),
        "model.multi_modal_projector.": ("vision", 2 * 4),
    },
}
_OWN["qwen2_audio"] = {"model.audio_tower.": ("audio", 3 * 8), "model.multi_modal_projector.": ("audio", 3 * 4)}
_OWN["qwen2_5_omni_thinker"] = {
    "audio_tower.": ("audio", 8 + 6),
    "audio_tower.proj": ("audio", 4 + 3),
    "visual.": ("vision", 16 + 8),
    "visual.merger.": ("vision", 4 + 2),
}
_OWN["qwen3_vl_moe"] = _OWN["qwen3_vl"]


def _rows(name: str, tokens: Counts, experts: int, layer: str) -> Counts | None:
    """The rows of a layer of a model that sees or hears, or has experts that get each token so many times."""
    own = _OWN.get(name, {})
    fitting = [beginning for beginning in own if layer.startswith(beginning)]
    if fitting:
        return dict([own[max(fitting, key=len)]])
    return {modality: experts * count for modality, count in tokens.items()} if ".experts.*." in layer else None


def _counted(case: Case) -> Counts:
    """Tokens of a prompt by modality, as its mask has them; padding is none."""
    live = [
        ("text", "vision", "audio")[int(digit)]
        for prompt, mask in zip(case.prompts, case.masks, strict=True)
        for letter, digit in zip(prompt, mask, strict=True)
        if letter != "."
    ]
    return dict(Counter(live))


def _case(group: str, name: str, make: Callable[[], Any], case: Case) -> Subject:
    tokens = _counted(case)
    return Subject(name, group, make, case.batch, tokens, partial(_rows, name, tokens, 0))


def _pictures(name: str) -> Subject:
    architecture = ARCHITECTURES[name]
    return _case("Pictures and text", name, architecture.model, architecture.cases["left"])


def _two_sequences(name: str, make: Callable[[], Any], batch: Callable[[], Batch], read: Counts, said: int) -> Subject:
    """An encoder-decoder model: `read` are the encoder's rows, `said` those of the decoder."""
    tokens = {modality: read.get(modality, 0) + (said if modality == "text" else 0) for modality in {**read, "text": 0}}
    rows = partial(_encoded_or_decoded, read, said)
    return Subject(name, "Encoder-decoder and audio", make, batch, tokens, rows, dispatched=_DICTIONARY)


_DICTIONARY = No(
    "opened with `load`; as `oneshot` leaves it, compressed-tensors' dispatch hands on the encoder's output as a plain "
    "dictionary, which transformers' decoder does not take",
    KeyError,
    ("0",),
)


def _encoded_or_decoded(read: Counts, said: int, layer: str) -> Counts:
    crossing = re.search(r"(EncDecAttention\.[kv]|encoder_attn\.[kv]_proj)$", layer)
    return read if crossing or re.search(r"(^|\.)encoder\.", layer) else {"text": said}


# Mixtures of experts


def _moe(name: str) -> Subject:
    moe = TINY_MOE[name]
    batch = moe.batch()
    kept, seen = int(batch["attention_mask"].sum()), int((batch["input_ids"] == tiny_models.IMAGE).sum())
    tokens = {"text": kept - seen, "vision": seen} if moe.pictures is not None else {"text": kept}
    no = {} if moe.merged or name == "llama4" else {"plain": _APART}
    if name == "llama4":  # of words alone; each expert gets every row, and the router is a Linear that also chooses
        return Subject(
            "llama4 (text)",
            _MOE,
            moe.model,
            moe.batch,
            tokens,
            partial(_rows, name, tokens, EXPERTS),
            no,
            ("re:.*router", "re:vision_model", "re:multi_modal_projector"),
        )
    return Subject(name, _MOE, moe.model, moe.batch, tokens, partial(_rows, name, tokens, PER_TOKEN), no)


_MOE = "Mixtures of experts"
_APART = No(
    "`oneshot` takes the experts of a layer apart, and transformers does not put those of this architecture together "
    "again; `load` opens the checkpoint",
    None,
    ("missing_keys", "experts.down_proj"),
)

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        *(_text("Decoders", name, _NO.get(name)) for name in DECODERS),
        *(_text("State-space and hybrid models", name, _NO.get(name)) for name in STATE_SPACE),
        *(_moe(name) for name in TINY_MOE),
        *(_pictures(name) for name in ARCHITECTURES),
        _case("Encoder-decoder and audio", "qwen2_audio", tiny_audio.qwen2_audio, tiny_audio.HEARD["left"]),
        _case("Encoder-decoder and audio", "qwen2_5_omni_thinker", tiny_audio.omni, tiny_audio.SEEN_AND_HEARD["left"]),
        _two_sequences("whisper", tiny_audio.whisper, tiny_audio.transcripts, {"audio": 2 * 8}, 4 + 2),
        _two_sequences("t5", partial(encoder_decoder, "t5"), question_and_answer, {"text": 5 + 8}, 2 + 3),
        _two_sequences("bart", partial(encoder_decoder, "bart"), question_and_answer, {"text": 5 + 8}, 2 + 3),
    )
}

_BEGIN, _END = "<!-- table -->\n", "<!-- end of the table -->"


def table() -> str:
    """The table as Markdown, a heading for each group, and the reasons of what is no yes under it."""
    titles = ["plain reload" if operation == "plain" else operation for operation in OPERATIONS]
    lines, reasons = [], []
    for group in dict.fromkeys(subject.group for subject in SUBJECTS.values()):
        members = [subject for subject in SUBJECTS.values() if subject.group == group]
        lines += ["", f"**{group}**", "", f"| `model_type` | {' | '.join(titles)} |", "| --- " * 8 + "|"]
        for subject in members:
            cells = []
            for operation in OPERATIONS:
                no = subject.no.get(operation)
                word = "no"
                if no is None and operation == "generate" and subject.dispatched is not None:
                    no, word = subject.dispatched, "yes"
                if no is not None:
                    if no.reason not in reasons:
                        reasons.append(no.reason)
                    cells.append(f"{word} ({reasons.index(no.reason) + 1})")
                else:
                    cells.append("yes" if operation in subject.proven() else "-")
            lines.append(f"| {subject.name} | {' | '.join(cells)} |")
    if reasons:
        lines += ["", *(f"{number}. {reason}." for number, reason in enumerate(reasons, 1))]
    return "\n".join([*lines, "", ""])


def page(text: str) -> str:
    """The page with the table in its place."""
    before, rest = text.split(_BEGIN)
    return f"{before}{_BEGIN}{table()}{_END}{rest.split(_END)[1]}"
