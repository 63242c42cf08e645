// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The spikes of two row tiles: one is fired while the other is used. A word holds one plane of a row's block, all
// slots of all lanes. Beside it stands a mask that says which planes of the block hold a spike at all.
//
// Signs are kept once for the planes 2i and 2i+1: in csd no two neighbouring planes fire for the same input, and in
// tc_lif all planes of an input have the same sign. A core for tc_lif alone keeps one sign for all planes.
// With Capped plane 0 and the masks of a row tile may come after its other planes, when those of the next are on their way.
// Slots beyond the last chunk of a group are stale: the reader has to leave them out. Data comes one cycle after its
// read enable and stays until the next.

`include "spike_assert.svh"

module spike_store
  import spike_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Lanes  = 16,
  parameter int unsigned Slots  = 16,
  parameter int unsigned Blocks = 32,
  parameter int unsigned Tmax   = TmaxLimit,
  parameter bit          Csd    = 1'b1,
  parameter bit          Capped = 1'b0,
  localparam int unsigned Planes     = Tmax + int'(Csd),
  localparam int unsigned SignPlanes = Csd ? (Planes + 1) / 2 : 1,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1)
) (
  input  logic                             clk_i,
  input  logic                             rst_ni,

  // write: a chunk
  output logic                             ready_o,       // there is room for a row tile
  input  logic                             open_i,        // one begins: the room is taken
  input  logic                             we_i,
  input  logic [RowWidth-1:0]              row_i,
  input  logic [BlockWidth-1:0]            block_i,
  input  logic [SlotWidth-1:0]             slot_i,
  input  logic [Planes-1:0][Lanes-1:0]     fire_i,        // plane 0 at its own time: low_we_i
  input  logic [SignPlanes-1:0][Lanes-1:0] neg_i,
  input  logic                             end_i,         // it is the row tile's last

  // write: plane 0 of a chunk, and the mask; without Capped at the same time and place as the chunk
  input  logic                             low_we_i,
  input  logic [RowWidth-1:0]              low_row_i,
  input  logic [BlockWidth-1:0]            low_block_i,
  input  logic [SlotWidth-1:0]             low_slot_i,
  input  logic                             mask_we_i,
  input  logic [Planes-1:0]                mask_i,
  input  logic                             done_i,        // the row tile is complete

  // read: half by half
  input  logic                             release_i,     // the older row tile is not needed any more

  input  logic                             mask_re_i,
  input  logic                             mask_half_i,
  input  logic [RowWidth-1:0]              mask_row_i,
  input  logic [BlockWidth-1:0]            mask_block_i,
  output logic [Planes-1:0]                mask_o,

  input  logic                             plane_re_i,
  input  logic                             plane_half_i,
  input  logic [RowWidth-1:0]              plane_row_i,
  input  logic [BlockWidth-1:0]            plane_block_i,
  input  logic [ExpWidth-1:0]              plane_exponent_i,
  output logic [Slots-1:0][Lanes-1:0]      fire_o,
  output logic [Slots-1:0][Lanes-1:0]      neg_o
);

  localparam int unsigned Words     = Rows * Blocks;  // of a half
  localparam int unsigned AddrWidth = $clog2(2 * Words);

  // Nothing but wires where rows and blocks are powers of two; a multiplier nowhere.
  function automatic logic [AddrWidth-1:0] address(input logic half, input logic [RowWidth-1:0] row,
                                                   input logic [BlockWidth-1:0] block);
    address = AddrWidth'(block);
    if (Blocks == 1 << $clog2(Blocks)) begin
      address |= AddrWidth'(row) << $clog2(Blocks);
    end else begin
      for (int unsigned b = 0; b < BlockWidth; b++) begin
        if (((Blocks >> b) & 1) != 0) address += AddrWidth'(row) << b;
      end
    end
    if (Words == 1 << $clog2(Words)) address |= AddrWidth'(half) << $clog2(Words);
    else if (half) address += AddrWidth'(Words);
  endfunction

  function automatic logic [StepWidth-1:0] sign_plane(input logic [ExpWidth-1:0] exponent);
    return Csd ? StepWidth'(exponent) >> 1 : '0;
  endfunction

  // -------------------------------------------------------------------------------------------------- halves
  logic       half_q;  // whose plane 0 comes
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

  // ------------------------------------------------------------------------------------------------ memories
  logic [AddrWidth-1:0] waddr, low_waddr, mask_raddr, plane_raddr;
  logic [Slots-1:0]     we, low_we;

  if (Capped) begin : gen_apart
    logic upper_half_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) upper_half_q <= 1'b0;
      else if (end_i) upper_half_q <= !upper_half_q;
    end

    assign waddr     = address(upper_half_q, row_i, block_i);
    assign low_waddr = address(half_q, low_row_i, low_block_i);

    for (genvar s = 0; s < Slots; s++) begin : gen_low_slot
      assign low_we[s] = low_we_i && low_slot_i == SlotWidth'(s);
    end
  end else begin : gen_together
    assign waddr     = address(half_q, row_i, block_i);
    assign low_waddr = waddr;
    assign low_we    = we;

    logic unused_low;
    assign unused_low = ^{end_i, low_we_i, low_row_i, low_block_i, low_slot_i};
  end

  assign mask_raddr  = address(mask_half_i, mask_row_i, mask_block_i);
  assign plane_raddr = address(plane_half_i, plane_row_i, plane_block_i);

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    assign we[s] = we_i && slot_i == SlotWidth'(s);
  end

  spike_ram #(
    .Width  (Planes),
    .Depth  (2 * Words),
    .Halves (1'b1)
  ) u_masks (
    .clk_i,
    .we_i    (mask_we_i),
    .waddr_i (low_waddr),
    .wdata_i (mask_i),
    .re_i    (mask_re_i),
    .raddr_i (mask_raddr),
    .rdata_o (mask_o)
  );

  logic [Planes-1:0][Slots-1:0][Lanes-1:0]     fires;
  logic [SignPlanes-1:0][Slots-1:0][Lanes-1:0] negs;
  logic [Planes-1:0]                           select_q;       // of the planes
  logic [SignPlanes-1:0]                       select_sign_q;  // and of their signs

  for (genvar e = 0; e < Planes; e++) begin : gen_fire
    spike_ram #(
      .Width  (Slots * Lanes),
      .Depth  (2 * Words),
      .Parts  (Slots),
      .Halves (1'b1)
    ) u_fire (
      .clk_i,
      .we_i    ((e == 0) ? low_we : we),
      .waddr_i ((e == 0) ? low_waddr : waddr),
      .wdata_i ({Slots{fire_i[e]}}),
      .re_i    (plane_re_i && plane_exponent_i == ExpWidth'(e)),
      .raddr_i (plane_raddr),
      .rdata_o (fires[e])
    );
  end

  for (genvar e = 0; e < SignPlanes; e++) begin : gen_sign
    spike_ram #(
      .Width  (Slots * Lanes),
      .Depth  (2 * Words),
      .Parts  (Slots),
      .Halves (1'b1)
    ) u_sign (
      .clk_i,
      .we_i    (we),
      .waddr_i (waddr),
      .wdata_i ({Slots{neg_i[e]}}),
      .re_i    (plane_re_i && sign_plane(plane_exponent_i) == StepWidth'(e)),
      .raddr_i (plane_raddr),
      .rdata_o (negs[e])
    );
  end

  always_ff @(posedge clk_i) begin
    if (plane_re_i) begin
      for (int unsigned e = 0; e < Planes; e++) select_q[e] <= plane_exponent_i == ExpWidth'(e);
      for (int unsigned e = 0; e < SignPlanes; e++) select_sign_q[e] <= sign_plane(plane_exponent_i) == StepWidth'(e);
    end
  end

  for (genvar s = 0; s < Slots; s++) begin : gen_out
    always_comb begin
      fire_o[s] = '0;
      neg_o[s]  = '0;
      for (int unsigned e = 0; e < Planes; e++) fire_o[s] |= fires[e][s] & {Lanes{select_q[e]}};
      for (int unsigned e = 0; e < SignPlanes; e++) neg_o[s] |= negs[e][s] & {Lanes{select_sign_q[e]}};
    end
  end

  `SPIKE_ASSERT(Free, free_q <= 2'd2)
  `SPIKE_EXPECT(RoomToOpen, !open_i || ready_o)
  `SPIKE_EXPECT(OpenToWrite, !(we_i || low_we_i) || free_q != 2'd2)
  `SPIKE_EXPECT(Together, Capped || ({we_i, end_i} == {low_we_i, done_i}
                && (!we_i || {row_i, block_i, slot_i} == {low_row_i, low_block_i, low_slot_i})))
  `SPIKE_EXPECT(ReleaseFull, !release_i || free_q != 2'd2)

endmodule
