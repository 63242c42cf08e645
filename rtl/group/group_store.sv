// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The spikes of two row tiles: one is filled while the other is used. Every row has a memory of its own, since the array takes
// a step of all rows at once; a word is what the groups of a chunk do in one step. A chunk's steps are stored under the number
// of steps that follow them, which lines rows of different S up. Data comes one cycle after its read enable.

`include "spike_assert.svh"

module group_store
  import group_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Groups = 32,
  parameter int unsigned Chunks = 16,
  parameter int unsigned Steps  = 7,
  parameter int unsigned Units  = 1,   // groups that are written at once
  localparam int unsigned RowWidth  = $clog2(Rows + 1),
  localparam int unsigned AddrWidth = $clog2(2 * Chunks * Steps),
  localparam int unsigned Parts     = Groups / Units
) (
  input  logic                                       clk_i,
  input  logic                                       rst_ni,

  // write: a step of some groups of a row
  output logic                                       ready_o,     // there is room for a row tile
  input  logic                                       open_i,      // one begins: the room is taken
  input  logic                                       we_i,
  input  logic [RowWidth-1:0]                        row_i,
  input  logic [AddrWidth-1:0]                       addr_i,      // in the row: chunk * Steps + steps that follow
  input  logic [Parts-1:0]                           part_i,      // one hot
  input  logic [Units-1:0][SpikeBits-1:0]            spikes_i,
  input  logic                                       row_done_i,  // the row is complete: steps behind its first,
  input  logic [LeftWidth-1:0]                       row_left_i,
  input  logic                                       done_i,      // and the row tile

  // read: a step of all rows
  input  logic                                       release_i,   // the older row tile is not needed any more
  input  logic                                       re_i,
  input  logic                                       half_i,
  input  logic [AddrWidth-1:0]                       raddr_i,
  output logic [Rows-1:0][Groups-1:0][SpikeBits-1:0] spikes_o,

  // of the halves: steps behind the first of each row, and the most of them
  output logic [1:0][Rows-1:0][LeftWidth-1:0]        left_o,
  output logic [1:0][LeftWidth-1:0]                  most_o
);

  function automatic logic [AddrWidth-1:0] address(input logic half, input logic [AddrWidth-1:0] addr);
    return (half ? AddrWidth'(Chunks * Steps) : '0) + addr;
  endfunction

  logic                             half_q;
  logic [1:0]                       free_q;
  logic [1:0][Rows-1:0][LeftWidth-1:0] left_q;
  logic [1:0][LeftWidth-1:0]        most_q;

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
  assign left_o  = left_q;
  assign most_o  = most_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned h = 0; h < 2; h++) begin
      if (row_done_i && half_q == h[0]) begin
        for (int unsigned r = 0; r < Rows; r++) begin
          if (row_i == RowWidth'(r)) left_q[h][r] <= row_left_i;
        end
        if (row_i == '0 || row_left_i > most_q[h]) most_q[h] <= row_left_i;
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    spike_ram #(
      .Width  (Groups * SpikeBits),
      .Depth  (2 * Chunks * Steps),
      .Parts  (Parts),
      .Halves (1'b1)
    ) u_row (
      .clk_i,
      .we_i    (part_i & {Parts{we_i && row_i == RowWidth'(r)}}),
      .waddr_i (address(half_q, addr_i)),
      .wdata_i ({Parts{spikes_i}}),
      .re_i,
      .raddr_i (address(half_i, raddr_i)),
      .rdata_o (spikes_o[r])
    );
  end

  `SPIKE_ASSERT(Free, free_q <= 2'd2)
  `SPIKE_EXPECT(RoomToOpen, !open_i || ready_o)
  `SPIKE_EXPECT(OpenToWrite, !we_i || free_q != 2'd2)
  `SPIKE_EXPECT(ReleaseFull, !release_i || free_q != 2'd2)
  `SPIKE_EXPECT(OnePart, !we_i || $onehot(part_i))
  `SPIKE_EXPECT(OtherHalf, !(we_i && re_i) || half_i != half_q)

endmodule
