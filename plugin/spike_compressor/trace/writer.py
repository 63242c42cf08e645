"""Write trace bundles, one layer at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from spike_compressor.files import replacing_directory, sha256_of, writing

from .bundle import Array, Layer
from .schema import FORMAT, MANIFEST, MODALITIES, LayerInfo, TraceError, version_of
from .thresholds import Threshold


class BundleWriter:
    """Writes a bundle layer by layer; memory does not grow with their number.

    Everything goes to a hidden sibling directory, which takes the bundle's place on success; on an exception
    it is removed, and what stood at `path` before stays as it was.

        with BundleWriter("out", producer={"name": "me"}, model={"name": "toy"}) as bundle:
            bundle.add_layer("fc1", coding="tc_lif", frac_bits=16, weight_bits=4, membrane=…, …)

    Args:
        path: directory to create.
        producer: who wrote this: free-form JSON object.
        model: what it was taken from: free-form JSON object.
        modalities: their names by code; the manifest has them where rows of others than text and vision were written.
        overwrite: replace an existing bundle. Anything else that exists is never replaced.

    Raises:
        TraceError: `path` exists, or a layer does not satisfy the format.
        InputError: the directory cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        producer: Mapping[str, Any],
        model: Mapping[str, Any],
        modalities: Sequence[str] = MODALITIES,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self._producer = dict(producer)
        self._model = dict(model)
        self._modalities = tuple(modalities)
        self._most_modalities = len(MODALITIES)  # which the manifest need not name
        self._overwrite = overwrite
        self._infos: list[LayerInfo] = []
        self._staging: Path | None = None
        self._replacing = ExitStack()

    def __enter__(self) -> BundleWriter:
        if os.path.lexists(self.path):
            replaceable = self._overwrite and os.path.isfile(self.path / MANIFEST)
            if not replaceable:
                raise TraceError(f"{self.path}: already exists; choose another directory, or allow overwriting")
        self._staging = self._replacing.enter_context(replacing_directory(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._replacing:
                    self._finish()
            else:
                self._replacing.__exit__(kind, error, traceback)
        finally:
            self._staging = None

    def add_layer(
        self,
        name: str,
        *,
        coding: str,
        frac_bits: int,
        weight_bits: int,
        membrane: Array,
        timesteps: Array,
        modality: Array,
        codes: Array,
        spikes: Array,
        weight: Array,
        acc: Array,
        act_scale: Array,
        weight_scale: Array,
        output: Array,
        bias: Array | None = None,
        max_timesteps: int | None = None,
        output_dtype: str | None = None,
        threshold: Threshold | None = None,
        check: bool = True,
    ) -> LayerInfo:
        """Check one layer and write it. Array types and shapes are those of the format (`docs/traces.md`).

        Args:
            max_timesteps: the longest row's T by default; `spikes` has that many steps (`csd`: one more).
            output_dtype: "float32", "float16" or "bfloat16", if it is known what the model keeps.
            threshold: what `act_scale` is tied to, if it is known.
            check: verify every invariant before writing. Leave it out only for bundles wrong on purpose.

        Raises:
            TraceError: the layer does not satisfy the format.
        """
        if self._staging is None:
            raise TraceError(f"{self.path}: layers can only be added inside the with block")
        if any(info.name == name for info in self._infos):
            raise TraceError(f"layer {name}: written twice")
        arrays = {
            "membrane": membrane,
            "timesteps": timesteps,
            "modality": modality,
            "codes": codes,
            "spikes": spikes,
            "weight": weight,
            "acc": acc,
            "act_scale": act_scale,
            "weight_scale": weight_scale,
            "output": output,
        }
        if bias is not None:
            arrays["bias"] = bias
        if membrane.ndim != 2 or weight.ndim != 2:
            raise TraceError(f"layer {name}: membrane and weight must have two axes")
        entry: dict[str, Any] = {
            "name": name,
            "file": f"layer_{len(self._infos):04d}.npz",
            "sha256": "0" * 64,
            "tokens": membrane.shape[0],
            "in_features": membrane.shape[1],
            "out_features": weight.shape[0],
            "coding": coding,
            "frac_bits": int(frac_bits),
            "max_timesteps": int(timesteps.max()) if max_timesteps is None else int(max_timesteps),
            "weight_bits": int(weight_bits),
        }
        if output_dtype is not None:
            entry["output_dtype"] = output_dtype
        if threshold is not None:
            entry["threshold"] = threshold.to_json()
        info = LayerInfo.from_json(entry, f"layer {name}")
        if check:
            Layer(info, arrays=arrays, modalities=self._modalities).check()
        self._most_modalities = max(self._most_modalities, 1 + int(modality.max(initial=0)))
        target = self._staging / info.file
        with writing(self.path), target.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        info = LayerInfo.from_json({**entry, "sha256": sha256_of(target)}, f"layer {name}")
        self._infos.append(info)
        return info

    def _finish(self) -> None:
        assert self._staging is not None
        if not self._infos:
            raise TraceError(f"{self.path}: a bundle needs at least one layer")
        manifest = {
            "format": FORMAT,
            "version": version_of(self._infos),
            "producer": self._producer,
            "model": self._model,
            **({"modalities": list(self._modalities)} if self._most_modalities > len(MODALITIES) else {}),
            "layers": [info.to_json() for info in self._infos],
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        with writing(self.path):
            (self._staging / MANIFEST).write_text(text, encoding="utf-8")
