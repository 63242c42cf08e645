// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One accumulator of the group array. Of the four inputs of a group at most one fires in a step, so a group adds one weight,
// which an AND-OR picks; steps follow each other by Horner's rule with 3/2, and nothing is multiplied.
//
//   cycle 1   parts = two numbers whose sum is that over the groups of (w + B, or its inverse, of the input that fires)
//   cycle 2   sum = both
//   cycle 3   h = (first ? 0 : h + h/2) + sum         steps of a chunk, which keeps its weights for all of them
//   cycle 4   behind the last step: acc = (fresh ? 0 : acc) + h
//
// h has Steps - 1 fraction bits, enough for Steps steps: h/2 is exact. A row of fewer steps leaves its lowest bits zero.
//
// Cycles 3 and 4 of two chunks meet: the first step of a chunk needs no addition, as its sum becomes h, so the adder is
// free to take the h of the chunk before into acc. (Behind a chunk that nothing follows it is free as well.)
//
// A weight comes as u = w + B, B = 2^(WeightBits-1), so it has no sign. A negative spike inverts its bits: with u or ~u a spike
// adds w + B or -w + B - 1. What that adds too much is the same in all columns: whoever takes acc out takes it away.
// Numbers are modulo 2^AccWidth.
//
// With `Dual` it takes planes of TC-LIF as well: a group's four inputs one after the other, from the highest plane on, where
// cycle 3 is h = h + sum, or 2h + sum with the first input of a plane. h has room for S = 7 and T = 4, and for S = 6 and T = 3.
// The core does not use it: docs/synthesis.md says what it costs.

module group_column #(
  parameter int unsigned Groups     = 32,  // of a chunk
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Steps      = 7,   // of a row, at most
  parameter int unsigned AccWidth   = 24,
  parameter bit          Dual       = 1'b0, // planes of TC-LIF as well
  parameter bit          Excess     = 1'b0  // all weights are 0: what is left is what columns add too much
) (
  input  logic                                    clk_i,
  input  logic                                    enable_i,

  // cycle 1
  input  logic                                    tree_en_i,
  input  logic [Groups-1:0][3:0]                  pick_i,    // which input fires: one of them, or none
  input  logic [Groups-1:0]                       neg_i,     // only where one does
  input  logic [Groups-1:0][3:0][WeightBits-1:0]  weights_i,

  // cycle 2, 3, 4
  input  logic                                    sum_en_i,
  input  logic                                    step_en_i,
  input  logic                                    first_i,   // beside it: the chunk's first step
  input  logic                                    flush_i,   // never beside a step that is not the first
  // beside flush_i, bit 0: the chunk was the first of its scale group; with `Dual`, beside a step that is not the first,
  // bit 1: it is one of TC-LIF, bit 0: of which a plane begins
  input  logic [Dual:0]                           fresh_i,

  output logic [AccWidth-1:0]                     acc_o
);

  localparam int unsigned SumWidth = WeightBits + $clog2(Groups);
  localparam int unsigned Frac     = Steps - 1;

  // h is at most Groups * (2^WeightBits - 1) * (3^Steps - 2^Steps), in units of 2^-Frac.
  localparam int unsigned StepWidth = $clog2(3 ** Steps - 2 ** Steps);
  localparam int unsigned HornWidth = SumWidth + StepWidth;
  localparam int unsigned Width     = (AccWidth > HornWidth) ? AccWidth : HornWidth;
  localparam int unsigned Low       = (Width + 1) / 2;  // bits of the adder that wait for no carry

  // ----------------------------------------------------------------------------------------------------- cycle 1
  logic [Groups-1:0][SumWidth-1:0] operands;
  logic [1:0][SumWidth-1:0]        parts, parts_q;

  for (genvar g = 0; g < Groups; g++) begin : gen_group
    logic [WeightBits-1:0] weight;

    if (Excess) begin : gen_excess
      assign weight = WeightBits'(|pick_i[g]) << (WeightBits - 1);

      logic unused_weights;
      assign unused_weights = ^weights_i[g];
    end else begin : gen_pick
      always_comb begin
        weight = '0;
        for (int unsigned j = 0; j < 4; j++) weight |= weights_i[g][j] & {WeightBits{pick_i[g][j]}};
      end
    end

    assign operands[g] = SumWidth'(weight ^ {WeightBits{neg_i[g]}});
  end

  spike_csa #(
    .Operands (Groups),
    .Width    (SumWidth)
  ) u_tree (
    .operands_i (operands),
    .sum_o      (parts[0]),
    .carry_o    (parts[1])
  );

  // ------------------------------------------------------------------------------------------------- cycles 2 to 4
  logic [SumWidth-1:0]   sum_q;
  logic [HornWidth-1:0]  h_q, h;
  logic [AccWidth-1:0]   acc_q;
  logic [Width-1:0]      kept, more, save, carry, total;
  logic [Width-Low-1:0]  high, high_carried;
  logic [Low:0]          low;

  assign h    = HornWidth'(sum_q) << Frac;
  if (Dual) begin : gen_dual
    assign kept = fresh_i[1] ? Width'(h_q) & {Width{fresh_i[0]}} : Width'(h_q >> 1);
  end else begin : gen_group_alone
    assign kept = Width'(h_q >> 1);
  end

  assign more = flush_i ? Width'(fresh_i[0] ? '0 : acc_q) : kept;

  spike_csa #(
    .Operands (3),
    .Width    (Width)
  ) u_step (
    .operands_i ({Width'(flush_i ? '0 : h), more, Width'(h_q)}),
    .sum_o      (save),
    .carry_o    (carry)
  );

  // Both upper halves, of which the carry of the lower one takes its choice.
  assign low          = (Low + 1)'(save[Low-1:0]) + (Low + 1)'(carry[Low-1:0]);
  assign high         = save[Width-1:Low] + carry[Width-1:Low];
  assign high_carried = save[Width-1:Low] + carry[Width-1:Low] + 1'b1;
  assign total        = {low[Low] ? high_carried : high, low[Low-1:0]};

  always_ff @(posedge clk_i) begin
    if (tree_en_i && enable_i) parts_q <= parts;
    if (sum_en_i && enable_i) sum_q <= parts_q[0] + parts_q[1];
    if (step_en_i && enable_i) h_q <= first_i ? h : total[HornWidth-1:0];
    if (flush_i && enable_i) acc_q <= total[AccWidth-1:0];
  end

  assign acc_o = acc_q;

  logic unused_total;
  assign unused_total = ^total;

endmodule
