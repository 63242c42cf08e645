"""The dense array: every input meets every weight, zero or not (`docs/rtl.md`, against a dense array)."""

from __future__ import annotations

from spike_compressor.estimate.organisations.base import Job, Organisation, register_organisation


@register_organisation("dense")
class DenseArray(Organisation):
    """`dense_core`: rows x columns accumulators, a chunk of `lanes` inputs a cycle."""

    fields = ("rows", "columns", "lanes")
    fitted = ("job", "tile", "group")

    @property
    def slots(self) -> int:
        return self.array["rows"] * self.array["columns"] * self.array["lanes"]

    def terms(self, job: Job) -> tuple[dict[str, float], dict[str, float]]:
        a = self.array
        row_tiles, column_tiles = -(-job.rows // a["rows"]), -(-job.outputs // a["columns"])
        size = -(-job.inputs // (job.groups * a["lanes"]))
        chunks = size * job.groups
        first = min(job.rows, a["rows"]) * (1.0 + chunks)
        whole, rest = divmod(job.rows, a["rows"])
        # a group's sums leave a row a cycle
        products = (whole * max(size, a["rows"]) + (rest > 0) * max(size, rest)) * job.groups * column_tiles
        parts = {"firing": job.rows * (1.0 + chunks), "products": float(products) + first}
        return parts, {"job": 1, "tile": row_tiles, "group": row_tiles * column_tiles * job.groups}

    def work(self, job: Job) -> tuple[float, float, float]:
        # idle rows and columns beyond the layer's hold no activity, so products are the layer's own
        return 0.0, job.additions, float(job.macs)
