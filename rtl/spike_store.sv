// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The spikes of one row tile. For every row: a word of spikes for each (chunk, exponent), and a mask for each
// chunk that says which exponents hold a spike at all. Words whose mask bit is 0 are stale and never used, so
// nothing has to be cleared. Data comes one cycle after its read enable and stays until the next.

module spike_store
  import spike_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Lanes  = 8,
  parameter int unsigned Tmax   = TmaxLimit,
  parameter int unsigned Chunks = 1024,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1)
) (
  input  logic                          clk_i,

  // write: one row
  input  logic                          we_i,
  input  logic                          mask_we_i,
  input  logic [RowWidth-1:0]           row_i,
  input  logic [ChunkWidth-1:0]         chunk_i,
  input  logic [ExpWidth-1:0]           exponent_i,
  input  spike_t [Lanes-1:0]            spikes_i,
  input  logic [Tmax:0]                 mask_i,

  // read: all rows
  input  logic                          mask_re_i,
  input  logic [ChunkWidth-1:0]         mask_chunk_i,
  output logic [Rows-1:0][Tmax:0]       masks_o,

  input  logic                          plane_re_i,
  input  logic [ChunkWidth-1:0]         plane_chunk_i,
  input  logic [ExpWidth-1:0]           plane_exponent_i,
  output spike_t [Rows-1:0][Lanes-1:0]  spikes_o
);

  localparam int unsigned MaskAddrWidth  = (Chunks > 1) ? $clog2(Chunks) : 1;
  localparam int unsigned PlaneDepth     = Chunks << ExpWidth;
  localparam int unsigned PlaneAddrWidth = $clog2(PlaneDepth);

  // A chunk number may be one bit wider than the address: the scheduler never reads at the full capacity.
  logic unused_chunk;
  assign unused_chunk = ^{chunk_i, mask_chunk_i, plane_chunk_i};

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    logic selected;
    assign selected = row_i == RowWidth'(r);

    spike_ram #(
      .Width (2 * Lanes),
      .Depth (PlaneDepth)
    ) u_planes (
      .clk_i,
      .we_i    (we_i && selected),
      .waddr_i (PlaneAddrWidth'({chunk_i, exponent_i})),
      .wdata_i (spikes_i),
      .re_i    (plane_re_i),
      .raddr_i (PlaneAddrWidth'({plane_chunk_i, plane_exponent_i})),
      .rdata_o (spikes_o[r])
    );

    spike_ram #(
      .Width (Tmax + 1),
      .Depth (Chunks)
    ) u_masks (
      .clk_i,
      .we_i    (mask_we_i && selected),
      .waddr_i (MaskAddrWidth'(chunk_i)),
      .wdata_i (mask_i),
      .re_i    (mask_re_i),
      .raddr_i (MaskAddrWidth'(mask_chunk_i)),
      .rdata_o (masks_o[r])
    );
  end

endmodule
