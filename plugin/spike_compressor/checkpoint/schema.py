"""`spike_config.json`: everything about the spikes of a checkpoint, and what it belongs to."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spike_compressor.errors import shown

if TYPE_CHECKING:  # reading a config must not wait for torch
    from spike_compressor.modality import AdapterRecord
    from spike_compressor.runtime import AttentionSpec, LayerSpec

CONFIG_NAME = "spike_config.json"
RECIPE_NAME = "recipe.yaml"
THRESHOLDS_NAME = "spike_thresholds.safetensors"
SCHEMA_VERSION: Final = 4  # the newest; `migrations` reads the older ones, and says which of them a file is written in


#: How a checkpoint holds experts: a tensor for each of them, or one for all of a layer.
Layout = Literal["separate", "stacked"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LayerEntry(_Strict):
    """One spiking layer; static scales live in `spike_thresholds.safetensors`, where they keep every bit.

    `modalities` names those that rows of the layer can have.
    """

    timesteps: dict[str, int]
    coding: str
    threshold: Literal["dynamic", "static"]
    threshold_ratio: dict[str, float] | None = None
    threshold_statistic: str | None = None  # of dynamic thresholds; left out where it is absmax
    symmetric: bool = True
    zero_point: dict[str, int] | None = None
    modalities: list[str] | None = None

    @classmethod
    def of(cls, spec: LayerSpec, modalities: list[str] | None = None) -> LayerEntry:
        """The entry of a layer's spec."""
        return cls(
            timesteps=dict(spec.timesteps),
            coding=spec.coding,
            threshold=spec.threshold,
            threshold_ratio=dict(spec.ratio) if spec.threshold == "dynamic" and spec.symmetric else None,
            threshold_statistic=None if spec.statistic == "absmax" else spec.statistic,
            symmetric=spec.symmetric,
            zero_point=None if spec.zero_point is None else dict(spec.zero_point),
            modalities=modalities,
        )

    def spec(self, scale: dict[str, float] | None) -> LayerSpec:
        """The layer's spec again; `scale` by modality for static thresholds."""
        from spike_compressor.runtime import LayerSpec

        return LayerSpec(
            timesteps=self.timesteps,
            coding=self.coding,
            threshold=self.threshold,
            ratio=self.threshold_ratio or {},
            scale=scale,
            symmetric=self.symmetric,
            zero_point=self.zero_point,
            statistic=self.threshold_statistic or "absmax",
        )


class AttentionEntry(_Strict):
    """One attention module whose products spike."""

    timesteps: dict[str, int]
    coding: str
    threshold_ratio: float
    kv_cache: bool

    @classmethod
    def of(cls, spec: AttentionSpec) -> AttentionEntry:
        """The entry of a module's spec."""
        return cls(
            timesteps=dict(spec.rows.timesteps),
            coding=spec.rows.coding,
            threshold_ratio=spec.ratio,
            kv_cache=spec.kv_cache,
        )

    def spec(self) -> AttentionSpec:
        """The module's spec again."""
        from spike_compressor.runtime import AttentionSpec, LayerSpec

        ratio = dict.fromkeys(self.timesteps, self.threshold_ratio)
        return AttentionSpec(LayerSpec(self.timesteps, self.coding, ratio=ratio), self.kv_cache)


class Budget(_Strict):
    """What was asked for and what the plan takes.

    Mean timesteps over layers and modalities, unweighted, and weighted by calibration tokens x MACs where there were
    any; synaptic operations per token where they were measured; the prompts that gradients were taken of.
    """

    allocation: str | None = None
    requested: dict[str, float] | None = None
    weighting: str | None = None
    samples: int | None = None
    mean_timesteps: float
    mean_timesteps_weighted: float | None = None
    sops_per_token: float | None = None


class OnlineRotations(_Strict):
    """Rotations that run at inference: transform name -> where it acts."""

    transforms: dict[str, list[str]] = Field(default_factory=dict)


class Curve(_Strict):
    """How much the tokens of one modality turn in each decoder layer: D_m(l) = 1 - mean cos(h_l, h_{l+1})."""

    mean: list[float]
    half_width: list[float]
    tokens: int
    samples: int


class Evolution(_Strict):
    """The raw MED curves over the decoder layers.

    `discrepancy` has `D_text - D_M` of every other modality M that was seen, where text was.
    """

    layers: list[str]
    discrepancy: dict[str, list[float]] | None = None
    modalities: dict[str, Curve]

    @model_validator(mode="after")
    def _one_value_a_layer(self) -> Evolution:
        columns = {f"discrepancy.{name}": values for name, values in (self.discrepancy or {}).items()}
        for name, curve in self.modalities.items():
            columns |= {f"modalities.{name}.mean": curve.mean, f"modalities.{name}.half_width": curve.half_width}
        for name, values in columns.items():
            if len(values) != len(self.layers):
                raise ValueError(f"{name} has {len(values)} values for {len(self.layers)} decoder layers")
        return self


class RowActivity(_Strict):
    """What the rows of one modality did in one layer.

    `rows` without padding, `firing_rate` in spikes per neuron and timestep, `saturation` as the share of codes that
    were clipped at an end of their range.
    """

    rows: int
    firing_rate: float
    saturation: float


class LayerActivity(_Strict):
    """One layer: `dead` of its `inputs` never fired."""

    inputs: int
    dead: int
    modalities: dict[str, RowActivity]


class ActivityRun(_Strict):
    """What the spiking model ran on: calibration samples one by one, tokens by modality, the longest sample."""

    samples: int
    tokens: dict[str, int]
    longest: int


class ActivityTotals(_Strict):
    """Over all layers; by modality where a mapping. `coverage`: share of multiply-accumulates that spikes do."""

    coverage: float
    firing_rate: dict[str, float]
    spikes_per_neuron: dict[str, float]
    sops_per_token: dict[str, float]
    saturation: dict[str, float]
    inputs: int
    dead: int

    @model_validator(mode="after")
    def _the_same_modalities(self) -> ActivityTotals:
        for name in ("spikes_per_neuron", "sops_per_token", "saturation"):
            if getattr(self, name).keys() != self.firing_rate.keys():
                raise ValueError(f"{name} and firing_rate are of different modalities")
        return self


class Activity(_Strict):
    """What really spiked when the freshly attached model ran on calibration data, or why that was not measured."""

    not_measured: str | None = None
    run: ActivityRun | None = None
    totals: ActivityTotals | None = None
    never_called: list[str] = Field(default_factory=list)
    layers: dict[str, LayerActivity] = Field(default_factory=dict)
    attention: dict[str, dict[Literal["q", "k", "p", "v"], dict[str, RowActivity]]] | None = None

    @model_validator(mode="after")
    def _measured_or_not(self) -> Activity:
        measured = self.run is not None and self.totals is not None
        if measured == (self.not_measured is not None):
            raise ValueError("an activity has `run` and `totals`, or says why it was `not_measured`")
        return self


class Adapter(_Strict):
    """Which modules see one modality only, and how rows are told apart (with `placeholders`): what made the masks."""

    modules: dict[str, list[str]]
    decoder_path: str = ""
    methods: list[str] = Field(default_factory=list)
    token_rows: str | None = None
    configured: bool = False


class _CalibrationRun(BaseModel):
    """What `calibration` says at least."""

    samples: int
    tokens: dict[str, int]


class SpikeConfig(_Strict):
    """The whole file."""

    format: Literal["spike-config"] = "spike-config"
    schema_version: Literal[4] = SCHEMA_VERSION
    producer: dict[str, str]
    architecture: str
    modalities: list[str]
    placeholders: dict[str, list[int]]
    adapter: Adapter | None = None
    coding: str
    plan: dict[str, LayerEntry]
    attention: dict[str, AttentionEntry] | None = None
    not_spiking: dict[str, str]
    budget: Budget
    calibration: dict[str, Any] | None = None
    uncalibrated: list[str] = Field(default_factory=list)
    evolution: Evolution | None = None
    activity: Activity | None = None
    online_rotations: OnlineRotations = Field(default_factory=OnlineRotations)
    experts: Layout | None = None
    opens_in_plain_transformers: bool
    why_not_plain: str | None = None
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _every_modality(self) -> SpikeConfig:
        """What is shown or computed of a modality is there for each of them."""
        tables = {
            f"plan.{name}.{field}": getattr(entry, field)
            for name, entry in self.plan.items()
            for field in ("timesteps", "threshold_ratio", "zero_point")
        }
        tables |= {f"attention.{name}.timesteps": entry.timesteps for name, entry in (self.attention or {}).items()}
        for where, table in tables.items():
            lacking = [name for name in self.modalities if table is not None and name not in table]
            if lacking:
                raise ValueError(f"{where} has no value for {lacking[0]}, which `modalities` names")
        for name, entry in self.plan.items():
            strange = [modality for modality in entry.modalities or () if modality not in self.modalities]
            if strange:
                raise ValueError(f"plan.{name}.modalities has {shown(strange[0])}, and `modalities` has not")
        if self.calibration is not None:
            _CalibrationRun.model_validate(self.calibration)
        return self

    def adapter_record(self) -> AdapterRecord | None:
        """What made the masks; None in files that do not say."""
        from spike_compressor.modality import AdapterRecord

        if self.adapter is None:
            return None
        return AdapterRecord(
            modules={name: tuple(modules) for name, modules in self.adapter.modules.items()},
            placeholders={name: tuple(ids) for name, ids in self.placeholders.items()},
            decoder_path=self.adapter.decoder_path,
            methods=tuple(self.adapter.methods),
            token_rows=self.adapter.token_rows,
            configured=self.adapter.configured,
        )


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of `spike_config.json` with its own SHA-256 in `sha256`: of its canonical JSON without that entry."""
    hashes = {name: digest for name, digest in content["sha256"].items() if name != CONFIG_NAME}
    bare = json.dumps({**content, "sha256": hashes}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {**content, "sha256": {**hashes, CONFIG_NAME: hashlib.sha256(bare.encode()).hexdigest()}}
