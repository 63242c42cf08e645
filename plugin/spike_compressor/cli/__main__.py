"""`python -m spike_compressor.cli` is `spike-compressor`."""

from spike_compressor.cli.program import main

main()
