// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The activations of two row tiles: one is filled while the other is used. Every row has a memory of its own, since the
// dense array takes a chunk of all rows at once; a word is the chunk's magnitudes and signs. Data comes one cycle after
// its read enable and stays until the next.

`include "spike_assert.svh"

module dense_store #(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Lanes  = 16,
  parameter int unsigned Chunks = 128,
  parameter int unsigned Planes = 4,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1)
) (
  input  logic                                    clk_i,
  input  logic                                    rst_ni,

  // write: a chunk of a row
  output logic                                    ready_o,    // there is room for a row tile
  input  logic                                    open_i,     // one begins: the room is taken
  input  logic                                    we_i,
  input  logic [RowWidth-1:0]                     row_i,
  input  logic [ChunkWidth-1:0]                   chunk_i,
  input  logic [Planes-1:0][Lanes-1:0]            fire_i,
  input  logic [Lanes-1:0]                        neg_i,
  input  logic                                    done_i,     // the row tile is complete

  // read: a chunk of all rows
  input  logic                                    release_i,  // the older row tile is not needed any more
  input  logic                                    re_i,
  input  logic                                    half_i,
  input  logic [ChunkWidth-1:0]                   rchunk_i,
  output logic [Rows-1:0][Planes-1:0][Lanes-1:0]  magnitudes_o,
  output logic [Rows-1:0][Lanes-1:0]              neg_o
);

  localparam int unsigned AddrWidth = $clog2(2 * Chunks);

  function automatic logic [AddrWidth-1:0] address(input logic half, input logic [ChunkWidth-1:0] chunk);
    return (half ? AddrWidth'(Chunks) : '0) + AddrWidth'(chunk);
  endfunction

  logic       half_q;
  logic [1:0] free_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      half_q <= 1'b0;
      free_q <= 2'd2;
    end else begin
      if (done_i) half_q <= !half_q;
      if (open_i && !release_i) free_q <= free_q - 1'b1;
      if (release_i && !open_i) free_q <= free_q + 1'b1;
    end
  end

  assign ready_o = free_q != '0;

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    spike_ram #(
      .Width  ((Planes + 1) * Lanes),
      .Depth  (2 * Chunks),
      .Halves (1'b1)
    ) u_row (
      .clk_i,
      .we_i    (we_i && row_i == RowWidth'(r)),
      .waddr_i (address(half_q, chunk_i)),
      .wdata_i ({neg_i, fire_i}),
      .re_i    (re_i),
      .raddr_i (address(half_i, rchunk_i)),
      .rdata_o ({neg_o[r], magnitudes_o[r]})
    );
  end

endmodule
