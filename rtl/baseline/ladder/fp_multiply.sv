// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Product of two short floats as an FP32 number. The product of two significands has at most 24 bits, so it is exact, but for
// its range:
//
//   FP16 (ExpBits 5, FracBits 10, Subnormals 1)   all of IEEE 754's values; every product is a normal number of FP32
//   BF16 (ExpBits 8, FracBits 7, Subnormals 0)    subnormal operands are zero; products below 2^-126 become zero, those from
//                                                 2^128 on infinite
//
// NaN comes out as the quiet 0x7fc00000. Combinational.

module fp_multiply #(
  parameter int unsigned ExpBits    = 5,
  parameter int unsigned FracBits   = 10,
  parameter bit          Subnormals = 1'b1,
  localparam int unsigned Bits = 1 + ExpBits + FracBits
) (
  input  logic [Bits-1:0] a_i,
  input  logic [Bits-1:0] b_i,
  output logic [31:0]     product_o
);

  localparam int unsigned SigBits  = FracBits + 1;
  localparam int unsigned ProdBits = 2 * SigBits;
  localparam int          Bias     = (1 << (ExpBits - 1)) - 1;
  localparam int unsigned WideBits = 12;  // exponents in two's complement, with room for those out of range

  typedef struct packed {
    logic               sign;
    logic               nan;
    logic               infinite;
    logic               zero;
    logic [ExpBits-1:0] exponent;
    logic [SigBits-1:0] significand;
  } operand_t;

  function automatic operand_t unpack(input logic [Bits-1:0] bits);
    logic [ExpBits-1:0]  exp_field;
    logic [FracBits-1:0] frac_field;
    logic                tiny;
    {unpack.sign, exp_field, frac_field} = bits;
    tiny               = exp_field == '0;
    unpack.nan         = exp_field == '1 && frac_field != '0;
    unpack.infinite    = exp_field == '1 && frac_field == '0;
    unpack.zero        = tiny && (!Subnormals || frac_field == '0);
    unpack.exponent    = tiny ? ExpBits'(1) : exp_field;
    unpack.significand = {!tiny, frac_field};
  endfunction

  operand_t a, b;

  assign a = unpack(a_i);
  assign b = unpack(b_i);

  logic [ProdBits-1:0]        product, normal;
  logic signed [WideBits-1:0] exponent, moved;

  assign product  = ProdBits'(a.significand) * ProdBits'(b.significand);
  assign exponent = WideBits'(a.exponent) + WideBits'(b.exponent) + WideBits'(127 + 1 - 2 * Bias);

  // The leading one goes to the top. Without subnormals it is at the top or one below it.
  if (Subnormals) begin : gen_subnormals
    always_comb begin
      normal = product;
      moved  = exponent;
      for (int unsigned i = $clog2(ProdBits); i > 0; i--) begin
        if (normal >> (ProdBits - (1 << (i - 1))) == '0) begin
          normal = normal << (1 << (i - 1));
          moved  = moved - WideBits'(1 << (i - 1));
        end
      end
    end
  end else begin : gen_normal
    assign normal = product[ProdBits-1] ? product : product << 1;
    assign moved  = product[ProdBits-1] ? exponent : exponent - WideBits'(1);
  end

  logic [22:0] fraction;
  logic        sign;

  if (ProdBits - 1 >= 23) begin : gen_long
    $fatal(1, "a product has to fit into a significand of FP32: FracBits is 10 at most");
  end else begin : gen_short
    assign fraction = {normal[ProdBits-2:0], {24 - ProdBits{1'b0}}};
  end

  assign sign = a.sign ^ b.sign;

  always_comb begin
    product_o = {sign, moved[7:0], fraction};
    if (a.zero || b.zero || moved <= WideBits'(0)) product_o = {sign, 31'd0};
    if (moved >= WideBits'(255) || a.infinite || b.infinite) product_o = {sign, 8'hff, 23'd0};
    if (a.nan || b.nan || (a.infinite && b.zero) || (a.zero && b.infinite)) product_o = 32'h7fc0_0000;
  end

  logic unused_top;
  assign unused_top = ^{normal[ProdBits-1], moved};

endmodule
