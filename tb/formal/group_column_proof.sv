// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: the accumulator of the group array is what plain arithmetic gives. The AND-OR and the carry-save tree add the weights
// that are picked; the steps of a chunk follow by Horner's rule with 3/2, no bit of which is lost, neither above nor below;
// chunks are added up. For every weight, every spike, every number of steps, and pauses anywhere.

module group_column_proof #(
  parameter int unsigned Groups     = 4,
  parameter int unsigned WeightBits = 3,
  parameter int unsigned Steps      = 3,
  parameter int unsigned AccWidth   = 12
) (
  input logic                                   clk_i,
  input logic                                   enable_i,
  input logic                                   tree_en_i,
  input logic [Groups-1:0][3:0]                 pick_i,
  input logic [Groups-1:0]                      neg_i,
  input logic [Groups-1:0][3:0][WeightBits-1:0] weights_i,
  input logic                                   sum_en_i,
  input logic                                   step_en_i,
  input logic                                   first_i,
  input logic                                   flush_i,
  input logic                                   fresh_i
);

  localparam int unsigned SumWidth = WeightBits + $clog2(Groups);
  localparam int unsigned Wide     = 14;  // more than anything here takes
  localparam int unsigned Most     = Groups * (2 ** WeightBits - 1);

  logic [AccWidth-1:0] acc;

  group_column #(
    .Groups     (Groups),
    .WeightBits (WeightBits),
    .Steps      (Steps),
    .AccWidth   (AccWidth)
  ) u_column (
    .clk_i,
    .enable_i,
    .tree_en_i,
    .pick_i,
    .neg_i,
    .weights_i,
    .sum_en_i,
    .step_en_i,
    .first_i,
    .flush_i,
    .fresh_i,
    .acc_o (acc)
  );

  // Registers start with anything: what is known of them
  logic            tree_known_q = 1'b0, sum_known_q = 1'b0, h_known_q = 1'b0, acc_known_q = 1'b0;
  logic [Wide-1:0] tree, tree_q, sum_q, h_q, acc_q;
  logic [3:0]      count_q;  // steps in h

  always_comb begin
    tree = '0;
    for (int unsigned g = 0; g < Groups; g++) begin
      for (int unsigned j = 0; j < 4; j++) begin
        logic [WeightBits-1:0] weight;

        weight = weights_i[g][j] ^ {WeightBits{neg_i[g]}};
        if (pick_i[g][j]) tree = tree + Wide'(weight);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      if (tree_en_i) begin
        tree_known_q <= 1'b1;
        tree_q       <= tree;
      end
      if (sum_en_i) begin
        sum_known_q <= tree_known_q;
        sum_q       <= tree_q;
      end
      if (step_en_i) begin
        h_known_q <= sum_known_q && (first_i || h_known_q);
        h_q       <= (sum_q << (Steps - 1)) + (first_i ? '0 : h_q + (h_q >> 1));
        count_q   <= first_i ? 4'd1 : count_q + 4'd1;
      end
      if (flush_i) begin
        acc_known_q <= h_known_q && (fresh_i || acc_known_q);
        acc_q       <= h_q + (fresh_i ? '0 : acc_q);
      end
    end
  end

  // The largest h of n steps
  function automatic logic [Wide-1:0] limit(input logic [3:0] n);
    logic [Wide-1:0] worth;
    limit = '0;
    worth = Wide'(Most) << (Steps - 1);
    for (int unsigned i = 0; i < Steps; i++) begin
      if (4'(i) < n) limit += worth;
      worth = worth / 2 * 3;
    end
  endfunction

  always_comb begin
    for (int unsigned g = 0; g < Groups; g++) begin
      assume ((pick_i[g] & (pick_i[g] - 1'b1)) == '0);
      assume (!neg_i[g] || pick_i[g] != '0);
    end
    assume (!flush_i || !step_en_i || first_i);
    assume (!step_en_i || first_i || count_q < 4'(Steps));  // no more steps than it was built for
    if (tree_known_q) begin
      Tree:  assert (u_column.parts_q[0] + u_column.parts_q[1] == SumWidth'(tree_q));
      Small: assert (tree_q <= Wide'(Most));
    end
    if (sum_known_q) begin
      Sum:      assert (Wide'(u_column.sum_q) == sum_q);
      SumSmall: assert (sum_q <= Wide'(Most));
    end
    if (h_known_q) begin
      Count: assert (count_q >= 4'd1 && count_q <= 4'(Steps));
      Horn:  assert (Wide'(u_column.h_q) == h_q);
      Fits:  assert (h_q <= limit(count_q));
      Exact: assert ((h_q & ((Wide'(1) << (Steps - 32'(count_q))) - 1'b1)) == '0);
    end
    if (acc_known_q) Acc: assert (acc == AccWidth'(acc_q));
    cover (acc_known_q && acc_q != '0);
  end

endmodule
