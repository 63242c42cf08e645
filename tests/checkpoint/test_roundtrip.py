"""Every style of recipe: in memory, loaded fused and unrolled are the same bits; plain transformers opens it too."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
import yaml
from helpers import tiny_models
from helpers.tiny_architectures import ARCHITECTURES
from helpers.workshop import GPTQ, GPTQ_GROUP, IGNORE, RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.runtime import detach, spiking_layers

W8_ASYMMETRIC = RTN.replace("num_bits: 4", "num_bits: 6").replace("symmetric: true", "symmetric: false")


def with_activations(quant: str, activations: str) -> str:
    return quant.replace("channel}}}", "channel}, input_activations: {" + activations + "}}}")


DYNAMIC8 = "num_bits: 8, type: int, symmetric: true, strategy: token, dynamic: true"
STATIC8 = "num_bits: 8, type: int, symmetric: true, strategy: tensor, dynamic: false"
SMOOTH = "SmoothQuantModifier: {smoothing_strength: 0.5, mappings: [[['re:.*q_proj','re:.*k_proj','re:.*v_proj'],"
SMOOTH += "'re:.*(input_layernorm|layer_norm1)'], [['re:.*gate_proj','re:.*up_proj'],'re:.*post_attention_layernorm']]}"
QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"
PLAN = "{allocation: fixed, timesteps: {vision: 3, text: 4}, overrides: {'re:.*down_proj': {text: 6}, 're:.*fc1': 2}}"

CASES: dict[str, tuple[str, str]] = {
    "rtn": ("llava", recipe(RTN)),
    "gptq": ("llava", recipe(GPTQ)),
    "smoothquant": ("llava", recipe(SMOOTH + "\n" + GPTQ)),
    "quip": ("llava", recipe(QUIP + "\n" + GPTQ_GROUP, "threshold_ratio: auto")),
    "w4a8 dynamic": ("llava", recipe(with_activations(GPTQ, DYNAMIC8), msts=None)),
    "w4a8 static": ("llava", recipe(with_activations(RTN, STATIC8), msts=None)),
    "w4a8 dynamic asymmetric": (
        "llava",
        recipe(with_activations(RTN, DYNAMIC8.replace("symmetric: true", "symmetric: false")), msts=None),
    ),
    "w4a8 static asymmetric": (
        "llava",
        recipe(with_activations(RTN, STATIC8.replace("symmetric: true", "symmetric: false")), msts=None),
    ),
    "static mse": ("llava", recipe(GPTQ, "threshold: static, threshold_observer: mse")),
    "ratio": ("llava", recipe(RTN, "threshold_ratio: 0.8, coding: csd")),
    "plan": ("llava", recipe(RTN, msts=PLAN)),
    "asymmetric weights": ("llava", recipe(W8_ASYMMETRIC)),
    "unsigned": ("llava", recipe(RTN, "coding: binary_unsigned")),
    "siglip": ("siglip", recipe(GPTQ)),
    "siglip partly": (
        "siglip",
        recipe(RTN).replace("{targets: [Linear], ignore:", "{targets: ['re:.*language_model.*proj'], ignore:"),
    ),
    "qwen": ("qwen2_vl", recipe(GPTQ)),
    "qwen plan": ("qwen2_vl", recipe(RTN, msts=PLAN.replace(", 're:.*fc1': 2", ""))),
    "llama": ("llama", recipe(GPTQ_GROUP)),
    "spinquant": ("llama", recipe("SpinQuantModifier: {rotations: [R1, R2], transform_type: hadamard}\n" + GPTQ)),
    "spinquant online": (
        "llama",
        recipe("SpinQuantModifier: {rotations: [R1, R2, R4], transform_type: hadamard}\n" + GPTQ_GROUP),
    ),
    **{f"every {name}": (f"every {name}", recipe(GPTQ)) for name in ARCHITECTURES},
}
ONLINE = {"quip", "spinquant online"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


def test_memory_fused_and_unrolled_are_the_same_bits(case: str, workshop: Workshop) -> None:
    kind, text = CASES[case]
    model, path = workshop.made(kind, text)
    batch = workshop.batch(kind)
    expected = tiny_models.logits(model, batch)
    assert expected.isfinite().all()
    float_logits = tiny_models.logits(workshop.model(kind), batch)
    assert not torch.allclose(expected, float_logits)
    for backend in ("fused", "unrolled"):
        loaded = spike_compressor.load(path, backend=backend)
        assert spiking_layers(loaded).keys() == spiking_layers(model).keys()
        assert torch.equal(tiny_models.logits(loaded, batch), expected)
    config = read_config(path)
    assert config.opens_in_plain_transformers is (case not in ONLINE)
    assert bool(config.online_rotations.transforms) is (case in ONLINE)
    assert (path / "processor_was_here.json").is_file()
    assert (path / "recipe.yaml").is_file()


def test_save_load_save_load(case: str, workshop: Workshop, tmp_path: Path) -> None:
    kind, text = CASES[case]
    model, path = workshop.made(kind, text)
    batch = workshop.batch(kind)
    expected = tiny_models.logits(model, batch)
    loaded = spike_compressor.load(path)
    spike_compressor.save(loaded, tmp_path / "second")
    assert torch.equal(tiny_models.logits(loaded, batch), expected)
    copies = ["second"]
    if case in ("plan", "quip"):
        loaded.save_pretrained(tmp_path / "third")
        assert torch.equal(tiny_models.logits(loaded, batch), expected)
        copies.append("third")
    for again in copies:
        assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / again), batch), expected)
        first, second = read_config(path), read_config(tmp_path / again)
        for field in ("plan", "not_spiking", "budget", "calibration", "uncalibrated", "online_rotations"):
            assert getattr(first, field) == getattr(second, field), field


def test_saving_a_model_in_memory_again_and_again_changes_nothing(workshop: Workshop, tmp_path: Path) -> None:
    model = copy.deepcopy(workshop.made("llava", CASES["siglip partly"][1])[0])
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    for number in range(3):
        model.save_pretrained(tmp_path / str(number))
        assert model.config.architectures
    assert torch.equal(tiny_models.logits(model, batch), expected)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    model.save_pretrained(tmp_path / "last")
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "last"), batch), expected)


READER = """
import json, sys
import torch
torch.set_num_threads(1)
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
transformers.logging.set_verbosity_error()
jobs = json.load(open(sys.argv[1]))
for job in jobs:
    auto = AutoModelForCausalLM if job["kind"] == "llama" else AutoModelForImageTextToText
    model, report = auto.from_pretrained(job["path"], output_loading_info=True)
    problems = {key: sorted(map(str, value)) for key, value in report.items() if value}
    with torch.no_grad():
        logits = model.eval()(**torch.load(job["batch"])).logits
    torch.save({"logits": logits, "problems": problems}, job["out"])
assert "spike_compressor" not in sys.modules
"""


@pytest.fixture(scope="module")
def plain_readings(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Logits and loading report of every checkpoint in a process that never imports the plugin."""
    folder = tmp_path_factory.mktemp("plain")
    jobs = []
    for number, (case, (kind, text)) in enumerate(CASES.items()):
        if case in ONLINE:
            continue
        path = workshop.made(kind, text)[1]
        torch.save(workshop.batch(kind), folder / f"{number}.batch")
        jobs.append(
            {
                "case": case,
                "kind": kind,
                "path": str(path),
                "batch": str(folder / f"{number}.batch"),
                "out": str(folder / f"{number}.out"),
            }
        )
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READER), str(folder / "jobs.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {job["case"]: torch.load(job["out"]) for job in jobs}


def reference(model: Any) -> Any:
    """The same weights with ordinary activations, built by hand: float weights, and a rounding hook at every input."""
    plain = copy.deepcopy(model)
    layers = dict(spiking_layers(plain))
    args = {name: layer.quantization_scheme.input_activations for name, layer in layers.items()}
    static = {
        name: (layer.input_scale.data.clone(), getattr(layer, "input_zero_point", torch.zeros(1)).data.clone())
        for name, layer in layers.items()
        if hasattr(layer, "input_scale")
    }
    integers = {name: layer.integer for name, layer in layers.items()}
    detach(plain)
    for name, layer in layers.items():
        weight = integers[name].codes * integers[name].scale.repeat_interleave(
            layer.in_features // integers[name].groups, dim=1
        )
        layer.__dict__.pop("forward", None)
        layer.weight.data = weight
        layer.register_forward_pre_hook(partial(_round_input, args[name], static.get(name)))
    return plain


def _round_input(args: Any, static: Any, _: Any, inputs: Any) -> Any:
    return (rounded(inputs[0], args, static),)


def rounded(x: torch.Tensor, args: Any, static: Any) -> torch.Tensor:
    """Ordinary integer activations, as compressed-tensors defines them: half to even, end code -2^(b-1) included."""
    low_code, high_code = -(2 ** (args.num_bits - 1)), 2 ** (args.num_bits - 1) - 1
    if static is not None:
        scale, zero = static
    else:
        # by token where there is a batch dimension; Qwen2-VL's tower has none, and is then rounded by tensor
        along = -1 if x.dim() > 2 else (0, 1)
        low, high = x.amin(along, keepdim=True).clamp(max=0), x.amax(along, keepdim=True).clamp(min=0)
        steps, smallest = high_code - low_code, torch.finfo(torch.float32).eps
        if args.symmetric:
            scale, zero = (torch.maximum(high, -low) / (steps / 2)).clamp(min=smallest), torch.zeros(1)
        else:
            scale = ((high - low) / steps).clamp(min=smallest)
            zero = (low_code - torch.round(low / scale)).clamp(low_code, high_code)
    return ((x / scale + zero).round().clamp(low_code, high_code) - zero) * scale


def test_plain_transformers_opens_it_to_ordinary_activations(
    case: str, workshop: Workshop, plain_readings: dict[str, Any]
) -> None:
    if case in ONLINE:
        pytest.skip("online rotations: says so instead")
    kind, text = CASES[case]
    model, _ = workshop.made(kind, text)
    assert plain_readings[case]["problems"] == {}
    expected = tiny_models.logits(reference(model), workshop.batch(kind))
    torch.testing.assert_close(plain_readings[case]["logits"], expected, rtol=1e-3, atol=1e-3)


def test_online_rotations_are_announced(workshop: Workshop, tmp_path: Path) -> None:
    from loguru import logger

    for case in ONLINE:
        model = spike_compressor.load(workshop.made(*CASES[case])[1])
        messages: list[str] = []
        sink = logger.add(lambda message, keep=messages: keep.append(str(message)), level="WARNING")
        spike_compressor.save(model, tmp_path / case)
        logger.remove(sink)
        assert any("online rotations" in message and "spike_compressor.load()" in message for message in messages)


def test_a_plan_with_several_t_is_written_as_several_groups(workshop: Workshop) -> None:
    for case in ("plan", "qwen plan"):
        _, path = workshop.made(*CASES[case])
        groups = json.loads((path / "config.json").read_text())["quantization_config"]["config_groups"]
        bits = {group["input_activations"]["num_bits"] for group in groups.values()}
        assert {5, 7} <= bits
        targets = [target.removeprefix("re:") for group in groups.values() for target in group["targets"]]
        for name in read_config(path).plan:
            assert sum(re.match(target, name) is not None for target in targets) == 1, name


def test_more_than_ten_schemes_keep_their_targets(workshop: Workshop, tmp_path: Path) -> None:
    overrides = {
        f"model.language_model.layers.{layer}.self_attn.{part}_proj": 1 + (layer * 4 + n) % 7
        for layer in range(2)
        for n, part in enumerate("qkvo")
    }
    quant = RTN.replace(
        "config_groups: {",
        "config_groups: {w8: {targets: ['re:.*(mlp.fc|self_attn.*0.*_proj|k_proj|v_proj).*'], weights: "
        "{num_bits: 8, type: int, symmetric: true, strategy: channel}}, ",
    ).replace(
        "targets: [Linear], weights",
        "targets: ['re:.*(q_proj|out_proj|o_proj|up_proj|gate_proj|down_proj|linear_.)$'], weights",
    )
    msts = "{allocation: fixed, timesteps: {vision: 3, text: 4}, overrides: " + json.dumps(overrides) + "}"
    model = workshop.oneshot("llava", recipe(quant, msts=msts), output_dir=str(tmp_path / "out"))
    groups = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["config_groups"]
    assert len(groups) > 7
    batch = workshop.batch("llava")
    plain = type(model).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(
        tiny_models.logits(plain, batch), tiny_models.logits(reference(model), batch), rtol=1e-3, atol=1e-3
    )


def test_the_saved_recipe_runs_again(workshop: Workshop) -> None:
    model, path = workshop.made(*CASES["plan"])
    text = (path / "recipe.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["spike_stage"]["spike_modifiers"]["TCLIFModifier"]["ignore"] == yaml.safe_load(IGNORE)
    again = workshop.oneshot("llava", text)
    batch = workshop.batch("llava")
    assert torch.equal(tiny_models.logits(again, batch), tiny_models.logits(model, batch))


def test_half_precision_models(workshop: Workshop, tmp_path: Path) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        path = tmp_path / str(dtype)
        model = workshop.oneshot("llava", recipe(RTN), model=workshop.model("llava", dtype), output_dir=str(path))
        batch = workshop.batch("llava")
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
        expected = tiny_models.logits(model, batch)
        assert expected.dtype == dtype
        for backend in ("fused", "unrolled"):
            assert torch.equal(tiny_models.logits(spike_compressor.load(path, backend), batch), expected)


@pytest.mark.parametrize("case", ["quip", "spinquant online"])
def test_the_saved_recipe_of_a_rotation_runs_again(workshop: Workshop, case: str) -> None:
    kind, text = CASES[case]
    _, path = workshop.made(kind, text)
    again = workshop.oneshot(kind, (path / "recipe.yaml").read_text(encoding="utf-8"))
    assert spiking_layers(again)
    assert tiny_models.logits(again, workshop.batch(kind)).isfinite().all()
