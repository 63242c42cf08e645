"""What a bundle says of its scales: read as it was written, and held against what the membranes show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.messages import naming
from helpers.trace_layers import make_arrays
from spike_compressor.coding import encode, fixed_membrane, row_scale
from spike_compressor.trace import BundleWriter, Threshold, TraceError, golden, validate
from spike_compressor.trace.thresholds import first_row_apart

F = 8
NAMES = ("text", "vision")


def layer(statistic: str, ratio: dict[str, float], K: int = 40) -> dict[str, Any]:
    """A layer whose rows have scales by a statistic, some of them with an outlier that clips, one all zeros."""
    generator = torch.Generator().manual_seed(K)
    x = torch.randn(12, K, generator=generator) * torch.logspace(-8, 8, 12).unsqueeze(1)
    x[4, K // 2], x[5] = 100 * x[4].abs().max(), 0
    modality = np.arange(12, dtype=np.uint8) % 2
    T = torch.tensor([4, 6] * 6)
    scale = row_scale(x, T, torch.tensor([ratio[NAMES[code]] for code in modality]), statistic)
    train = encode(x, scale, T)
    weight = np.ones((3, K), np.int8)
    acc = golden.accumulate(train.codes().numpy(), weight, 1)[:, :, 0].astype(np.int32)
    ones = np.ones(3, np.float32)
    return {
        "membrane": fixed_membrane(x, scale, T, F).numpy(),
        "timesteps": T.to(torch.uint8).numpy(),
        "modality": modality,
        "codes": train.codes().to(torch.int16).numpy(),
        "spikes": train.spikes.numpy(),
        "weight": weight,
        "acc": acc,
        "act_scale": scale.numpy(),
        "weight_scale": ones,
        "output": golden.dequantize(acc, scale.numpy(), ones, None),
    }


def write(path: Path, arrays: dict[str, Any], threshold: Threshold | None) -> Path:
    with BundleWriter(path, producer={}, model={}) as bundle:
        bundle.add_layer("fc", coding="tc_lif", frac_bits=F, weight_bits=4, threshold=threshold, **arrays)
    return path


@pytest.mark.parametrize("statistic", ["absmax", "rms", "mean_abs"])
@pytest.mark.parametrize("ratio", [{"text": 0.3, "vision": 0.3}, {"text": 0.9, "vision": 1.7}])
@pytest.mark.parametrize("K", [1, 2, 40])
def test_what_is_so_is_taken(tmp_path: Path, statistic: str, ratio: dict[str, float], K: int) -> None:
    threshold = Threshold("dynamic", statistic, ratio)
    bundle = validate(write(tmp_path / "b", layer(statistic, ratio, K), threshold))
    assert bundle.infos[0].threshold == threshold
    validate(write(tmp_path / "silent", layer(statistic, ratio, K), None))


@pytest.mark.parametrize("statistic", ["absmax", "rms", "mean_abs"])
def test_what_is_not_so_is_refused(tmp_path: Path, statistic: str) -> None:
    ratio = {"text": 1.4, "vision": 0.8}
    arrays = layer(statistic, ratio)
    others = {"absmax", "rms", "mean_abs"} - {statistic}
    wrong = [Threshold("dynamic", other, ratio) for other in others]
    wrong += [Threshold("dynamic", statistic, {**ratio, "text": 1.45}), Threshold("static")]
    for number, threshold in enumerate(wrong):
        with pytest.raises(TraceError, match=naming("layer fc", "act_scale", threshold.statistic or "static")):
            write(tmp_path / str(number), arrays, threshold)
    with pytest.raises(TraceError, match=naming("layer fc", "act_scale", "ratio", "vision")):
        write(tmp_path / "missing", arrays, Threshold("dynamic", statistic, {"text": 1.4}))


def test_a_scale_that_was_changed_with_its_outputs_is_noticed() -> None:
    arrays = layer("rms", {"text": 0.5, "vision": 0.5})
    told = (arrays["modality"], NAMES, arrays["membrane"], arrays["timesteps"], F)
    threshold = Threshold("dynamic", "rms", {"text": 0.5, "vision": 0.5})
    assert first_row_apart(threshold, *told, arrays["act_scale"]) is None
    arrays["membrane"][7] = arrays["membrane"][7] * 9 // 10
    found = first_row_apart(threshold, *told, arrays["act_scale"])
    assert found is not None
    assert found[0] == 7


def test_static_scales_are_one_for_a_modality(tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["act_scale"] = np.where(arrays["modality"] == 1, 0.25, 0.5).astype(np.float32)
    arrays["output"] = golden.dequantize(arrays["acc"], arrays["act_scale"], arrays["weight_scale"], arrays["bias"])
    validate(write_static(tmp_path / "b", arrays))
    arrays["act_scale"][-1] *= 2
    arrays["output"] = golden.dequantize(arrays["acc"], arrays["act_scale"], arrays["weight_scale"], arrays["bias"])
    with pytest.raises(TraceError, match=naming("layer fc", f"act_scale[{len(arrays['act_scale']) - 1}]", "static")):
        write_static(tmp_path / "wrong", arrays)


def write_static(path: Path, arrays: dict[str, Any]) -> Path:
    with BundleWriter(path, producer={}, model={}) as bundle:
        threshold = Threshold("static")
        bundle.add_layer("fc", coding="tc_lif", frac_bits=10, weight_bits=4, threshold=threshold, **arrays)
    return path


def test_a_statistic_of_another_package_is_taken_on_trust(tmp_path: Path) -> None:
    arrays = layer("rms", {"text": 0.5, "vision": 0.5})
    validate(write(tmp_path / "b", arrays, Threshold("dynamic", "ninth_largest", {"text": 0.1, "vision": 0.1})))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ("mode", "None")),
        ({"mode": "auto"}, ("mode", "'auto'")),
        ({"mode": "static", "ratio": {}}, ("mode", "static")),
        ({"mode": "dynamic", "ratio": {"text": 1}}, ("statistic",)),
        ({"mode": "dynamic", "statistic": 5, "ratio": {"text": 1}}, ("statistic", 5)),
        ({"mode": "dynamic", "statistic": "rms", "ratio": {"text": 0}}, ("ratio", "'text'", 0)),
        ({"mode": "dynamic", "statistic": "rms", "ratio": 0.5}, ("ratio", 0.5)),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, value: Any, names: tuple[object, ...]) -> None:
    path = write(tmp_path / "b", layer("rms", {"text": 0.5, "vision": 0.5}), None) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["layers"][0]["threshold"] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(TraceError, match=naming("layer fc", "threshold", *names)):
        validate(path.parent)
