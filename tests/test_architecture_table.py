"""Every cell of the table of architectures: tiny models through oneshot, save, load, generate, record and trace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from helpers.architecture_table import PAGE, SUBJECTS, Bench, page
from helpers.messages import naming

CELLS = [(name, operation) for name, subject in SUBJECTS.items() for operation in subject.proven()]


@pytest.fixture(scope="module")
def benches() -> dict[str, Bench]:
    return {}


@pytest.fixture
def bench(benches: dict[str, Bench], request: pytest.FixtureRequest, tmp_path_factory: Any) -> Bench:
    """The bench of a row, made once; the row before it is put away."""
    name = request.param
    if name not in benches:
        benches.clear()
        benches[name] = Bench(SUBJECTS[name], tmp_path_factory.mktemp("architecture"))
    return benches[name]


@pytest.mark.parametrize(("bench", "operation"), CELLS, indirect=["bench"])
def test_a_cell(bench: Bench, operation: str) -> None:
    no = bench.subject.no.get(operation)
    prove = getattr(bench, operation)
    if no is None:
        assert not prove()
    elif no.error is None:
        assert all(name in str(prove()) for name in no.names)
    else:
        with pytest.raises(no.error, match=naming(*no.names)):
            prove()


def test_the_page_shows_what_is_proven() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python tools/architecture_table.py writes it"
    yes = sum(line.count("| yes") for line in text.splitlines())
    assert yes == sum(operation not in SUBJECTS[name].no for name, operation in CELLS)


def test_the_table_is_as_large_as_it_says() -> None:
    groups = Counter(subject.group for subject in SUBJECTS.values())
    assert len(SUBJECTS) >= 60
    assert groups["Pictures and text"] >= 10
    assert groups["Mixtures of experts"] >= 10
    assert groups["Encoder-decoder and audio"] >= 5
