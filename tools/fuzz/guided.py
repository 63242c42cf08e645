"""Coverage-guided fuzzing of one target with atheris: `make guided-fuzz TARGET=plan SECONDS=60`.

    python -m fuzz.guided TARGET [--seconds S] [--seed N]        from tools/, atheris on the path

Where `campaign` damages good files blindly, here a file that reaches code which none before it reached is kept and
damaged further: by the same means, which know of trees, headers and hashes, or by bytes. Stops at the first fault,
which then is in the corpus that tests read again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

from fuzz.campaign import CORPUS, LIMIT_S
from fuzz.cases import Bench, keep
from fuzz.targets import TARGETS, Target

#: Of a file, in bytes, and of the process, in MB.
LONGEST, MEMORY_MB = 1 << 16, 8192


def main() -> None:
    """The program; atheris ends the process."""
    parser = argparse.ArgumentParser(prog="fuzz.guided", description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS.names())
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer (default: %(default)s)")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="guided-")).resolve()
    os.chdir(folder)
    bench = Bench(folder / "files")
    with atheris.instrument_imports(include=["spike_compressor", "yaml"], exclude=["spike_compressor.kernels"]):
        target = bench.target(args.target)  # reads its good files, and imports what it takes
    names = sorted(target.good)
    starts = folder / "starts"
    starts.mkdir()
    for number, name in enumerate(names):
        (starts / str(number)).write_bytes(bytes([number]) + target.good[name])
    bench.watch()

    def one(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        fault = bench.run(target, name, data[1:])
        if fault is not None:
            keep(CORPUS, args.target, name, data[1:])
            raise AssertionError(f"{args.target}: {name}: {fault}")

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        return _mutated(target, names, data, longest, seed)

    flags = [f"-max_total_time={args.seconds}", f"-seed={args.seed}", f"-max_len={LONGEST}"]
    flags += [f"-timeout={LIMIT_S:.0f}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1", str(starts)]
    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutated)
    atheris.Fuzz()


def _mutated(target: Target, names: list[str], data: bytes, longest: int, seed: int) -> bytes:
    """A file with its number before it: damaged as `campaign` does, or a byte here and there."""
    random = Random(seed)
    if random.random() < 0.5:
        name, damaged = target.damage(random)
        if name in names and len(damaged) < longest:
            return bytes([names.index(name)]) + damaged
    changed: bytes = atheris.Mutate(data[1:], longest - 1)
    return data[:1] + changed


if __name__ == "__main__":
    main()
