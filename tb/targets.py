"""The cores that faults are put into: how each is built, which tests run in which order, and why faults survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images import Shape
from regression import GROUP_SHAPES, SHAPES, core_parameters
from toolchain import BASELINE, GROUP, RTL, SOURCES

#: Tests of bench_core, in the order in which they are tried: the quick ones, which kill most, first.
STAGES = (
    ("sizes", "registers"),
    ("extremes", "counters_carry", "random_jobs", "full_lanes"),
    (
        "every_kind_of_row",
        "tails_of_every_length",
        "words_of_one_row",
        "largest_sums",
        "zeros",
        "group_scales",
        "largest_groups",
        "full_store",
        "longest_fraction",
    ),
    (
        "silent_spike_stream",
        "back_to_back",
        "reset_in_mid_stream",
        "reset_at_every_cycle",
        "tall_and_wide",
        "illegal_settings",
        "enormous_sizes",
        "slow_register_port",
        "crowded_register_port",
        "locked_while_one_waits",
        "two_jobs",
        "left_over",
        "aborts",
        "start_behind_an_abort",
        "last_spikes_wait",
        "misplaced_tlast",
        "bad_timesteps",
        "wide_weights",
        "polling",
    ),
)


#: The same of bench_group.
GROUP_STAGES = (
    ("random_jobs", "chunks_of_one_step"),
    ("ties", "extremes", "sizes", "scale_groups", "bad_timesteps"),
    ("every_kind_of_row", "reset_in_mid_stream", "aborts", "two_jobs", "misplaced_tlast", "wide_weights"),
    (
        "reset_at_every_cycle",
        "last_spikes_wait",
        "start_behind_an_abort",
        "illegal_settings",
        "left_over",
        "locked_while_one_waits",
        "enormous_sizes",
    ),
)

#: Why faults survive: a pattern of mode, wire, port and bit, and the text of the source; the reason. The first counts.
REASONS = (
    (
        r"\[(1[3-9]|2\d|3[01])\] .*(rows|outputs)_left_q",
        "tells only on jobs of more than 8,192 rows or outputs; `tiler_proof` has all 32 bits",
    ),
    (r"const0 .*error_clear\[11\]", "equal: a core that fires csd never reports `coding`"),
    (r"const0 .*A\[0\] .*sign_plane", "equal: a plane of signs is read once too often, and not used"),
    (r"const0 .*fire_d\[0\]", "equal: the lowest spike goes first, so slot 0 never has one left"),
    (r"const0 .*A\[1\] .*slot_q \+ 1'b1", "equal: with two slots the slot number has no second bit"),
    (r"const1 .*A\[0\] .*left_q == SlotWidth'\(1\)", "equal: of two chunks one is left wherever this is read"),
    (
        r"cnot1 .*D\[\d+\] with \[(1[3-9]|2\d|3[01])\] .*spike_sequencer\.sv always_ff",
        "equal: a job of so many groups ends with the error `capacity` before they are counted",
    ),
    (
        r"cnot1 .*sum\[15\] .*with \[0\] .*logic signed \[HalfWidth-1:0\] sum",
        "equal: a sum is odd only before a shift, which drops its top bit",
    ),
    (
        r"const1 .*gen_fire\[[1-9]\]\.u_fire\.re_i\[0\] .*plane_re_i && plane_exponent_i",
        "equal: the planes below are those of the same row and block, so it is read again where it was read",
    ),
    (
        r"const0 .*A\[0\] .*\.valid_i .*drop_all",
        "takes input that an abort drops: tells only by an error bit, where a stream gets out of step meanwhile",
    ),
    (
        r"cnot1 .*Y\[2\] with \[26\] .*logic \[MembraneWidth-1:0\] x;",
        "equal: where bit 2 counts, a membrane with bit 26 saturates",
    ),
    (r"const1 .*Y\[0\] .*if \(increment_i\[i\] != '0\)", "equal: a counter that may change adds nothing"),
    (r"const1 .*c_live_q\[0\] .*logic \[Slots-1:0\] +c_live_q;", "equal: a block always has a first chunk"),
    (
        r"cnot1 .*\$1309\.A\[2\] with \[1\] .*places \+=",
        "equal: at the fifth step this is four times a number of inputs, which has no bit 1",
    ),
    (r"const0 .*DATA\[\d+\] .*assign unused_flags", "equal: nothing reads this bit"),
    (
        r"cnot1 .*Q\[\d\] with \[31\] .*job_t +job;",
        "equal: a job with so many inputs ends with the error `capacity` first",
    ),
    (r"cnot1 .*count\[579\] .*\[63:0\] +count;", "how long a stream waits is not compared"),
    (r"cnot1 .*with \[1[1-5]\] .*jobs_q \+ JobsWidth", "tells only after 2,048 jobs"),
    (r"inv .*B\[0\] .*just_q && !enable_i", "a gap between planes just as the array stops: not reached"),
    (
        r"const1 .*Y\[0\] .*spike_picker\.sv if \(!rst_ni\)",
        "costs a cycle now and then: a row seems to have had a word just now",
    ),
)

GROUP_REASONS = (
    (
        r"cnot0 .*children\[267\] .*D\[0\] with \[3\] .*child_t +\[Beam-1:0\] +children",
        "equal: which input a group names in a step in which it does not fire is of no meaning",
    ),
    (
        r"const1 .*gen_child\[\d\]\.parent\[[0-3]\] .*state_t +parent;",
        "equal: what a state has fired in the last step is written in that step, and read in none",
    ),
    (
        r"cnot1 .*B\[\d+\] with \[1[12]\] .*\(positive > MembraneWidth",
        "equal: with four steps no largest membrane has this bit",
    ),
    (
        r"const1 .*\$2236\.A\[0\] .*c > b && !wins_q",
        "equal: the third state's least input beats the best state's largest only if each of its residuals is larger, "
        "with a sum of squares almost the same; four steps leave no such states",
    ),
    (
        r"const0 .*\$2941\.A\[0\] .*left4_q == LeftWidth",
        "equal: what is noted as the last step's spike too early is overwritten in the last step",
    ),
    (
        r"const0 .*children_q\[146\] .*A\[11\] .*child\.moved \+ change",
        "equal: with four steps what the second best is handed down stays below 1,296, so it has no bit of 2,048",
    ),
    (
        r"const0 .*A\[[3-5]\] .*groups_left_q == InputWidth",
        "equal: a row of this core has at most six scale groups; a job with more ends with the error `capacity`",
    ),
)


#: Of faults in the modules of capped firing.
CAPPED_REASONS = (
    (r"const0 .*fired\[5\] .*ones_t'\(fire_i\[e\]\[l\]\)", "equal: a lane fires at most seven times in a chunk"),
    (r"const0 .*A\[6\] .*ones\[l\] = \(first", "equal: a lane has at most 56 spikes in a block"),
    (r"const0 .*Y\[6\] .*some_q\[l\] - 1'b1", "equal: a lane has at most 49 spikes too many"),
    (
        r"cnot1 .*\] with \[[345]\] .*over, some_d, some_q",
        "equal: eight and more are all that a lane of eight slots has to drop, and eight and more they stay",
    ),
    (
        r"const1 .*A\[0\] .*assign idle_o",
        "equal: until a block has left, the walker waits for its row tile, and so the core is not idle",
    ),
)


@dataclass(frozen=True)
class Target:
    """A core into which faults are put.

    Attributes:
        top: its module.
        bench: of the whole core.
        stages: tests of the bench, in the order in which they are tried.
        reasons: why faults survive.
        parameters: of the core.
        harness: parameters of `core_harness` that build it.
        shape: what both say.
        sources: all that it consists of.
        within: the folder of rtl/ in whose modules faults lie; all if empty.
        modules: or modules of rtl/.
    """

    top: str
    bench: str
    stages: Sequence[Sequence[str]]
    reasons: Sequence[tuple[str, str]]
    parameters: Mapping[str, int]
    harness: Mapping[str, int]
    shape: Shape
    sources: Sequence[Path]
    within: str = ""
    modules: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The module's file."""
        return RTL / self.within / f"{self.top}.sv"

    def work(self, folder: Path) -> Path:
        """Where its simulators and logs are, in a folder."""
        return folder / "-".join([self.top, *self.modules])


def _group_parameters(shape: Shape) -> dict[str, int]:
    """Parameters of `group_core` for a shape."""
    known = shape.parameters()
    same = ("Rows", "Columns", "WeightInputs", "WeightBits", "MaxInputs", "Units")
    return {name: known[name] for name in same} | {"Groups": shape.lanes // 4, "Steps": shape.tmax}


#: Small, with everything that the core can be built with. The spike core's counters begin where every bit soon matters.
SHAPE = "odd"
CAPPED_SHAPE = "capped"
GROUP_SHAPE = "group bytes"
TARGETS = {
    "spike": Target(
        "spike_core",
        "bench_core",
        STAGES,
        REASONS,
        core_parameters(SHAPE),
        core_parameters(SHAPE),
        SHAPES[SHAPE],
        SOURCES,
    ),
    "capped": Target(
        "spike_core",
        "bench_core",
        STAGES,
        CAPPED_REASONS,
        core_parameters(CAPPED_SHAPE),
        core_parameters(CAPPED_SHAPE),
        SHAPES[CAPPED_SHAPE],
        SOURCES,
        modules=("spike_capper", "spike_loss"),
    ),
    "group": Target(
        "group_core",
        "bench_group",
        GROUP_STAGES,
        GROUP_REASONS,
        _group_parameters(GROUP_SHAPES[GROUP_SHAPE]),
        GROUP_SHAPES[GROUP_SHAPE].parameters(),
        GROUP_SHAPES[GROUP_SHAPE],
        [*SOURCES, *BASELINE, *GROUP],
        "group",
    ),
}
