// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The tile controller: checks a job's settings, then for each tile of `Rows` token rows fires the membranes and
// has the stored spikes walked once for each tile of `Columns` outputs.
//
//   start -> check -> [ fire row tile -> pass, pass, ... -> settle ] -> drain -> done
//
// K is split into groups, a group into chunks of `Lanes` inputs; the last chunk of a group may be shorter.
// Divisions are shifts (`Lanes` is a power of two) and the size of a row is found by counting groups.

`include "spike_assert.svh"

module spike_sequencer
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Lanes   = 8,
  parameter int unsigned Chunks  = 1024,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // job
  input  job_t                   job_i,
  input  logic                   start_i,
  output logic                   busy_o,
  output logic                   done_o,
  output error_t                 error_o,

  // shape of a row
  output logic [ChunkWidth-1:0]  group_chunks_o,
  output logic [ChunkWidth-1:0]  row_chunks_o,
  output logic [LaneWidth-1:0]   tail_lanes_o,

  // front end
  output logic                   fire_start_o,
  output logic [RowWidth-1:0]    tile_rows_o,
  input  logic                   fire_busy_i,

  // scheduler
  output logic                   pass_valid_o,
  input  logic                   pass_ready_i,
  output logic [ColWidth-1:0]    pass_columns_o,
  input  logic                   pass_idle_i,

  // outputs: everything computed has left
  input  logic                   drained_i
);

  localparam int unsigned LaneShift = $clog2(Lanes);

  `SPIKE_REQUIRE(gen_bad_lanes, Lanes == (1 << LaneShift))

  typedef enum logic [2:0] {
    StIdle,
    StCheck,
    StFire,
    StFiring,
    StPass,
    StSettle,
    StDrain
  } state_e;

  state_e                state_q, state_d;
  logic [CountWidth-1:0] rows_left_q, outputs_left_q, groups_left_q;
  logic [ChunkWidth-1:0] row_chunks_q;
  logic [ChunkWidth:0]   row_chunks_d;
  logic                  last_rows, last_outputs, fits;

  // ------------------------------------------------------------------------------------------ shape of a row
  logic [CountWidth:0] group_chunks;

  assign group_chunks = ((CountWidth + 1)'(job_i.group_inputs) + (CountWidth + 1)'(Lanes - 1)) >> LaneShift;
  assign fits         = group_chunks <= (CountWidth + 1)'(Chunks);

  always_comb begin
    tail_lanes_o = LaneWidth'(job_i.group_inputs & CountWidth'(Lanes - 1));
    if (tail_lanes_o == '0) tail_lanes_o = LaneWidth'(Lanes);
  end

  assign group_chunks_o = group_chunks[ChunkWidth-1:0];
  assign row_chunks_o   = row_chunks_q;
  assign row_chunks_d   = (ChunkWidth + 1)'(row_chunks_q) + (ChunkWidth + 1)'(group_chunks_o);

  // How a row fires is no matter of the tile controller.
  logic unused_job;
  assign unused_job = ^{job_i.coding, job_i.spike_stream};

  // --------------------------------------------------------------------------------------------------- checks
  error_t settings;

  always_comb begin
    settings              = '0;
    settings.rows         = job_i.rows == '0;
    settings.outputs      = job_i.outputs == '0;
    settings.groups       = job_i.groups == '0;
    settings.group_inputs = job_i.group_inputs == '0;
    settings.frac_bits    = job_i.frac_bits > 5'(MaxFracBits);
    settings.capacity     = !fits;
  end

  always_comb begin
    error_o = '0;
    if (state_q == StIdle && start_i) error_o = settings;
    if (state_q == StCheck && row_chunks_d > (ChunkWidth + 1)'(Chunks)) error_o.capacity = 1'b1;
  end

  // ---------------------------------------------------------------------------------------------------- tiles
  assign last_rows      = rows_left_q <= CountWidth'(Rows);
  assign last_outputs   = outputs_left_q <= CountWidth'(Columns);
  assign tile_rows_o    = last_rows ? rows_left_q[RowWidth-1:0] : RowWidth'(Rows);
  assign pass_columns_o = last_outputs ? outputs_left_q[ColWidth-1:0] : ColWidth'(Columns);
  assign fire_start_o   = state_q == StFire;
  assign pass_valid_o   = state_q == StPass;
  assign busy_o         = state_q != StIdle;
  assign done_o         = state_q == StDrain && drained_i;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:   if (start_i && settings == '0) state_d = StCheck;
      StCheck: begin
        if (error_o != '0) state_d = StIdle;
        else if (groups_left_q == CountWidth'(1)) state_d = StFire;
      end
      StFire:   state_d = StFiring;
      StFiring: if (!fire_busy_i) state_d = StPass;
      StPass:   if (pass_ready_i && last_outputs) state_d = StSettle;
      StSettle: if (pass_idle_i) state_d = last_rows ? StDrain : StFire;
      StDrain:  if (drained_i) state_d = StIdle;
      default:  state_d = StIdle;
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
      rows_left_q   <= job_i.rows;
      groups_left_q <= job_i.groups;
      row_chunks_q  <= '0;
    end
    if (state_q == StCheck) begin
      groups_left_q <= groups_left_q - 1'b1;
      row_chunks_q  <= row_chunks_d[ChunkWidth-1:0];
    end
    if (state_q == StFire) outputs_left_q <= job_i.outputs;
    if (state_q == StPass && pass_ready_i) outputs_left_q <= outputs_left_q - CountWidth'(Columns);
    if (state_q == StSettle && pass_idle_i) rows_left_q <= rows_left_q - CountWidth'(Rows);
  end

endmodule
