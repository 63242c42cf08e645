"""The benchmark of served models, with engines that only say how long they took: rounds, ratios, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import serving
import tables

#: An engine: 2 s for everything where it is to spike, else 3; W8A8 does not start.
ENGINE = """
import json, sys
settings = json.loads(sys.argv[1])
if settings["model"] == "w8a8":
    raise SystemExit("no kernel")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    seconds = (2 if settings["model"] == "spikes" else 3) * json.loads(line)["requests"]
    print(json.dumps({"wall": seconds, "cpu": seconds / 2}), flush=True)
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("serving")
    (folder / "engine.py").write_text(ENGINE)
    told = ["--engines", "float32", "W8A8", "spikes", "--seconds", "0", "--vllm", sys.executable, "--model", "tiny"]
    told += ["--out", str(folder / "serving.json"), "--threads", "1", "--each", "1", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "SERVED", folder / "engine.py")
        patch.setattr(serving, "checkpoints", lambda args: {name: Path(name) for name in serving.RECIPES})
        patch.setattr(serving, "_version", lambda python: "0")
        patch.setattr(sys, "argv", ["serving.py", *told])
        assert serving.main() == 0
    found: dict[str, Any] = json.loads((folder / "serving.json").read_text())
    return found


def test_rates_and_ratios_are_those_of_the_engines(result: dict[str, Any]) -> None:
    assert [(row["task"], row["threads"], row["rounds"]) for row in result["rows"]] == [
        (task, threads, 3) for threads in (1, 2) for task in serving.TASKS
    ]
    for row in result["rows"]:
        assert row["over_spikes"] == {"float32": {"ratio": 1.5, "low": 1.5, "high": 1.5}}
    rates = {(row["task"], row["threads"]): row["tokens_per_second"]["spikes"] for row in result["rows"]}
    assert rates["prefill", 1] == 256  # in one thread by the process's own time
    assert rates["decode, 8 at once", 2] == 8 * 16 / 16


def test_its_table_names_what_did_not_start(result: dict[str, Any]) -> None:
    text = tables.markdown(result)
    assert "W8A8: no kernel" in text
    assert "--threads 1 --each 1 2 --seconds 0 --engines float32 W8A8 spikes`" in text
    assert text.count("| float32 |") == 6
    assert "| 1.50 (1.50 .. 1.50) |" in text


def test_spikes_are_what_the_others_are_measured_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["serving.py", "--engines", "float32", "--vllm", sys.executable])
    with pytest.raises(SystemExit, match="'spikes'"):
        serving.main()
