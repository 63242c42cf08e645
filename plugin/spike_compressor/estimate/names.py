"""Names of what is shipped: models and accelerators. Nothing is imported or read for them."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"


def model_names() -> tuple[str, ...]:
    """Names of the bundled models' shapes."""
    return _names("models")


def accelerator_names() -> tuple[str, ...]:
    """Names of the shipped accelerators."""
    return _names("accelerators")


def _names(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (DATA / folder).glob("*.yaml")))
