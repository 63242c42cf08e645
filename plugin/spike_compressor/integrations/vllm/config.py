"""The quantization method `spike`: which checkpoints it takes, and which of vLLM's layers are which of the plan's."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from compressed_tensors.transform import TransformConfig
from vllm.config import get_current_vllm_config
from vllm.model_executor.layers.fused_moe import RoutedExperts
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig, QuantizeMethodBase

from spike_compressor.checkpoint import CONFIG_NAME, read_config
from spike_compressor.checkpoint.agreement import verify_agreement
from spike_compressor.checkpoint.seal import verify_files, weight_files
from spike_compressor.checkpoint.specs import layer_specs
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.asking import let_all_ask
from spike_compressor.integrations.vllm.counting import Counter, install, wanted
from spike_compressor.integrations.vllm.experts import SpikeExpertsMethod, names_of
from spike_compressor.integrations.vllm.linear import SpikeLinearMethod
from spike_compressor.integrations.vllm.refusals import (
    require_servable_checkpoint,
    require_servable_engine,
    require_servable_model,
    require_tested_versions,
)
from spike_compressor.integrations.vllm.rotations import Rotations
from spike_compressor.integrations.vllm.rows import carry_modalities
from spike_compressor.integrations.vllm.scheme import Shard, WeightScheme
from spike_compressor.modality import ModalityAdapter, adapter_for
from spike_compressor.reading import read_object

METHOD = "spike"
#: vLLM's classes of CLIP and SigLIP have a level more than transformers', and files have transformers' names.
_NESTED = "vision_model"
_FLAT_TOWER = re.compile(rf"\bvision_tower\.(?!{_NESTED}\.)")


class SpikeQuantizationConfig(QuantizationConfig):
    """What vLLM asks for the method of each layer of a spike-ready checkpoint.

    It belongs to no checkpoint before vLLM has told it which one is opened (`maybe_update_config`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory: Path | None = None
        self.counter: Counter | None = None
        self._renamed: dict[str, str] = {}
        self._tower_nested = False
        self.rotations = Rotations(None, ())

    # What vLLM's registry asks

    def get_name(self) -> str:
        return METHOD

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        return [torch.float32, torch.bfloat16, torch.float16]

    @classmethod
    def get_min_capability(cls) -> int:
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SpikeQuantizationConfig:
        return cls()

    @classmethod
    def override_quantization_method(
        cls, hf_quant_cfg: dict[str, Any], user_quant: str | None, hf_config: Any = None
    ) -> str | None:
        """`spike` for a compressed-tensors checkpoint whose folder has a `spike_config.json`, else None.

        Raises:
            InputError: it is one, and this vLLM is none that was tested; or the user asked for another method.
        """
        where = str(getattr(hf_config, "name_or_path", "") or "")
        if hf_quant_cfg.get("quant_method") not in ("compressed-tensors", METHOD):
            return None
        if not where or not (Path(where) / CONFIG_NAME).is_file():
            if user_quant == METHOD:
                raise InputError(f"quantization={METHOD!r}: {where or 'the model'} has no {CONFIG_NAME} in its folder")
            return None
        if user_quant not in (None, METHOD, "compressed-tensors"):
            raise InputError(f"{where} is a spike-ready checkpoint; leave out quantization={user_quant!r}")
        require_tested_versions()
        return METHOD

    # What a model's opening asks

    def maybe_update_config(self, model_name: str, hf_config: Any = None, revision: str | None = None) -> None:
        """Read and verify the checkpoint that is being opened.

        Raises:
            InputError: it is damaged, or has what cannot be served; names it and the remedy.
        """
        if self.directory is not None:
            return
        directory = Path(os.fspath(model_name))
        config = read_config(directory)
        verify_files(directory, config)
        verify_agreement(directory, config)
        require_servable_checkpoint(config)
        require_servable_model(hf_config)
        settings = read_object(directory / "config.json")["quantization_config"]
        self.schemes = {name: WeightScheme.of(name, settings) for name in config.plan}
        self.adapter: ModalityAdapter = adapter_for(SimpleNamespace(config=hf_config), config.adapter_record())
        specs = layer_specs(directory, config)
        self.specs = {name: spec.only(self.adapter.modalities, name) for name, spec in specs.items()}
        transforms = settings.get("transform_config") or {}
        self.rotations = Rotations(
            TransformConfig.model_validate(transforms) if transforms.get("config_groups") else None,
            weight_files(directory, config),
        )
        self.not_spiking = set(config.not_spiking)
        self._renamed = {name: name for name in (*self.specs, *self.not_spiking)}
        self.directory = directory

    def apply_vllm_mapper(self, hf_to_vllm_mapper: Any) -> None:
        """Take the names that a class of vLLM's gives the modules of the checkpoint beside those that they have."""
        for name, own in list(self._renamed.items()):
            for renamed in hf_to_vllm_mapper.apply_list([name]):
                self._renamed.setdefault(renamed, own)

    def get_checkpoint_weight_mapper(self) -> Any:
        """How names in the files become vLLM's, beyond what its class knows; asked when all layers are built."""
        mapper = super().get_checkpoint_weight_mapper()
        renamed = {_FLAT_TOWER: rf"\g<0>{_NESTED}."} if self._tower_nested else {}
        here = dict.fromkeys(self.rotations.suffixes)  # read already
        return dataclasses.replace(
            mapper,
            orig_to_new_regex={**mapper.orig_to_new_regex, **renamed},
            orig_to_new_suffix={**mapper.orig_to_new_suffix, **here},
        )

    def spikes(self, prefix: str) -> bool:
        """Whether a layer that vLLM calls so is one layer of the plan."""
        own = self._renamed.get(prefix)
        return own is not None and own in self.specs

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> QuantizeMethodBase | None:
        """The method of a layer: spikes for those of the plan, vLLM's own for all others.

        Raises:
            InputError: a layer of which the checkpoint says nothing, or that merges what spikes with what does not.
        """
        let_all_ask()  # here, since each process of an engine builds layers, and one alone opens the checkpoint
        if isinstance(layer, RoutedExperts):
            return self._experts_method(layer, prefix)
        if not isinstance(layer, LinearBase):
            own = self._renamed.get(prefix)
            if own in self.specs:
                raise InputError(
                    f"{own} is in the plan of {self.directory}, and vLLM builds it as {type(layer).__name__}, "
                    "whose inputs cannot spike here; list it in `ignore` of both modifiers and run the recipe anew"
                )
            return None
        names = self._names(prefix)
        spiking = [name for name in names if name in self.specs]
        if not spiking:
            return UnquantizedLinearMethod()
        if spiking != names:
            raise InputError(
                f"vLLM computes {', '.join(names)} as one layer, and of these only {', '.join(spiking)} spike in "
                f"{self.directory}; let all or none of them spike in the recipe"
            )
        self._prepare_engine()
        return SpikeLinearMethod([self._shard(name, layer.input_size) for name in names], self.counter)

    def _experts_method(self, layer: Any, prefix: str) -> SpikeExpertsMethod:
        """The method of a mixture's experts.

        Raises:
            InputError: they do not all spike, or are in a class of vLLM's whose experts cannot.
        """
        experts = names_of(self._renamed, prefix, layer.global_num_experts)
        other = next((name for expert in experts for name in expert.values() if name not in self.specs), None)
        if other is not None or not experts:
            raise InputError(
                f"vLLM computes the experts of {prefix} as one layer, and {other or prefix} does not spike in "
                f"{self.directory}; let all of them spike in the recipe"
            )
        if type(layer) is not RoutedExperts:  # the Transformers backend's
            raise InputError(
                "experts that spike were served in vLLM's own classes only; leave out model_impl='transformers' "
                "(--model-impl transformers)"
            )
        self._prepare_engine()
        features = {"w1": layer.hidden_size, "w3": layer.hidden_size, "w2": layer.moe_config.intermediate_size}
        made = [{one: self._shard(name, features[one]) for one, name in expert.items()} for expert in experts]
        return SpikeExpertsMethod(layer, made, self.counter)

    def _prepare_engine(self) -> None:
        """Before the first layer that spikes.

        Raises:
            InputError: settings of the engine that these do not go with.
        """
        require_servable_engine(self.adapter.multimodal)
        if self.adapter.multimodal:
            carry_modalities()
        if self.counter is None and wanted(get_current_vllm_config()):
            self.counter = install()

    def _shard(self, name: str, features: int) -> Shard:
        rotation = self.rotations.of(name, features)
        return Shard(name, self.specs[name], self.schemes[name], self.adapter.fixed_modality(name), rotation)

    def _names(self, prefix: str) -> list[str]:
        """The plan's names of what a layer of vLLM's is made of."""
        if prefix not in self._renamed and f".{_NESTED}." in prefix:
            self._tower_nested = True
            prefix = prefix.replace(f".{_NESTED}.", ".", 1)
        before, _, last = prefix.rpartition(".")
        parts = [prefix]
        if last in self.packed_modules_mapping and prefix not in self._renamed:
            parts = [f"{before}.{part}" if before else part for part in self.packed_modules_mapping[last]]
        unknown = [part for part in parts if part not in self._renamed]
        if unknown:
            raise InputError(
                f"vLLM builds a layer {unknown[0]}, of which {CONFIG_NAME} of {self.directory} says nothing: this "
                "class of vLLM's names its modules otherwise than transformers; pass model_impl='transformers' "
                "(--model-impl transformers)"
            )
        return [self._renamed[part] for part in parts]
