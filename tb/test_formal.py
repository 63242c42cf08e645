"""The proofs of tb/formal: the quick ones hold, and a prover that is shown a broken module says so."""

from dataclasses import replace

import pytest
from formal.prove import DESIGN, PROOFS, prove


@pytest.mark.parametrize(
    "proof", [p if p.quick else pytest.param(p, marks=pytest.mark.slow) for p in PROOFS], ids=lambda p: p.name
)
def test_proof(proof):
    """What the module promises holds for every input, from every state that a reset may find."""
    verdict = prove(proof)
    assert verdict.proven, verdict.detail


# a queue that never takes anything again once it has been full
STAYS_FULL = (
    "logic stuck_q;"
    " always_ff @(posedge clk_i) stuck_q <= rst_ni && (stuck_q || count_q == CntWidth'(Depth));"
    " assign ready_o = count_q != CntWidth'(Depth) && !stuck_q;"
)

BROKEN = [
    ("fifo", "spike_fifo.sv", "if (push) wr_q <= next(wr_q);", "if (valid_i) wr_q <= next(wr_q);"),
    ("picker", "spike_picker.sv", "shift_q <= advance && !word_last_o;", "shift_q <= !word_last_o;"),
    ("picker", "spike_lane.sv", ": left[1];", ": left != '0;"),
    (
        "picker",
        "spike_lane.sv",
        "fire_q <= turn_i ? next_fire_d : fire_d;",
        "fire_q <= turn_i ? next_fire_q : fire_d;",
    ),
    ("picker", "spike_picker.sv", "&through && !(turn_q && !next_valid_q)", "&through"),
    ("picker", "spike_picker.sv", "(valid_q ? plane_q.last : just_q", "(valid_q ? next_q.place.acc_first : just_q"),
    ("tiler", "spike_tiler.sv", "begin_row ? one_d : one_q", "one_d"),
    ("tiler", "spike_tiler.sv", "rows_left_q <= CountWidth'(2 * Rows)", "rows_left_q < CountWidth'(2 * Rows)"),
    ("chunker", "spike_chunker.sv", "row_left_q == BlockWidth'(1)", "group_left_q == BlockWidth'(1)"),
    (
        "sequencer",
        "spike_sequencer.sv",
        "CountWidth + 1)'(Slots - 1)) >> SlotShift",
        "CountWidth + 1)'(Slots)) >> SlotShift",
    ),
    ("regs", "spike_regs.sv", "awake_q && !s_axil_rvalid_o", "!s_axil_rvalid_o"),
    ("regs", "spike_regs.sv", "else if (begins) job_o <= next_q", "else if (started) job_o <= next_q"),
    ("abort", "spike_abort.sv", "reset_q  <= abort_q && closed_q == '1", "reset_q  <= abort_q && closed_q != '0"),
    ("sequencer", "spike_sequencer.sv", "~(valid_i & last_i)", "~valid_i"),
    ("lane", "spike_lane.sv", ": left != 2'd3;", ": 1'b1;"),
    ("lane", "spike_lane.sv", " || (take_next && next_left == 2'd2)", ""),
    ("writer", "stream_writer.sv", " || place_q == '1;", ";"),
    ("reader", "stream_reader.sv", "32'(free_q) >= 32'(len_q) && end_ready", "end_ready"),
    ("handover", "spike_weight_loader.sv", "tile_valid && free_q != '0", "tile_valid"),
    (
        "progress-Part0",
        "spike_walker.sv",
        "assign store_release_o = c_leave && c_tile_end_q;",
        "assign store_release_o = 1'b0;",
    ),
    ("progress-Part0", "spike_walker.sv", " && !q.block_end;", ";"),
    (
        "progress-Part0",
        "spike_accumulator.sv",
        "else enable_o <= queue_room ||",
        "else enable_o <= enable_o && queue_room ||",
    ),
    ("progress-Part1", "spike_fifo.sv", "assign ready_o = count_q != CntWidth'(Depth);", STAYS_FULL),
    ("progress-Part1", "spike_picker.sv", "else if (enable_i) again_q <= 1'b0;", ""),
    (
        "progress-Part1",
        "spike_sequencer.sv",
        "if (idle_i) state_d = (left == '0) ? StIdle : StDrop;",
        "if (idle_i && left == '0) state_d = StIdle;",
    ),
    ("same", "spike_neuron_array.sv", "rows_left_q == CountWidth'(2);", "rows_left_q == CountWidth'(3);"),
    ("same", "spike_weight_loader.sv", "take && pass_last;", "take && pass_last && !row_tile_last;"),
    ("group_column", "group_column.sv", "weight ^ {WeightBits{neg_i[g]}}", "weight"),
    ("group_slots", "group_encoder.sv", "valid1_q <= valid5_q || valid_i;", "valid1_q <= valid5_q;"),
    ("group_handover", "group_store.sv", "if (release_i && !open_i) free_q", "if (release_i) free_q"),
    ("group_handover", "group_walker.sv", "tile_valid && tiles_q != '0 &&", "tile_valid &&"),
    ("capper", "spike_capper.sv", "some_q[l] <= some_q[l] - 1'b1;", "some_q[l] <= some_q[l];"),
    ("capper", "spike_capper.sv", "out.loss[l] >= class_q[l]", "out.loss[l] > class_q[l]"),
    ("sequencer-Slots1-Capped1", "spike_sequencer.sv", "|| job_i.spike_stream", ""),
    ("neuron", "spike_neuron.sv", "(membrane_i & below_i) == '0", "membrane_i == '0"),
]


@pytest.mark.parametrize(
    ("name", "file", "good", "bad"),
    [pytest.param(*case, id=f"{i}-{case[1]}") for i, case in enumerate(BROKEN)],
)
def test_broken_module_is_refuted(name, file, good, bad, tmp_path):
    """A harness whose assumptions leave no room would prove anything; this one finds the fault and names it."""
    sources = []
    for path in DESIGN:
        if path.name == file:
            text = path.read_text()
            assert text.count(good) == 1
            path = tmp_path / file
            path.write_text(text.replace(good, bad))
        sources.append(path)
    proof = next(p for p in PROOFS if p.name.startswith(name))
    if proof.engine == "pdr" and not proof.quick:
        proof = replace(proof, engine="bmc", depth=20)  # what takes long to prove is refuted sooner so
    verdict = prove(proof, sources=sources, work=tmp_path)
    assert not verdict.proven
    assert "Assert failed" in verdict.detail, verdict.detail


def test_a_job_comes_to_its_end():
    """What the proof of progress takes for granted leaves room: a job that gives sums comes to its end."""
    watch = next(p for p in PROOFS if p.name.startswith("progress-Part1"))
    verdict = prove(replace(watch, parameters={"Part": 2}, depth=40))
    assert "Assert failed" in verdict.detail, verdict.detail
