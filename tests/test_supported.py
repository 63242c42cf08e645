"""Versions that the package does not work with are named in one line, with those that it does."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers.messages import naming
from spike_compressor import supported
from spike_compressor.errors import InputError

ROOT = Path(__file__).parents[1]


def test_the_pythons_are_those_of_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    low, high = (".".join(map(str, version)) for version in supported.PYTHONS)
    assert f'requires-python = ">={low},<{high}"' in text


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_another_python_is_refused(version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(ImportError, match=naming("3.10", "3.13", f"{version[0]}.{version[1]}")):
        supported.require_python()


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("llmcompressor", "0.13.0", "0.14.0.1"),
        ("llmcompressor", "0.15.0", "0.14.9"),
        ("compressed-tensors", "0.17.0", "0.19.0"),
        ("transformers", "4.57.1", "5.17.0"),
        ("torch", "2.9.1+cpu", "2.13.0+cu129"),
    ],
)
def test_other_versions_are_refused_with_those_that_work(
    name: str, bad: str, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, found = metadata.version, {name: bad}
    monkeypatch.setattr(metadata, "version", lambda asked: found.get(asked) or real(asked))
    with pytest.raises(InputError, match=naming(name, bad, "pip install")) as caught:
        supported.require_supported("torch", "transformers", "compressed-tensors", "llmcompressor")
    assert "\n" not in str(caught.value)
    (wanted,) = re.findall(r"pip install '([^']+)'", str(caught.value))
    assert wanted.startswith(f"{name}>=")
    found[name] = good
    supported.require_supported("torch", "transformers", "compressed-tensors", "llmcompressor")


def test_what_is_not_installed_is_left_to_who_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "llmcompressor":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    supported.require_supported("llmcompressor")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("llmcompressor", "import spike_compressor, llmcompressor"),
        ("transformers", "from spike_compressor import load"),
    ],
)
def test_it_is_said_where_a_program_meets_them(name: str, code: str, tmp_path: Path) -> None:
    """An older release before the one that is installed: neither is imported further."""
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("def oneshot(): ...\n")
    info = tmp_path / f"{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert re.search(naming("InputError", name, "0.1.0", "pip install"), last)
    assert "torch" not in last
