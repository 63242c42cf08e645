// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One accumulator of an integer array: `Lanes` products of a weight and an activation a cycle, both in two's complement.
//
//   cycle 1   all partial products go through one carry-save tree, down to two numbers
//   cycle 2   sum = their sum
//   cycle 3   low half of acc += sum
//   cycle 4   high half of acc += carry of the low half
//
// Built like dense_column: a weight comes as u = w + B, B = 2^(WeightBits-1), so it has no sign. Partial products of an
// activation's lower bits come inverted, from NAND gates; those of its top bit, which counts below zero, as they are. So
//
//   acc = Lanes * (2^WeightBits - 1) * (2^(ActBits-1) - 1) - sum over lanes of u * a        in each cycle
//
// and sum of w * a = the constant - acc - B * sum of a. What is to be taken away is the same for all columns: row_offset
// counts it once a row.

module int_column #(
  parameter int unsigned Lanes      = 8,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned ActBits    = 8,
  parameter int unsigned AccWidth   = 28
) (
  input  logic                              clk_i,

  // cycle 1
  input  logic                              product_en_i,
  input  logic [Lanes-1:0][ActBits-1:0]     activations_i,
  input  logic [Lanes-1:0][WeightBits-1:0]  weights_i,

  // cycle 2, 3, 4
  input  logic                              sum_en_i,
  input  logic                              low_en_i,
  input  logic                              low_first_i,
  input  logic                              high_en_i,
  input  logic                              high_first_i,

  output logic [AccWidth-1:0]               acc_o
);

  localparam int unsigned PlaneWidth = WeightBits + $clog2(Lanes) + 1;
  localparam int unsigned SumWidth   = PlaneWidth + ActBits;
  localparam int unsigned HighWidth  = AccWidth - SumWidth;

  logic [2*ActBits-1:0][SumWidth-1:0] planes;
  logic [SumWidth-1:0]                sum, carry, sum1_q, carry1_q, sum_q, low_q;
  logic [HighWidth-1:0]               high_q;
  logic                               carry_q;

  for (genvar b = 0; b < ActBits; b++) begin : gen_plane
    logic [Lanes-1:0][PlaneWidth-1:0] terms;
    logic [PlaneWidth-1:0]            plane_sum, plane_carry;

    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      logic [WeightBits-1:0] partial;
      if (b < ActBits - 1) begin : gen_inverted
        assign partial = ~(weights_i[l] & {WeightBits{activations_i[l][b]}});
      end else begin : gen_plain
        assign partial = weights_i[l] & {WeightBits{activations_i[l][b]}};
      end
      assign terms[l] = PlaneWidth'(partial);
    end

    spike_csa #(
      .Operands (Lanes),
      .Width    (PlaneWidth)
    ) u_plane_csa (
      .operands_i (terms),
      .sum_o      (plane_sum),
      .carry_o    (plane_carry)
    );

    assign planes[2*b]   = SumWidth'(plane_sum) << b;
    assign planes[2*b+1] = SumWidth'(plane_carry) << b;
  end

  spike_csa #(
    .Operands (2 * ActBits),
    .Width    (SumWidth)
  ) u_csa (
    .operands_i (planes),
    .sum_o      (sum),
    .carry_o    (carry)
  );

  logic [SumWidth:0] low;
  assign low = (SumWidth + 1)'(low_first_i ? '0 : low_q) + (SumWidth + 1)'(sum_q);

  always_ff @(posedge clk_i) begin
    if (product_en_i) begin
      sum1_q   <= sum;
      carry1_q <= carry;
    end
    if (sum_en_i) sum_q <= sum1_q + carry1_q;
    if (low_en_i) {carry_q, low_q} <= low;
    if (high_en_i) high_q <= (high_first_i ? '0 : high_q) + HighWidth'(carry_q);
  end

  assign acc_o = {high_q, low_q};

endmodule
