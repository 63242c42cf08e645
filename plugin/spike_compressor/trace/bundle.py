"""Open and validate trace bundles. Layers are read one at a time."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spike_compressor.errors import InputError
from spike_compressor.files import sha256_of
from spike_compressor.reading import BROKEN, one_line, read_json

from . import golden
from .codecs import CODECS
from .schema import (
    GROUP_CODINGS,
    GROUPED,
    MANIFEST,
    MODALITIES,
    OPTIONAL,
    OUTPUT_DTYPES,
    LayerInfo,
    Manifest,
    TraceError,
    array_types,
    parse_manifest,
    steps_of,
)
from .thresholds import first_row_apart

Array = NDArray[Any]

#: What archives and headers raise beside what all parsers do.
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, RuntimeError, SyntaxError, tokenize.TokenError)
#: How compressed a member may be; deflate's best is 1,032 bytes out of one.
_MOST_PER_BYTE = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}


class Layer:
    """One layer of a bundle. Arrays are read on first use and kept until the layer is dropped.

    `modalities` are names by the codes that the array `modality` holds.

    `layer["acc"]` or `layer.acc` gives an array; an absent optional one (`bias`) is None.
    Every read checks the file's SHA-256 once, then the array's type and shape; TraceError names what differs.
    """

    def __init__(
        self,
        info: LayerInfo,
        path: Path | None = None,
        arrays: Mapping[str, Array | None] | None = None,
        modalities: Sequence[str] = MODALITIES,
    ) -> None:
        self.info = info
        self.modalities = tuple(modalities)
        self._path = path
        self._arrays: dict[str, Array | None] = {}
        self._verified = path is None
        for name, array in (arrays or {}).items():
            self._arrays[name] = array

    def __getitem__(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in array_types(self.info):
            raise AttributeError(name)
        return self[name]

    @property
    def name(self) -> str:
        """Name of the layer in its model."""
        return self.info.name

    @property
    def groups(self) -> int:
        """G, accumulators per output: 1 without group scales."""
        acc = self["acc"]
        return int(acc.shape[2]) if acc.ndim == 3 else 1

    def grouped_acc(self) -> NDArray[np.int32]:
        """The accumulators as int32 [M, N, G], whether or not the layer has group scales."""
        acc: NDArray[np.int32] = self["acc"]
        return acc if acc.ndim == 3 else acc[:, :, None]

    def check(self) -> None:
        """Check form and numbers.

        Raises:
            TraceError: names the first violation.
        """
        self.check_form()
        self.check_numbers()

    def check_form(self) -> None:
        """Check that every array is there, of its type and shape, and every value within its range."""
        _check_form(self)

    def check_numbers(self) -> None:
        """Check that the arrays agree: codes and spikes with membranes, sums with weights, output with sums."""
        _check_numbers(self)

    def _error(self, array: str, message: str) -> TraceError:
        return TraceError(f"layer {self.name}: {array}: {message}")

    def _read(self, name: str) -> Array | None:
        if self._path is None:
            if name in OPTIONAL:
                return None
            raise self._error(name, "the array is missing")
        self._verify()
        try:
            with zipfile.ZipFile(self._path) as archive:
                member = f"{name}.npy"
                found = [info for info in archive.infolist() if info.filename == member]
                if not found:
                    if name in OPTIONAL:
                        return None
                    raise self._error(name, f"the array is missing from {self._path.name}")
                # The header first: a wrong shape is refused before anything of that size is allocated.
                with archive.open(member) as stream:
                    shape, dtype = _read_header(stream)
                self.check_type(name, shape, dtype)
                _require_content(found, math.prod(shape) * dtype.itemsize)
                with archive.open(member) as stream:
                    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
        except TraceError:
            raise
        except (OSError, *BROKEN, *_BROKEN_ARCHIVE) as error:
            raise self._error(name, f"{self._path.name} cannot be read: {one_line(error)}") from error
        return array

    def check_type(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Compare a type and shape with what the manifest demands of array `name`."""
        want_dtype, want = array_types(self.info)[name]
        if dtype != np.dtype(want_dtype):
            raise self._error(name, f"expected dtype {want_dtype}, got {dtype}")
        grouped = name in GROUPED and len(shape) == len(want) + 1
        if shape[: len(want)] != want or len(shape) != len(want) + grouped:
            extra = " or with one more axis, groups" if name in GROUPED else ""
            raise self._error(name, f"expected shape {list(want)}{extra}, got {list(shape)}")
        if grouped and (shape[-1] < 1 or self.info.in_features % shape[-1]):
            raise self._error(name, f"{shape[-1]} groups do not divide {self.info.in_features} inputs")

    def _verify(self) -> None:
        if self._verified:
            return
        assert self._path is not None
        if self._path.is_symlink() or not self._path.is_file():
            raise TraceError(f"layer {self.name}: file {self._path.name} is missing from the bundle")
        try:
            digest = sha256_of(self._path)
        except InputError as error:
            raise TraceError(f"layer {self.name}: {error}") from error
        if digest != self.info.sha256:
            raise TraceError(
                f"layer {self.name}: {self._path.name} has SHA-256 {digest[:12]}…, "
                f"the manifest says {self.info.sha256[:12]}…"
            )
        self._verified = True


class Bundle:
    """An opened trace bundle. Iterating gives fresh `Layer`s, so that only the one in use stays in memory."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.producer = manifest.producer
        self.model = manifest.model
        self.modalities = manifest.modalities
        self.infos = manifest.layers

    def __len__(self) -> int:
        return len(self.infos)

    def __iter__(self) -> Iterator[Layer]:
        return (self.layer(i) for i in range(len(self.infos)))

    def layer(self, which: int | str) -> Layer:
        """One layer, by position or name.

        Raises:
            TraceError: the bundle has no layer of that name.
        """
        if isinstance(which, str):
            names = [info.name for info in self.infos]
            if which not in names:
                raise TraceError(f"{self.path}: no layer {which!r}; there are {', '.join(names)}")
            which = names.index(which)
        info = self.infos[which]
        return Layer(info, self.path / info.file, modalities=self.modalities)

    def validate(self) -> None:
        """Check every layer.

        Raises:
            TraceError: names the first violation.
        """
        for layer in self:
            layer.check()


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle directory and check its manifest; arrays are checked when they are read.

    Raises:
        TraceError: no bundle there, or a manifest field is missing, of the wrong type or out of range.
    """
    root = Path(path)
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise TraceError(f"{root}: not a trace bundle, there is no {MANIFEST}")
    try:
        data = read_json(manifest)
    except InputError as error:
        raise TraceError(str(error)) from error
    return Bundle(root, parse_manifest(data))


def validate(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and check everything in it: fields, checksums, types, shapes and invariants.

    Raises:
        TraceError: one line that names the layer, the array, the first offending index, expected and found.
    """
    bundle = open_bundle(path)
    bundle.validate()
    return bundle


# ----------------------------------------------------------------------------------------------- checks


def _check_form(layer: Layer) -> None:
    info = layer.info
    for name in array_types(info):
        array = layer[name]
        if array is not None:
            layer.check_type(name, array.shape, array.dtype)
    if layer["weight_scale"].ndim != layer["acc"].ndim - 1 or (
        layer["acc"].ndim == 3 and layer["acc"].shape[2] != layer["weight_scale"].shape[1]
    ):
        shapes = f"shape {list(layer['weight_scale'].shape)} does not go with acc {list(layer['acc'].shape)}"
        raise layer._error("weight_scale", shapes)
    codec = CODECS[info.coding]
    worst = codec.largest_sum(info.max_timesteps, info.in_features // layer.groups) * 2 ** (info.weight_bits - 1)
    if worst >= 2**31:
        raise layer._error("acc", f"sums up to {worst} could overflow int32; split the inputs into groups")

    T = layer["timesteps"].astype(np.int64)
    F = info.frac_bits
    membrane = layer["membrane"]
    legal = np.isin(T, np.arange(1, info.max_timesteps + 1))
    _each(layer, "timesteps", legal, f"from 1 to {info.max_timesteps}", T)
    codes = ", ".join(f"{code} ({name})" for code, name in enumerate(layer.modalities))
    _each(layer, "modality", layer["modality"] < len(layer.modalities), f"one of {codes}", layer["modality"])
    inside = np.abs(membrane.astype(np.int64)) <= codec.largest_membrane(T, F)[:, None]
    _each(layer, "membrane", inside, "within ±(2^(T+F) - 1), or what a group's input fires at most", membrane)
    half_range = 1 << (info.weight_bits - 1)
    weight = layer["weight"].astype(np.int64)
    _each(
        layer,
        "weight",
        (weight >= -half_range) & (weight < half_range),
        f"a {info.weight_bits}-bit code, {-half_range} to {half_range - 1}",
        weight,
    )
    scale = layer["act_scale"]
    _each(layer, "act_scale", np.isfinite(scale) & (scale > 0), "positive and finite", scale)
    # Weight scales have any sign, and may be 0: AutoRound turns the sign of groups to use the most negative code.
    for name in ("weight_scale", "bias", "output"):
        if layer[name] is not None:
            _each(layer, name, np.isfinite(layer[name]), "finite", layer[name])
    spikes = layer["spikes"]
    own = (steps_of(0, info.coding) + T)[None, :, None] > np.arange(info.steps)[:, None, None]
    _each(layer, "spikes", (spikes >= -1) & (spikes <= 1), "-1, 0 or 1", spikes)
    _each(layer, "spikes", own | (spikes == 0), "0 after the row's own steps", spikes)


def _check_numbers(layer: Layer) -> None:
    info = layer.info
    T = layer["timesteps"].astype(np.int64)
    F = info.frac_bits
    membrane = layer["membrane"]
    spikes = layer["spikes"]
    codec = CODECS[info.coding]
    _equal(layer, "codes", codec.codes(membrane, T, F), layer["codes"])
    decoded = codec.decode(spikes, T)
    wrong = np.argwhere(decoded != layer["codes"])
    if len(wrong):
        m, k = wrong[0]
        raise layer._error(
            "spikes", f"row {m}, input {k} decode to {decoded[m, k]}, expected code {layer['codes'][m, k]}"
        )
    _equal(layer, "spikes", codec.fire(membrane, T, F, info.steps), spikes)
    if (
        info.threshold is not None and info.coding not in GROUP_CODINGS
    ):  # membranes of groups are in other units: on trust
        told = layer["modality"], layer.modalities, membrane, T, F, layer["act_scale"]
        apart = first_row_apart(info.threshold, *told)
        if apart is not None:
            row, wanted = apart
            raise layer._error(f"act_scale[{row}]", f"expected {wanted}, got {layer['act_scale'][row]:.9g}")
    sums = golden.accumulate(layer["codes"], layer["weight"], layer.groups)
    _equal(layer, "acc", sums.reshape(layer["acc"].shape), layer["acc"])
    _check_output(layer)


def _check_output(layer: Layer) -> None:
    exact = golden.dequantize(layer["acc"], layer["act_scale"], layer["weight_scale"], layer["bias"])
    output = layer["output"]
    dtype = layer.info.output_dtype
    # A producer that does not name the model's type may have any of them, but one and the same for the layer.
    for candidate in OUTPUT_DTYPES if dtype is None else (dtype,):
        if np.array_equal(golden.round_to(exact, candidate), output):
            return
    _equal(layer, "output", golden.round_to(exact, dtype or "float32"), output)


def _each(layer: Layer, name: str, good: Array, rule: str, values: Array) -> None:
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        raise layer._error(f"{name}{list(index)}", f"expected {rule}, got {values[index]}")


def _equal(layer: Layer, name: str, want: Array, got: Array) -> None:
    if not np.array_equal(want, got):
        index = tuple(int(i) for i in np.argwhere(want != got)[0])
        raise layer._error(f"{name}{list(index)}", f"expected {want[index]}, got {got[index]}")


def _require_content(found: list[zipfile.ZipInfo], size: int) -> None:
    """Raises ValueError where a member cannot hold an array of so many bytes: they are allocated before it is read."""
    (member, *others) = found
    if others:
        raise ValueError(f"{member.filename} stands in it twice")
    ratio = _MOST_PER_BYTE.get(member.compress_type)
    if ratio is None:
        raise ValueError(f"{member.filename} is compressed otherwise than by deflate")
    if not size <= member.file_size <= ratio * (member.compress_size + 64):
        raise ValueError(f"{member.filename} says {member.file_size:,} bytes, of an array that has {size:,}")


def _read_header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"unsupported .npy version {version}")
    return shape, dtype
