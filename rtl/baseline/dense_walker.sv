// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks a job for the dense array: tile by tile, chunk by chunk, every one.
//
//   stage A   address of a chunk; waits for the filled row tile
//   stage B   the store's memories are read
//   stage C   the chunk meets its weights in the array

`include "spike_assert.svh"

module dense_walker
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Chunks  = 128,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   enable_i,

  // job
  input  logic                   start_i,
  output logic                   idle_o,
  input  logic [CountWidth-1:0]  rows_i,
  input  logic [CountWidth-1:0]  outputs_i,
  input  logic [ChunkWidth-1:0]  group_chunks_i,
  input  logic [ChunkWidth-1:0]  row_chunks_i,

  // store
  input  logic                   store_done_i,
  output logic                   store_re_o,
  output logic                   store_half_o,
  output logic [ChunkWidth-1:0]  store_chunk_o,

  // array
  output logic                   load_o,        // takes what the store has read
  output logic [RowWidth-1:0]    load_rows_o,   // of its rows these hold the row tile
  input  logic                   weight_valid_i,
  input  logic                   op_again_i,    // the chunk takes another pass
  output logic                   op_valid_o,    // weights and activations meet
  output logic                   op_first_o,    // first of a group
  output logic                   op_last_o,     // last of a group
  output logic                   op_pass_end_o, // last of a row
  output logic                   op_tile_end_o, // and of the row tile
  output logic [RowWidth-1:0]    op_rows_o,
  output logic [ColWidth-1:0]    op_columns_o,

  // events
  output logic                   wait_fire_o,
  output logic                   wait_weight_o
);

  typedef struct packed {
    logic                tile_end;  // last of the row tile
    logic                pass_end;  // last of the row
    logic                first;
    logic                last;
    logic [RowWidth-1:0] rows;
    logic [ColWidth-1:0] columns;
  } chunk_t;

  logic                  tile_valid, row_tile_last, a_next, a_pass_end, half_q;
  logic                  b_valid_q, b_go, c_valid_q, c_go;
  logic [1:0]            tiles_q;
  chunk_t                a, b_q, c_q;

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
    .next_i          (a_next && a_pass_end),
    .rows_o          (a.rows),
    .one_o           (unused_one),
    .one_next_o      (unused_one_next),
    .columns_o       (a.columns),
    .row_tile_last_o (row_tile_last)
  );

  logic unused_slot, unused_last, unused_group;

  spike_chunker #(
    .Slots  (1),
    .Blocks (Chunks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i (group_chunks_i),
    .row_blocks_i   (row_chunks_i),
    .tail_chunks_i  (1'b1),
    .next_i         (a_next),
    .block_o        (store_chunk_o),
    .slot_o         (unused_slot),
    .first_block_o  (a.first),
    .tail_block_o   (a.last),
    .block_last_o   (unused_last),
    .group_last_o   (unused_group),
    .row_last_o     (a_pass_end)
  );

  assign a.pass_end = a_pass_end;
  assign a.tile_end = a_pass_end && row_tile_last;
  assign a_next     = tile_valid && tiles_q != '0 && (!b_valid_q || b_go);
  assign b_go       = b_valid_q && (!c_valid_q || c_go);
  assign c_go       = op_valid_o && enable_i && !op_again_i;

  assign store_re_o      = a_next;
  assign store_half_o    = half_q;
  assign load_o          = b_go;
  assign load_rows_o     = b_q.rows;
  assign op_valid_o      = c_valid_q && weight_valid_i;
  assign op_first_o      = c_q.first;
  assign op_last_o       = c_q.last;
  assign op_pass_end_o   = c_q.pass_end;
  assign op_tile_end_o   = c_q.tile_end;
  assign op_rows_o       = c_q.rows;
  assign op_columns_o    = c_q.columns;
  assign idle_o          = !tile_valid && !b_valid_q && !c_valid_q;
  assign wait_fire_o     = tile_valid && tiles_q == '0 && !b_valid_q && !c_valid_q;
  assign wait_weight_o   = c_valid_q && !weight_valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tiles_q   <= '0;
      half_q    <= 1'b0;
      b_valid_q <= 1'b0;
      c_valid_q <= 1'b0;
    end else begin
      tiles_q <= tiles_q + 2'(store_done_i) - 2'(a_next && a.tile_end);
      if (a_next && a.tile_end) half_q <= !half_q;
      if (a_next) b_valid_q <= 1'b1;
      else if (b_go) b_valid_q <= 1'b0;
      if (b_go) c_valid_q <= 1'b1;
      else if (c_go) c_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (a_next) b_q <= a;
    if (b_go) c_q <= b_q;
  end

endmodule
