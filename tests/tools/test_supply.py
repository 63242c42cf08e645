"""What the project is built of: locked by hash, licensed as listed, and written down as a bill of materials."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import licences
import lock
import pytest
import sbom
from helpers.messages import naming
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"([\w-]+)==([\w.!]+) --hash=sha256:[0-9a-f]{64}(?:  # built from source)?")
KEPT = sorted(lock.LOCKS.glob("*.txt"))


def pinned(python: str) -> dict[str, str]:
    """Version by package that constraints.txt has for a Python."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        lock.normal(one.name): str(one.specifier).removeprefix("==")
        for one in asked
        if one.marker is None or one.marker.evaluate(here)
    }


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_a_lock_has_the_versions_of_the_constraints(path: Path) -> None:
    found = [LINE.fullmatch(line) for line in lock.read(path)]
    assert all(found)
    versions = {match[1]: match[2] for match in found if match}
    assert len(versions) == len(found) > 100
    major, minor = re.match(r"cp(\d)(\d+)-", path.name).groups()  # type: ignore[union-attr]
    wanted = pinned(f"{major}.{minor}")
    assert {name: version for name, version in versions.items() if wanted.get(name, version) != version} == {}
    assert versions.keys() - wanted.keys() == set()


def test_ci_has_a_lock_and_uses_it_first() -> None:
    assert KEPT
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert next(line for line in commands if line.startswith("make")) == "make locked-setup"


def test_what_pip_reports_becomes_lines() -> None:
    def entry(name: str, version: str, url: str, **download: object) -> dict[str, object]:
        return {"metadata": {"name": name, "version": version}, "download_info": {"url": url, **download}}

    digest = {"archive_info": {"hashes": {"sha256": "a" * 64}}}
    report = [
        entry("Some_Thing", "2", "x/some.whl", **digest),
        entry("built", "1", "x/built.tar.gz", **digest),
        entry("spike-compressor", "0", "here", dir_info={}),
        entry("torch", "2.13.0+cpu", "x/torch.whl", **digest),
    ]
    hashed = f"--hash=sha256:{'a' * 64}"
    assert lock.lines_of({"install": report}) == [f"built==1 {hashed}  {lock.SOURCE}", f"some-thing==2 {hashed}"]
    with pytest.raises(ValueError, match=naming("bare")):
        lock.lines_of({"install": [entry("bare", "1", "x/bare.whl", archive_info={})]})


def test_a_file_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "tiny_thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_thing.py", "")
        archive.writestr("tiny_thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1\n")
        archive.writestr(
            "tiny_thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_thing-1.dist-info/RECORD", "")
    from spike_compressor.files import sha256_of

    options = ("--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "target"))
    path = tmp_path / "lock.txt"
    for digest, installed in (("0" * 64, False), (sha256_of(wheel), True)):
        path.write_text(f"# heading\ntiny-thing==1 --hash=sha256:{digest}\n")
        if installed:
            lock.install(path, *options)
        else:
            with pytest.raises(subprocess.CalledProcessError):
                lock.install(path, *options)
        assert (tmp_path / "target" / "tiny_thing.py").exists() is installed


def test_the_page_lists_the_licences_of_what_is_installed() -> None:
    listed = licences.listed(licences.PAGE.read_text(encoding="utf-8"))
    assert sorted(listed) == licences.packages()
    wrong = {name: found for name, found in licences.table().items() if listed[name] != found}
    assert wrong == {}
    assert licences.page(listed) == licences.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("expression", "of_users", "fine"),
    [
        ("MIT", True, True),
        ("BSD-3-Clause AND Apache-2.0 WITH LLVM-exception", True, True),
        ("GPL-2.0-only OR MIT", True, True),
        ("LGPL-3.0-only", True, False),
        ("LGPL-3.0-only", False, True),
        ("MIT AND SSPL-1.0", True, False),
        ("Proprietary", False, False),
        ("", False, False),
    ],
)
def test_licences_that_are_not_listed_are_refused(expression: str, of_users: bool, fine: bool) -> None:
    assert (licences.refused("some-package", expression, of_users) is None) is fine


def test_the_bill_of_materials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bill = sbom.bill(lock.read(KEPT[0]))
    assert bill == sbom.bill(lock.read(KEPT[0]))  # the same bytes each time
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    components = {part["bom-ref"]: part for part in bill["components"]}
    assert len(components) == len(bill["components"])
    libraries = [part for part in components.values() if part["type"] == "library"]
    assert {part["name"] for part in libraries} == {line.partition("==")[0] for line in lock.read(KEPT[0])} | {"torch"}
    for part in libraries:
        assert part["purl"].startswith(f"pkg:pypi/{part['name']}@")
        assert part["name"] == "torch" or re.fullmatch("[0-9a-f]{64}", part["hashes"][0]["content"])
    by_name = {part["name"]: part for part in components.values()}
    assert (by_name["llmcompressor"]["scope"], by_name["ruff"]["scope"]) == ("required", "excluded")
    assert by_name["the embedded model demo/assets/model"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    (root,) = bill["dependencies"]
    assert set(root["dependsOn"]) == {ref for ref, part in components.items() if part["scope"] == "required"}
    monkeypatch.setattr(sbom, "tag", lambda: KEPT[0].stem)
    assert sbom.main([str(tmp_path / "deep" / "bom.json")]) == 0
    assert json.loads((tmp_path / "deep" / "bom.json").read_text()) == bill
