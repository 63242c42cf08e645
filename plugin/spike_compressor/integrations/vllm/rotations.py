"""Online rotations of a Linear's input, as `load` applies them: before its neurons see a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from compressed_tensors.transform import TransformArgs, TransformConfig, TransformFactory, TransformScheme
from compressed_tensors.utils import is_match
from safetensors import safe_open
from torch import Tensor, nn

from spike_compressor.errors import InputError

#: Inputs [*leading, K] -> rotated inputs, in their dtype.
Rotation = Callable[[Tensor], Tensor]


class Rotations:
    """The rotations of a checkpoint that run at inference, made as layers ask for them.

    Layers whose matrix is the same get the same object, so that layers with one input still code it once.

    Args:
        transforms: of `config.json`, or None; those that are merged into weights have no part here.
        files: that hold the weights, the matrices among them.

    Raises:
        InputError: matrices that layers of one size do not share.
    """

    def __init__(self, transforms: TransformConfig | None, files: Sequence[Path]) -> None:
        groups = {} if transforms is None else transforms.config_groups
        self._online: list[tuple[str, TransformScheme, TransformArgs]] = [
            (name, scheme, args) for name, scheme in groups.items() for args in scheme.apply if args.is_online()
        ]
        if odd := [name for name, scheme, _ in self._online if scheme.randomize]:
            raise InputError(
                f"the online rotation {odd[0]!r} has a matrix for each layer, which cannot be served by vLLM; "
                "spike_compressor.load computes it"
            )
        #: Ends of names of tensors that are matrices of rotations.
        self.suffixes = tuple(f".{name}_{args.location}.weight" for name, _, args in self._online)
        self._matrices: dict[tuple[str, int], Tensor] = {}
        self._made: dict[tuple[str, int], Rotation] = {}
        for path in files if self._online else ():
            self._read(path)

    def _read(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                suffix = next((one for one in self.suffixes if key.endswith(one)), None)
                if suffix is None:
                    continue
                matrix = file.get_tensor(key)
                known = self._matrices.setdefault((suffix, matrix.shape[0]), matrix)
                if not torch.equal(known, matrix):
                    raise InputError(
                        f"{path.parent}: {key} is not the matrix of other layers of its size; rotations of one layer "
                        "alone cannot be served by vLLM; spike_compressor.load computes it"
                    )

    def of(self, name: str, features: int) -> Rotation | None:
        """What the inputs of a layer go through, or None.

        Args:
            name: of the layer, as the plan has it.
            features: K, of whole rows.

        Raises:
            InputError: several rotations of one input, or no matrix for it.
        """
        # the class alone is looked at, and how many inputs there are
        layer = nn.Linear(features, 1)
        found = [one for one in self._online if is_match(name, layer, one[2].targets, one[2].ignore)]
        if not found:
            return None
        if len(found) > 1:
            raise InputError(f"{name}: {len(found)} rotations of one input cannot be served by vLLM, only one")
        ((group, scheme, args),) = found
        key = (f".{group}_{args.location}.weight", scheme.head_dim or features)
        if key not in self._made:
            if key not in self._matrices:
                raise InputError(
                    f"the matrix [{key[1]}, {key[1]}] of the online rotation {group!r} of {name} is missing"
                )
            transform = TransformFactory.from_scheme(scheme, name=group).create_transform(layer, args)
            with torch.no_grad():
                transform.weight.copy_(self._matrices[key])
            self._made[key] = transform.requires_grad_(False)
        return self._made[key]
