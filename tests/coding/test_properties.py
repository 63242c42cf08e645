"""The promises of the coding room, on whatever hypothesis thinks of."""

from __future__ import annotations

import torch
from helpers import scalar_reference as scalar
from hypothesis import given
from hypothesis import strategies as st
from spike_compressor.coding import (
    TCLIFNode,
    absmax_scale,
    available_codings,
    codes_from_membrane,
    encode,
    fixed_membrane,
    get_coding,
    quantize_rows,
    spikes_from_codes,
)

timesteps = st.integers(1, 7)
codings = st.sampled_from([name for name in available_codings() if get_coding(name).rounds])
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-300, 300, width=32)
scales = st.floats(0, 3.4028234663852886e38, width=32, exclude_min=True)
rows = st.lists(st.one_of(moderate, finite), min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[float]], list[float], list[int]]:
    """Rows of one width, with a scale and a T of their own."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    row = st.lists(st.one_of(moderate, finite), min_size=width, max_size=width)
    values = draw(st.lists(row, min_size=height, max_size=height))
    own_scales = draw(st.lists(st.one_of(st.just(1.0), scales), min_size=height, max_size=height))
    return values, own_scales, draw(st.lists(timesteps, min_size=height, max_size=height))


@given(tables(), codings)
def test_encode_is_the_scalar_neuron(table: tuple[list[list[float]], list[float], list[int]], coding: str) -> None:
    values, own_scales, own_timesteps = table
    x, scale, T = torch.tensor(values), torch.tensor(own_scales), torch.tensor(own_timesteps)
    train = encode(x, scale, T, coding)
    cost = get_coding(coding).rounding.spike_cost or 0.0
    expected = [
        [scalar.code(scalar.quotient(v, s), 1 - 2**t, 2**t - 1, cost) for v in row]
        for row, s, t in zip(values, own_scales, own_timesteps, strict=True)
    ]
    assert train.codes().tolist() == [[q for q, _ in row] for row in expected]
    assert train.saturated == sum(beyond for row in expected for _, beyond in row)
    codes, saturated = quantize_rows(x, scale, T, coding)
    assert codes.tolist() == train.codes().tolist()
    assert saturated == train.saturated
    if coding == "tc_lif":
        for i, (row, s, t) in enumerate(zip(values, own_scales, own_timesteps, strict=True)):
            for k, v in enumerate(row):
                assert train.spikes[:t, i, k].tolist() == scalar.tc_lif(scalar.quotient(v, s), t)


neurons = st.sampled_from(["tc_lif", "tc_lif_rdoq"])


@given(rows, scales, timesteps, neurons)
def test_node_is_encode(values: list[float], scale: float, T: int, coding: str) -> None:
    x = torch.tensor(values)
    y = x / torch.tensor([scale])
    node = TCLIFNode(T, rounding=get_coding(coding).rounding)
    assert torch.equal(node(y), encode(x, scale, T, coding).spikes)


@given(rows, scales, timesteps, neurons, st.integers(1, 24))
def test_hardware_is_float(values: list[float], scale: float, T: int, coding: str, frac_bits: int) -> None:
    x, rounding = torch.tensor(values), get_coding(coding).rounding
    frac_bits = max(frac_bits, rounding.frac_bits)
    membrane = fixed_membrane(x, scale, T, frac_bits)
    assert int(membrane.long().abs().max()) < 2 ** (T + frac_bits)
    assert torch.equal(codes_from_membrane(membrane, T, frac_bits, rounding), encode(x, scale, T, coding).codes())


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20), timesteps, codings, st.data())
def test_spikes_from_codes_round_trips(codes: list[int], T: int, coding: str, data: st.DataObject) -> None:
    zero = None
    if not get_coding(coding).signed:
        zero = data.draw(st.one_of(st.none(), st.integers(0, 2 ** (T + 1) - 1)))
    low, high = (1 - 2**T, 2**T - 1) if zero is None else (-zero, 2 ** (T + 1) - 1 - zero)
    train = spikes_from_codes(torch.tensor(codes), T, coding, zero_point=zero)
    assert train.codes().tolist() == [min(max(q, low), high) for q in codes]
    assert train.saturated == sum(not low <= q <= high for q in codes)
    again = spikes_from_codes(train.codes(), T, coding, zero_point=train.zero_point if zero is not None else None)
    assert torch.equal(again.spikes, train.spikes)
    assert again.saturated == 0


@given(rows, timesteps)
def test_sign_is_all_that_changes_with_the_sign(values: list[float], T: int) -> None:
    x = torch.tensor(values)
    for coding in ("tc_lif", "tc_lif_rdoq", "csd", "unary"):
        assert torch.equal(encode(-x, 1.0, T, coding).spikes, -encode(x, 1.0, T, coding).spikes)


@given(rows, timesteps, st.floats(0.015625, 2, width=32))
def test_dynamic_scale(values: list[float], T: int, ratio: float) -> None:
    x = torch.tensor(values)
    scale = absmax_scale(x, T, ratio)
    assert float(scale) > 0
    codes, saturated = quantize_rows(x, scale, T)
    if ratio == 1 and float(x.abs().max()) > 1e-30:
        assert saturated == 0
        assert int(codes.abs().max()) == 2**T - 1
