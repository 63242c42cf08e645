// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the memory in proofs about control alone: it gives any data in any cycle (nothing drives them).

module spike_ram #(
  parameter int unsigned Width  = 16,
  parameter int unsigned Depth  = 1024,
  parameter int unsigned Parts  = 1,
  parameter bit          Halves = 1'b0,
  parameter bit          OnePort = 1'b0,
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

endmodule
