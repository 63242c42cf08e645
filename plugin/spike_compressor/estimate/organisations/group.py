"""The group core: of four neighbouring inputs one fires in a step; a chunk takes as many cycles as a row has steps."""

from __future__ import annotations

from spike_compressor.estimate.organisations.base import Job, Organisation, register_organisation


@register_organisation("group")
class GroupCore(Organisation):
    """`group_core`: rows x columns accumulators, `groups` groups of four inputs a step, `units` encoders.

    T of a plan is the number of steps. What fires does not matter.
    """

    fields = ("rows", "columns", "groups", "units", "weight_inputs")
    fitted = ("job", "tile", "group")

    @property
    def slots(self) -> int:
        return self.array["rows"] * self.array["columns"] * self.array["groups"]

    def terms(self, job: Job) -> tuple[dict[str, float], dict[str, float]]:
        """Encoding, loading and steps, each as if nothing else took time."""
        a, chunk = self.array, 4 * self.array["groups"]
        steps = max(spikes.timesteps for _, spikes in job.mix)
        row_tiles, column_tiles = -(-job.rows // a["rows"]), -(-job.outputs // a["columns"])
        chunks = -(-job.inputs // (job.groups * chunk))
        each = max(steps, chunk // a["weight_inputs"])  # cycles of a chunk: its steps, or its weights
        encode = 1.0 + job.groups * -(-job.inputs // (job.groups * 4 * a["units"])) * steps  # of a row
        first = min(job.rows, a["rows"]) * encode
        whole, rest = divmod(job.rows, a["rows"])
        # a group's sums leave a row a cycle
        last = max(chunks * each, rest or a["rows"]) * job.groups * column_tiles
        turns = whole * max(chunks * each, a["rows"]) + (rest > 0) * max(chunks * each, rest)
        parts = {
            "encoding": job.rows * encode + last,  # the last tile's steps follow its last row
            "steps": float(turns * job.groups * column_tiles) + first,
        }
        return parts, {"job": 1, "tile": row_tiles, "group": row_tiles * column_tiles * job.groups}

    def work(self, job: Job) -> tuple[float, float, float]:
        steps = sum(rows * spikes.timesteps for rows, spikes in job.mix) * job.inputs / 4
        return 0.0, steps * job.outputs, float(job.macs)
