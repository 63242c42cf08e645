"""TCLIFNode is the neuron's equation, in both step modes, and encode is the same neuron."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, TCLIFNode, encode


@pytest.mark.parametrize("T", range(1, 8))
class TestEquation:
    def test_against_exact_fractions(self, T: int) -> None:
        drives = scalar.awkward_drives(T)
        spikes = TCLIFNode(T)(torch.tensor(drives))
        for y, column in zip(drives, spikes.T.tolist(), strict=True):
            assert column == scalar.tc_lif(y, T), y

    def test_single_step_and_multi_step_and_encode_agree(self, T: int) -> None:
        finite = [y for y in scalar.awkward_drives(T) if abs(y) < 1e38]
        y = torch.cat([torch.tensor(finite), torch.randn(997, generator=torch.Generator().manual_seed(T)) * 2**T])
        y = y[: len(y) // 4 * 4].reshape(2, 2, -1)
        multi = TCLIFNode(T)(y)
        node = TCLIFNode(T, step_mode="s")
        assert torch.equal(torch.stack([node(y) for _ in range(T)]), multi)
        assert torch.equal(encode(y, 1.0, T).spikes, multi)
        assert multi.shape == (T, *y.shape)
        assert multi.dtype == torch.int8

    def test_membrane_of_every_step(self, T: int) -> None:
        y = torch.randn(40, generator=torch.Generator().manual_seed(3)) * 2**T / 3
        node = TCLIFNode(T, store_v_seq=True)
        spikes = node(y)
        v = y.double().abs() + 0.5
        for t in range(T):
            v = v - spikes[t].abs().double() * 2 ** (T - 1 - t)
            assert torch.equal(node.v_seq[t], v)


class TestConventions:
    def test_forward_is_charge_fire_reset(self) -> None:
        calls = []

        class Watched(TCLIFNode):
            def neuronal_charge(self, y: torch.Tensor | None) -> None:
                calls.append("charge")
                super().neuronal_charge(y)

            def neuronal_fire(self) -> torch.Tensor:
                calls.append("fire")
                return super().neuronal_fire()

            def neuronal_reset(self, spike: torch.Tensor) -> None:
                calls.append("reset")
                super().neuronal_reset(spike)

        Watched(2)(torch.ones(1))
        assert calls == ["charge", "fire", "reset"] * 2

    def test_the_drive_is_latched_at_the_first_step(self) -> None:
        node = TCLIFNode(3, step_mode="s")
        spikes = [node(torch.tensor([-5.0])), node(torch.tensor([7.0])), node()]
        assert [int(s) for s in spikes] == [-1, 0, -1]

    def test_a_step_too_many_is_refused_until_reset(self) -> None:
        node = TCLIFNode(2, step_mode="s")
        node(torch.ones(1)), node(torch.ones(1))
        with pytest.raises(RuntimeError, match=naming(2, "reset()")):
            node(torch.ones(1))
        node.reset()
        assert node.v is None
        assert int(node(torch.tensor([3.0]))) == 1

    def test_multi_step_leaves_no_state(self) -> None:
        node = TCLIFNode(3)
        first = node(torch.tensor([5.0]))
        assert node.v is None
        assert node.sign is None
        assert node.t == 0
        assert torch.equal(node(torch.tensor([5.0])), first)

    def test_multi_step_does_not_break_into_a_presentation(self) -> None:
        node = TCLIFNode(3, step_mode="s")
        node(torch.ones(1))
        node.step_mode = "m"
        with pytest.raises(RuntimeError, match=naming("in progress", "reset()")):
            node(torch.ones(1))
        assert node.t == 1

    def test_state_is_registered_but_not_saved(self) -> None:
        node = TCLIFNode(3, step_mode="s")
        node(torch.ones(4))
        assert node.state_dict() == {}
        assert {name for name, _ in node.named_buffers()} == {"v", "sign"}
        twin = copy.deepcopy(node)
        assert torch.equal(twin(), node())

    def test_a_net_can_be_reset(self) -> None:
        net = torch.nn.Sequential(TCLIFNode(3, step_mode="s"))
        net(torch.ones(2))
        for module in net.modules():
            if hasattr(module, "reset"):
                module.reset()
        assert net[0].t == 0

    def test_threshold_halves(self) -> None:
        node = TCLIFNode(4, step_mode="s")
        thresholds = []
        for _ in range(4):
            thresholds.append(node.v_threshold)
            node(torch.ones(1))
        assert thresholds == [8, 4, 2, 1]
        assert node.v_threshold == 0


class TestArguments:
    @pytest.mark.parametrize("T", [0, 8])
    def test_timesteps(self, T: int) -> None:
        with pytest.raises(ValueError, match=naming("timesteps", 1, 7, T)):
            TCLIFNode(T)

    @pytest.mark.parametrize("T", [3.0, True, torch.tensor([3, 4])])
    def test_timesteps_type(self, T: object) -> None:
        with pytest.raises((TypeError, ValueError), match="timesteps"):
            TCLIFNode(T)  # type: ignore[arg-type]

    def test_step_mode(self) -> None:
        with pytest.raises(ValueError, match=naming("step_mode", "'s'", "'m'", "'multi'")):
            TCLIFNode(3, step_mode="multi")

    def test_nan_drive(self) -> None:
        for mode in "sm":
            node = TCLIFNode(3, step_mode=mode)
            with pytest.raises(NonFiniteInputError, match=naming("1 NaN", "row 1 of 2")):
                node(torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]))
            assert node.v is None

    @pytest.mark.parametrize("mode", ["s", "m"])
    def test_first_step_needs_a_drive(self, mode: str) -> None:
        with pytest.raises(ValueError, match={"s": "the first step", "m": "multi-step mode"}[mode]):
            TCLIFNode(3, step_mode=mode)()
