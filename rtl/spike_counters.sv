// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Event counters of 64 bits, all cleared together. They never saturate in practice and never stop.

module spike_counters
  import spike_pkg::*;
#(
  parameter bit LateStart = 1'b0  // for simulations: a reset leaves all counters just below a carry through 63 bits
) (
  input  logic                               clk_i,
  input  logic                               rst_ni,

  input  logic                               clear_i,
  input  logic [Counters-1:0][IncWidth-1:0]  increment_i,
  output logic [Counters-1:0][63:0]          count_o
);

  localparam logic [63:0] Start = LateStart ? 64'h7fff_ffff_ffff_fff0 : 64'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_o <= {Counters{Start}};
    end else if (clear_i) begin
      count_o <= '0;
    end else begin
      for (int unsigned i = 0; i < Counters; i++) begin
        if (increment_i[i] != '0) count_o[i] <= count_o[i] + 64'(increment_i[i]);  // else its clock can stop
      end
    end
  end

endmodule
