"""The command line: `spike-compressor demo | oneshot | inspect | trace`."""

from spike_compressor.cli.program import main

__all__ = ["main"]
