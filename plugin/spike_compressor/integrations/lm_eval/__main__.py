"""lm-evaluation-harness's own command line, with the models `spike` and `spike-multimodal`."""

from __future__ import annotations

import sys

from spike_compressor.errors import InputError
from spike_compressor.integrations.lm_eval import register


def main() -> int:
    """Run the harness's command line; 2 where a user gave something wrong."""
    try:
        register()
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
