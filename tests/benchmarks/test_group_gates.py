"""The gates of group coding: who meets whom, and the second mode that an array might have."""

from __future__ import annotations

import group_gates
import spike_compressor
import torch
from helpers.workshop import GPTQ_GROUP, Workshop, recipe
from spike_compressor.runtime import LayerSpec, attach, detach, spiking_layers, spiking_state


def test_every_gate_has_its_codes_and_a_second_mode_is_asked_for() -> None:
    plain = group_gates.codes("group4")
    assert {name for gate in group_gates.GATES for name in gate} == set(plain)
    both = group_gates.codes("group4", 2.0)
    assert {code.dual for name, code in both.items() if name in plain} == {None}
    assert {name: code.dual for name, code in both.items() if name not in plain} == {
        f"{groups}{group_gates.DUAL}": 2.0 for groups, _ in group_gates.GATES
    }


def test_rows_of_a_low_crest_factor_spike_as_tc_lif_and_the_others_in_groups(workshop: Workshop) -> None:
    _, path = workshop.made("llama", recipe(GPTQ_GROUP, "timesteps: 7", msts=None))
    model = spike_compressor.load(path)
    state = spiking_state(model)
    adapter, names = state.tracker.adapter, list(state.layers)
    x = torch.randn(6, spiking_layers(model)[names[0]].in_features, generator=torch.Generator().manual_seed(3))
    x[1] = x[1].sign() * 3
    x[4] = x[4].sign()

    def outputs(coding: str, statistic: str, ratio: float, steps: int) -> torch.Tensor:
        detach(model)
        spec = LayerSpec({"text": steps}, coding, ratio={"text": ratio}, statistic=statistic)
        attach(model, dict.fromkeys(names, spec), adapter)
        with torch.no_grad():
            return spiking_layers(model)[names[0]](x)

    plain = outputs("tc_lif", "absmax", 1.0, 7)
    hooks = group_gates.codes("group4", 2.0)[f"S = 7{group_gates.DUAL}"].put_on(model, 0)
    assert len(hooks) == len(names)
    for hook in hooks:
        hook.remove()
    groups = outputs("group4", "rms", 0.4, 5)
    layer = spiking_layers(model)[names[0]]
    found = group_gates.second_mode(2.0, layer, (x,), groups)
    alike = torch.tensor([False, True, False, False, True, False])
    assert torch.equal(found[~alike], groups[~alike])
    torch.testing.assert_close(found[alike], plain[alike], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(groups[alike], plain[alike], rtol=1e-2)
    assert group_gates.second_mode(0.5, layer, (x,), groups) is groups
