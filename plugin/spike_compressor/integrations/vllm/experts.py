"""How vLLM computes the experts of a mixture that spike: each is three layers of the plan, with neurons of its own.

vLLM's router chooses, in floats, as it does for other mixtures. An expert gets the rows that chose it, codes them once
for gate and up where their neurons are alike, and once more for down; what comes out is weighted and added up expert by
expert, as `load` does it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from torch import Tensor, nn
from torch.nn import functional as F
from vllm.model_executor.layers.fused_moe.activation import MoEActivation
from vllm.model_executor.layers.fused_moe.fused_moe_method_base import FusedMoEMethodBase

from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.counting import Counter
from spike_compressor.integrations.vllm.linear import Part, parts_of
from spike_compressor.integrations.vllm.rows import rows_of_step
from spike_compressor.integrations.vllm.scheme import Shard, WeightScheme
from spike_compressor.integrations.vllm.split import SplitPart, require_whole_groups
from spike_compressor.integrations.vllm.stored import by_row, centred
from spike_compressor.modality import TokenRows, current_rows, rows_scope

#: What vLLM calls the layers of an expert, and what they are called in the plan.
LAYERS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


class Expert:
    """One expert: gate and up, which have one input, and down.

    Args:
        ups: gate and up, in one part where they code alike.
        down: what follows.
    """

    def __init__(self, ups: list[Part], down: Part | SplitPart) -> None:
        self.ups, self.down = ups, down
        self.parts: list[Part | SplitPart] = [*ups, down]

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs [M, N] of inputs [M, K], in their dtype."""
        # halves of one tensor, as `load` has them: kernels of silu round by where a number lies in a row
        gate, up = torch.cat([part.outputs(x, None) for part in self.ups], dim=-1).chunk(2, dim=-1)
        return self.down.outputs(F.silu(gate) * up, None)


class SpikeExpertsMethod(FusedMoEMethodBase):
    """The method of the experts of one of vLLM's mixtures.

    Args:
        layer: vLLM's, which is being built.
        experts: the layers of each, by what vLLM calls them.
        counter: of what fires; None if nobody counts.

    Raises:
        InputError: what cannot be computed so; names it.
    """

    def __init__(self, layer: Any, experts: list[dict[str, Shard]], counter: Counter | None = None) -> None:
        super().__init__(layer.moe_config)
        self.experts, self._counter = experts, counter
        self._names: list[str] = []
        self._stored: dict[tuple[int, str, str], Tensor] = {}
        parallel, name = layer.moe_config.moe_parallel_config, layer.layer_name
        if parallel.use_ep or parallel.dp_size > 1 or parallel.pcp_size > 1 or parallel.is_sequence_parallel:
            raise InputError(
                f"{name}: experts that spike go with tensor parallelism only; leave out enable_expert_parallel "
                "(--enable-expert-parallel), data_parallel_size and context parallelism"
            )
        if layer.activation != MoEActivation.SILU:
            raise InputError(
                f"{name}: experts with the activation {layer.activation.value!r} that spike cannot be served by vLLM, "
                "only 'silu'; spike_compressor.load computes it"
            )
        for one, like in (("w1", "w1"), ("w3", "w1"), ("w2", "w2")):
            for expert in experts:
                if expert[one].scheme != experts[0][like].scheme:
                    raise InputError(
                        f"vLLM computes {expert[one].name} and {experts[0][like].name} as one layer, and their weights "
                        "are quantized differently; give them one config group in the recipe"
                    )

    # Weights

    def create_weights(
        self,
        layer: Any,
        num_experts: int,
        hidden_size: int,
        intermediate_size_per_partition: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs: Any,
    ) -> None:
        """Take what files hold, layer by layer: parameters of vLLM's are names here, since no two layers are merged."""
        for group, one in (("w13", "w1"), ("w2", "w2")):
            for key in _keys(self.experts[0][one].scheme):
                parameter = nn.Parameter(torch.empty(0), requires_grad=False)
                parameter.__dict__["weight_loader"] = self._keeping(key)
                layer.register_parameter(f"{group}_{key}", parameter)
                self._names.append(f"{group}_{key}")

    def _keeping(self, key: str) -> Callable[..., bool]:
        def keep(
            param: nn.Parameter,
            loaded_weight: Tensor,
            weight_name: str,
            shard_id: str,
            expert_id: int,
            return_success: bool = True,
        ) -> bool:
            self._stored[expert_id, shard_id, key] = loaded_weight.clone()
            return True

        return keep

    def process_weights_after_loading(self, layer: Any) -> None:
        parallel = layer.moe_config.moe_parallel_config
        cut = Cut(parallel.tp_rank, parallel.tp_size)
        layer.__dict__["spike_experts"] = [self._expert(number, cut) for number in range(len(self.experts))]
        for name in self._names:
            delattr(layer, name)

    def _expert(self, number: int, cut: Cut) -> Expert:
        shards = self.experts[number]
        made = {one: self._integers(number, one) for one in LAYERS}
        inner, outer = made["w1"][0].shape
        own = {one: cut.outputs(*made[one]) for one in ("w1", "w3")}
        codes, scale = (torch.cat([own[one][index] for one in ("w1", "w3")]) for index in (0, 1))
        ups = parts_of([shards["w1"], shards["w3"]], codes, scale, [inner // cut.processes] * 2)
        down: Part | SplitPart
        if cut.processes == 1:
            (down,) = parts_of([shards["w2"]], *made["w2"], [outer])
        else:
            down = SplitPart(shards["w2"], cut.inputs(shards["w2"], made["w2"][0]), made["w2"][1])
        expert = Expert(ups, down)
        if self._counter is not None:
            widths = {shards[one].name: outer if one == "w2" else inner for one in LAYERS}
            for part in expert.parts:
                self._counter.watch(part, widths)
        return expert

    def _integers(self, number: int, one: str) -> tuple[Tensor, Tensor]:
        """Codes int8 [N, K] and scales float32 [N, G] of a whole layer."""
        shard = self.experts[number][one]
        found = {key: self._stored.pop((number, one, key), None) for key in _keys(shard.scheme)}
        if missing := [key for key, tensor in found.items() if tensor is None]:
            raise InputError(f"vLLM found no {missing[0]} of {shard.name} in the files that it reads weights from")
        if shard.scheme.packed:
            size = torch.Size(found["weight_shape"].tolist())  # type: ignore[union-attr]
            codes = unpack_from_int32(found["weight_packed"], shard.scheme.bits, size)
        else:
            codes = found["weight"]
        N, K = codes.shape
        scale = by_row(found["weight_scale"].to(torch.float32), [N])  # type: ignore[union-attr]
        if not shard.scheme.symmetric:
            codes = centred(codes, by_row(found["weight_zero_point"], [N]), K, 0)  # type: ignore[arg-type]
        return codes, scale

    def get_fused_moe_quant_config(self, layer: Any) -> None:
        return None

    def maybe_roundup_sizes(
        self,
        hidden_size: int,
        intermediate_size_per_partition: int,
        act_dtype: torch.dtype,
        moe_parallel_config: Any,
    ) -> tuple[int, int]:
        return hidden_size, intermediate_size_per_partition

    # Rows

    def apply(
        self,
        layer: Any,
        x: Tensor,
        topk_weights: Tensor,
        topk_ids: Tensor,
        shared_experts: Any = None,
        shared_experts_input: Tensor | None = None,
    ) -> Tensor:
        if torch.compiler.is_compiling():
            made: Tensor = torch.ops.spike_compressor_vllm.experts(x, topk_weights, topk_ids, layer.layer_name)
            return made
        return self.outputs(layer, x, topk_weights, topk_ids)

    def outputs(self, layer: Any, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Weighted sums [M, K] of what the chosen experts make of rows [M, K], in their dtype.

        Args:
            layer: vLLM's.
            x: the rows.
            weights: of the experts that each chose, [M, experts per row].
            chosen: which these are.
        """
        experts: list[Expert] = layer.spike_experts
        asked = chosen.unique().tolist()  # in the order in which `load` adds up
        parts = [part for number in asked for part in experts[number].parts]
        needed = any(part.neurons.by_modality or part.neurons.observers for part in parts)
        total = torch.zeros_like(x)
        with rows_of_step(needed, x):
            for number in asked:
                rows, place = torch.where(chosen == number)
                with self._only(rows, needed):
                    made = experts[number].outputs(x[rows]) * weights[rows, place, None]
                total.index_add_(0, rows, made.to(total.dtype))
        return total

    @contextlib.contextmanager
    def _only(self, rows: Tensor, needed: bool) -> Iterator[None]:
        step = current_rows() if needed else None
        if step is None:
            yield
            return
        counting = contextlib.nullcontext() if self._counter is None else self._counter.chosen(rows)
        with counting, rows_scope(TokenRows(step.modality.reshape(1, -1)[:, rows])):
            yield


class Cut:
    """What this process of tensor parallelism has of an expert's layers.

    Args:
        rank: its number.
        processes: how many there are.
    """

    def __init__(self, rank: int, processes: int) -> None:
        self._rank, self.processes = rank, processes

    def outputs(self, *tables: Tensor) -> tuple[Tensor, ...]:
        """Its rows of tables [N, …]."""
        return tuple(table.chunk(self.processes)[self._rank] for table in tables)

    def inputs(self, shard: Shard, codes: Tensor) -> Tensor:
        """Its columns of codes [N, K].

        Raises:
            InputError: groups of weights would be cut.
        """
        own = codes.chunk(self.processes, dim=1)[self._rank]
        require_whole_groups(shard, own.shape[1])
        return own.contiguous()


def _keys(scheme: WeightScheme) -> tuple[str, ...]:
    """What files hold of a layer, after its name."""
    codes = ("weight_packed", "weight_shape") if scheme.packed else ("weight",)
    return (*codes, "weight_scale", *(() if scheme.symmetric else ("weight_zero_point",)))


def names_of(layers: Mapping[str, Any], prefix: str, experts: int) -> list[dict[str, str]]:
    """The plan's names of the layers of each expert, by what vLLM calls them; none if it has no such names.

    Args:
        layers: by the names that are known.
        prefix: of the mixture's experts in vLLM.
        experts: how many there are.
    """
    # transformers calls every block `mlp`, vLLM as original checkpoints do
    for base in (prefix, prefix.replace(".block_sparse_moe.", ".mlp.")):
        if f"{base}.0.{LAYERS['w2']}" in layers:
            return [{one: f"{base}.{number}.{own}" for one, own in LAYERS.items()} for number in range(experts)]
    return []
