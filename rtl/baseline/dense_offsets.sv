// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What the accumulators of a row are to be taken away from (see dense_column): a number for each row and group. It is counted
// once, while the front end writes the row to the store, and kept for all column tiles, of two row tiles.
//
//   cycle 0   a chunk is written to the store, and goes through carry-save trees
//   cycle 1   sums;  cycle 2   the number
//   cycle 3   with the last chunk of a group, the number goes to the memory
//
// A row tile's numbers are written row by row, in a row group by group. They are read as sums leave: for each column tile group
// by group, in a group row by row. The earliest sum leaves six cycles after the last chunk of its row tile was written.

`include "spike_assert.svh"

module dense_offsets #(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Lanes      = 16,
  parameter int unsigned Chunks     = 128,
  parameter int unsigned Groups     = 128,  // of a row, at most
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Planes     = 4,    // bits of a magnitude
  parameter int unsigned PassPlanes = 4,    // of them in a pass
  parameter int unsigned AccBits    = 20,
  parameter bit          Multiply   = 1'b0,
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1)
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,

  // job
  input  logic                          start_i,
  input  logic [ChunkWidth-1:0]         group_chunks_i,
  input  logic [ChunkWidth-1:0]         row_chunks_i,

  // write: the chunks of a row, one after the other
  input  logic                          we_i,
  input  logic [Planes-1:0][Lanes-1:0]  fire_i,
  input  logic [Lanes-1:0]              neg_i,
  input  logic                          done_i,      // the row tile is complete

  // read: the number comes a cycle later and stays until the next one is read
  input  logic                          re_i,
  input  logic                          first_i,     // of the next group's first row; else of the next row
  input  logic                          pass_end_i,  // with first_i: the group is the last of its row,
  input  logic                          tile_end_i,  // and of its row tile
  output logic [AccBits-1:0]            offset_o     // modulo 2^AccBits, as the sums are
);

  localparam int unsigned Words     = Groups * Rows;  // of a row tile
  localparam int unsigned AddrWidth = $clog2(2 * Words);

  // ---------------------------------------------------------------------------------------------- a row's chunks
  typedef struct packed {
    logic group_first;
    logic group_last;
    logic row_last;
    logic tile_last;
  } chunk_t;

  chunk_t                chunk, chunk_q, summed_q, counted_q;
  logic                  valid_q, summed_valid_q, write_q, unused_slot, unused_last, unused_group;
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
    .next_i         (we_i),
    .block_o        (unused_chunk),
    .slot_o         (unused_slot),
    .first_block_o  (chunk.group_first),
    .tail_block_o   (chunk.group_last),
    .block_last_o   (unused_last),
    .group_last_o   (unused_group),
    .row_last_o     (chunk.row_last)
  );

  assign chunk.tile_last = done_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q        <= 1'b0;
      summed_valid_q <= 1'b0;
      write_q        <= 1'b0;
    end else begin
      valid_q        <= we_i;
      summed_valid_q <= valid_q;
      write_q        <= summed_valid_q && summed_q.group_last;
    end
  end

  always_ff @(posedge clk_i) begin
    if (we_i) chunk_q <= chunk;
    if (valid_q) summed_q <= chunk_q;
    if (summed_valid_q) counted_q <= summed_q;
  end

  logic unused_first;
  assign unused_first = ^{counted_q.group_first, counted_q.group_last};

  // ------------------------------------------------------------------------------------------------- the number
  logic [Lanes-1:0][Planes:0] activations;
  logic signed [AccBits-1:0]  offset;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    for (genvar b = 0; b < Planes; b++) begin : gen_bit
      assign activations[l][b] = fire_i[b][l];
    end
    assign activations[l][Planes] = neg_i[l];
  end

  row_offset #(
    .Lanes         (Lanes),
    .WeightBits    (WeightBits),
    .ActBits       (Planes + 1),
    .AccWidth      (AccBits - 1),
    .SignMagnitude (1'b1),
    .PassBits      (PassPlanes),
    .Multiply      (Multiply)
  ) u_offset (
    .clk_i,
    .chunk_en_i    (we_i),
    .sums_en_i     (valid_q),
    .offset_en_i   (summed_valid_q),
    .first_i       (summed_q.group_first),
    .activations_i (activations),
    .offset_o      (offset)
  );

  // ------------------------------------------------------------------------------------------------- the memory
  logic [AddrWidth-1:0] row_q, waddr_q;         // of the row's first group, of the group
  logic [AddrWidth-1:0] group_q, next_q, raddr; // of the next group's first row, of the next row
  logic                 wside_q, rside_q, rside_d;

  function automatic logic [AddrWidth-1:0] begin_of(input logic side);
    return side ? AddrWidth'(Words) : '0;
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wside_q <= 1'b0;
      row_q   <= '0;
      waddr_q <= '0;
    end else if (write_q) begin
      if (counted_q.tile_last) begin
        wside_q <= !wside_q;
        row_q   <= begin_of(!wside_q);
        waddr_q <= begin_of(!wside_q);
      end else if (counted_q.row_last) begin
        row_q   <= row_q + 1'b1;
        waddr_q <= row_q + 1'b1;
      end else begin
        waddr_q <= waddr_q + AddrWidth'(Rows);
      end
    end
  end

  assign raddr   = first_i ? group_q : next_q;
  assign rside_d = rside_q ^ tile_end_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rside_q <= 1'b0;
      group_q <= '0;
    end else if (re_i && first_i) begin
      rside_q <= rside_d;
      group_q <= pass_end_i ? begin_of(rside_d) : group_q + AddrWidth'(Rows);
    end
  end

  always_ff @(posedge clk_i) begin
    if (re_i) next_q <= raddr + 1'b1;
  end

  spike_ram #(
    .Width  (AccBits),
    .Depth  (2 * Words),
    .Halves (1'b1)
  ) u_numbers (
    .clk_i,
    .we_i    (write_q),
    .waddr_i (waddr_q),
    .wdata_i (offset),
    .re_i,
    .raddr_i (raddr),
    .rdata_o (offset_o)
  );

  `SPIKE_ASSERT(TileEnds, !(we_i && done_i) || chunk.row_last)
  `SPIKE_ASSERT(OtherHalf, !(write_q && re_i) || (raddr >= AddrWidth'(Words)) != (waddr_q >= AddrWidth'(Words)))

endmodule
