"""Pictures of spike plans."""

from spike_compressor.plot.plan import plot_plan

__all__ = ["plot_plan"]
