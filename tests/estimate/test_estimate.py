"""Models, accelerators and rivals: figures that can be worked out by hand, and what bad input is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import estimate as committed
import estimate_data
import pytest
from drawings import drawing
from helpers.messages import naming
from spike_compressor.cli.program import run as command_line
from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import AcceleratorFields, read_accelerator
from spike_compressor.estimate.models import linears, parameters, read_model
from spike_compressor.estimate.names import accelerator_names, model_names
from spike_compressor.estimate.phases import phase
from spike_compressor.estimate.plans import plan_from
from spike_compressor.estimate.report import rounded
from spike_compressor.estimate.rivals import gpu, roofline
from spike_compressor.estimate.run import Service, estimate, phases
from spike_compressor.estimate.scale import Prices, fleet, group
from spike_compressor.estimate.technology import technology
from spike_compressor.estimate.work import Load, decode, weight_bytes
from spike_compressor.trace import BundleWriter
from spike_compressor.yaml_files import read_yaml

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MODEL = read_model("qwen2-vl-7b")
PLAN = plan_from("3/4", None, "gauss", None)
LOAD = Load(image_tokens=256)


@pytest.mark.parametrize("name", model_names())
def test_shapes_have_the_published_number_of_parameters(name: str) -> None:
    model = read_model(name)
    assert model.parameters is not None
    assert parameters(model) == pytest.approx(model.parameters, rel=0.01)
    assert "config.json" in model.source


@pytest.mark.parametrize("name", accelerator_names())
def test_shipped_accelerators_are_what_their_areas_hold(name: str) -> None:
    chip = read_accelerator(name)
    assert chip.cores * chip.core.area_mm2 <= chip.fields.area_mm2 < (chip.cores + 1) * chip.core.area_mm2
    assert chip.organisation.name == chip.fields.organisation
    assert 100e6 < chip.clock_hz < 2e9


def test_what_is_known_of_synthesis_is_what_was_synthesised() -> None:
    assert estimate_data.TARGET.read_text(encoding="utf-8") == estimate_data.text()


def test_energies_of_buffers_are_the_cited_one_scaled() -> None:
    cited = 100 / 64  # pJ a bit of 1 MB at 45 nm and .9 V
    for name, cell in (("180nm", 4.73), ("130nm", 2.47), ("28nm", 146 * 0.028**2), ("7nm", 0.02916)):
        one = technology(name)
        scaled = cited * (cell / (146 * 0.045**2)) ** 0.5 * (one.volts / 0.9) ** 2
        assert one.sram_pj_per_bit == pytest.approx(scaled, rel=0.02)


def test_a_process_between_two_lies_between_them() -> None:
    high, middle, low = (technology(name).rung("INT8 x INT8")["area_um2"] for name in ("130nm", "28nm", "7nm"))
    assert low < middle < high
    assert technology("180nm").factors("INT8 x INT8") == pytest.approx({"area_um2": 1, "period_ns": 1, "pj_per_mac": 1})


def test_decode_takes_as_long_as_its_bytes() -> None:
    chip = read_accelerator("event-7nm")
    _, step = phases(chip, MODEL, PLAN, LOAD)
    body = sum(one.weights for one in linears(MODEL) if one.rows == "token") / 2
    head = MODEL.decoder.vocabulary * MODEL.decoder.hidden
    cache = 2 * 28 * 4 * 128 * (256 + 64 + 64)
    assert step.seconds == pytest.approx((body + head + cache) / (1935e9 * 0.85), rel=1e-6)
    assert step.bound_by() == {"memory": 1.0}
    assert step.energy_by()["DRAM"] == pytest.approx((body + head + cache) * 8 * 4.5e-12, rel=1e-6)
    assert step.joules == pytest.approx(sum(step.energy_by().values()))


def test_memory_decides_no_more_once_there_is_enough() -> None:
    chip = read_accelerator("event-7nm")
    fast = replace(
        chip,
        fields=chip.fields.model_copy(update={"dram": chip.fields.dram.model_copy(update={"gb_per_s": 1e6})}),
    )
    step = phases(fast, MODEL, PLAN, LOAD)[1]
    assert "memory" not in step.bound_by()
    assert step.seconds < phases(chip, MODEL, PLAN, LOAD)[1].seconds


def test_fewer_spikes_help_the_event_core_alone() -> None:
    few = PLAN.scaled(0.5)
    for name, gains in (("event-7nm", True), ("dense-7nm", False)):
        chip = read_accelerator(name)
        now, then = (phases(chip, MODEL, plan, LOAD)[0] for plan in (PLAN, few))
        assert (then.seconds < 0.9 * now.seconds) is gains
        assert then.joules < now.joules  # nets of dense arrays change less, too


def test_a_gpu_at_its_roofline() -> None:
    a800 = gpu("A800 80GB PCIe")
    found = roofline(a800, "FP16", decode(MODEL, LOAD), LOAD, 1)
    body = sum(one.weights for one in linears(MODEL) if one.rows != "patch" and one.kind != "projector") * 2
    cache = 2 * 28 * 4 * 128 * (256 + 64 + 64) * 2
    assert found.seconds == pytest.approx((body + cache) / 1935e9, rel=1e-6)
    assert found.memory == 1
    assert found.joules_per_token == pytest.approx(300 * found.seconds)


def test_a_group_of_chips_waits_for_links() -> None:
    chip, load = read_accelerator("dense-7nm"), replace(LOAD, batch=64)
    one, four = (group(chip, MODEL, PLAN, load, chips) for chips in (1, 4))
    assert one.link_share == 0 < four.link_share < 0.6
    assert one.tokens_per_s < four.tokens_per_s < 4 * one.tokens_per_s
    assert four.decode_link >= 2 * 28 * 2 * 2 * 2e-6  # two all-reduces a layer, two doublings, latency there and back
    day = fleet(one, 1e9, Prices(busy=0.5))
    assert day.chips == -(-1e9 / 86400 // (one.tokens_per_s * 0.5))
    assert day.kwh_a_day == pytest.approx(1e9 * one.joules_per_token / 3.6e6 * 1.3)
    with pytest.raises(InputError, match=naming("GiB", 1)):
        group(chip, read_model("qwen2-vl-72b"), PLAN, replace(LOAD, batch=1024), 1)
    assert weight_bytes(MODEL, 4, LOAD) < weight_bytes(MODEL, 8, LOAD)


def test_intervals_hold_the_figure_and_follow_the_seed() -> None:
    chips = [read_accelerator("event-7nm")]
    first, again, other = (estimate(MODEL, chips, PLAN, LOAD, draws=40, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["chips"][0]["intervals"] != other["chips"][0]["intervals"]
    for name, (low, high) in first["chips"][0]["intervals"].items():
        assert low < first["chips"][0]["figures"][name] < high, name
    bars = first["chips"][0]["tornado"]["decode_joules_per_token"]
    assert bars[0]["input"] == "dram_pj_per_bit"
    widths = [abs(bar["at_high"] - bar["at_low"]) for bar in bars]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    "name",
    [
        "estimate",
        "estimate_claim",
        pytest.param("estimate_72b", marks=pytest.mark.slow),
        pytest.param("estimate_models", marks=pytest.mark.slow),
    ],
)
def test_committed_tables_are_made_again(name: str) -> None:
    kept = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert committed.result(name) == kept
    assert (drawing(kept) is not None) is (RESULTS / f"{name}.svg").is_file()


def test_a_config_and_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from generate import random_arrays

    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arrays = random_arrays(np.random.default_rng(0), 8, 512, 64, timesteps=4)
    with BundleWriter(tmp_path / "trace", producer={"name": "tb"}, model={"name": "random"}) as bundle:
        for layer in ("q_proj", "down_proj"):
            bundle.add_layer(f"model.layers.0.{layer}", coding="tc_lif", frac_bits=16, weight_bits=4, **arrays)
    arguments = ["estimate", "--model", str(tmp_path), "--trace", str(tmp_path / "trace"), "--gpu", "A800 80GB PCIe"]
    arguments += ["--draws", "5", "--tokens-per-day", "1e6", "--chips", "1", "2", "--out", str(tmp_path / "out")]
    assert command_line([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fired = {one["kind"]: one["per_input"] for one in found["spikes"] if one["modality"] == "text"}
    assert fired["q/k/v"] == pytest.approx(
        np.count_nonzero(arrays["spikes"][:, arrays["modality"] == 0]) / 512 / (arrays["modality"] == 0).sum(), rel=1e-3
    )
    assert found["load"]["image_tokens"] == 0
    event, dense = found["traced"][0], found["traced"][1]
    assert event["layers"] == dense["layers"] == 1
    assert event["spikes"] == pytest.approx(event["statistics"], rel=0.1)
    assert dense["spikes"] == dense["statistics"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"estimate.json", "estimate.md", "tornado.svg"}
    assert json.loads((tmp_path / "out" / "estimate.json").read_text(encoding="utf-8")) == found == rounded(found)
    assert command_line(arguments) == 0
    shown = capsys.readouterr().out
    assert all(title in shown for title in ("Accelerators", "GPUs", "A service", "What matters"))


FIELDS = read_yaml(Path(str(read_accelerator.__globals__["FOLDER"])) / "event-7nm.yaml")


def accelerator(**changes: Any) -> Callable[[Path], Any]:
    def call(folder: Path) -> Any:
        (folder / "mine.yaml").write_text(json.dumps({**FIELDS, **changes}), encoding="utf-8")
        return read_accelerator(folder / "mine.yaml")

    return call


def config(**changes: Any) -> Callable[[Path], Any]:
    known = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}

    def call(folder: Path) -> Any:
        (folder / "config.json").write_text(json.dumps({**known, "vocab_size": 100, **changes}), encoding="utf-8")
        return read_model(folder)

    return call


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda folder: read_model("qwen2-vl-7"), ("qwen2-vl-7", "qwen2-vl-7b")),
        (lambda folder: read_model(folder), ("config.json",)),
        (config(hidden_size="wide"), ("hidden_size", "wide")),
        (config(vocab_size=None), ("vocab_size",)),
        (config(num_experts=8), ("experts",)),
        (lambda folder: read_accelerator("event"), ("event", "event-7nm")),
        (accelerator(organisation="evnt"), ("evnt", "event")),
        (accelerator(array={"rows": 8}), ("event", "columns")),
        (accelerator(design="spike 1x1"), ("spike 1x1", "spike 64x16, 16 slots")),
        (accelerator(technology="5nm"), ("5nm", "7nm")),
        (accelerator(area_mm2=0.01), ("area_mm2", 0.01)),
        (accelerator(clock_derate=2), ("clock_derate", 2)),
        (accelerator(clock=1), ("clock",)),
        (accelerator(dram={"gb_per_s": 1}), ("dram", "gib")),
        (lambda folder: plan_from("8/4", None, "gauss", None), ("--timesteps", 7)),
        (lambda folder: plan_from("3/4", "vision=1", "gauss", None), ("--spikes", "text")),
        (lambda folder: plan_from("vision=3+text=4+head=2", None, "gauss", None), ("head", "down")),
        (lambda folder: plan_from("3/4", "1.04/9", "gauss", None), (9, 4)),
        (lambda folder: plan_from("3/4", "1/1", "gauss", folder), ("--trace", "--spikes")),
        (lambda folder: gpu("A900"), ("A900", "H200 SXM")),
        (lambda folder: Load(batch=0), ("batch", 0)),
        (lambda folder: Load(head_bits=1), ("head_bits", 1)),
        (lambda folder: Service(-5.0), ("tokens_a_day", -5)),
        (lambda folder: Service(1e9, prices=Prices(busy=0)), ("busy", 0)),
        (lambda folder: Service(1e9, prices=Prices(busy=2)), ("busy", 2)),
        (
            lambda folder: phases(read_accelerator("dense-7nm"), MODEL, plan_from("7", "0.7", "laplace", None), LOAD),
            (7, 4),
        ),
        (lambda folder: estimate(MODEL, [], PLAN, LOAD), ("accelerator",)),
    ],
)
def test_bad_input_is_one_sentence(call: Callable[[Path], Any], names: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=naming(*names)) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_field_is_read_or_refused() -> None:
    assert AcceleratorFields.model_validate(FIELDS).max_timesteps == 4
    assert phase(read_accelerator("dense-7nm"), PLAN, decode(MODEL, LOAD), LOAD, 1).tokens == 1
