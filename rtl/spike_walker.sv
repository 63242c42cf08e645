// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Streams the spike planes of a job to the picker: for each tile, for each block of K, for each row, its planes from the
// highest that holds a spike down to exponent 0. A row without a spike in a block is passed over, unless its
// sum has to be started or handed over there.
//
//   stage A   address of the row's mask; waits for the fired row tile and for the block's weights
//   stage B   mask of the row: counts the exponents down, reads their planes
//   stage C   a plane and its place, offered to the picker
//
// Weights and row tiles are handed over by counting: `*_done_i` says that one more may be used.

`include "spike_assert.svh"

module spike_walker
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Lanes   = 16,
  parameter int unsigned Slots   = 16,
  parameter int unsigned Blocks  = 32,
  parameter int unsigned Tmax    = TmaxLimit,
  parameter bit          Csd     = 1'b1,
  localparam int unsigned Planes     = Tmax + int'(Csd),
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1)
) (
  input  logic                         clk_i,
  input  logic                         rst_ni,

  // job
  input  logic                         start_i,
  output logic                         idle_o,
  input  logic [CountWidth-1:0]        rows_i,
  input  logic [CountWidth-1:0]        outputs_i,
  input  logic [BlockWidth-1:0]        group_blocks_i,
  input  logic [BlockWidth-1:0]        row_blocks_i,
  input  logic [SlotWidth-1:0]         tail_chunks_i,

  // what may be used
  input  logic                         store_done_i,     // one more row tile is fired
  output logic                         store_release_o,  // the oldest is not needed any more
  input  logic                         bank_done_i,      // one more block of weights is loaded

  // spike store
  output logic                         mask_re_o,
  output logic                         mask_half_o,
  output logic [RowWidth-1:0]          mask_row_o,
  output logic [BlockWidth-1:0]        mask_block_o,
  input  logic [Planes-1:0]            mask_i,
  output logic                         plane_re_o,
  output logic                         plane_half_o,
  output logic [RowWidth-1:0]          plane_row_o,
  output logic [BlockWidth-1:0]        plane_block_o,
  output logic [ExpWidth-1:0]          plane_exponent_o,
  input  logic [Slots-1:0][Lanes-1:0]  fire_i,
  input  logic [Slots-1:0][Lanes-1:0]  neg_i,

  // planes
  output logic                         plane_valid_o,
  input  logic                         plane_take_i,
  output logic [Slots-1:0][Lanes-1:0]  plane_fire_o,
  output logic [Slots-1:0][Lanes-1:0]  plane_neg_o,
  output logic                         plane_last_o,     // exponent 0: the row's last in this block
  output logic                         plane_bank_o,     // half of the weight banks
  output logic                         plane_release_o,  // the last plane that needs this half
  output logic [RowWidth-1:0]          plane_tile_row_o,
  output logic [ColWidth-1:0]          plane_columns_o,
  output place_t                       plane_place_o,

  // events
  output logic                         wait_fire_o,
  output logic                         wait_weight_o
);

  typedef struct packed {
    logic                  half;
    logic                  bank;
    logic [RowWidth-1:0]   row;
    logic [BlockWidth-1:0] block;
    logic [SlotWidth-1:0]  chunks;
    logic [ColWidth-1:0]   columns;
    logic                  block_end;  // last row of the block
    logic                  tile_end;   // last of the row tile, in all passes
    place_t                place;
  } entry_t;

  // ------------------------------------------------------------------------------------------------ stage A
  logic                  tile_valid, tile_next, row_tile_last;
  logic [RowWidth-1:0]   tile_rows, a_row_q;
  logic [ColWidth-1:0]   tile_columns;
  logic [BlockWidth-1:0] a_block_q, a_group_block_q;
  logic                  a_half_q, a_bank_q, a_ready, a_next, a_block_end, a_pass_end, tail_block;
  logic [1:0]            tiles_q, banks_q;
  entry_t                a;

  spike_tiler #(
    .Rows    (Rows),
    .Columns (Columns)
  ) u_tiler (
    .clk_i,
    .rst_ni,
    .start_i,
    .rows_i,
    .outputs_i,
    .valid_o         (tile_valid),
    .next_i          (tile_next),
    .rows_o          (tile_rows),
    .columns_o       (tile_columns),
    .row_tile_last_o (row_tile_last)
  );

  assign tail_block  = a_group_block_q == group_blocks_i - 1'b1;
  assign a_block_end = a_row_q == tile_rows - 1'b1;
  assign a_pass_end  = a_block_end && a_block_q == row_blocks_i - 1'b1;
  assign a_ready     = tile_valid && tiles_q != '0 && banks_q != '0;
  assign tile_next   = a_next && a_pass_end;

  assign a = '{
    half:      a_half_q,
    bank:      a_bank_q,
    row:       a_row_q,
    block:     a_block_q,
    chunks:    tail_block ? tail_chunks_i : SlotWidth'(Slots),
    columns:   tile_columns,
    block_end: a_block_end,
    tile_end:  a_pass_end && row_tile_last,
    place: '{
      acc_first: a_group_block_q == '0,
      acc_last:  tail_block,
      tile_last: a_block_end
    }
  };

  assign mask_re_o    = a_next;
  assign mask_half_o  = a_half_q;
  assign mask_row_o   = a_row_q;
  assign mask_block_o = a_block_q;

  function automatic logic [1:0] tally(input logic [1:0] count, input logic more, input logic less);
    return count + 2'(more) - 2'(less);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tiles_q  <= '0;
      banks_q  <= '0;
      a_half_q <= 1'b0;
      a_bank_q <= 1'b0;
    end else begin
      tiles_q <= tally(tiles_q, store_done_i, a_next && a.tile_end);
      banks_q <= tally(banks_q, bank_done_i, a_next && a_block_end);
      if (a_next && a.tile_end) a_half_q <= !a_half_q;
      if (a_next && a_block_end) a_bank_q <= !a_bank_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      a_row_q         <= '0;
      a_block_q       <= '0;
      a_group_block_q <= '0;
    end else if (a_next) begin
      a_row_q <= a_block_end ? '0 : a_row_q + 1'b1;
      if (a_block_end) begin
        a_block_q       <= a_pass_end ? '0 : a_block_q + 1'b1;
        a_group_block_q <= tail_block ? '0 : a_group_block_q + 1'b1;
      end
    end
  end

  // ------------------------------------------------------------------------------------------------ stage B
  logic                b_valid_q, b_started_q, b_skip, b_issue, b_pop, c_ready;
  entry_t              b_q;
  logic [ExpWidth-1:0] b_exponent, b_exponent_q, b_top;

  assign a_next = a_ready && (!b_valid_q || b_pop);

  always_comb begin
    b_top = '0;
    for (int unsigned e = 0; e < Planes; e++) begin
      if (mask_i[e]) b_top = ExpWidth'(e);
    end
  end

  assign b_exponent = b_started_q ? b_exponent_q : b_top;
  assign b_skip     = mask_i == '0 && !b_q.place.acc_first && !b_q.place.acc_last && !b_q.block_end;
  assign b_issue    = b_valid_q && c_ready && !b_skip;
  assign b_pop      = b_valid_q && (b_skip || (c_ready && b_exponent == '0));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      b_valid_q   <= 1'b0;
      b_started_q <= 1'b0;
    end else begin
      if (a_next) b_valid_q <= 1'b1;
      else if (b_pop) b_valid_q <= 1'b0;
      if (b_pop) b_started_q <= 1'b0;
      else if (b_issue) b_started_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (a_next) b_q <= a;
    if (b_issue) b_exponent_q <= b_exponent - 1'b1;
  end

  assign plane_re_o       = b_issue;
  assign plane_half_o     = b_q.half;
  assign plane_row_o      = b_q.row;
  assign plane_block_o    = b_q.block;
  assign plane_exponent_o = b_exponent;

  // ------------------------------------------------------------------------------------------------ stage C
  logic             c_valid_q, c_last_q;
  entry_t           c_q;
  logic [Slots-1:0] c_live;

  assign c_ready = !c_valid_q || plane_take_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      c_valid_q <= 1'b0;
    end else if (c_ready) begin
      c_valid_q <= b_issue;
    end
  end

  always_ff @(posedge clk_i) begin
    if (b_issue) begin
      c_q      <= b_q;
      c_last_q <= b_exponent == '0;
    end
  end

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    assign c_live[s]       = SlotWidth'(s) < c_q.chunks;
    assign plane_fire_o[s] = c_live[s] ? fire_i[s] : '0;
    assign plane_neg_o[s]  = neg_i[s];
  end

  assign plane_valid_o    = c_valid_q;
  assign plane_last_o     = c_last_q;
  assign plane_bank_o     = c_q.bank;
  assign plane_release_o  = c_last_q && c_q.block_end;
  assign plane_tile_row_o = c_q.row;
  assign plane_columns_o  = c_q.columns;
  assign plane_place_o    = c_q.place;

  // Not before the last plane that the store has read was taken: a macro may lose its output when it is written.
  assign store_release_o = c_valid_q && plane_take_i && c_last_q && c_q.tile_end;

  logic unused_c;
  assign unused_c = ^{c_q.half, c_q.block};

  assign idle_o        = !tile_valid && !b_valid_q && !c_valid_q;
  assign wait_fire_o   = tile_valid && tiles_q == '0;
  assign wait_weight_o = tile_valid && tiles_q != '0 && banks_q == '0;

  `SPIKE_ASSERT(Tiles, tiles_q <= 2'd2)
  `SPIKE_ASSERT(Banks, banks_q <= 2'd2)

endmodule
