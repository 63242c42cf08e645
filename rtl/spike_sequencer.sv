// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Checks a job, works out the shape of a row, starts the engines and waits until everything has left.
//
//   idle -> shape -> check -> run -> wait -> (drop ->) done
//
// Input that is on offer when a job has ended, and no other waits that it could be for, is left over: an error, and its
// packet is dropped, so that the next job finds the streams where packets begin.
//
// K is split into groups, a group into blocks of `Slots` chunks of `Lanes` inputs. Divisions are shifts (`Lanes` and
// `Slots` are powers of two) and the size of a row is found by counting groups. What follows from a job is kept in registers,
// so that no path of the engines begins with the job: it is right from the second cycle of the job on.

`include "spike_assert.svh"

module spike_sequencer
  import spike_pkg::*;
#(
  parameter int unsigned Lanes  = 16,
  parameter int unsigned Slots  = 16,
  parameter int unsigned Blocks = 32,
  parameter bit          Csd    = 1'b1,
  parameter bit          Capped = 1'b0,
  parameter int unsigned Inputs = 2,
  parameter int unsigned Groups = Blocks,  // a row has no more groups
  parameter int unsigned GroupBlocks = Blocks,  // a group has no more blocks
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1)
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  // job
  input  job_t                  job_i,
  input  logic                  start_i,
  input  logic                  queued_i,        // another one waits
  output logic                  busy_o,
  output logic                  done_o,
  output error_t                error_o,

  // shape of a row
  output logic [BlockWidth-1:0] group_blocks_o,  // blocks of a group
  output logic [BlockWidth-1:0] row_blocks_o,    // blocks of a row
  output logic [SlotWidth-1:0]  tail_chunks_o,   // chunks in the last block of a group
  output logic [LaneWidth-1:0]  tail_lanes_o,    // inputs in the last chunk of a group

  // engines
  output logic                  run_o,           // start
  input  logic                  idle_i,          // all are idle and nothing waits at an output

  // input streams
  input  logic [Inputs-1:0]     valid_i,
  input  logic [Inputs-1:0]     last_i,
  output logic [Inputs-1:0]     drop_o           // take it and forget it
);

  localparam int unsigned LaneShift = $clog2(Lanes);
  localparam int unsigned SlotShift = $clog2(Slots);

  `SPIKE_REQUIRE(gen_bad_lanes, Lanes == (1 << LaneShift), "Lanes has to be a power of two from 4 to 128")
  `SPIKE_REQUIRE(gen_bad_slots, Slots == (1 << SlotShift), "Slots has to be a power of two from 1 to 128")

  typedef enum logic [2:0] {
    StIdle,
    StShape,
    StCheck,
    StRun,
    StWait,
    StDrop
  } state_e;

  state_e                state_q, state_d;
  logic [CountWidth-1:0] groups_left_q;
  logic [BlockWidth-1:0] row_blocks_q;
  logic [BlockWidth:0]   row_blocks_d;
  logic                  fits_q;

  // ------------------------------------------------------------------------------------------ shape of a row
  logic [CountWidth:0] chunks_q, blocks;

  assign blocks = (chunks_q + (CountWidth + 1)'(Slots - 1)) >> SlotShift;

  always_ff @(posedge clk_i) begin
    chunks_q       <= ((CountWidth + 1)'(job_i.group_inputs) + (CountWidth + 1)'(Lanes - 1)) >> LaneShift;
    tail_lanes_o   <= LaneWidth'((job_i.group_inputs - 1'b1) & CountWidth'(Lanes - 1)) + 1'b1;
    tail_chunks_o  <= (SlotWidth'(chunks_q - 1'b1) & SlotWidth'(Slots - 1)) + 1'b1;
    group_blocks_o <= blocks[BlockWidth-1:0];
    fits_q         <= blocks <= (CountWidth + 1)'(GroupBlocks)
                      && (Groups >= Blocks || job_i.groups <= CountWidth'(Groups));
  end

  assign row_blocks_o = row_blocks_q;
  assign row_blocks_d = (BlockWidth + 1)'(row_blocks_q) + (BlockWidth + 1)'(group_blocks_o);

  // --------------------------------------------------------------------------------------------------- checks
  error_t            settings_q;
  logic [Inputs-1:0] left;      // input that no job wants

  assign left = queued_i ? '0 : valid_i;

  always_ff @(posedge clk_i) begin
    settings_q              <= '0;
    settings_q.rows         <= job_i.rows == '0;
    settings_q.outputs      <= job_i.outputs == '0;
    settings_q.groups       <= job_i.groups == '0;
    settings_q.group_inputs <= job_i.group_inputs == '0;
    settings_q.frac_bits    <= job_i.frac_bits > 5'(MaxFracBits)
                               || (job_i.capped && job_i.frac_bits < 5'(MinCappedFracBits));
    settings_q.coding       <= (!Csd && job_i.coding == CodingCsd)
                               || (job_i.capped && (!Capped || job_i.coding == CodingCsd || job_i.spike_stream));
  end

  always_comb begin
    error_o = '0;
    if (state_q == StCheck) begin
      error_o          = settings_q;
      error_o.capacity = !fits_q || row_blocks_d > (BlockWidth + 1)'(Blocks);
    end
    if (state_q == StWait && idle_i && left != '0) error_o.left_over = 1'b1;
  end

  // ---------------------------------------------------------------------------------------------------- phases
  assign run_o  = state_q == StRun;
  assign busy_o = state_q != StIdle;
  assign done_o = (state_q == StWait && idle_i && left == '0) || (state_q == StDrop && drop_o == '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) drop_o <= '0;
    else if (state_q == StWait && idle_i) drop_o <= left;
    else drop_o <= drop_o & ~(valid_i & last_i);
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:  if (start_i) state_d = StShape;
      StShape: state_d = StCheck;
      StCheck: begin
        if (error_o != '0) state_d = StIdle;
        else if (groups_left_q == CountWidth'(1)) state_d = StRun;
      end
      StRun:   state_d = StWait;
      StWait:  if (idle_i) state_d = (left == '0) ? StIdle : StDrop;
      StDrop:  if (drop_o == '0) state_d = StIdle;
      default: state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      state_q <= state_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle && start_i) begin
      groups_left_q <= job_i.groups;
      row_blocks_q  <= '0;
    end
    if (state_q == StCheck) begin
      groups_left_q <= groups_left_q - 1'b1;
      row_blocks_q  <= row_blocks_d[BlockWidth-1:0];
    end
  end

endmodule
