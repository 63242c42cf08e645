"""Files of older schema versions are read as the present one; their seals are those of the files as they stand.

What is written has the oldest version that says all of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.checkpoint import SCHEMA_VERSION, modalities_of_layers, read_config
from spike_compressor.checkpoint.migrations import ADDED, MIGRATIONS, migrated, oldest
from spike_compressor.checkpoint.schema import sealed
from spike_compressor.errors import InputError
from spike_compressor.runtime import LayerSpec, spiking_state

DATA = Path(__file__).parent / "data"
#: As version 0.1.0 wrote it, the last one with schema 1: LLaVA, static thresholds.
WRITTEN_BY_0_1_0 = DATA / "spike_config_schema_1.json"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory with the old file, byte for byte."""
    shutil.copy(WRITTEN_BY_0_1_0, tmp_path / "spike_config.json")
    return tmp_path


def downgraded(path: Path, version: int) -> dict[str, Any]:
    """Rewrite a fresh checkpoint's config as an older version would have written it; returns it."""
    content: dict[str, Any] = json.loads((path / "spike_config.json").read_text())
    content["schema_version"] = version
    content["placeholder_ids"] = content.pop("placeholders").get("vision", [])
    content["adapter"]["vision_modules"] = content["adapter"].pop("modules").get("vision", [])
    if "discrepancy" in content.get("evolution", {}):
        content["evolution"]["discrepancy"] = content["evolution"]["discrepancy"]["vision"]
    if content["modalities"] == ["text"]:  # every entry had T of vision, whether the model saw or not
        content["modalities"] = ["text", "vision"]
        for entry in content["plan"].values():
            entry["timesteps"]["vision"] = 7
            if "threshold_ratio" in entry:
                entry["threshold_ratio"]["vision"] = 1.0
    for entry in content["plan"].values() if version == 1 else ():
        entry["sees"] = entry.pop("modalities")
    content = sealed(content)
    (path / "spike_config.json").write_text(json.dumps(content))
    return content


def test_there_is_a_step_from_each_version() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_file_of_each_version_is_kept_and_read(tmp_path: Path) -> None:
    kept: dict[int, list[Path]] = {}
    for path in DATA.glob("spike_config_schema_*.json"):
        kept.setdefault(json.loads(path.read_text())["schema_version"], []).append(path)
    assert sorted(kept) == list(range(1, SCHEMA_VERSION + 1))
    for path in (path for paths in kept.values() for path in paths):
        shutil.copy(path, tmp_path / "spike_config.json")
        config = read_config(tmp_path)
        assert config.schema_version == SCHEMA_VERSION
        assert config.plan
    (newest,) = kept[4]
    shutil.copy(newest, tmp_path / "spike_config.json")
    assert {entry.threshold_statistic for entry in read_config(tmp_path).plan.values()} == {"rms"}


def test_a_file_of_schema_1_is_read(old: Path) -> None:
    content = json.loads(WRITTEN_BY_0_1_0.read_text())
    assert content["schema_version"] == 1
    assert content["producer"]["spike-compressor"] == "0.1.0"
    config = read_config(old)
    assert config.schema_version == SCHEMA_VERSION
    assert modalities_of_layers(config) == {name: entry["sees"] for name, entry in content["plan"].items()}
    assert {tuple(entry.modalities or ()) for entry in config.plan.values()} == {("vision",), ("text", "vision")}
    for name, entry in content["plan"].items():  # all else is as it was
        assert config.plan[name].timesteps == entry["timesteps"]
        assert config.plan[name].threshold == "static"
    assert config.sha256 == content["sha256"]


def test_a_file_of_schema_2_is_read(tmp_path: Path) -> None:
    """LLaVA with curves: what was said of vision is said by name."""
    content = json.loads((DATA / "spike_config_schema_2.json").read_text())
    assert (content["schema_version"], content["placeholder_ids"]) == (2, [5])
    shutil.copy(DATA / "spike_config_schema_2.json", tmp_path / "spike_config.json")
    config = read_config(tmp_path)
    assert config.schema_version == SCHEMA_VERSION
    assert config.placeholders == {"vision": [5]}
    assert config.adapter is not None
    assert config.adapter.modules == {"vision": content["adapter"]["vision_modules"]}
    assert config.evolution is not None
    assert config.evolution.discrepancy == {"vision": content["evolution"]["discrepancy"]}
    assert {name: entry.timesteps for name, entry in config.plan.items()} == {
        name: entry["timesteps"] for name, entry in content["plan"].items()
    }


def test_a_text_only_file_of_schema_2_is_read(tmp_path: Path) -> None:
    shutil.copy(DATA / "spike_config_schema_2_text.json", tmp_path / "spike_config.json")
    config = read_config(tmp_path)
    assert config.placeholders == {}
    assert config.adapter is not None
    assert config.adapter.modules == {}
    assert set(modalities_of_layers(config)) == set(config.plan)
    assert {tuple(seen) for seen in modalities_of_layers(config).values()} == {("text",)}


def test_the_seal_of_an_old_file_is_checked_as_it_stands(old: Path) -> None:
    text = WRITTEN_BY_0_1_0.read_text()
    for changed in (
        text.replace('"text": 4', '"text": 5', 1),
        text.replace('"sees"', '"modalities"', 1),
        text.replace('"sees": [', '"sees": [ "text",', 1),
    ):
        assert changed != text
        (old / "spike_config.json").write_text(changed)
        with pytest.raises(InputError, match=naming("spike_config.json", "SHA-256")):
            read_config(old)
    # what today's version says of the same checkpoint, under the old seal
    (old / "spike_config.json").write_text(json.dumps(migrated(json.loads(text))))
    with pytest.raises(InputError, match=naming("spike_config.json", "SHA-256")):
        read_config(old)


@pytest.mark.parametrize("plan", [None, [], {"model.layer": None}, {"model.layer": {"sees": 5}}])
def test_a_sealed_old_file_that_makes_no_sense_is_refused_by_field(old: Path, plan: Any) -> None:
    content = json.loads(WRITTEN_BY_0_1_0.read_text())
    (old / "spike_config.json").write_text(json.dumps(sealed({**content, "plan": plan})))
    with pytest.raises(InputError, match=naming("spike_config.json", "plan")):
        read_config(old)


def test_migrating_leaves_what_was_read_as_it_is() -> None:
    content = json.loads(WRITTEN_BY_0_1_0.read_text())
    before = json.dumps(content)
    once = migrated(content)
    assert json.dumps(content) == before
    assert migrated(once) == once


@pytest.mark.parametrize(
    ("kind", "version", "spikes"),
    [("llava", 1, "threshold: static"), ("llava", 2, "threshold: static"), ("llama", 2, "")],
)
def test_an_old_checkpoint_is_loaded_and_saved_in_the_present_version(
    workshop: Workshop, tmp_path: Path, kind: str, version: int, spikes: str
) -> None:
    fresh = workshop.made(kind, recipe(RTN, spikes))[1]
    copied = Path(shutil.copytree(fresh, tmp_path / "old"))
    downgraded(copied, version)
    batch = workshop.batch(kind)
    model = spike_compressor.load(copied)
    assert torch.equal(model(**batch).logits, spike_compressor.load(fresh)(**batch).logits)
    spike_compressor.save(model, tmp_path / "again")
    again = json.loads((tmp_path / "again" / "spike_config.json").read_text())
    assert again["schema_version"] == 3  # nothing of it is newer
    assert again["plan"] == json.loads((fresh / "spike_config.json").read_text())["plan"]
    assert again["modalities"] == json.loads((fresh / "spike_config.json").read_text())["modalities"]


RMS = recipe(
    RTN, "threshold_statistic: rms, threshold_ratio: 0.35", "{allocation: fixed, timesteps: {text: 7, vision: 6}}"
)


def test_what_is_new_alone_asks_for_a_new_reader(workshop: Workshop) -> None:
    """Earlier releases refuse an unknown version in one sentence, and open what says nothing new."""
    for spikes, version in ((RMS, 4), (recipe(RTN), 3)):
        content = json.loads((workshop.made("llava", spikes)[1] / "spike_config.json").read_text())
        assert content["schema_version"] == version
        assert any("threshold_statistic" in entry for entry in content["plan"].values()) == (version == 4)
        assert content["sha256"] == sealed(content)["sha256"]


def test_each_field_that_a_version_added_is_written_in_it() -> None:
    content = migrated(json.loads((DATA / "spike_config_schema_2.json").read_text()))
    assert oldest(content) == {**content, "schema_version": min(ADDED) - 1}
    assert sorted(ADDED) == list(range(min(ADDED), SCHEMA_VERSION + 1))
    for version, paths in ADDED.items():
        for path in paths:
            *way, field = path.split(".")
            changed = json.loads(json.dumps(content))
            holder = changed
            for step in way:
                holder = holder[next(iter(holder)) if step == "*" else step]
            holder[field] = 1
            assert oldest(changed) == {**changed, "schema_version": version}


def test_a_statistic_survives_the_round_trip(workshop: Workshop, tmp_path: Path) -> None:
    model, path = workshop.made("llava", RMS)
    batch = workshop.batch("llava")
    loaded = spike_compressor.load(path)
    assert {layer.statistic for layer in specs_of(loaded)} == {"rms"}
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    spike_compressor.save(loaded, tmp_path / "again", verify="all")
    assert read_config(tmp_path / "again").plan == read_config(path).plan
    again = spike_compressor.load(tmp_path / "again", backend="unrolled")
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def specs_of(model: Any) -> list[LayerSpec]:
    return [layer.spec for layer in spiking_state(model).layers.values()]
