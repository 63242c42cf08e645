// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks a job for the group array: tile by tile, chunk by chunk, and in a chunk step by step, as many as the row of the tile has
// that has most. A row of fewer steps joins in later.
//
//   stage A   address of a step; waits for the filled row tile
//   stage B   the store's memories are read
//   stage C   the step meets the chunk's weights in the array, which stay until its last step

`include "spike_assert.svh"

module group_walker
  import spike_pkg::*;
  import group_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Groups  = 32,
  parameter int unsigned Chunks  = 16,
  parameter int unsigned Steps   = 7,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned LaneWidth  = $clog2(GroupInputs * Groups + 1),
  localparam int unsigned AddrWidth  = $clog2(2 * Chunks * Steps)
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,
  input  logic                                enable_i,

  // job
  input  logic                                start_i,
  output logic                                idle_o,
  input  logic [CountWidth-1:0]               rows_i,
  input  logic [CountWidth-1:0]               outputs_i,
  input  logic [ChunkWidth-1:0]               group_chunks_i,  // of a scale group
  input  logic [ChunkWidth-1:0]               row_chunks_i,
  input  logic [LaneWidth-1:0]                tail_lanes_i,    // inputs of the last chunk of a scale group

  // store
  input  logic                                store_done_i,
  input  logic [1:0][Rows-1:0][LeftWidth-1:0] store_left_i,
  input  logic [1:0][LeftWidth-1:0]           store_most_i,
  output logic                                store_re_o,
  output logic                                store_half_o,
  output logic [AddrWidth-1:0]                store_addr_o,

  // array
  output logic                                load_o,          // takes what the store has read
  output logic [Rows-1:0]                     load_works_o,
  output logic [Groups-1:0]                   load_filled_o,
  input  logic                                weight_valid_i,
  output logic                                op_valid_o,      // weights and spikes meet
  output step_t                               op_o,
  output logic [RowWidth-1:0]                 op_rows_o,
  output logic [ColWidth-1:0]                 op_columns_o,

  // events
  output logic                                wait_fire_o,
  output logic                                wait_weight_o
);

  typedef struct packed {
    step_t                step;
    logic                 half;
    logic [LeftWidth-1:0] left;
    logic                 tail;     // the chunk is the last of its scale group
    logic [RowWidth-1:0]  rows;
    logic [ColWidth-1:0]  columns;
  } place_of_step_t;

  logic                  tile_valid, row_tile_last, row_last, last, tile_end, tail, a_next, a_chunk, first_q, half_q;
  logic                  b_valid_q, b_go, c_valid_q, c_go;
  logic [1:0]            tiles_q;
  logic [LeftWidth-1:0]  left_q, left;
  logic [AddrWidth-1:0]  base_q;
  logic [RowWidth-1:0]   rows;
  logic [ColWidth-1:0]   columns;
  place_of_step_t        a, b_q, c_q;

  logic unused_one, unused_one_next;

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
    .next_i          (a_chunk && row_last),
    .rows_o          (rows),
    .one_o           (unused_one),
    .one_next_o      (unused_one_next),
    .columns_o       (columns),
    .row_tile_last_o (row_tile_last)
  );

  logic                  unused_slot, unused_last, unused_group, group_first;
  logic [ChunkWidth-1:0] unused_chunk;

  spike_chunker #(
    .Slots  (1),
    .Blocks (Chunks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i (group_chunks_i),
    .row_blocks_i   (row_chunks_i),
    .tail_chunks_i  (1'b1),
    .next_i         (a_chunk),
    .block_o        (unused_chunk),
    .slot_o         (unused_slot),
    .first_block_o  (group_first),
    .tail_block_o   (tail),
    .block_last_o   (unused_last),
    .group_last_o   (unused_group),
    .row_last_o     (row_last)
  );

  // How many steps the row tile has is known when it is complete.
  assign left = first_q ? store_most_i[half_q] : left_q;

  assign last     = left == '0;
  assign tile_end = row_last && row_tile_last;
  assign a        = '{
    step:    '{first: first_q, last: last, group_first: group_first, group_last: tail, tile_end: tile_end},
    half:    half_q,
    left:    left,
    tail:    tail,
    rows:    rows,
    columns: columns
  };

  assign a_next  = tile_valid && tiles_q != '0 && (!b_valid_q || b_go);
  assign a_chunk = a_next && last;
  assign b_go    = b_valid_q && (!c_valid_q || c_go);
  assign c_go    = op_valid_o && enable_i;

  assign store_re_o    = a_next;
  assign store_half_o  = half_q;
  assign store_addr_o  = base_q + AddrWidth'(left);
  assign load_o        = b_go;
  assign op_valid_o    = c_valid_q && weight_valid_i;
  assign op_o          = c_q.step;
  assign op_rows_o     = c_q.rows;
  assign op_columns_o  = c_q.columns;
  assign idle_o        = !tile_valid && !b_valid_q && !c_valid_q;
  assign wait_fire_o   = tile_valid && tiles_q == '0 && !b_valid_q && !c_valid_q;
  assign wait_weight_o = c_valid_q && !weight_valid_i;

  for (genvar r = 0; r < Rows; r++) begin : gen_works
    assign load_works_o[r] = b_q.left <= store_left_i[b_q.half][r];
  end

  for (genvar g = 0; g < Groups; g++) begin : gen_filled
    assign load_filled_o[g] = !b_q.tail || LaneWidth'(GroupInputs * g) < tail_lanes_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tiles_q   <= '0;
      half_q    <= 1'b0;
      first_q   <= 1'b1;
      b_valid_q <= 1'b0;
      c_valid_q <= 1'b0;
    end else begin
      tiles_q <= tiles_q + 2'(store_done_i) - 2'(a_chunk && tile_end);
      if (a_chunk && tile_end) half_q <= !half_q;
      if (a_next) first_q <= last;
      if (a_next) b_valid_q <= 1'b1;
      else if (b_go) b_valid_q <= 1'b0;
      if (b_go) c_valid_q <= 1'b1;
      else if (c_go) c_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) base_q <= '0;
    else if (a_chunk) base_q <= row_last ? '0 : base_q + AddrWidth'(Steps);
    if (a_next) begin
      left_q <= left - 1'b1;
      b_q    <= a;
    end
    if (b_go) c_q <= b_q;
  end

  `SPIKE_ASSERT(Tiles, tiles_q <= 2'd2)
  `SPIKE_ASSERT(FewerLeft, !a_next || first_q || left < store_most_i[half_q])
  `SPIKE_ASSERT(Overwritten, !(b_go && c_valid_q) || c_go)
  `SPIKE_EXPECT(RoomForTile, !store_done_i || tiles_q != 2'd2)
  `SPIKE_EXPECT(StartIdle, !start_i || idle_o)

  logic unused_place;
  assign unused_place = ^{c_q.half, c_q.left, c_q.tail};

endmodule
