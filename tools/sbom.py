"""A bill of materials (CycloneDX 1.6, JSON) of the packages of this Python's lock and of the data: `make sbom`.

python tools/sbom.py [FILE]         build/sbom.cdx.json if left out
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import uuid
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from licences import DATA, licence_of, parts_of, required
from lock import LOCKS, ROOT, read, tag

_LINE = re.compile(r"([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of URLs, by RFC 9562


def version() -> str:
    """The project's version."""
    text = (ROOT / "plugin" / "spike_compressor" / "_version.py").read_text(encoding="utf-8")
    return str(re.search(r'__version__ = "([^"]+)"', text)[1])  # type: ignore[index]


def licensed(expression: str) -> list[dict[str, Any]]:
    """The field `licenses` of a component."""
    if not re.fullmatch(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*", expression):
        return [{"license": {"name": part}} for part in sorted(parts_of(expression.replace(";", " AND ")))]
    return [{"license": {"id": expression}}] if len(expression.split()) == 1 else [{"expression": expression}]


def bill(lines: Iterable[str]) -> dict[str, Any]:
    """The bill of materials of the lines of a lock, of torch as it is installed, and of the data."""
    users = required()
    found = {name: (number, digest) for name, number, digest in map(_parsed, lines)}
    found["torch"] = (metadata.version("torch"), "")
    components: list[dict[str, Any]] = []
    for name, (number, digest) in sorted(found.items()):
        reference = f"pkg:pypi/{name}@{number}".replace("+", "%2B")
        component: dict[str, Any] = {"type": "library", "bom-ref": reference, "name": name, "version": number}
        component |= {"purl": reference, "scope": "required" if name in users else "excluded"}
        if digest:
            component["hashes"] = [{"alg": "SHA-256", "content": digest}]
        with contextlib.suppress(metadata.PackageNotFoundError):  # a tool that this environment lacks
            component["licenses"] = licensed(licence_of(name))
        components.append(component)
    for what, source, licence in DATA:
        name = re.sub(r"[`()]", "", what.partition(";")[0])
        components.append(
            {
                "type": "machine-learning-model" if "model" in name or "SmolLM2" in name else "data",
                "bom-ref": f"data:{name}",
                "name": name,
                "description": source.replace("`", ""),
                "scope": "excluded" if "not shipped" in what else "required",
                "licenses": [{"license": {"name": part}} for part in licence.split("; ")],
            }
        )
    own = f"pkg:pypi/spike-compressor@{version()}"
    root = {"type": "library", "bom-ref": own, "name": "spike-compressor", "version": version(), "purl": own}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, json.dumps(components, sort_keys=True))}",
        "version": 1,
        "metadata": {"component": {**root, "licenses": licensed("Apache-2.0")}},
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [c["bom-ref"] for c in components if c["scope"] == "required"]}],
    }


def _parsed(line: str) -> tuple[str, str, str]:
    found = _LINE.match(line)
    assert found is not None, line
    return found[1], found[2], found[3]


def main(arguments: list[str]) -> int:
    """Write the bill; returns the exit code."""
    lock = LOCKS / f"{tag()}.txt"
    if not lock.is_file():
        print(f"no {lock.relative_to(ROOT)}: make one with `make lock-file`", file=sys.stderr)
        return 1
    path = Path(arguments[0]) if arguments else ROOT / "build" / "sbom.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bill(read(lock)), indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
