"""The TC-LIF neuron, one timestep at a time: the equation as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spike_compressor.coding.arguments import MAX_TIMESTEPS, check_floating, check_timesteps
from spike_compressor.coding.errors import raise_if_non_finite
from spike_compressor.coding.rounding import NEAREST, Rounding

__all__ = ["TCLIFNode"]


class TCLIFNode(nn.Module):
    """Temporally compressed leak-free integrate-and-fire neuron, after SpikingJelly's conventions.

    Charge, fire, reset, with a threshold that halves from step to step:

        charge   (first step)   sign = sgn(y),  V = |y| + 1/2     the half is the initial potential
        fire     theta = 2^(T-1-t)              s_t = sign * (V >= theta)
        reset    V = V - theta * |s_t|          soft: what exceeds the threshold stays

    so that `sum_t 2^(T-1-t) s_t = sgn(y) * min(floor(|y| + 1/2), 2^T - 1)`: the neuron is the quantizer.
    `encode` computes the same spikes for all steps at once.

    The drive `y` is the input in threshold units, and is given whole: in multi-step mode [N, *] becomes
    [T, N, *] in one call; in single-step mode the first call after `reset` latches it and fires step 0,
    each later call fires the next step (its argument is not looked at, and may be left out).

    Args:
        timesteps: T, an int in 1 … 7.
        step_mode: `'s'` (single-step) or `'m'` (multi-step).
        store_v_seq: in multi-step mode keep the membrane after each step's reset, float64 [T, N, *], in
            `v_seq`.
        rounding: what the initial potential is: the half, or another function of |y|, as of `tc_lif_rdoq`.

    Attributes:
        v: membrane, float64 [N, *], of a presentation in progress, else None. Float64, because the half is
            added to a float32 drive, and 0.49999997 + 0.5 is not 1.
        sign: latched sign of the drive, int8 [N, *], or None.
        t: steps already fired of the presentation in progress.
    """

    v: Tensor | None
    sign: Tensor | None
    v_seq: Tensor | None

    def __init__(
        self, timesteps: int, step_mode: str = "m", *, store_v_seq: bool = False, rounding: Rounding = NEAREST
    ) -> None:
        super().__init__()
        checked = check_timesteps(timesteps, torch.Size(), torch.device("cpu"))
        assert isinstance(checked, int)  # a tensor would need rows
        self.timesteps = checked
        self.step_mode = step_mode
        self.store_v_seq = store_v_seq
        self.rounding = rounding
        for state in ("v", "sign", "v_seq"):
            self.register_buffer(state, None, persistent=False)
        self.t = 0

    def supported_step_mode(self) -> tuple[str, ...]:
        """Values that `step_mode` takes."""
        return ("s", "m")

    @property
    def step_mode(self) -> str:
        """`'s'` or `'m'`."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        if value not in self.supported_step_mode():
            raise ValueError(f"step_mode must be 's' or 'm', not {value!r}")
        self._step_mode = value

    @property
    def v_threshold(self) -> int:
        """Threshold of the step that comes next, `2^(T-1-t)`; 0 once all are fired."""
        return (1 << self.timesteps) >> (self.t + 1)

    def reset(self) -> None:
        """Forget the presentation in progress."""
        self.v = self.sign = self.v_seq = None
        self.t = 0

    def neuronal_charge(self, y: Tensor | None) -> None:
        """Latch the drive (float [N, *]) at the first step; a later step adds nothing."""
        if self.t > 0:
            return
        if y is None:
            raise ValueError("the first step after reset needs the drive y")
        y = check_floating(y).to(torch.float32)
        if bool(y.isnan().any()):  # an infinite drive is a quotient that overflowed; it clips
            raise_if_non_finite(y)
        self.sign = y.sign().to(torch.int8)
        magnitude = y.abs().to(torch.float64)
        whole = magnitude.clamp(max=1 << MAX_TIMESTEPS).to(torch.int64)  # above that all steps fire anyway
        self.v = magnitude + self.rounding.potential(whole) / (1 << self.rounding.frac_bits)

    def neuronal_fire(self) -> Tensor:
        """Spikes of this step, int8 [N, *] in {-1, 0, 1}."""
        assert self.v is not None
        assert self.sign is not None
        return self.sign * (self.v >= self.v_threshold)

    def neuronal_reset(self, spike: Tensor) -> None:
        """Subtract the threshold where the neuron fired."""
        assert self.v is not None
        self.v = self.v - self.v_threshold * spike.abs()
        self.t += 1

    @torch.no_grad()
    def single_step_forward(self, y: Tensor | None = None) -> Tensor:
        """Spikes of the next step, int8 [N, *].

        Raises:
            RuntimeError: all T steps are fired; call `reset` before the next drive.
            NonFiniteInputError: the drive holds NaN.
        """
        if self.t >= self.timesteps:
            raise RuntimeError(f"all {self.timesteps} timesteps are fired: reset() before the next drive")
        self.neuronal_charge(y)
        spike = self.neuronal_fire()
        self.neuronal_reset(spike)
        return spike

    @torch.no_grad()
    def multi_step_forward(self, y: Tensor) -> Tensor:
        """Spikes of all steps, int8 [T, N, *], of one drive [N, *]. No state is left behind but `v_seq`.

        Raises:
            RuntimeError: a single-step presentation is in progress.
            NonFiniteInputError: the drive holds NaN.
        """
        if self.t > 0:
            raise RuntimeError("a single-step presentation is in progress: reset() the neuron first")
        spikes, membranes = [], []
        for _ in range(self.timesteps):
            spikes.append(self.single_step_forward(y))
            membranes.append(self.v)
        self.reset()
        if self.store_v_seq:
            self.v_seq = torch.stack([v for v in membranes if v is not None])
        return torch.stack(spikes)

    def forward(self, y: Tensor | None = None) -> Tensor:
        """One step (`'s'`) or all of them (`'m'`)."""
        if self.step_mode == "s":
            return self.single_step_forward(y)
        if y is None:
            raise ValueError("multi-step mode needs the drive y")
        return self.multi_step_forward(y)

    def extra_repr(self) -> str:
        return f"timesteps={self.timesteps}, step_mode={self.step_mode!r}"
