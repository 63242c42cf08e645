"""The recipes that come with the package, by name.

In a checkout they lie in `recipes/`, which the package carries as `spike_compressor/recipes/` once it is built.
"""

from __future__ import annotations

import os
from pathlib import Path

from spike_compressor.errors import InputError
from spike_compressor.registry import nearest

__all__ = ["about_recipe", "recipe_names", "recipe_path"]


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted: `rtn_w4_tclif_34`, and `compare/rtn_w4_g64` where they lie in a folder."""
    folder = _folder()
    found = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return tuple(sorted(found, key=lambda name: (name.count("/"), name)))


def recipe_path(recipe: str | os.PathLike[str]) -> Path:
    """The file of a recipe that is given as a path or by the name of a shipped one; a file that exists comes first.

    Raises:
        InputError: it is neither; says which shipped recipe is nearest.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    names = recipe_names()
    if str(recipe) in names:
        return _folder() / f"{recipe}.yaml"
    close = nearest(_as_name(path), names, cutoff=0.5)
    hint = f"did you mean {close}? " if close else ""
    raise InputError(
        f"no recipe at {recipe}, and none is shipped under that name; {hint}`spike-compressor recipes` lists them"
    )


def about_recipe(name: str) -> str:
    """The first sentence of a shipped recipe, which says what it is."""
    sentence: list[str] = []
    for line in recipe_path(name).read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip() if line.startswith("#") else ""
        if not text:
            break
        sentence.append(text)
    return " ".join(sentence).partition(". ")[0].rstrip(".")


def _folder() -> Path:
    packaged = Path(__file__).parent / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"


def _as_name(path: Path) -> str:
    """`recipes/x.yaml` as the name that it would have."""
    parts = path.with_suffix("").parts
    return "/".join(parts[parts.index("recipes") + 1 :] if "recipes" in parts else parts[-2:])
