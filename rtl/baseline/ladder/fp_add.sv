// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Sum of two FP32 numbers, rounded to nearest, ties to even. Subnormal operands and results are zero, with their sign; sums of
// products of FP16 numbers are multiples of 2^-48 and never get there. NaN comes out as the quiet 0x7fc00000.
//
//   cycle 1   the operand of smaller magnitude is shifted to the other's exponent, with two bits more and one that tells of
//             what was lost
//   cycle 2   sum or difference
//   cycle 3   the leading one is found and moved to its place; one rounding. No register behind it: the user has one

module fp_add (
  input  logic        clk_i,
  input  logic        enable_i,
  input  logic [31:0] a_i,
  input  logic [31:0] b_i,
  output logic [31:0] sum_o  // of what was there two enabled cycles before
);

  // What a sum needs besides its significand.
  typedef struct packed {
    logic       nan;
    logic       infinite;
    logic       sign;      // of the result, unless it is an exact zero
    logic       negative;  // both operands are below zero
    logic [7:0] exponent;  // the larger one
  } about_t;

  // -------------------------------------------------------------------------------------------------- alignment
  logic        swap, minus, minus_q, sticky, a_top, b_top;
  logic [31:0] big;
  logic [30:0] lesser;
  logic [7:0]  distance;
  logic [26:0] big_sig, lesser_sig, shifted, lost, big_q, lesser_q;
  about_t      about, about_q, about2_q;

  assign swap     = b_i[30:0] > a_i[30:0];
  assign big      = swap ? b_i : a_i;
  assign lesser   = swap ? a_i[30:0] : b_i[30:0];
  assign minus    = a_i[31] ^ b_i[31];
  assign distance = big[30:23] - lesser[30:23];

  assign big_sig    = (big[30:23] != '0) ? {1'b1, big[22:0], 3'd0} : '0;
  assign lesser_sig = (lesser[30:23] != '0) ? {1'b1, lesser[22:0], 3'd0} : '0;
  assign shifted    = (distance < 8'd27) ? lesser_sig >> distance[4:0] : '0;
  assign lost       = lesser_sig & ~(27'h7ff_ffff << distance[4:0]);
  assign sticky     = (distance < 8'd27) ? lost != '0 : lesser_sig != '0;

  assign a_top = a_i[30:23] == '1;
  assign b_top = b_i[30:23] == '1;

  assign about.nan      = (a_top && a_i[22:0] != '0) || (b_top && b_i[22:0] != '0) || (a_top && b_top && minus);
  assign about.infinite = a_top || b_top;
  assign about.sign     = big[31];
  assign about.negative = a_i[31] & b_i[31];
  assign about.exponent = big[30:23];

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      big_q    <= big_sig;
      lesser_q <= {shifted[26:1], shifted[0] | sticky};
      minus_q  <= minus;
      about_q  <= about;
    end
  end

  // -------------------------------------------------------------------------------------------------------- sum
  logic [27:0] total_q;

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      total_q  <= minus_q ? {1'b0, big_q} - {1'b0, lesser_q} : {1'b0, big_q} + {1'b0, lesser_q};
      about2_q <= about_q;
    end
  end

  // ------------------------------------------------------------------------------------- normal form, rounding
  logic        up;
  logic [27:0] normal;
  logic [9:0]  moved, rounded_exp;
  logic [24:0] rounded;

  always_comb begin
    normal = total_q;
    moved  = {2'd0, about2_q.exponent} + 10'd1;
    for (int unsigned i = 5; i > 0; i--) begin
      if (normal >> (28 - (1 << (i - 1))) == '0) begin
        normal = normal << (1 << (i - 1));
        moved  = moved - 10'(1 << (i - 1));
      end
    end
  end

  assign up          = normal[3] && (normal[4] || normal[2:0] != '0);
  assign rounded     = {1'b0, normal[27:4]} + 25'(up);
  assign rounded_exp = rounded[24] ? moved + 10'd1 : moved;  // 2^24: its fraction is 0 as it stands

  always_comb begin
    sum_o = {about2_q.sign, rounded_exp[7:0], rounded[22:0]};
    if (rounded_exp[9] || rounded_exp == '0) sum_o = {about2_q.sign, 31'd0};
    else if (rounded_exp >= 10'd255) sum_o = {about2_q.sign, 8'hff, 23'd0};
    if (total_q == '0) sum_o = {about2_q.negative, 31'd0};
    if (about2_q.infinite) sum_o = {about2_q.sign, 8'hff, 23'd0};
    if (about2_q.nan) sum_o = 32'h7fc0_0000;
  end

  logic unused_rounded;
  assign unused_rounded = rounded[23];

endmodule
