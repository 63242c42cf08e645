"""Whether spiking layers have the same bits on a GPU as on the CPU, and how fast they are there.

    python benchmarks/on_gpu.py
    python benchmarks/on_gpu.py --device cpu --quick      the exactness part without a GPU, to try the script

Codes, accumulators and outputs of layers over shapes, groups, T and dtypes; then every layer of the embedded model, and
its logits with and without observers; then times against `nn.Linear` in float32, bfloat16 and float16, interleaved,
medians.
Exit code 1 if a bit differs, 2 if there is no CUDA. Under five minutes.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, machine
from llmcompressor import oneshot
from spike_compressor import load
from spike_compressor.demo.data import items
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.files import write_text
from spike_compressor.kernels import using_level
from spike_compressor.kernels.cuda import kernels_of
from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.quiet import quiet_libraries
from spike_compressor.runtime import LayerSpec, spiking_layers
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.neurons import LayerSpikes, Neurons
from torch import Tensor

RECIPE = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SPECS = {
    "T = 4": LayerSpec({"text": 4, "vision": 4}),
    "T = 7 and 2, ratios": LayerSpec({"text": 7, "vision": 2}, ratio={"text": 0.8, "vision": 1.3}),
    "static": LayerSpec({"text": 3, "vision": 5}, threshold="static", scale={"text": 0.2, "vision": 0.05}),
}
SHAPES = ((37, 90, 1), (37, 90, 5), (576, 576, 1), (576, 576, 9), (1536, 3584, 1), (1536, 3584, 28))
ROWS = (1, 16, 17, 200)


def neurons(spec: LayerSpec, N: int, K: int, groups: int, backend: str = "fused", bits: int = 8) -> Neurons:
    """Of a random layer, on the CPU."""
    generator = torch.Generator().manual_seed(N + groups)
    low = 2 ** (bits - 1)
    codes = torch.randint(-low, low, (N, K), generator=generator).to(torch.int8)
    scale = torch.rand(N, groups, generator=generator) + 0.01
    return Neurons(f"{K} -> {N}, {groups} groups", spec, IntegerWeight(codes, scale, bits), backend, None)


def rows(M: int, K: int, dtype: torch.dtype) -> tuple[Tensor, TokenRows]:
    """Inputs of any size, a row of zeros and one of ties among them, and their modalities."""
    generator = torch.Generator().manual_seed(M)
    x = torch.randn(M, K, generator=generator) * 2.0 ** torch.randint(-6, 7, (M, 1), generator=generator)
    if M > 2:
        x[0], x[1] = 0, (torch.arange(K) % 15 - 7) / 2
    return x.to(dtype), TokenRows((torch.arange(M) % 3 == 1).to(torch.uint8).view(1, M))


def results(layer: Neurons, x: Tensor, modality: TokenRows, bias: Tensor) -> dict[str, Tensor]:
    """What a layer computes, with and without somebody looking on."""
    with torch.no_grad(), rows_scope(modality):
        drive, synapses = layer.fire(x.to(torch.float32))
        output = layer.dequantize(synapses.acc, drive.scale, bias)
        at_once = layer.outputs(x, bias)
    return {
        "codes": synapses.codes,
        "clipped": torch.tensor(synapses.saturated),
        "scale": drive.scale,
        "accumulators": synapses.acc,
        "output": output,
        "output at once": output if at_once is None else at_once,
    }


def differing(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Which of them have other bits."""
    return [key for key, value in expected.items() if not torch.equal(found[key].cpu(), value)]


def layers(device: torch.device, quick: bool) -> Iterator[dict[str, Any]]:
    """Each case, and what differed in it."""
    shapes, counts = (SHAPES[:2], ROWS[:3]) if quick else (SHAPES, ROWS)
    for (N, K, groups), (name, spec), backend in itertools.product(shapes, SPECS.items(), ("fused", "unrolled")):
        here = neurons(spec, N, K, groups, backend)
        there = copy.deepcopy(here)
        there.move(device)
        bias = torch.randn(N, generator=torch.Generator().manual_seed(N))
        for dtype, M in itertools.product(DTYPES, counts):
            if backend == "unrolled" and (dtype != torch.float32 or M > 17):
                continue
            x, modality = rows(M, K, dtype)
            with using_level("torch"):
                expected = results(here, x, modality, bias)
            wrong = differing(results(there, x.to(device), modality, bias.to(device)), expected)
            case = {"layer": here.name, "spec": name, "backend": backend, "dtype": str(dtype), "rows": M}
            yield {**case, "differs": wrong}


def model(device: torch.device) -> dict[str, Any]:
    """The embedded model: every layer against the CPU on the inputs that it got, logits with observers and without."""
    processor = load_processor()
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "spiking"
        oneshot(model=load_model(), processor=processor, recipe=str(RECIPE), output_dir=str(saved))
        llava = load(saved)  # on the CPU, wherever it was quantized
    item = items("test", 1)[0]
    inputs = dict(processor(images=item.image, text=prompt(item.question), return_tensors="pt"))
    with torch.no_grad():
        expected = llava(**inputs).logits
    found = spiking_layers(llava)
    here = {name: copy.deepcopy(layer.neurons) for name, layer in found.items()}  # they stay on the CPU
    llava.to(device)
    wrong: dict[str, list[str]] = {}

    def compare(layer: Any, event: LayerSpikes) -> None:
        bias = None if layer.bias is None else layer.bias.detach().cpu()
        modality = TokenRows(event.modality.cpu().view(1, -1))
        with torch.no_grad(), rows_scope(modality), using_level("torch"):
            drive, synapses = here[event.name].fire(event.x.cpu())
            output = here[event.name].dequantize(synapses.acc, drive.scale, bias)
        theirs = {"codes": event.codes, "scale": event.scale, "accumulators": event.acc, "output": event.output}
        ours = {"codes": synapses.codes, "scale": drive.scale, "accumulators": synapses.acc, "output": output}
        wrong[event.name] = differing(theirs, ours)

    moved = {key: value.to(device) for key, value in inputs.items()}
    with torch.no_grad():
        at_once = llava(**moved).logits
        for layer in found.values():
            layer.observers.append(compare)
        watched = llava(**moved).logits
    return {
        "layers": len(wrong),
        "differs": {name: what for name, what in wrong.items() if what},
        "logits_with_and_without_observers": "equal" if torch.equal(at_once, watched) else "differ",
        # attention and norms are PyTorch's, and round otherwise on a GPU
        "largest_difference_of_logits_from_cpu": float((watched.cpu() - expected).abs().max()),
    }


def medians(calls: dict[str, Callable[[], Any]], device: torch.device, turns: int) -> dict[str, float]:
    """Milliseconds of calls, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 3):
        for name, call in calls.items():
            torch.cuda.synchronize(device)
            start = time.perf_counter()
            for _ in range(5):
                call()
            torch.cuda.synchronize(device)
            if turn >= 3:  # the first ones compile and choose kernels
                taken[name].append((time.perf_counter() - start) * 200)
    return {name: statistics.median(times) for name, times in taken.items()}


def speed(device: torch.device, deadline: float) -> Iterator[dict[str, Any]]:
    """Milliseconds of a layer, and how many times faster than `nn.Linear` it is."""
    for (N, K), groups, M in itertools.product(((3584, 3584), (18944, 3584)), (1, 56), (1, 16, 256, 1024)):
        if time.monotonic() > deadline:
            print("out of time: the rest of the table is left out", file=sys.stderr)
            return
        layer = neurons(SPECS["T = 4"], N, K, groups, bits=4)
        layer.move(device)
        calls: dict[str, Callable[[], Any]] = {}
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            dense = torch.nn.Linear(K, N, bias=False, device=device, dtype=dtype)
            calls[f"linear {str(dtype).removeprefix('torch.')}"] = _call(
                dense, torch.randn(M, K, device=device).to(dtype)
            )
        calls["spiking"] = _call(functools.partial(_outputs, layer), torch.randn(M, K, device=device))
        with torch.no_grad():
            times = medians(calls, device, 15)
        ratios = {f"vs {name.removeprefix('linear ')}": times[name] / times["spiking"] for name in times}
        ratios.pop("vs spiking")
        yield {"K": K, "N": N, "groups": groups, "rows": M, "milliseconds": times, "ratios": ratios}


def _call(function: Callable[[Tensor], Any], x: Tensor) -> Callable[[], Any]:
    return lambda: function(x)


def _outputs(layer: Neurons, x: Tensor) -> Tensor:
    out = layer.outputs(x, None)
    if out is None:  # on PyTorch alone
        drive, synapses = layer.fire(x)
        out = layer.dequantize(synapses.acc, drive.scale, None)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--device", default="cuda", help="cuda, cuda:1, …; cpu compares the CPU's kernels, without times"
    )
    parser.add_argument("--quick", action="store_true", help="small layers only")
    parser.add_argument("--out", type=Path, default=Path("out/on_gpu.json"), help="where the result goes")
    args = parser.parse_args()
    quiet_libraries()
    start = time.monotonic()
    device = torch.device(args.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            print("there is no CUDA here; --device cpu tries the script without one", file=sys.stderr)
            return 2
        device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    cuda = device.type == "cuda"
    result: dict[str, Any] = {
        "benchmark": "on_gpu",
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "capability": torch.cuda.get_device_capability(device) if cuda else None,
        "triton_kernels": kernels_of(device) is not None,
        "machine": machine(torch.get_num_threads()),
    }
    cases = list(layers(device, args.quick))
    wrong = [case for case in cases if case["differs"]]
    result["layers"] = {"cases": len(cases), "differ": wrong}
    print(f"{result['device']}, Triton kernels {'in use' if result['triton_kernels'] else 'not in use'}")
    print(f"layers: {len(cases) - len(wrong)} of {len(cases)} cases equal the CPU's to the bit")
    for case in wrong:
        print("  differs:", json.dumps(case))
    result["model"] = found = model(device)
    equal, logits = found["layers"] - len(found["differs"]), found["logits_with_and_without_observers"]
    print(f"embedded model: {equal} of {found['layers']} layers equal; logits with and without observers {logits}")
    for name, what in found["differs"].items():
        print(f"  {name} differs: {', '.join(what)}")
    same = not wrong and not found["differs"] and found["logits_with_and_without_observers"] == "equal"
    if cuda:
        result["speed"] = []
        print("| K -> N | groups | rows | ms | vs float32 | vs bfloat16 | vs float16 |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for row in speed(device, start + 240):
            result["speed"].append(row)
            ratios = " | ".join(f"{ratio:.2f}" for ratio in row["ratios"].values())
            shape = f"{row['K']} -> {row['N']} | {row['groups']} | {row['rows']}"
            print(f"| {shape} | {row['milliseconds']['spiking']:.3f} | {ratios} |", flush=True)
    result["seconds"] = round(time.monotonic() - start)
    result["equal"] = same
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    print(f"{'all bits are equal' if same else 'BITS DIFFER'}; the whole result is in {args.out}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
