"""One simulated core: a layer's membranes and weights in, its accumulators out, and what that took."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from ctypes import byref, c_uint32, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.rtl.library import COUNTERS, ERRORS, FAILURES, CJob, CShape, library_path, load_library


class CoreError(RuntimeError):
    """The core reported an error, or did not answer: a fault of the core or of its library, not of the input."""


class Shape(NamedTuple):
    """What a core was built for; docs/rtl.md has its parameters."""

    rows: int
    columns: int
    lanes: int
    slots: int
    weight_bits: int
    tmax: int
    csd: bool
    blocks: int

    def blocks_of(self, inputs: int, groups: int) -> int:
        """Blocks of its store that a row of K inputs in G groups takes."""
        return groups * -(-(inputs // groups) // (self.lanes * self.slots))


@dataclass(frozen=True)
class Work:
    """What the core did in one call; handed to observers.

    Attributes:
        name: of the layer or product.
        rows: M, of the whole batch.
        inputs: K.
        outputs: N.
        acc: int32 [M, N], or [M, N, G] with groups.
        counters: the core's, by name: docs/registers.md says what each one counts.
    """

    name: str
    rows: int
    inputs: int
    outputs: int
    acc: Tensor
    counters: Mapping[str, int]


Observer = Callable[[Work], None]


class Core:
    """The simulated core of a library. One caller at a time computes with it; others wait.

    Args:
        path: of the library.

    Attributes:
        shape: what it was built for.
        observers: called with the work of each call.

    Raises:
        InputError: no library, or one that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._functions = load_library(path)
        self._core = self._functions.spike_rtl_open()
        if not self._core:
            raise InputError(f"backend 'rtl': the core in {path} does not answer as one that its driver knows")
        found = CShape()
        self._functions.spike_rtl_get_shape(self._core, byref(found))
        self.shape = Shape(*(getattr(found, name) for name in Shape._fields))
        self.observers: list[Observer] = []
        self._lock = threading.Lock()

    def require(self, name: str, timesteps: int, inputs: int, groups: int) -> None:
        """Check that it can compute a layer.

        Args:
            name: of the layer, for the message.
            timesteps: the largest T of its rows.
            inputs: K.
            groups: G.

        Raises:
            InputError: it cannot; says what is too large.
        """
        shape = self.shape
        if timesteps > shape.tmax:
            raise InputError(f"{name} has rows of T = {timesteps}; the core of backend 'rtl' has up to {shape.tmax}")
        if shape.blocks_of(inputs, groups) > shape.blocks:
            whole = shape.lanes * shape.slots
            raise InputError(
                f"{name} has {inputs} inputs in {groups} groups, each rounded up to {whole}; the store of backend "
                f"'rtl' holds {whole * shape.blocks}. Build a larger one: make rtl-library LIBRARY='--inputs N'"
            )

    def compute(
        self,
        name: str,
        membranes: Tensor,
        timesteps: Tensor,
        weights: Tensor,
        *,
        frac_bits: int,
        groups: int = 1,
        csd: bool = False,
        fired: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Fire rows, and add up weights as their spikes come.

        Args:
            name: of the layer, for observers and errors.
            membranes: int32 [B * M, K], F fractional bits; or with F = 0 codes.
            timesteps: T of each row, uint8 [B * M].
            weights: int8 [B, N, K]: of the first M rows, and so on.
            frac_bits: F.
            groups: G, groups of consecutive inputs that are summed apart.
            csd: coded in `csd`, not in `tc_lif`.
            fired: give the spikes as well; the core then takes a cycle for each step of a chunk of inputs.

        Returns:
            Accumulators int32 [B * M, N, G], and spikes int8 [steps, B * M, K] or None.

        Raises:
            InputError: rows that the core has no room for.
            CoreError: it reported an error, or did not answer.
        """
        batch, N, K = weights.shape
        total = membranes.shape[0]
        self.require(name, int(timesteps.max()), K, groups)
        rows, steps = total // batch, int(timesteps.max()) + csd
        membranes, timesteps, weights = (t.contiguous() for t in (membranes, timesteps, weights))
        acc = torch.empty((total, N, groups), dtype=torch.int32)
        spikes = torch.zeros((batch, steps, rows, K), dtype=torch.int8) if fired else None
        job = CJob(
            *(batch, rows, N, K, groups, frac_bits, csd, steps, 0),
            *(t.data_ptr() for t in (membranes, timesteps, weights, acc)),
            None if spikes is None else spikes.data_ptr(),
        )
        counted, errors = (c_uint64 * len(COUNTERS))(), c_uint32()
        with self._lock:
            result = self._functions.spike_rtl_compute(
                self._core, byref(job), counted if self.observers else None, byref(errors)
            )
        if result:
            bits = [bit for place, bit in enumerate(ERRORS) if errors.value >> place & 1]
            why = FAILURES.get(result, f"the driver returned {result}")
            raise CoreError(f"backend 'rtl', {name}: {why}{': ' if bits else ''}{', '.join(bits)}")
        if self.observers:
            counters = dict(zip(COUNTERS, counted, strict=True))
            work = Work(name, total, K, N, acc if groups > 1 else acc[:, :, 0], counters)
            for observer in list(self.observers):
                observer(work)
        return acc, None if spikes is None else spikes.transpose(0, 1).reshape(steps, total, K)


def core() -> Core:
    """The core that this process computes with; opened when it is first asked for.

    Raises:
        InputError: no library, or one that cannot be used; names the remedy.
    """
    return _opened(library_path())


@functools.cache
def _opened(path: Path) -> Core:
    return Core(path)


@contextlib.contextmanager
def watching(observer: Observer) -> Iterator[None]:
    """Call an observer with what the core does within the block.

    Raises:
        InputError: as `core`.
    """
    observers = core().observers
    entry = functools.partial(observer)  # an object of its own: blocks may nest
    observers.append(entry)
    try:
        yield
    finally:
        observers[:] = [one for one in observers if one is not entry]
