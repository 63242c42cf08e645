// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Event counters of 64 bits, all cleared together. They never saturate in practice and never stop.

module spike_counters
  import spike_pkg::*;
(
  input  logic                               clk_i,
  input  logic                               rst_ni,

  input  logic                               clear_i,
  input  logic [Counters-1:0][IncWidth-1:0]  increment_i,
  output logic [Counters-1:0][63:0]          count_o
);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) begin
      count_o <= '0;
    end else begin
      for (int unsigned i = 0; i < Counters; i++) begin
        if (increment_i[i] != '0) count_o[i] <= count_o[i] + 64'(increment_i[i]);  // else its clock can stop
      end
    end
  end

endmodule
