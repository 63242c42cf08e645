// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One write port, one read port, read data one cycle after the read enable and held until the next one. A word has
// `Parts` equal parts that are written on their own. Reading the address that is written in the same cycle returns
// the old word. Written so that synthesis infers a block RAM; replace it by a macro of the target library where
// there is none.

module spike_ram #(
  parameter int unsigned Width = 16,
  parameter int unsigned Depth = 1024,
  parameter int unsigned Parts = 1,
  localparam int unsigned AddrWidth = (Depth > 1) ? $clog2(Depth) : 1,
  localparam int unsigned PartWidth = Width / Parts
) (
  input  logic                            clk_i,

  input  logic [Parts-1:0]                we_i,
  input  logic [AddrWidth-1:0]            waddr_i,
  input  logic [Parts-1:0][PartWidth-1:0] wdata_i,

  input  logic                            re_i,
  input  logic [AddrWidth-1:0]            raddr_i,
  output logic [Parts-1:0][PartWidth-1:0] rdata_o
);

  logic [Parts-1:0][PartWidth-1:0] mem [Depth];

  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Parts; p++) begin
      if (we_i[p]) mem[waddr_i][p] <= wdata_i[p];
    end
    if (re_i) rdata_o <= mem[raddr_i];
  end

endmodule
