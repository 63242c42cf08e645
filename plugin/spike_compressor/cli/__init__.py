"""The command line: `spike-compressor demo | oneshot | inspect | trace`."""

from spike_compressor.cli.main import main

__all__ = ["main"]
