"""The seal of a checkpoint directory: which files must be in it, which may be, and which are read as weights. No torch.

`sha256` of `spike_config.json` names every file that opening the model reads. Whatever else transformers would read in
place of one of them, or run, must not be in the directory: a leftover `model.safetensors` beside new shards is opened
instead of them. Files that nothing reads as the model (model cards, processors, a user's notes) may come and go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from spike_compressor.checkpoint.schema import CONFIG_NAME, THRESHOLDS_NAME, SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.files import sha256_of
from spike_compressor.reading import read_object

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

#: What `save` seals, and `load` reads.
SEALED = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "*.py")
#: Read by transformers where they are found: weights in any of its formats, adapters, settings, code.
_READ = (
    "*.safetensors",
    "*.bin",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*.py",
    "custom_generate/*.py",
)
#: ... and what looks like that and is no part of a model: a Trainer's notes.
_HARMLESS = frozenset({"training_args.bin"})
#: Files that may name code for a processor, which opening the model does not run.
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def verify_files(directory: Path, config: SpikeConfig, *, hashes: bool = True) -> None:
    """Check that a checkpoint is made of the files that were saved, and of no others.

    Args:
        directory: of the checkpoint.
        config: its `spike_config.json`.
        hashes: compare their content too.

    Raises:
        InputError: a file is missing, is not the one that was saved, or is none of them and would be read; names it.
    """
    sealed = config.sha256
    for required in ("config.json", CONFIG_NAME):
        if required not in sealed:
            raise InputError(f"{directory / CONFIG_NAME}: `sha256` says nothing of {required}")
    static = next((name for name, entry in config.plan.items() if entry.threshold == "static"), None)
    if static is not None and THRESHOLDS_NAME not in sealed:
        raise InputError(
            f"{directory / CONFIG_NAME}: `sha256` says nothing of {THRESHOLDS_NAME}, which holds the thresholds of "
            f"{', '.join(config.modalities)} rows of {static}"
        )
    for name in sealed:
        if Path(name).name != name:
            raise InputError(f"{directory / CONFIG_NAME}: {name!r} in `sha256` is no plain file name")
        if not (directory / name).is_file():
            raise InputError(f"{directory}: {name} is missing; copy the checkpoint again, whole")
    for path in _strays(directory, sealed):
        raise InputError(
            f"{directory}: {path.relative_to(directory)} would be read, and is no file of this checkpoint (it is not "
            f"in `sha256` of {CONFIG_NAME}); remove it"
        )
    for name, digest in sealed.items():
        if name == CONFIG_NAME:  # its own seal, which `read_config` checks
            continue
        if hashes and sha256_of(directory / name) != digest:
            raise InputError(
                f"{directory}: {name} is not the file that was saved with {CONFIG_NAME} (its SHA-256 differs); copy "
                "the checkpoint again, or save it anew if you changed it on purpose."
            )
    read = {path.name for path in weight_files(directory, config)} | {THRESHOLDS_NAME}
    idle = sorted(name for name in sealed if name.endswith(".safetensors") and name not in read)
    if idle:
        raise InputError(f"{directory}: nothing reads {idle[0]}, and `sha256` names it; save the checkpoint anew")


def weight_files(directory: Path, config: SpikeConfig) -> list[Path]:
    """The files that the model's tensors are read from, in the order of their names; all of them sealed.

    Raises:
        InputError: there are none, or the index of shards names a file that is not sealed, or cannot be read.
    """
    settings = read_object(directory / "config.json")
    for field in ("transformers_weights", "configuration_files"):
        if settings.get(field):
            raise InputError(f"{directory / 'config.json'}: `{field}` names other files than those that were saved")
    names = {WEIGHTS_NAME} & config.sha256.keys()
    if INDEX_NAME in config.sha256:
        table = read_object(directory / INDEX_NAME).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            raise InputError(f"{directory / INDEX_NAME} has no `weight_map`")
        named = set(table.values())
        if names - named:
            raise InputError(f"{directory}: {WEIGHTS_NAME} stands beside shards that {INDEX_NAME} names; save it anew")
        names = named
    unsealed = sorted(names - config.sha256.keys())
    if unsealed or not names:
        missing = unsealed[0] if unsealed else WEIGHTS_NAME
        raise InputError(f"{directory / CONFIG_NAME}: `sha256` says nothing of {missing}, which holds weights")
    return [directory / name for name in sorted(names)]


def _strays(directory: Path, sealed: dict[str, str]) -> Iterator[Path]:
    """Files that would be read with the model and are not sealed."""
    found = {path for pattern in _READ for path in directory.glob(pattern) if path.is_file()}
    allowed = {directory / name for name in (*sealed, *_HARMLESS)}
    left = sorted(found - allowed)
    if any(path.suffix == ".py" for path in left):
        allowed |= _processor_code(directory)
    return (path for path in left if path not in allowed)


def _processor_code(directory: Path) -> set[Path]:
    """Python files that the processor's configs name, and those that these import; but none that the model's does."""
    ours = _code(directory, ("config.json",))
    return _code(directory, _PROCESSOR_FILES) - ours


def _code(directory: Path, configs: tuple[str, ...]) -> set[Path]:
    found: set[Path] = set()
    pending = [name for config in configs for name in _named_modules(directory / config)]
    while pending:
        path = directory / f"{pending.pop()}.py"
        if path in found or not path.is_file():
            continue
        found.add(path)
        text = path.read_text(encoding="utf-8", errors="replace")
        pending += re.findall(r"^\s*(?:from|import)\s+\.(\w+)", text, flags=re.MULTILINE)
    return found


def _named_modules(config: Path) -> Iterator[str]:
    """The modules of `auto_map`: an entry is `module.Class`, `repository--module.Class`, or a pair of such."""
    table = read_object(config).get("auto_map") if config.is_file() else None
    for entry in (table or {}).values() if isinstance(table, dict) else ():
        for name in entry if isinstance(entry, list) else [entry]:
            if isinstance(name, str):
                yield name.rpartition("--")[2].partition(".")[0]
