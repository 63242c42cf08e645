// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: each of the 64-bit counters adds its own increment in every cycle, over all carries, and starts again at 0.

module counters_proof
  import spike_pkg::*;
(
  input logic                              clk_i,
  input logic                              rst_ni,
  input logic                              clear_i,
  input logic [Counters-1:0][IncWidth-1:0] increment_i
);

  logic                              started_q = 1'b0;
  logic                              clear_q;
  logic [Counters-1:0][IncWidth-1:0] increment_q;
  logic [Counters-1:0][63:0]         count, count_q;

  spike_counters u_counters (
    .clk_i,
    .rst_ni,
    .clear_i,
    .increment_i,
    .count_o     (count)
  );

  always_ff @(posedge clk_i) begin
    started_q   <= 1'b1;
    clear_q     <= clear_i || !rst_ni;
    increment_q <= increment_i;
    count_q     <= count;
  end

  for (genvar i = 0; i < Counters; i++) begin : gen_counter
    always_comb begin
      if (started_q) Adds: assert (count[i] == (clear_q ? 64'd0 : count_q[i] + 64'(increment_q[i])));
    end
  end

endmodule
