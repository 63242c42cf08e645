// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Streams the spike planes of a job to the picker: for each tile, for each block of K, for each row, its planes from the
// highest that holds a spike down to exponent 0. A row without a spike in a block is passed over, unless its
// sum has to be started or handed over there.
//
//   stage A   address of the row's mask; waits for the fired row tile and for the block's weights
//   queue     rows and their masks
//   stage B   counts the exponents of a row down, reads their planes
//   stage C   a plane and its place, as the store shows it
//   stage D   the same, kept where the picker did not take it at once; filled when it is empty, whatever the picker does
//
// A and B go on as long as there is room for what they read: they count what is on its way, and look at nothing behind.
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

  localparam int unsigned QueueDepth = 3;  // rows on their way through the masks' memory and the queue: one a cycle

  // ------------------------------------------------------------------------------------------------ stage A
  logic                  tile_valid, tile_next, tile_one, tile_one_next, row_tile_last, q_pop;
  logic [RowWidth-1:0]   tile_rows, a_row_q;
  logic [ColWidth-1:0]   tile_columns;
  logic [BlockWidth-1:0] a_block;
  logic                  a_half_q, a_bank_q, a_next, a_block_end_q, a_pass_end, first_block, tail_block, row_end;
  logic [1:0]            tiles_q, banks_q, masks_q;  // masks_q: rows between stage A and stage B
  logic [1:0]            tiles_d, banks_d, masks_d;
  logic                  may_q;                      // row tile, weights and room are there
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
    .one_o           (tile_one),
    .one_next_o      (tile_one_next),
    .columns_o       (tile_columns),
    .row_tile_last_o (row_tile_last)
  );

  logic unused_slot, unused_last, unused_group;

  spike_chunker #(
    .Slots  (1),
    .Blocks (Blocks)
  ) u_blocks (
    .clk_i,
    .start_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i (1'b1),
    .next_i        (a_next && a_block_end_q),
    .block_o       (a_block),
    .slot_o        (unused_slot),
    .first_block_o (first_block),
    .tail_block_o  (tail_block),
    .block_last_o  (unused_last),
    .group_last_o  (unused_group),
    .row_last_o    (row_end)
  );

  assign a_pass_end = a_block_end_q && row_end;
  assign a_next     = tile_valid && may_q;
  assign tile_next  = a_next && a_pass_end;

  assign a = '{
    half:      a_half_q,
    bank:      a_bank_q,
    row:       a_row_q,
    block:     a_block,
    chunks:    tail_block ? tail_chunks_i : SlotWidth'(Slots),
    columns:   tile_columns,
    block_end: a_block_end_q,
    tile_end:  a_pass_end && row_tile_last,
    place: '{
      acc_first: first_block,
      acc_last:  tail_block,
      tile_last: a_block_end_q
    }
  };

  assign mask_re_o    = a_next;
  assign mask_half_o  = a_half_q;
  assign mask_row_o   = a_row_q;
  assign mask_block_o = a_block;

  function automatic logic [1:0] tally(input logic [1:0] count, input logic more, input logic less);
    return count + 2'(more) - 2'(less);
  endfunction

  assign tiles_d = tally(tiles_q, store_done_i, a_next && a.tile_end);
  assign banks_d = tally(banks_q, bank_done_i, a_next && a_block_end_q);
  assign masks_d = tally(masks_q, a_next, q_pop);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tiles_q  <= '0;
      banks_q  <= '0;
      masks_q  <= '0;
      may_q    <= 1'b0;
      a_half_q <= 1'b0;
      a_bank_q <= 1'b0;
    end else begin
      tiles_q <= tiles_d;
      banks_q <= banks_d;
      masks_q <= masks_d;
      may_q   <= tiles_d != '0 && banks_d != '0 && masks_d != 2'(QueueDepth);
      if (a_next && a.tile_end) a_half_q <= !a_half_q;
      if (a_next && a_block_end_q) a_bank_q <= !a_bank_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i || a_next) begin
      a_row_q <= (start_i || a_block_end_q) ? '0 : a_row_q + 1'b1;
      if (start_i || a_pass_end) a_block_end_q <= tile_one_next;
      else if (a_block_end_q) a_block_end_q <= tile_one;
      else a_block_end_q <= a_row_q == tile_rows - RowWidth'(2);
    end
  end

  // ------------------------------------------------------------------------------------------------- queue
  logic              mask_valid_q, q_valid, q_ready, q_skip, unused_room;
  entry_t            mask_entry_q, q;
  logic [Planes-1:0] q_mask;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) mask_valid_q <= 1'b0;
    else mask_valid_q <= a_next;
  end

  always_ff @(posedge clk_i) begin
    if (a_next) mask_entry_q <= a;
  end

  spike_fifo #(
    .Width ($bits(entry_t) + Planes),
    .Depth (QueueDepth)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i (mask_valid_q),
    .ready_o (q_ready),
    .room_o  (unused_room),
    .data_i  ({mask_entry_q, mask_i}),
    .valid_o (q_valid),
    .ready_i (q_pop),
    .data_o  ({q, q_mask})
  );

  // ------------------------------------------------------------------------------------------------ stage B
  logic                b_valid_q, b_last_q, b_issue, b_free;
  entry_t              b_q;
  logic [ExpWidth-1:0] b_exponent_q, q_top;
  logic [1:0]          planes_q;  // read, and not taken by the picker: two at most, in C and D

  always_comb begin
    q_top = '0;
    for (int unsigned e = 0; e < Planes; e++) begin
      if (q_mask[e]) q_top = ExpWidth'(e);
    end
  end

  assign q_skip  = q_mask == '0 && !q.place.acc_first && !q.place.acc_last && !q.block_end;
  assign b_issue = b_valid_q && !planes_q[1];
  assign b_free  = !b_valid_q || (b_issue && b_last_q);
  assign q_pop   = q_valid && (q_skip || b_free);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) b_valid_q <= 1'b0;
    else if (b_free) b_valid_q <= q_valid && !q_skip;
  end

  always_ff @(posedge clk_i) begin
    if (b_free) begin
      b_q          <= q;
      b_exponent_q <= q_top;
      b_last_q     <= q_top == '0;
    end else if (b_issue) begin
      b_exponent_q <= b_exponent_q - 1'b1;
      b_last_q     <= b_exponent_q == ExpWidth'(1);
    end
  end

  assign plane_re_o       = b_issue;
  assign plane_half_o     = b_q.half;
  assign plane_row_o      = b_q.row;
  assign plane_block_o    = b_q.block;
  assign plane_exponent_o = b_exponent_q;

  // ------------------------------------------------------------------------------------------- stages C and D
  typedef struct packed {
    logic                last;     // exponent 0: the row's last in this block
    logic                bank;
    logic                free;     // the last plane that needs this half of the banks
    logic [RowWidth-1:0] row;
    logic [ColWidth-1:0] columns;
    place_t              place;
  } plane_t;

  logic                        c_valid_q, c_tile_end_q, c_leave, d_valid_q;
  plane_t                      c_q, d_q, out;
  logic [Slots-1:0]            c_live_q;  // slots of the block that hold a chunk
  logic [Slots-1:0][Lanes-1:0] c_fire, d_fire_q, d_neg_q;

  // To the picker or into D, in the first cycle in which D is empty: so the picker's answer, which comes late, goes to
  // no more than D's valid bit and the count.
  assign c_leave = c_valid_q && !d_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      planes_q  <= '0;
      c_valid_q <= 1'b0;
      d_valid_q <= 1'b0;
    end else begin
      planes_q <= tally(planes_q, b_issue, plane_valid_o && plane_take_i);
      if (b_issue) c_valid_q <= 1'b1;
      else if (c_leave) c_valid_q <= 1'b0;
      d_valid_q <= plane_valid_o && !plane_take_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (b_issue) begin
      c_q <= '{
        last:    b_last_q,
        bank:    b_q.bank,
        free:    b_last_q && b_q.block_end,
        row:     b_q.row,
        columns: b_q.columns,
        place:   b_q.place
      };
      c_tile_end_q <= b_last_q && b_q.tile_end;
      for (int unsigned s = 0; s < Slots; s++) c_live_q[s] <= SlotWidth'(s) < b_q.chunks;
    end
    if (c_leave) begin
      d_q      <= c_q;
      d_fire_q <= c_fire;
      d_neg_q  <= neg_i;
    end
  end

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    assign c_fire[s] = fire_i[s] & {Lanes{c_live_q[s]}};
  end

  assign out              = d_valid_q ? d_q : c_q;
  assign plane_fire_o     = d_valid_q ? d_fire_q : c_fire;
  assign plane_neg_o      = d_valid_q ? d_neg_q : neg_i;
  assign plane_valid_o    = d_valid_q || c_valid_q;
  assign plane_last_o     = out.last;
  assign plane_bank_o     = out.bank;
  assign plane_release_o  = out.free;
  assign plane_tile_row_o = out.row;
  assign plane_columns_o  = out.columns;
  assign plane_place_o    = out.place;

  // Not before the last plane that the store has read is taken or kept: a macro may lose its output when it is written.
  assign store_release_o = c_leave && c_tile_end_q;

  logic quiet;
  assign quiet         = masks_q == '0 && !b_valid_q && planes_q == '0;
  assign idle_o        = !tile_valid && quiet;
  assign wait_fire_o   = tile_valid && tiles_q == '0 && quiet;
  assign wait_weight_o = tile_valid && tiles_q != '0 && banks_q == '0 && quiet;

  `SPIKE_ASSERT(May, may_q == (tiles_q != '0 && banks_q != '0 && masks_q != 2'(QueueDepth)))
  `SPIKE_ASSERT(BlockEnd, !tile_valid || a_block_end_q == (a_row_q == tile_rows - 1'b1))
  `SPIKE_ASSERT(QueueRoom, !mask_valid_q || q_ready)
  `SPIKE_ASSERT(PlanesRead, planes_q == 2'(c_valid_q) + 2'(d_valid_q))
  `SPIKE_ASSERT(Overwritten, !(b_issue && c_valid_q) || c_leave)
  `SPIKE_ASSERT(Tiles, tiles_q <= 2'd2)
  `SPIKE_ASSERT(Banks, banks_q <= 2'd2)

endmodule
