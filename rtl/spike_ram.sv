// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One write port, one read port, read data one cycle after the read enable. A word has `Parts` equal parts that are
// written on their own. What a user of this memory may ask for, and no more:
//
//   - read data stays until the next read or write, not longer: a macro may lose its output when it is written
//   - an address is not read in the cycle in which it is written
//   - Halves = 1: the words below Depth/2 and those above are two memories, of which one is written while the other
//     is read; neither is written and read in one cycle, so each may be a macro of one port
//   - OnePort = 1: the whole is never written and read in one cycle
//
// This file is for synthesis that infers memories with a port for each (block RAM, two-port macros). variants/ has others
// of the same name: a pair of single-port macros for the halves, and latches.

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

  logic [Parts-1:0][PartWidth-1:0] mem [Depth];

  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Parts; p++) begin
      if (we_i[p]) mem[waddr_i][p] <= wdata_i[p];
    end
    if (re_i) rdata_o <= mem[raddr_i];
  end

  // Neither is of interest to a memory with two ports.
  logic unused;
  assign unused = Halves || OnePort;

endmodule
