"""What `spike_config.json` and the thresholds beside it say of each layer, as the runtime takes it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from spike_compressor.checkpoint.schema import CONFIG_NAME, THRESHOLDS_NAME, LayerEntry, SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.modality import register_modality
from spike_compressor.reading import BROKEN, one_line
from spike_compressor.runtime import LayerSpec


def layer_specs(directory: Path, config: SpikeConfig) -> dict[str, LayerSpec]:
    """The spiking encoding of each layer of the plan, by the name that the module has in the model.

    Raises:
        InputError: an entry that no layer can have, or a threshold that is missing; names the layer.
    """
    scales = _thresholds(directory / THRESHOLDS_NAME) if THRESHOLDS_NAME in config.sha256 else {}
    specs = {}
    for modality in config.modalities:
        register_modality(modality)
    for name, entry in config.plan.items():
        try:
            missing = [modality for modality in config.modalities if modality not in entry.timesteps]
            if missing:
                raise InputError(f"timesteps have no T for {missing[0]}, got {entry.timesteps}")
            specs[name] = entry.spec(_scale(name, entry, scales))
        except ValueError as error:
            raise InputError(f"{directory / CONFIG_NAME}: plan of {name}: {error}") from None
    return specs


def _thresholds(file: Path) -> dict[str, float]:
    try:
        return {key: float(tensor) for key, tensor in load_file(file).items()}
    except (OSError, SafetensorError, *BROKEN, RuntimeError) as error:  # the last for what is no single number
        raise InputError(f"{file} holds no thresholds, a number each: {one_line(error)}") from error


def _scale(name: str, entry: LayerEntry, scales: dict[str, float]) -> dict[str, float] | None:
    if entry.threshold == "dynamic":
        return None
    missing = [modality for modality in entry.timesteps if f"{name}.{modality}" not in scales]
    if missing:
        raise InputError(f"{THRESHOLDS_NAME} has no threshold for {missing[0]} rows")
    return {modality: scales[f"{name}.{modality}"] for modality in entry.timesteps}
