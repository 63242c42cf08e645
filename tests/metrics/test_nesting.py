"""What observes a model at the same time does not disturb each other: each block counts exactly what ran inside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.metrics import SpikeRecord, measure_activity, record_fidelity, record_spikes
from spike_compressor.metrics.operations import OperationCounter
from spike_compressor.runtime import LayerSpikes, observing, spiking_attention, spiking_layers, spiking_state
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.flop_counter import FlopCounterMode

#: attention products spike as well: they have observers and a pause of their own
SPIKING = recipe(RTN, "attention: {timesteps: 4}")


@pytest.fixture
def model(workshop: Workshop) -> Any:
    return workshop.made("llava", SPIKING)[0]


@pytest.fixture
def batch(workshop: Workshop) -> dict[str, torch.Tensor]:
    return workshop.batch("llava")


@pytest.fixture
def other(workshop: Workshop) -> dict[str, torch.Tensor]:
    """A batch of another size."""
    return tiny_models.collate([tiny_models.sample(3, 7)])


def summary(record: SpikeRecord) -> dict[str, Any]:
    """Everything that a record has counted."""
    return {
        "tokens": dict(record.tokens),
        "other macs": record.other_macs,
        "coverage": record.coverage(),
        "passes": dict(record.passes),
        "dead": record.dead,
        "sops per token": {name: record.sops_per_token(name) for name in record.tokens},
        "layers": {
            key: (entry.rows, entry.ends, entry.saturated, entry.histogram.tolist())
            for key, entry in record.layers.items()
        },
        "attention": {
            key: (entry.rows, entry.evaluated, entry.dense, entry.additions, entry.histogram.tolist())
            for key, entry in record.attention.items()
        },
    }


def alone(model: Any, *batches: Any) -> dict[str, Any]:
    """What a block counts that nothing else is around."""
    with record_spikes(model) as record:
        for one in batches:
            tiny_models.logits(model, one)
    assert record.other_macs
    assert record.attention
    return summary(record)


def assert_nothing_is_left(model: Any) -> None:
    assert _get_current_dispatch_mode() is None
    state = spiking_state(model)
    assert not state.tracker.observers
    for layer in spiking_layers(model).values():
        assert not layer.observers
        assert not layer._forward_pre_hooks
    for attention in spiking_attention(model).values():
        assert not attention.observers
        assert not attention.contexts


def test_record_in_record(model: Any, batch: Any, other: Any) -> None:
    both, inside = alone(model, batch, other, batch), alone(model, other)
    with record_spikes(model) as outer:
        tiny_models.logits(model, batch)
        with record_spikes(model) as inner:
            tiny_models.logits(model, other)
        tiny_models.logits(model, batch)
    assert summary(inner) == inside
    assert summary(outer) == both
    assert_nothing_is_left(model)


def test_three_deep_and_one_after_the_other(model: Any, batch: Any, other: Any) -> None:
    with record_spikes(model) as outer:
        with record_spikes(model) as middle, record_spikes(model, operations=False) as inner:
            tiny_models.logits(model, other)
        with record_spikes(model) as second:
            tiny_models.logits(model, batch)
    assert summary(middle) == alone(model, other)
    assert summary(inner)["layers"] == summary(middle)["layers"]
    assert inner.other_macs == 0
    assert summary(second) == alone(model, batch)
    assert summary(outer) == alone(model, other, batch)
    assert_nothing_is_left(model)


def test_overlapping_blocks_end_in_any_order(model: Any, batch: Any, other: Any) -> None:
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    one = first.enter_context(record_spikes(model))
    tiny_models.logits(model, batch)
    two = second.enter_context(record_spikes(model))
    tiny_models.logits(model, other)
    first.close()  # before the one that began after it
    tiny_models.logits(model, batch)
    second.close()
    tiny_models.logits(model, batch)
    assert summary(one) == alone(model, batch, other)
    assert summary(two) == alone(model, other, batch)
    assert_nothing_is_left(model)


def test_an_exception_in_the_inner_block_leaves_the_outer_one_right(model: Any, batch: Any, other: Any) -> None:
    with record_spikes(model) as outer:
        tiny_models.logits(model, batch)
        with pytest.raises(RuntimeError, match="stop"), record_spikes(model):
            raise RuntimeError("stop")
        tiny_models.logits(model, other)
    assert summary(outer) == alone(model, batch, other)
    assert_nothing_is_left(model)


def test_a_pass_that_is_stopped_within_a_layer_counts_as_far_as_it_came(model: Any, batch: Any, other: Any) -> None:
    def stop(*_: Any) -> None:
        raise RuntimeError("stop")

    def stopped() -> None:  # where counters are paused
        names = ["model.language_model.layers.0.mlp.up_proj"]
        with pytest.raises(RuntimeError, match="stop"), observing(model, layers=stop, names=names):
            tiny_models.logits(model, batch)

    with record_spikes(model) as expected:
        stopped()
    with record_spikes(model) as outer:
        with record_spikes(model) as inner:
            stopped()
        tiny_models.logits(model, other)
    assert summary(inner) == summary(expected)
    whole = alone(model, other)
    assert outer.other_macs == expected.other_macs + whole["other macs"]
    assert outer.tokens == {name: expected.tokens[name] + count for name, count in whole["tokens"].items()}
    assert_nothing_is_left(model)


def test_activity_in_record(model: Any, batch: Any, other: Any) -> None:
    expected = measure_activity(model, [batch, other])
    with record_spikes(model) as outer:
        tiny_models.logits(model, batch)
        inner = measure_activity(model, [batch, other])
        tiny_models.logits(model, other)
    assert inner == expected
    assert summary(outer) == alone(model, batch, batch, other, other)
    assert_nothing_is_left(model)


def test_record_in_activity(model: Any, batch: Any, other: Any) -> None:
    """The batches of an activity may come from whatever runs the model."""
    expected = measure_activity(model, [batch, other])
    records = []

    def batches() -> Any:
        yield batch
        with record_spikes(model) as record:
            tiny_models.logits(model, other)
        records.append(record)
        yield other

    inner = measure_activity(model, batches())
    assert {key: value for key, value in inner.items() if key != "totals"} == {
        key: value for key, value in expected.items() if key != "totals"
    }
    assert inner["totals"] == expected["totals"]
    assert summary(records[0]) == alone(model, other)
    assert_nothing_is_left(model)


def test_fidelity_in_record_and_record_in_fidelity(model: Any, batch: Any, other: Any) -> None:
    with record_fidelity(model) as expected:
        tiny_models.logits(model, other)
    with record_spikes(model) as outer:
        tiny_models.logits(model, batch)
        with record_fidelity(model) as inner:
            tiny_models.logits(model, other)
        with record_fidelity(model) as around, record_spikes(model) as inside:
            tiny_models.logits(model, other)
    assert inner.to_dict() == around.to_dict() == expected.to_dict()
    assert summary(inside) == alone(model, other)
    # the reference products of a fidelity are computed where layers run, and are no operations of the model
    assert summary(outer) == alone(model, batch, other, other)
    assert_nothing_is_left(model)


def test_a_trace_in_record(workshop: Workshop, batch: Any, other: Any, tmp_path: Path) -> None:
    model = workshop.made("llava", recipe(RTN))[0]

    def count(run: Callable[[], Any]) -> dict[str, Any]:
        with record_spikes(model) as record:
            run()
        return summary(record)

    expected = count(lambda: [tiny_models.logits(model, one) for one in (batch, other, batch)])
    plain = spike_compressor.export_trace(model, other, tmp_path / "plain")

    def traced() -> None:
        tiny_models.logits(model, batch)
        spike_compressor.export_trace(model, other, tmp_path / "inside")
        tiny_models.logits(model, batch)

    assert count(traced) == expected
    for file in plain.glob("*.npz"):
        assert file.read_bytes() == (tmp_path / "inside" / file.name).read_bytes()
    assert_nothing_is_left(model)


class _EqualToAll:
    """An observer that takes itself for every other one."""

    def __init__(self) -> None:
        self.events = 0

    def __call__(self, *_: Any) -> None:
        self.events += 1

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("what", ["layers", "attention", "rows"])
def test_each_block_takes_away_its_own_entry(model: Any, other: Any, what: str) -> None:
    """Of observers that are the same, or equal, that of the block which ends goes, whichever was added first."""
    ours, theirs = _EqualToAll(), _EqualToAll()
    tiny_models.logits(model, other)

    def fired(*observers: _EqualToAll) -> list[bool]:
        before = [observer.events for observer in observers]
        tiny_models.logits(model, other)
        return [observer.events > count for observer, count in zip(observers, before, strict=True)]

    first, second, third = (contextlib.ExitStack() for _ in range(3))
    first.enter_context(observing(model, **{what: ours}))
    second.enter_context(observing(model, **{what: theirs}))
    assert fired(ours, theirs) == [True, True]
    second.close()
    assert fired(ours, theirs) == [True, False]
    second.enter_context(observing(model, **{what: theirs}))
    first.close()
    assert fired(ours, theirs) == [False, True]
    third.enter_context(observing(model, **{what: theirs}))  # the very same, twice
    before = theirs.events
    tiny_models.logits(model, other)
    twice = theirs.events - before
    second.close()
    before = theirs.events
    tiny_models.logits(model, other)
    assert 0 < theirs.events - before == twice // 2
    third.close()
    assert fired(ours, theirs) == [False, False]
    assert_nothing_is_left(model)


def test_observing_some_layers_by_name(model: Any, other: Any) -> None:
    name = "model.language_model.layers.1.mlp.down_proj"
    events: list[LayerSpikes] = []
    with observing(model, layers=lambda _, event: events.append(event), names=[name]):
        tiny_models.logits(model, other)
    assert [event.name for event in events] == [name]


def test_what_others_took_away_is_not_missed(model: Any, other: Any) -> None:
    with observing(model, layers=lambda *_: None):
        for layer in spiking_layers(model).values():
            layer.observers.clear()
        tiny_models.logits(model, other)
    assert_nothing_is_left(model)


def test_operation_counters_nest_and_overlap() -> None:
    def work(n: int) -> None:
        torch.ones(n, 5) @ torch.ones(5, 2)

    with OperationCounter() as outer:
        work(1)
        with OperationCounter() as inner:
            work(2)
        work(4)
    work(64)
    assert (inner.macs, outer.macs) == (2 * 10, 7 * 10)
    one, two = OperationCounter(), OperationCounter()
    one.__enter__()
    work(1)
    two.__enter__()
    work(2)
    one.__exit__(None, None, None)
    work(4)
    with two.paused():
        work(8)
        with OperationCounter() as three, two.paused():
            work(16)
        work(32)
    work(64)
    two.__exit__(None, None, None)
    work(128)
    assert (one.macs, two.macs, three.macs) == (3 * 10, (2 + 4 + 64) * 10, 16 * 10)


def test_a_module_that_raises_before_it_runs_does_not_unpause_another() -> None:
    inner, outer = torch.nn.Linear(5, 2, bias=False), torch.nn.Linear(5, 2, bias=False)

    def refuse(*_: Any) -> None:
        raise RuntimeError("refused")

    outer.register_forward_pre_hook(refuse)
    with OperationCounter() as counter, counter.excluding([inner, outer]):
        with pytest.raises(RuntimeError, match="refused"):
            outer(torch.ones(3, 5))
        inner(torch.ones(3, 5))
        assert counter.macs == 0
        torch.ones(3, 5) @ torch.ones(5, 2)
    assert counter.macs == 3 * 5 * 2


def test_a_mode_of_somebody_else_in_between_counts_what_it_counts_alone(model: Any, other: Any) -> None:
    with FlopCounterMode(display=False) as expected:
        tiny_models.logits(model, other)
    with record_spikes(model) as outer:
        with FlopCounterMode(display=False) as theirs:
            tiny_models.logits(model, other)
            with record_spikes(model) as inner:
                tiny_models.logits(model, other)
        tiny_models.logits(model, other)
    assert theirs.get_total_flops() == 2 * expected.get_total_flops()
    assert summary(inner) == alone(model, other)
    assert summary(outer) == alone(model, other, other, other)
    torch.ones(3, 5) @ torch.ones(5, 2)
    assert summary(outer) == alone(model, other, other, other)
    assert _get_current_dispatch_mode() is None
