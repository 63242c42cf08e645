"""VLMEvalKit's own command line, whose `--model` takes directories of spiking checkpoints, too."""

from __future__ import annotations

import argparse
import sys

from spike_compressor.errors import InputError
from spike_compressor.integrations.harness import is_spiking
from spike_compressor.integrations.vlmeval import HARNESS, register


def main() -> int:
    """Run VLMEvalKit's command line; 2 where a user gave something wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m spike_compressor.integrations.vlmeval",
        description="VLMEvalKit with spiking checkpoints. All other arguments are VLMEvalKit's own (--data NAME ...).",
        allow_abbrev=False,
    )
    parser.add_argument("--model", nargs="+", required=True, help="directories of checkpoints, or VLMEvalKit's names")
    parser.add_argument("--device", default="cpu", help="where checkpoints compute (default: cpu)")
    parser.add_argument("--dtype", help="of what stands between spiking layers (default: the checkpoint's)")
    parser.add_argument("--backend", default="fused", help="fused, unrolled or rtl (default: fused)")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="longest answer (default: 512)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that checkpoints bring")
    options, others = parser.parse_known_args()
    settings = {key: value for key, value in vars(options).items() if key != "model"}
    try:
        HARNESS.require()
        names = [register(one, **settings) if is_spiking(one) else one for one in options.model]
        from vlmeval import run

        sys.argv = ["vlmeval.run", "--model", *names, *others]
        run.load_env()
        run.main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
