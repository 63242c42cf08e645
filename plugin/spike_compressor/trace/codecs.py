"""What the golden model knows of each coding of a bundle: ranges, codes, spikes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import golden, golden_capped, golden_groups
from .schema import CAPPED_CODINGS, CODINGS, GROUP_CODINGS, RDOQ_CODING

Array = NDArray[Any]


class Codec(Protocol):
    """The rules of one coding. Shapes: M rows, K inputs; `timesteps` is int64 [M], `frac_bits` F."""

    def largest_membrane(self, timesteps: Array, frac_bits: int) -> Array:
        """The largest magnitude of a membrane, int64 [M]."""

    def largest_sum(self, timesteps: int, inputs: int) -> int:
        """What the magnitudes of the codes of `inputs` neighbouring inputs add up to at most."""

    def codes(self, membrane: Array, timesteps: Array, frac_bits: int) -> Array:
        """Codes int16 [M, K] of membranes."""

    def fire(self, membrane: Array, timesteps: Array, frac_bits: int, steps: int) -> Array:
        """Spikes int8 [steps, M, K] of membranes."""

    def decode(self, spikes: Array, timesteps: Array) -> Array:
        """What spikes add up to, int64 [M, K]."""


class Neuron:
    """TC-LIF neurons, each input by itself.

    Args:
        coding: `tc_lif`, `csd` or `tc_lif_rdoq`.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding

    def largest_membrane(self, timesteps: Array, frac_bits: int) -> Array:
        return (1 << (timesteps + frac_bits)) - 1

    def largest_sum(self, timesteps: int, inputs: int) -> int:
        return inputs * (2**timesteps - 1)

    def codes(self, membrane: Array, timesteps: Array, frac_bits: int) -> Array:
        return golden.codes_from_membranes(membrane, timesteps, frac_bits, self._coding)

    def fire(self, membrane: Array, timesteps: Array, frac_bits: int, steps: int) -> Array:
        return golden.fire(membrane, timesteps, frac_bits, self._coding, steps)

    def decode(self, spikes: Array, timesteps: Array) -> Array:
        return golden.decode(spikes, timesteps, self._coding)


class Capped(Neuron):
    """TC-LIF neurons that fire what their lanes have not dropped.

    Args:
        lanes: of the core.
    """

    def __init__(self, lanes: int) -> None:
        super().__init__("tc_lif")
        self._lanes = lanes

    def codes(self, membrane: Array, timesteps: Array, frac_bits: int) -> Array:
        return golden_capped.capped_codes(membrane, timesteps, frac_bits, self._lanes)

    def fire(self, membrane: Array, timesteps: Array, frac_bits: int, steps: int) -> Array:
        # the neuron fires what is left as if nothing but that had charged it
        codes = self.codes(membrane, timesteps, frac_bits).astype(np.int64)
        return super().fire(codes * (1 << frac_bits), timesteps, frac_bits, steps)


class Groups:
    """Groups of four inputs, of which one fires a step.

    Args:
        beam: states of the search.
    """

    def __init__(self, beam: int) -> None:
        self._beam = beam

    def largest_membrane(self, timesteps: Array, frac_bits: int) -> Array:
        return (3**timesteps - 2**timesteps) << (frac_bits + 1 - timesteps)

    def largest_sum(self, timesteps: int, inputs: int) -> int:
        # one group more, where the inputs begin or end within groups
        return (-(-inputs // golden_groups.GROUP) + 1) * (3**timesteps - 2**timesteps)

    def codes(self, membrane: Array, timesteps: Array, frac_bits: int) -> Array:
        spikes = golden_groups.fire_groups(membrane, timesteps, self._beam)
        return golden_groups.decode_groups(spikes, timesteps).astype(np.int16)

    def fire(self, membrane: Array, timesteps: Array, frac_bits: int, steps: int) -> Array:
        return golden_groups.fire_groups(membrane, timesteps, self._beam, steps)

    def decode(self, spikes: Array, timesteps: Array) -> Array:
        return golden_groups.decode_groups(spikes, timesteps)


CODECS: dict[str, Codec] = {
    **{name: Neuron(name) for name in (*CODINGS, RDOQ_CODING)},
    **{name: Capped(lanes) for name, lanes in CAPPED_CODINGS.items()},
    **{name: Groups(beam) for name, beam in GROUP_CODINGS.items()},
}
