// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the counters in proofs about control alone: they stand at anything (nothing drives them).

module spike_counters
  import spike_pkg::*;
#(
  parameter bit LateStart = 1'b0
) (
  input  logic                              clk_i,
  input  logic                              rst_ni,
  input  logic                              clear_i,
  input  logic [Counters-1:0][IncWidth-1:0] increment_i,
  output logic [Counters-1:0][63:0]         count_o
);

endmodule
