// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One output column of the array: adds the weights that a word's spikes have picked, one a lane, and moves the sum on
// from plane to plane. Nothing is multiplied.
//
//   cycle 1   for each half of the lanes two numbers whose sum is that over its lanes of (spike of plane e ? 2 : 1) * (w or its inverse)
//   cycle 2   sum = their sum + bias
//   cycle 3   acc = (first ? 0 : shift ? 2 acc : acc) + sum
//
// A weight comes as u = w + B, with B = 2^(WeightBits-1), so it has no sign. A negative spike inverts its bits, which
// gives B - 1 - w: so a lane adds B or B - 1 too much, the same in all columns. `bias_i` takes that back.
// Sums wrap around; their width holds every complete sum of a block.

module spike_column #(
  parameter int unsigned Lanes      = 16,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned SumWidth   = 14,
  parameter int unsigned AccWidth   = 26
) (
  input  logic                              clk_i,

  // cycle 1
  input  logic                              tree_en_i,
  input  logic [Lanes-1:0]                  whole_i,    // lane has a spike of plane e
  input  logic [Lanes-1:0]                  half_i,     // lane has a spike of plane e-1
  input  logic [Lanes-1:0]                  neg_i,
  input  logic [Lanes-1:0][WeightBits-1:0]  weights_i,

  // cycle 2
  input  logic                              sum_en_i,
  input  logic [SumWidth-1:0]               bias_i,

  // cycle 3
  input  logic                              acc_en_i,
  input  logic                              first_i,
  input  logic                              shift_i,

  output logic signed [AccWidth-1:0]        acc_o
);

  logic [Lanes-1:0][SumWidth-1:0] operands;
  logic [3:0][SumWidth-1:0]       parts, parts_q;
  logic [SumWidth-1:0]            save, carry;
  logic signed [SumWidth-1:0]     sum_q;
  logic signed [AccWidth-1:0]     acc_q, moved;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [WeightBits-1:0] value;
    logic [WeightBits:0]   term;

    assign value       = weights_i[l] ^ {WeightBits{neg_i[l]}};
    assign term        = ({value, 1'b0} & {(WeightBits + 1){whole_i[l]}})
                       | ({1'b0, value} & {(WeightBits + 1){half_i[l]}});
    assign operands[l] = SumWidth'(term);
  end

  for (genvar h = 0; h < 2; h++) begin : gen_half
    spike_csa #(
      .Operands (Lanes / 2),
      .Width    (SumWidth)
    ) u_csa (
      .operands_i (operands[h*Lanes/2 +: Lanes/2]),
      .sum_o      (parts[2*h]),
      .carry_o    (parts[2*h+1])
    );
  end

  spike_csa #(
    .Operands (5),
    .Width    (SumWidth)
  ) u_rest (
    .operands_i ({bias_i, parts_q}),
    .sum_o      (save),
    .carry_o    (carry)
  );

  always_comb begin
    moved = shift_i ? acc_q <<< 1 : acc_q;
    if (first_i) moved = '0;
  end

  always_ff @(posedge clk_i) begin
    if (tree_en_i) parts_q <= parts;
    if (sum_en_i) sum_q <= save + carry;
    if (acc_en_i) acc_q <= moved + AccWidth'(sum_q);
  end

  assign acc_o = acc_q;

endmodule
