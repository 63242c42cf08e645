// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Three accumulators of a floating-point array that take turns: `Lanes` products of short floats a cycle, added in FP32. One
// lane is the processing element of a systolic array.
//
//   cycle 1               products
//   cycle 2 … 3 L + 1     a tree of adders of three cycles, L = log2(Lanes): lane 0 + lane 1, lane 2 + lane 3, …, then their
//                         sums in the same way
//   three cycles more     acc = first ? sum : acc + sum
//
// An addition takes three cycles, so that its accumulator is free for its next chunk every third: chunks belong to one of three
// sums in turn (three outputs for the same activations, say), and acc_o shows them in turn. Every addition is rounded; see
// fp_add and fp_multiply.

module fp_column #(
  parameter int unsigned Lanes      = 8,     // a power of two
  parameter int unsigned ExpBits    = 5,
  parameter int unsigned FracBits   = 10,
  parameter bit          Subnormals = 1'b1,
  localparam int unsigned Bits   = 1 + ExpBits + FracBits,
  localparam int unsigned Levels = $clog2(Lanes)
) (
  input  logic                       clk_i,
  input  logic                       enable_i,
  input  logic                       first_i,  // beside a chunk's first cycle in the accumulator: 3 L + 1 after its own
  input  logic [Lanes-1:0][Bits-1:0] activations_i,
  input  logic [Lanes-1:0][Bits-1:0] weights_i,
  output logic [31:0]                acc_o
);

  localparam logic [31:0] Nothing = 32'h8000_0000;  // -0: added, it changes no number, not even a zero's sign

  // Products first, then the tree's sums, level by level.
  logic [2*Lanes-2:0][31:0] value, value_q;
  logic [31:0]              acc_q, sum;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    fp_multiply #(
      .ExpBits    (ExpBits),
      .FracBits   (FracBits),
      .Subnormals (Subnormals)
    ) u_multiply (
      .a_i       (activations_i[l]),
      .b_i       (weights_i[l]),
      .product_o (value[l])
    );
  end

  for (genvar s = 1; s <= Levels; s++) begin : gen_level
    localparam int unsigned Here  = 2 * Lanes - ((2 * Lanes) >> s);
    localparam int unsigned Below = 2 * Lanes - ((2 * Lanes) >> (s - 1));

    for (genvar i = 0; i < Lanes >> s; i++) begin : gen_node
      fp_add u_add (
        .clk_i,
        .enable_i,
        .a_i   (value_q[Below+2*i]),
        .b_i   (value_q[Below+2*i+1]),
        .sum_o (value[Here+i])
      );
    end
  end

  fp_add u_accumulate (
    .clk_i,
    .enable_i,
    .a_i   (first_i ? Nothing : acc_q),
    .b_i   (value_q[2*Lanes-2]),
    .sum_o (sum)
  );

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      value_q <= value;
      acc_q   <= sum;
    end
  end

  assign acc_o = acc_q;

endmodule
