// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What a row's accumulators are to be taken away from, counted while the row is written, once: chunk by chunk, for a group.
//
//   SignMagnitude 0   activations in two's complement, for int_column:
//                     offset = sum over chunks of (Lanes * (2^W - 1) * (2^(A-1) - 1) - 2^(W-1) * sum of a)
//   SignMagnitude 1   activations as sign (top bit) and magnitude, for dense_column:
//                     offset = sum over chunks of (Lanes * (2^W - 1) * (2^(A-1) - 1) + sum of (2^(W-1) or 2^(W-1) - 1) * -|a|)
//
// with W = WeightBits and A = ActBits. The sums of a chunk are single bits that synthesis turns into a tree.

module row_offset #(
  parameter int unsigned Lanes         = 8,
  parameter int unsigned WeightBits    = 8,
  parameter int unsigned ActBits       = 8,
  parameter int unsigned AccWidth      = 28,
  parameter bit          SignMagnitude = 1'b0
) (
  input  logic                           clk_i,
  input  logic                           chunk_en_i,   // cycle 1: a chunk's sums
  input  logic                           offset_en_i,  // cycle 2: they are counted
  input  logic                           first_i,      // beside it: of a group
  input  logic [Lanes-1:0][ActBits-1:0]  activations_i,
  output logic signed [AccWidth:0]       offset_o
);

  localparam int unsigned Steps    = (1 << (ActBits - 1)) - 1;
  localparam int unsigned Constant = Lanes * ((1 << WeightBits) - 1) * Steps;
  localparam int unsigned Planes   = ActBits - 1;
  localparam int unsigned SumBits  = ActBits + $clog2(Lanes) + 1;

  // Two's complement: sums of the lower bits, of the top bit; sign and magnitude: of |a|, of |a| below zero.
  logic [SumBits-1:0]       low, top;
  logic signed [AccWidth:0] extra_q, offset_q;

  always_comb begin
    low = '0;
    top = '0;
    for (int unsigned l = 0; l < Lanes; l++) begin
      for (int unsigned b = 0; b < Planes; b++) begin
        low += SumBits'(activations_i[l][b]) << b;
        if (SignMagnitude) top += SumBits'(activations_i[l][b] & activations_i[l][Planes]) << b;
      end
      if (!SignMagnitude) top += SumBits'(activations_i[l][Planes]) << Planes;
    end
  end

  always_ff @(posedge clk_i) begin
    if (chunk_en_i) begin
      if (SignMagnitude) extra_q <= ((AccWidth + 1)'(low) << (WeightBits - 1)) - (AccWidth + 1)'(top);
      else extra_q <= ((AccWidth + 1)'(low) - (AccWidth + 1)'(top)) << (WeightBits - 1);
    end
    if (offset_en_i) offset_q <= (first_i ? '0 : offset_q) + (AccWidth + 1)'(Constant) - extra_q;
  end

  assign offset_o = offset_q;

endmodule
