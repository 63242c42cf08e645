// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What a row's accumulators are to be taken away from, counted once, while the row is written: chunk by chunk, for a group.
//
//   SignMagnitude 0   activations in two's complement, for int_column:
//                     offset = sum over chunks of (Lanes * (2^W - 1) * (2^(A-1) - 1) - 2^(W-1) * sum of a)
//   SignMagnitude 1   activations as sign (top bit) and magnitude, for dense_column:
//                     offset = sum over chunks of (Lanes * (2^W - 1) * (2^(A-1) - 1) + sum of (2^(W-1) or 2^(W-1) - 1) * -|a|)
//
// with W = WeightBits and A = ActBits. A chunk takes three cycles: carry-save trees; its sums; the number.
//
// `PassBits`, where it is not 0: magnitudes go through the column in passes of so many bits. Then 2^PassBits - 1 stands in
// place of 2^(A-1) - 1, and for a chunk that has larger magnitudes, and so a second pass, 2^(2*PassBits) - 1.

module row_offset #(
  parameter int unsigned Lanes         = 8,
  parameter int unsigned WeightBits    = 8,
  parameter int unsigned ActBits       = 8,
  parameter int unsigned AccWidth      = 28,
  parameter bit          SignMagnitude = 1'b0,
  parameter int unsigned PassBits      = 0,
  parameter bit          Multiply      = 1'b0  // the column's products hang on no sign: the constant alone
) (
  input  logic                           clk_i,
  input  logic                           chunk_en_i,   // cycle 1
  input  logic                           sums_en_i,    // cycle 2
  input  logic                           offset_en_i,  // cycle 3
  input  logic                           first_i,      // beside it: of a group
  input  logic [Lanes-1:0][ActBits-1:0]  activations_i,
  output logic signed [AccWidth:0]       offset_o
);

  localparam int unsigned Planes     = ActBits - 1;
  localparam int unsigned OneWidth   = (PassBits == 0) ? Planes : PassBits;
  localparam int unsigned Weights    = Lanes * (Multiply ? 1 << (WeightBits - 1) : (1 << WeightBits) - 1);
  localparam int unsigned Constant   = Weights * ((1 << OneWidth) - 1);
  localparam int unsigned SumBits    = ActBits + $clog2(Lanes);
  localparam int unsigned ExtraWidth = SumBits + WeightBits + 1;

  // Two's complement: the lower bits and the top bit; sign and magnitude: |a|, and |a| of those below zero.
  logic [Lanes-1:0][SumBits-1:0] low, top;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [Planes-1:0] bits;
    logic              sign;

    assign {sign, bits} = activations_i[l];
    assign low[l]       = SumBits'(bits);
    assign top[l]       = SignMagnitude ? SumBits'(bits & {Planes{sign}}) : SumBits'(sign) << Planes;
  end

  logic [SumBits-1:0] low_sum, low_carry, top_sum, top_carry;

  spike_csa #(
    .Operands (Lanes),
    .Width    (SumBits)
  ) u_low (
    .operands_i (low),
    .sum_o      (low_sum),
    .carry_o    (low_carry)
  );

  spike_csa #(
    .Operands (Lanes),
    .Width    (SumBits)
  ) u_top (
    .operands_i (top),
    .sum_o      (top_sum),
    .carry_o    (top_carry)
  );

  logic [SumBits-1:0]           low_sum_q, low_carry_q, top_sum_q, top_carry_q, low_total, top_total;
  logic signed [ExtraWidth-1:0] extra, extra_q;
  logic signed [AccWidth:0]     offset_q, constant;

  if (PassBits != 0 && PassBits < Planes) begin : gen_passes
    localparam int unsigned Both = Weights * ((1 << (2 * PassBits)) - 1);

    logic [Lanes-1:0] larger;
    logic             both_q, both_sum_q;

    for (genvar l = 0; l < Lanes; l++) begin : gen_larger
      assign larger[l] = |activations_i[l][Planes-1:PassBits];
    end

    always_ff @(posedge clk_i) begin
      if (chunk_en_i) both_q <= |larger;
      if (sums_en_i) both_sum_q <= both_q;
    end

    assign constant = both_sum_q ? (AccWidth + 1)'(Both) : (AccWidth + 1)'(Constant);
  end else begin : gen_pass
    assign constant = (AccWidth + 1)'(Constant);
  end

  assign low_total = low_sum_q + low_carry_q;
  assign top_total = top_sum_q + top_carry_q;
  assign extra     = Multiply      ? '0
                   : SignMagnitude ? (ExtraWidth'(low_total) << (WeightBits - 1)) - ExtraWidth'(top_total)
                   :                 (ExtraWidth'(low_total) - ExtraWidth'(top_total)) << (WeightBits - 1);

  always_ff @(posedge clk_i) begin
    if (chunk_en_i) begin
      low_sum_q   <= low_sum;
      low_carry_q <= low_carry;
      top_sum_q   <= top_sum;
      top_carry_q <= top_carry;
    end
    if (sums_en_i) extra_q <= extra;
    if (offset_en_i) offset_q <= (first_i ? '0 : offset_q) + constant - (AccWidth + 1)'(extra_q);
  end

  assign offset_o = offset_q;

endmodule
