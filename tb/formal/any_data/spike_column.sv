// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the adders in proofs about control alone: they give any sum in any cycle (nothing drives it).

module spike_column #(
  parameter int unsigned Lanes      = 16,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned SumWidth   = 14,
  parameter int unsigned AccWidth   = 26
) (
  input  logic                             clk_i,
  input  logic                             tree_en_i,
  input  logic [Lanes-1:0]                 whole_i,
  input  logic [Lanes-1:0]                 half_i,
  input  logic [Lanes-1:0]                 neg_i,
  input  logic [Lanes-1:0][WeightBits-1:0] weights_i,
  input  logic                             sum_en_i,
  input  logic [SumWidth-1:0]              bias_i,
  input  logic                             acc_en_i,
  input  logic                             first_i,
  input  logic                             shift_i,
  output logic signed [AccWidth-1:0]       acc_o
);

endmodule
