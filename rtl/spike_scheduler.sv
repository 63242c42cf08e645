// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks a stored row tile once per column tile and visits only spike planes in which some row fired.
//
//   stage A   address of the next chunk's masks
//   stage B   masks of the chunk: picks the next exponent that has a spike, highest first, reads its plane
//   stage C   the plane meets the chunk's weights, and goes to the array
//
// A chunk without any spike takes one cycle, in which its weights are passed over.

`include "spike_assert.svh"

module spike_scheduler
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Lanes   = 8,
  parameter int unsigned Tmax    = TmaxLimit,
  parameter int unsigned Chunks  = 1024,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1),
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1),
  localparam int unsigned CntWidth   = $clog2(Rows * Lanes + 1)
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,

  // job
  input  logic [ChunkWidth-1:0]         group_chunks_i,
  input  logic [ChunkWidth-1:0]         row_chunks_i,
  input  logic [LaneWidth-1:0]          tail_lanes_i,
  input  logic [StepWidth-1:0]          planes_i,        // most steps of any row of the tile

  // one pass: all chunks of the row tile against one column tile
  input  logic                          pass_valid_i,
  output logic                          pass_ready_o,
  input  logic [RowWidth-1:0]           pass_rows_i,
  input  logic [ColWidth-1:0]           pass_columns_i,
  output logic                          idle_o,

  // spike store
  output logic                          mask_re_o,
  output logic [ChunkWidth-1:0]         mask_chunk_o,
  input  logic [Rows-1:0][Tmax:0]       masks_i,
  output logic                          plane_re_o,
  output logic [ChunkWidth-1:0]         plane_chunk_o,
  output logic [ExpWidth-1:0]           plane_exponent_o,
  input  spike_t [Rows-1:0][Lanes-1:0]  spikes_i,

  // weights
  input  logic                          weight_valid_i,
  output logic                          weight_pop_o,
  output logic                          weight_last_o,    // with pop: the last chunk of a pass
  output logic [LaneWidth-1:0]          weight_lanes_o,   // with pop: inputs that count
  output logic [ColWidth-1:0]           weight_columns_o, // with pop: columns that count

  // array
  output logic                          op_valid_o,
  output logic                          op_first_o,      // first of a group: forget the old sum
  output logic                          op_last_o,       // last of a group: hand the sum over
  output logic [ExpWidth-1:0]           op_exponent_o,
  output spike_t [Rows-1:0][Lanes-1:0]  op_spikes_o,
  output logic [RowWidth-1:0]           op_rows_o,
  output logic [ColWidth-1:0]           op_columns_o,
  input  logic                          drain_free_i,

  // events
  output logic                          visited_o,
  output logic [CntWidth-1:0]           visits_o,
  output logic [StepWidth-1:0]          skipped_o,
  output logic                          stall_weight_o,
  output logic                          stall_acc_o
);

  typedef struct packed {
    logic [ChunkWidth-1:0] chunk;
    logic                  group_first;
    logic                  group_last;
    logic                  pass_last;
    logic [RowWidth-1:0]   rows;
    logic [ColWidth-1:0]   columns;
  } chunk_t;

  // ------------------------------------------------------------------------------------------------ stage A
  logic                  a_valid_q, a_next;
  logic [ChunkWidth-1:0] a_chunk_q, a_group_chunk_q;
  logic [RowWidth-1:0]   a_rows_q;
  logic [ColWidth-1:0]   a_columns_q;
  chunk_t                a;

  assign a = '{
    chunk:       a_chunk_q,
    group_first: a_group_chunk_q == '0,
    group_last:  a_group_chunk_q == group_chunks_i - 1'b1,
    pass_last:   a_chunk_q == row_chunks_i - 1'b1,
    rows:        a_rows_q,
    columns:     a_columns_q
  };

  assign pass_ready_o = !a_valid_q || (a_next && a.pass_last);
  assign mask_re_o    = a_next;
  assign mask_chunk_o = a_chunk_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      a_valid_q <= 1'b0;
    end else if (pass_ready_o) begin
      a_valid_q <= pass_valid_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (pass_valid_i && pass_ready_o) begin
      a_chunk_q       <= '0;
      a_group_chunk_q <= '0;
      a_rows_q        <= pass_rows_i;
      a_columns_q     <= pass_columns_i;
    end else if (a_next) begin
      a_chunk_q       <= a_chunk_q + 1'b1;
      a_group_chunk_q <= a.group_last ? '0 : a_group_chunk_q + 1'b1;
    end
  end

  // ------------------------------------------------------------------------------------------------ stage B
  logic                b_valid_q, b_issue, b_pop, b_started_q, b_last, b_empty;
  chunk_t              b_q;
  logic [Tmax:0]       b_fired, b_done_q, b_pending, b_select;
  logic [ExpWidth-1:0] b_exponent;
  logic [Rows-1:0]     b_enable;
  logic                c_ready;

  assign a_next = a_valid_q && (!b_valid_q || b_pop);

  always_comb begin
    b_fired = '0;
    for (int unsigned r = 0; r < Rows; r++) begin
      if (RowWidth'(r) < b_q.rows) b_fired |= masks_i[r];
    end
  end

  assign b_pending = b_fired & ~b_done_q;
  assign b_empty   = b_fired == '0;

  always_comb begin
    b_exponent = '0;
    b_select   = '0;
    for (int unsigned e = 0; e <= Tmax; e++) begin
      if (b_pending[e]) begin
        b_exponent = ExpWidth'(e);
        b_select   = (Tmax + 1)'(1) << e;
      end
    end
    for (int unsigned r = 0; r < Rows; r++) begin
      b_enable[r] = masks_i[r][b_exponent] && RowWidth'(r) < b_q.rows;
    end
  end

  assign b_last  = (b_pending & ~b_select) == '0;
  assign b_issue = b_valid_q && c_ready;
  assign b_pop   = b_issue && b_last;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      b_valid_q   <= 1'b0;
      b_started_q <= 1'b0;
      b_done_q    <= '0;
    end else begin
      if (a_next) b_valid_q <= 1'b1;
      else if (b_pop) b_valid_q <= 1'b0;
      if (b_pop) begin
        b_started_q <= 1'b0;
        b_done_q    <= '0;
      end else if (b_issue) begin
        b_started_q <= 1'b1;
        b_done_q    <= b_done_q | b_select;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (a_next) b_q <= a;
  end

  assign plane_re_o       = b_issue && !b_empty;
  assign plane_chunk_o    = b_q.chunk;
  assign plane_exponent_o = b_exponent;

  // ------------------------------------------------------------------------------------------------ stage C
  typedef struct packed {
    chunk_t              chunk;
    logic                first;       // plane opens its group
    logic                last;        // plane closes its chunk
    logic [ExpWidth-1:0] exponent;
    logic [Rows-1:0]     enable;
    logic                empty;
  } plane_t;

  logic   c_valid_q, c_go, c_end;
  plane_t c_q;

  assign c_end   = c_q.last && c_q.chunk.group_last;
  assign c_go    = c_valid_q && weight_valid_i && (!c_end || drain_free_i);
  assign c_ready = !c_valid_q || c_go;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      c_valid_q <= 1'b0;
    end else if (c_ready) begin
      c_valid_q <= b_valid_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (b_issue) begin
      c_q <= '{
        chunk:    b_q,
        first:    b_q.group_first && !b_started_q,
        last:     b_last,
        exponent: b_exponent,
        enable:   b_enable,
        empty:    b_empty
      };
    end
  end

  assign op_valid_o    = c_go;
  assign op_first_o    = c_q.first;
  assign op_last_o     = c_end;
  assign op_exponent_o = c_q.exponent;
  assign op_rows_o     = c_q.chunk.rows;
  assign op_columns_o  = c_q.chunk.columns;

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    assign op_spikes_o[r] = c_q.enable[r] ? spikes_i[r] : '0;
  end

  assign weight_pop_o     = c_go && c_q.last;
  assign weight_last_o    = c_q.chunk.pass_last;
  assign weight_lanes_o   = c_q.chunk.group_last ? tail_lanes_i : LaneWidth'(Lanes);
  assign weight_columns_o = c_q.chunk.columns;

  assign idle_o = !a_valid_q && !b_valid_q && !c_valid_q;

  // -------------------------------------------------------------------------------------------------- events
  always_comb begin
    visits_o = '0;
    for (int unsigned r = 0; r < Rows; r++) begin
      for (int unsigned l = 0; l < Lanes; l++) visits_o += CntWidth'(op_spikes_o[r][l].fire);
    end
    if (!c_go) visits_o = '0;
  end

  always_comb begin
    skipped_o = planes_i;
    for (int unsigned e = 0; e <= Tmax; e++) skipped_o -= StepWidth'(b_fired[e]);
    if (!b_pop) skipped_o = '0;
  end

  assign visited_o      = c_go && !c_q.empty;
  assign stall_weight_o = c_valid_q && !weight_valid_i;
  assign stall_acc_o    = c_valid_q && weight_valid_i && !c_go;

  `SPIKE_ASSERT(PlaneOnce, b_issue |-> (b_done_q & b_select) == '0)

endmodule
