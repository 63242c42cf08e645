"""What a trace bundle is made of: the manifest's fields and the arrays' types and shapes, by version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spike_compressor.errors import InputError, shown

from .thresholds import Threshold

FORMAT = "spike-trace"
#: The newest; a bundle has it where it needs it, so that readers of version 1 read the others.
VERSION = 2
MANIFEST = "manifest.json"
MAX_TIMESTEPS = 7
#: Of bundles of version 1, which the hardware computes.
CODINGS = ("tc_lif", "csd")
#: Of bundles of version 2 beside them: the neuron of `tc_lif` with another initial potential,
RDOQ_CODING = "tc_lif_rdoq"
#: its spikes, of which lanes that are too full have dropped some, with the number of lanes,
CAPPED_CODINGS = {"tc_lif_capped": 8, "tc_lif_capped16": 16}
#: both of which read quarters,
QUARTER_BITS = 2
#: and group codings with the states of their search.
GROUP_CODINGS = {"group4": 8, "group4_beam4": 4}
#: Fraction bits of their membranes: below the weight of the last step.
GROUP_FRAC_BITS = 7
MAX_GROUP_STEPS = 8
#: By code, in bundles whose manifest names none.
MODALITIES = ("text", "vision")
OUTPUT_DTYPES = ("float32", "float16", "bfloat16")

_FILE_NAME = re.compile(r"[^./\\:][^/\\:]*\.npz")  # stays inside the bundle on every system, never hidden
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


#: Letters of a name.
_LONGEST = 500


class TraceError(InputError):
    """A bundle is not what it should be. The message is one line: where, what was expected, what found."""


def steps_of(timesteps: int, coding: str) -> int:
    """Number of steps a row with `timesteps` T takes: T + 1 for `csd`, T for the others."""
    return timesteps + 1 if coding == "csd" else timesteps


def least_frac_bits(coding: str) -> int:
    """Fraction bits that membranes of a coding need for its codes."""
    return QUARTER_BITS if coding in (RDOQ_CODING, *CAPPED_CODINGS) else 1


@dataclass(frozen=True)
class LayerInfo:
    """One layer's entry in the manifest. Shapes: M = tokens, K = in_features, N = out_features."""

    name: str
    file: str
    sha256: str
    tokens: int
    in_features: int
    out_features: int
    coding: str
    frac_bits: int
    max_timesteps: int
    weight_bits: int
    output_dtype: str | None = None
    """Optional: the type the model rounded `output` to; None when the producer did not say."""
    threshold: Threshold | None = None
    """Optional: what `act_scale` is tied to; None when the producer did not say."""

    @property
    def steps(self) -> int:
        """Length of the first axis of `spikes`."""
        return steps_of(self.max_timesteps, self.coding)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest entry."""
        entry = {key: value for key, value in vars(self).items() if value is not None}
        return entry if self.threshold is None else {**entry, "threshold": self.threshold.to_json()}

    @classmethod
    def from_json(cls, entry: Any, where: str) -> LayerInfo:
        """Read a manifest entry.

        Raises:
            TraceError: names the field that is missing or wrong.
        """
        if not isinstance(entry, Mapping):
            raise TraceError(f"{where}: expected an object, got {type(entry).__name__}")
        name = _text(entry, "name", where)
        where = f"layer {name}"
        file = _text(entry, "file", where)
        if not _FILE_NAME.fullmatch(file) or len(file) > 255:
            raise TraceError(f"{where}: file must be a plain name that ends in .npz, got {shown(file)}")
        sha256 = _text(entry, "sha256", where)
        if not _SHA256.fullmatch(sha256):
            raise TraceError(f"{where}: sha256 must be 64 hexadecimal digits, got {shown(sha256)}")
        dtype = _choice(entry, "output_dtype", where, OUTPUT_DTYPES) if "output_dtype" in entry else None
        coding = _choice(entry, "coding", where, (*CODINGS, RDOQ_CODING, *CAPPED_CODINGS, *GROUP_CODINGS))
        grouped = coding in GROUP_CODINGS
        fractions = (GROUP_FRAC_BITS, GROUP_FRAC_BITS) if grouped else (least_frac_bits(coding), 30)
        info = cls(
            name=name,
            file=file,
            sha256=sha256.lower(),
            tokens=_integer(entry, "tokens", where, 1, 2**31 - 1),
            in_features=_integer(entry, "in_features", where, 1, 2**31 - 1),
            out_features=_integer(entry, "out_features", where, 1, 2**31 - 1),
            coding=coding,
            frac_bits=_integer(entry, "frac_bits", where, *fractions),
            max_timesteps=_integer(entry, "max_timesteps", where, 1, MAX_GROUP_STEPS if grouped else MAX_TIMESTEPS),
            weight_bits=_integer(entry, "weight_bits", where, 2, 8),
            output_dtype=dtype,
            threshold=_threshold(entry["threshold"], where) if "threshold" in entry else None,
        )
        if info.frac_bits + info.max_timesteps > 31:
            raise TraceError(
                f"{where}: frac_bits {info.frac_bits} + max_timesteps {info.max_timesteps} "
                "do not fit an int32 membrane (at most 31 together)"
            )
        return info


def _threshold(value: Any, where: str) -> Threshold:
    try:
        return Threshold.from_json(value)
    except ValueError as error:
        raise TraceError(f"{where}: threshold {error}") from None


def array_types(info: LayerInfo) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Name -> (dtype, shape) of every array of a layer without group scales; `bias` is optional."""
    M, K, N = info.tokens, info.in_features, info.out_features
    return {
        "membrane": ("int32", (M, K)),
        "timesteps": ("uint8", (M,)),
        "modality": ("uint8", (M,)),
        "codes": ("int16", (M, K)),
        "spikes": ("int8", (info.steps, M, K)),
        "weight": ("int8", (N, K)),
        "acc": ("int32", (M, N)),
        "act_scale": ("float32", (M,)),
        "weight_scale": ("float32", (N,)),
        "bias": ("float32", (N,)),
        "output": ("float32", (M, N)),
    }


OPTIONAL = frozenset({"bias"})
GROUPED = frozenset({"acc", "weight_scale"})  # these have one axis more, G, with group scales


def version_of(layers: Iterable[LayerInfo]) -> int:
    """The first version that has all that these layers need."""
    return 1 if all(layer.coding in CODINGS for layer in layers) else VERSION


@dataclass(frozen=True)
class Manifest:
    """What a manifest says: who wrote the bundle, of what model, names of modalities by code, and its layers."""

    producer: dict[str, Any]
    model: dict[str, Any]
    modalities: tuple[str, ...]
    layers: list[LayerInfo]


def parse_manifest(data: Any) -> Manifest:
    """Read a manifest.

    Raises:
        TraceError: names what is wrong.
    """
    where = MANIFEST
    if not isinstance(data, Mapping):
        raise TraceError(f"{where}: expected an object, got {type(data).__name__}")
    if data.get("format") != FORMAT:
        raise TraceError(f"{where}: format must be {FORMAT!r}, got {shown(data.get('format'))}")
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version not in range(1, VERSION + 1):
        raise TraceError(f"{where}: version {shown(version)} is unknown; this reader knows versions 1 to {VERSION}")
    facts = []
    for key in ("producer", "model"):
        if not isinstance(data.get(key), Mapping):
            raise TraceError(f"{where}: {key} must be an object, got {shown(data.get(key))}")
        facts.append(dict(data[key]))
    entries = data.get("layers")
    if not isinstance(entries, list) or not entries:
        raise TraceError(f"{where}: layers must be a list of at least one layer")
    layers = [LayerInfo.from_json(entry, f"{where}: layers[{i}]") for i, entry in enumerate(entries)]
    for layer in layers:
        if version < version_of([layer]):
            raise TraceError(
                f"layer {layer.name}: coding {layer.coding!r} is not of version {version}, which has "
                f"{' and '.join(CODINGS)}"
            )
    for field in ("name", "file"):
        seen: set[str] = set()
        for layer in layers:
            value = getattr(layer, field)
            if value in seen:
                raise TraceError(f"{where}: {field} {shown(value)} appears twice")
            seen.add(value)
    return Manifest(facts[0], facts[1], _modalities(data, where), layers)


def _modalities(data: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if "modalities" not in data:
        return MODALITIES
    names = data["modalities"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise TraceError(f"{where}: modalities must be a list of names, got {shown(names)}")
    if len(set(names)) != len(names):
        raise TraceError(f"{where}: modalities names one twice: {', '.join(names)}")
    return tuple(names)


def _field(entry: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in entry:
        raise TraceError(f"{where}: {key} is missing from the manifest")
    return entry[key]


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = _field(entry, key, where)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise TraceError(f"{where}: {key} must be a printable text of {_LONGEST} letters at most, got {shown(value)}")
    return value


def _integer(entry: Mapping[str, Any], key: str, where: str, low: int, high: int) -> int:
    value = _field(entry, key, where)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TraceError(f"{where}: {key} must be a whole number from {low} to {high}, got {shown(value)}")
    return value


def _choice(entry: Mapping[str, Any], key: str, where: str, choices: tuple[str, ...]) -> str:
    value = _field(entry, key, where)
    if value not in choices:
        raise TraceError(f"{where}: {key} must be one of {', '.join(choices)}; got {shown(value)}")
    return str(value)
