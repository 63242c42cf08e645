"""What the documentation site has beside docs/: README and its neighbours, linked files, the API reference.

Pages link as GitHub wants it, relative to the repository. A link that leaves docs/ leads to a page made here: Markdown
files become pages, other files are shown as they are. MkDocs checks all of these links (`mkdocs build --strict`).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

#: Files of the repository that are pages with a name of their own.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples/index.md",
    "plugin/spike_compressor/demo/MODEL_CARD.md": "demo_model.md",
}
#: Public modules, in the order of the navigation.
API = (
    "spike_compressor",
    "spike_compressor.coding",
    "spike_compressor.modality",
    "spike_compressor.runtime",
    "spike_compressor.modifiers",
    "spike_compressor.checkpoint",
    "spike_compressor.metrics",
    "spike_compressor.trace",
    "spike_compressor.evaluations",
    "spike_compressor.comparison",
    "spike_compressor.plot",
    "spike_compressor.integrations.lm_eval",
    "spike_compressor.registry",
    "spike_compressor.errors",
)
LANGUAGES = {
    ".yaml": "yaml",
    ".yml": "yaml",
    ".py": "python",
    ".toml": "toml",
    ".json": "json",
    ".cff": "yaml",
    ".sv": "systemverilog",
}

LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)

#: Path in the repository -> page of the site, of everything outside docs/ that is shown.
shown: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """Fill the navigation with the API reference."""
    for entry in config["nav"]:
        if "API" in entry:
            entry["API"] = [{name.removeprefix("spike_compressor."): f"api/{name}.md"} for name in API]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    shown.clear()
    shown.update(PAGES)
    waiting = [(path, (ROOT / path).read_text(encoding="utf-8")) for path in PAGES]
    waiting += [(f"docs/{file.src_uri}", file.content_string) for file in files if file.is_documentation_page()]
    while waiting:
        path, text = waiting.pop()
        for target in _targets(path, text):
            if target.startswith("docs/") or target in shown or not (ROOT / target).is_file():
                continue
            page = target if target.endswith(".md") else f"{target}.md"
            shown[target] = f"source/{page}"
            if target.endswith(".md"):
                waiting.append((target, (ROOT / target).read_text(encoding="utf-8")))
    for path, uri in shown.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if not path.endswith(".md"):
            language = LANGUAGES.get(Path(path).suffix, "text")
            text = f"# {posixpath.basename(path)}\n\n`{path}`\n\n~~~~{language}\n{text}\n~~~~\n"
        files.append(File.generated(config, uri, content=text))
    for name in API:
        title = name if name == "spike_compressor" else name.removeprefix("spike_compressor.")
        files.append(File.generated(config, f"api/{name}.md", content=f"# {title}\n\n::: {name}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to where the site has their targets, and write tables as Python-Markdown reads them."""
    origin = {uri: path for path, uri in shown.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target:
            return match[0]
        path = _resolved(origin, target)
        uri = shown.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri is None:
            return match[0]  # MkDocs will complain
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + anchor

    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : code.start()]), _code(code[0])]
        end = code.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def _code(text: str) -> str:
    r"""GitHub needs `\|` inside code in a table; Python-Markdown shows the backslash."""
    return text if text.startswith("```") else text.replace("\\|", "|")


def _resolved(origin: str, target: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    readme = f"{path}/README.md"
    return readme if (ROOT / readme).is_file() else path


def _targets(path: str, text: str) -> list[str]:
    plain = CODE.sub("", text)
    return [_resolved(path, match[1]) for match in LINK.finditer(plain) if "://" not in match[1]]
