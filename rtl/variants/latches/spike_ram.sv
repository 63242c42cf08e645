// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// spike_ram of latches, for memories of a few words where a macro would be larger. What is to be written waits in a register
// for the edge; the word's latches are open in the first half of the cycle after it, by a clock of their own. A write is
// therefore in the array as early as with any other spike_ram.
//
// `gate` is a clock gate (a latch and an AND gate): put the library's cell in its place.

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

  logic [Parts-1:0][PartWidth-1:0]            wdata_q;
  logic [Depth-1:0][Parts-1:0][PartWidth-1:0] mem;

  always_ff @(posedge clk_i) begin
    if (we_i != '0) wdata_q <= wdata_i;
    if (re_i) rdata_o <= mem[raddr_i];
  end

  for (genvar w = 0; w < Depth; w++) begin : gen_word
    for (genvar p = 0; p < Parts; p++) begin : gen_part
      logic open, gate;

      always_latch begin
        if (!clk_i) open = we_i[p] && waddr_i == AddrWidth'(w);
      end

      assign gate = clk_i && open;

      always_latch begin
        if (gate) mem[w][p] = wdata_q[p];
      end
    end
  end

  // Neither is of interest to latches.
  logic unused;
  assign unused = Halves || OnePort;

endmodule
