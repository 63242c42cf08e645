"""Whole models: SmolLM2-135M and the embedded one, spiking and float, while they generate; and the memory they take."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import smollm2
import torch
from harness import ROOT
from torch import Tensor, nn

from timing.clock import interleave, ratio, rounded

RECIPE = "rtn_w4_g64"
#: Tokens of the prompt that is filled in, and tokens that are generated after a short one.
PREFILL, SHORT, NEW = 256, 8, 24
NAMES = ("smollm2", "embedded")


@dataclass
class Subject:
    """One model, float and spiking.

    Args:
        name: one of `NAMES`.
        scratch: folder where spiking checkpoints are kept.
    """

    name: str
    scratch: Path

    def float_model(self) -> Any:
        """The float32 model."""
        if self.name == "smollm2":
            return smollm2.load_model(self.scratch)
        from spike_compressor.demo.model import load_model

        return load_model()

    def processor(self) -> Any:
        """Its tokenizer or processor."""
        if self.name == "smollm2":
            return smollm2.load_tokenizer(self.scratch)
        from spike_compressor.demo.model import load_processor

        return load_processor()

    def recipe(self) -> str:
        """Weights of 4 bits in groups of 64, rounded to nearest, T = 4 for text and 3 for vision."""
        return (ROOT / "recipes" / "compare" / f"{RECIPE}.yaml").read_text(encoding="utf-8")

    def checkpoint(self) -> Path:
        """The spiking checkpoint; made on the first call, and again when recipe or packages are others."""
        from spike_compressor.fingerprint import digest, versions

        made_of = digest({"recipe": self.recipe(), "packages": versions()})[:12]
        target = self.scratch / "speed" / f"{self.name}-{RECIPE}-{made_of}"
        if not target.is_dir():
            from llmcompressor import oneshot

            fresh = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                oneshot(
                    model=self.float_model(), processor=self.processor(), recipe=self.recipe(), output_dir=str(fresh)
                )
                fresh.rename(target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return target

    def spiking(self, backend: str = "fused") -> Any:
        """The spiking model, loaded."""
        import spike_compressor

        return spike_compressor.load(self.checkpoint(), backend=backend)

    def inputs(self, kind: str) -> dict[str, Tensor]:
        """What a call begins with: a short prompt to go on from, or one that is filled in; with the picture, if any."""
        if self.name == "smollm2":
            ids = self.processor()(smollm2.work("britannica-11th")[:4000], return_tensors="pt")["input_ids"]
            ids = ids[:, : SHORT if kind == "decode" else PREFILL]
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        from spike_compressor.demo.data import items
        from spike_compressor.demo.model import prompt

        item = items("test", 1)[0]
        return dict(self.processor()(images=item.image, text=prompt(item.question), return_tensors="pt"))


def generating(model: Any, inputs: dict[str, Tensor], new: int) -> Callable[[], Tensor]:
    """A call that generates so many tokens, greedily."""
    return lambda: model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)


def require_same(models: Mapping[str, Any], inputs: dict[str, Tensor], what: str, new: int = 4) -> None:
    """Hold spiking models, by backend, against `fused` on torch: logits of a prompt, to the bit, and tokens after it.

    Raises:
        SystemExit: they differ.
    """
    from spike_compressor.kernels import active_level, using_level

    def given(model: Any) -> tuple[Tensor, Tensor]:
        return model(**inputs).logits, generating(model, inputs, new)()

    with torch.inference_mode():
        with using_level("torch"):
            logits, tokens = given(models["fused"])
        for name, model in models.items():
            found = given(model)
            if not (torch.equal(found[0], logits) and torch.equal(found[1], tokens)):
                raise SystemExit(f"{what}, {name}: logits or tokens of {active_level()} are not those of torch")


#: Stands in the place of a backend: the float model whose layers that would spike take no time.
REST = "nothing: the limit"


def without_products(model: Any, names: Iterable[str]) -> Any:
    """The float model with layers that give zeros at once: what is left of a pass is the same whatever layers cost."""

    class Nothing(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width = width

        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(*x.shape[:-1], self.width)

    for name in names:
        parent, _, key = name.rpartition(".")
        setattr(model.get_submodule(parent), key, Nothing(model.get_submodule(name).out_features))
    return model


def generate_rows(
    subject: Subject, seconds: float, threads: tuple[int, ...], new: int = NEW
) -> Iterator[dict[str, Any]]:
    """Rows of decoding and prefilling, float, fused and unrolled in the same rounds, and without any layer."""
    from spike_compressor.runtime import spiking_layers

    models = {"float": subject.float_model(), "fused": subject.spiking(), "unrolled": subject.spiking("unrolled")}
    models[REST] = without_products(subject.float_model(), spiking_layers(models["fused"]))
    for kind in ("decode", "prefill"):
        inputs, tokens = subject.inputs(kind), new if kind == "decode" else 1
        require_same({name: models[name] for name in ("fused", "unrolled")}, inputs, f"{subject.name}, {kind}")
        for count in threads:
            torch.set_num_threads(count)
            calls = {name: generating(model, inputs, tokens) for name, model in models.items()}
            samples = interleave(calls, seconds, count)
            torch.set_num_threads(1)
            for name in ("fused", "unrolled", REST):
                compared = ratio(samples["float"], samples[name])
                yield {
                    "part": "generate",
                    "key": _key(subject.name, name, kind, count),
                    "model": subject.name,
                    "backend": name,
                    "kind": kind,
                    "threads": count,
                    "prompt": inputs["input_ids"].shape[1],
                    "tokens": tokens,
                    "float_ms": rounded(1e3 * statistics.median(samples["float"]) / tokens),
                    "ms": rounded(1e3 * statistics.median(samples[name]) / tokens),
                    "rounds": len(samples[name]),
                    **{key: rounded(value, 3) for key, value in compared._asdict().items()},
                }


def _key(model: str, backend: str, kind: str, threads: int) -> str:
    what = {("fused", "decode"): "decode", ("fused", "prefill"): "prefill", ("unrolled", "decode"): "unrolled"}
    name = what.get((backend, kind), f"limit_{kind}" if backend == REST else "unrolled_prefill")
    return f"generate_{name}_{model}_vs_float" + (f"_threads{threads}" if threads > 1 else "")


# Memory, each model in a process of its own


def memory_rows(subject: Subject) -> list[dict[str, Any]]:
    """Rows of what the spiking weights take beside what they take as float32, and of the processes."""
    subject.checkpoint()
    found = {kind: _process(subject, kind) for kind in ("float", "fused")}
    spiking = found["fused"]
    rows = []
    for when in ("loaded", "generated"):
        rows.append(
            {
                "part": "memory",
                "key": f"memory_{when}_w4_vs_float",
                "what": f"weights that spike, {when}",
                "model": subject.name,
                "mib": rounded(spiking[when]["weights"] / 2**20),
                "float_mib": rounded(spiking["float32"] / 2**20),
                "ratio": rounded(spiking[when]["weights"] / spiking["float32"]),
            }
        )
    # a float model that was just loaded lies in a mapped file: processes are only comparable after they have generated
    for figure, when, what in (
        ("model", "loaded", "all tensors of the model, loaded; embeddings are float32"),
        ("model", "generated", "all tensors of the model, generated; embeddings are float32"),
        ("process", "generated", "what the process grew by, generated; activations and cache included"),
    ):
        ours, theirs = spiking[when][figure], found["float"][when][figure]
        rows.append(
            {
                "part": "memory",
                "key": f"memory_{figure}_{when}_{subject.name}_vs_float",
                "what": what,
                "model": subject.name,
                "mib": rounded(ours / 2**20),
                "float_mib": rounded(theirs / 2**20),
                "ratio": rounded(ours / theirs),
            }
        )
    return rows


def _process(subject: Subject, kind: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "--memory-of", f"{subject.name}:{kind}"]
    command += ["--scratch", str(subject.scratch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"a process that measures memory failed: {' '.join(command)}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory_of(subject: Subject, kind: str) -> dict[str, Any]:
    """In a process of its own: bytes when the model is loaded and after it has generated, beyond what came before it.

    `process` is what the resident set has grown by; `weights` what the spiking layers hold and `model` all modules,
    counted tensor by tensor.
    """
    other = Subject("embedded", subject.scratch)  # so that all that is imported on the way is there before
    generating(other.spiking(), other.inputs("decode"), 2)()
    inputs = subject.inputs("decode")
    before = _resident()
    model = subject.float_model() if kind == "float" else subject.spiking()
    found: dict[str, Any] = {"loaded": {"process": _resident() - before, **_held(model)}}
    generating(model, inputs, NEW)()
    generating(model, subject.inputs("prefill"), 1)()
    found["generated"] = {"process": _resident() - before, **_held(model)}
    if kind != "float":
        from spike_compressor.runtime import spiking_layers

        layers = spiking_layers(model).values()
        found["float32"] = sum(4 * layer.in_features * layer.out_features for layer in layers)
    return found


def _resident() -> int:
    """Bytes of this process that are in memory, garbage given back before."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _held(model: Any) -> dict[str, int]:
    from spike_compressor.runtime import is_spiking, spiking_layers

    spiking = spiking_layers(model).values() if is_spiking(model) else ()
    return {"weights": held_by(spiking), "model": held_by(model.modules())}


def held_by(layers: Iterable[Any]) -> int:
    """Bytes of all that layers hold, spiking or not: each storage once, however deep it lies."""
    storages: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[Any] = [layer.__dict__ for layer in layers]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (nn.Module, type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            if one.device.type != "meta":
                storage = one.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
            continue
        if isinstance(one, ctypes.Array):
            storages[ctypes.addressof(one)] = ctypes.sizeof(one)
        elif isinstance(one, (dict, list, tuple, set)):
            waiting += one.values() if isinstance(one, dict) else one
        elif type(one).__module__.startswith("spike_compressor"):
            waiting += [getattr(one, name, None) for name in getattr(type(one), "__slots__", ())]
            waiting.append(getattr(one, "__dict__", {}))
    return sum(storages.values())
