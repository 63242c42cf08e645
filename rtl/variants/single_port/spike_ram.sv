// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// spike_ram for libraries of single-port macros. With halves it is two of them, of Depth/2 words, and a multiplexer; with
// OnePort it is one. What has neither stays a memory of two ports; none in the core is such. Put the library's macros
// where the arrays `mem` are.
//
// In simulation this is the worst macro that the core has to live with: its output is lost in the cycle after a write,
// and a write and a read of one macro in one cycle are an error. Nothing of that is left in synthesis.

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

  logic write;
  assign write = we_i != '0;

  if (Halves && Depth > 1) begin : gen_pair
    localparam int unsigned Words = Depth / 2;
    localparam int unsigned WordWidth = (Words > 1) ? $clog2(Words) : 1;

    logic                                 write_high, read_high, read_high_q;
    logic [WordWidth-1:0]                 wword, rword;
    logic [1:0][Parts-1:0][PartWidth-1:0] data;

    assign write_high = waddr_i >= AddrWidth'(Words);
    assign read_high  = raddr_i >= AddrWidth'(Words);
    assign wword      = WordWidth'(write_high ? waddr_i - AddrWidth'(Words) : waddr_i);
    assign rword      = WordWidth'(read_high ? raddr_i - AddrWidth'(Words) : raddr_i);

    for (genvar h = 0; h < 2; h++) begin : gen_macro
      logic [Parts-1:0][PartWidth-1:0] mem [Words];
      logic [Parts-1:0][PartWidth-1:0] data_q;
      logic                            selected;

      assign selected = write && write_high == 1'(h);

      always_ff @(posedge clk_i) begin
        if (selected) begin
          for (int unsigned p = 0; p < Parts; p++) begin
            if (we_i[p]) mem[wword][p] <= wdata_i[p];
          end
`ifndef SYNTHESIS
          data_q <= ~wdata_i;
`endif
        end else if (re_i && read_high == 1'(h)) begin
          data_q <= mem[rword];
        end
      end

      assign data[h] = data_q;
    end

    always_ff @(posedge clk_i) begin
      if (re_i) read_high_q <= read_high;
    end

    assign rdata_o = data[read_high_q];

`ifndef SYNTHESIS
    OneOfThem : assert property (@(posedge clk_i) $time == 0 || !(write && re_i && write_high == read_high))
      else $error("%m: one macro is written and read in one cycle");
`endif
  end else if (OnePort) begin : gen_one
    logic [Parts-1:0][PartWidth-1:0] mem [Depth];

    always_ff @(posedge clk_i) begin
      if (write) begin
        for (int unsigned p = 0; p < Parts; p++) begin
          if (we_i[p]) mem[waddr_i][p] <= wdata_i[p];
        end
`ifndef SYNTHESIS
        rdata_o <= ~wdata_i;
`endif
      end else if (re_i) begin
        rdata_o <= mem[raddr_i];
      end
    end

`ifndef SYNTHESIS
    OnlyPort : assert property (@(posedge clk_i) $time == 0 || !(write && re_i))
      else $error("%m: it is written and read in one cycle");
`endif
  end else begin : gen_two_ports
    logic [Parts-1:0][PartWidth-1:0] mem [Depth];

    always_ff @(posedge clk_i) begin
      for (int unsigned p = 0; p < Parts; p++) begin
        if (we_i[p]) mem[waddr_i][p] <= wdata_i[p];
      end
      if (re_i) rdata_o <= mem[raddr_i];
`ifndef SYNTHESIS
      else if (write) rdata_o <= ~wdata_i;
`endif
    end

`ifndef SYNTHESIS
    OneUser : assert property (@(posedge clk_i) $time == 0 || !(write && re_i && waddr_i == raddr_i))
      else $error("%m: an address is written and read in one cycle");
`endif
  end

endmodule
