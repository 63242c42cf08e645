"""The counts that vLLM's processes keep by request, without vLLM: what is added, found by its name, and dropped."""

from __future__ import annotations

import pytest
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.counts import KEPT, Counts, Ledger, told


def _counted(ledger: Ledger, request: str, spikes: int) -> None:
    counts = ledger.of(request)
    counts.add_tokens("text", 1)
    counts.add("down", "text", (8, spikes, 4 * spikes))


def test_processes_are_added_up_by_kind_and_modality() -> None:
    one, other = Counts(), Counts()
    one.add_tokens("vision", 2)
    one.add("q/k/v", "vision", (10, 3, 30))
    other.add("q/k/v", "vision", (10, 4, 40))
    other.add("o", "vision", (5, 1, 2))
    assert told([one.plain(), other.plain()], None) == {
        "tokens": {"vision": 2},
        "inputs": 25,
        "spikes": 8,
        "sops": 72,
        "layers": [
            {"kind": "q/k/v", "modality": "vision", "inputs": 20, "spikes": 7, "sops": 70},
            {"kind": "o", "modality": "vision", "inputs": 5, "spikes": 1, "sops": 2},
        ],
    }


def test_a_request_is_found_by_the_name_that_users_have() -> None:
    """vLLM adds the number of the answer, of the prompt, and eight letters of chance."""
    ledger = Ledger()
    for index, name in enumerate(
        ("7-0a1b2c3d", "cmpl-ab-0-00000000", "cmpl-ab-1-11111111", "0_cmpl-cd-0-22222222", "77")
    ):
        _counted(ledger, name, 10**index)
    found = {name: ledger.plain(name)["spikes"] for name in ("7", "cmpl-ab", "cmpl-cd", "77", "c.*")}
    assert found == {"7": 1, "cmpl-ab": 110, "cmpl-cd": 1000, "77": 10_000, "c.*": 0}
    with pytest.raises(InputError, match=r"'c\.\*'"):
        told([ledger.plain("c.*")], "c.*")


def test_the_oldest_are_dropped_and_those_that_run_are_kept() -> None:
    ledger = Ledger()
    for index in range(KEPT + 10):
        _counted(ledger, f"r{index}", 1)
        _counted(ledger, "long", 1)
        ledger.drop(running=2)
    assert len(ledger.requests) == KEPT + 2
    assert ledger.plain("long")["spikes"] == KEPT + 10
    assert ledger.plain("r0")["spikes"] == 0
    assert ledger.plain(f"r{KEPT}")["spikes"] == 1
