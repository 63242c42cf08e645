// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One accumulator of the dense baseline: `Lanes` products of a weight and a sign-magnitude activation a cycle.
//
//   cycle 1   all partial products go through one carry-save tree, down to two numbers for each two planes
//   cycle 2   sum = their sum, through the rest of the tree
//   cycle 3   low half of acc += sum
//   cycle 4   high half of acc += carry of the low half: the halves are complete one cycle after the other
//
// A weight comes as u = w + B, B = 2^(WeightBits-1), so it has no sign. A negative activation inverts its bits: with y = u
// or ~u a lane gives +-mw + Bm or +-mw + (B-1)m, where the last term is the same in all columns. Partial products are
// inverted, ~(y & bit of m): a NAND gate where an AND gate would be larger. So
//
//   acc = Lanes * (2^WeightBits - 1) * (2^Planes - 1) - sum over lanes of (+-mw + (B or B-1) m)       in each cycle
//
// and whoever takes the accumulator out takes it away from a number that is the same for the whole row.
// The halves of acc are a cycle apart, so a carry crosses only one of them. Numbers are modulo 2^AccWidth.
//
// With `Passes` = 2 magnitudes may have twice as many bits: their upper half comes in a cycle of its own, whose sum counts
// 2^Planes times (low_high_i).

module dense_column #(
  parameter int unsigned Lanes      = 16,
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Planes     = 4,
  parameter int unsigned Passes     = 1,
  parameter int unsigned AccWidth   = 24,  // more than LowWidth
  parameter bit          Multiply   = 1'b0  // products with `*`, for comparison: what comes without the thought above
) (
  input  logic                              clk_i,
  input  logic                              enable_i,

  // cycle 1
  input  logic                              product_en_i,
  input  logic [Planes-1:0][Lanes-1:0]      magnitudes_i,
  input  logic [Lanes-1:0]                  neg_i,
  input  logic [Lanes-1:0][WeightBits-1:0]  weights_i,

  // cycle 2, 3, 4
  input  logic                              sum_en_i,
  input  logic                              low_en_i,
  input  logic                              low_first_i,
  input  logic                              low_high_i,   // a second pass
  input  logic                              high_en_i,
  input  logic                              high_first_i,

  output logic [AccWidth-1:0]               acc_o
);

  localparam int unsigned PlaneWidth = WeightBits + $clog2(Lanes) + 1;
  localparam int unsigned SumWidth   = PlaneWidth + Planes;
  localparam int unsigned LowWidth   = WeightBits + $clog2(Lanes) + Passes * Planes;  // of a chunk's sum
  localparam int unsigned HighWidth  = AccWidth - LowWidth;

  logic [SumWidth-1:0]  sum_q;
  logic [LowWidth-1:0]  low_q;
  logic [HighWidth-1:0] high_q;
  logic                 carry_q;

  if (Multiply) begin : gen_multiply
    // Counts downwards from the largest sum there is, so that all that follows is alike.
    localparam int unsigned Top = Lanes * (1 << (WeightBits - 1)) * ((1 << Planes) - 1);

    logic [SumWidth-1:0] total, total_q;

    always_comb begin
      total = SumWidth'(Top);
      for (int unsigned l = 0; l < Lanes; l++) begin
        logic [Planes-1:0]            magnitude;
        logic signed [Planes:0]       code;
        logic signed [WeightBits-1:0] weight;
        for (int unsigned b = 0; b < Planes; b++) magnitude[b] = magnitudes_i[b][l];
        code   = neg_i[l] ? -signed'({1'b0, magnitude}) : signed'({1'b0, magnitude});
        weight = signed'({!weights_i[l][WeightBits-1], weights_i[l][WeightBits-2:0]});
        total  = total - SumWidth'(code * weight);
      end
    end

    always_ff @(posedge clk_i) begin
      if (product_en_i && enable_i) total_q <= total;
      if (sum_en_i && enable_i) sum_q <= total_q;
    end
  end else begin : gen_tree
    localparam int unsigned Pairs = (Planes + 1) / 2;

    logic [2*Planes-1:0][SumWidth-1:0] planes;
    logic [2*Pairs-1:0][SumWidth-1:0]  numbers, numbers_q;
    logic [SumWidth-1:0]               sum, carry;

    for (genvar b = 0; b < Planes; b++) begin : gen_plane
      logic [Lanes-1:0][PlaneWidth-1:0] terms;
      logic [PlaneWidth-1:0]            plane_sum, plane_carry;

      for (genvar l = 0; l < Lanes; l++) begin : gen_lane
        logic [WeightBits-1:0] partial;
        assign partial  = ~((weights_i[l] ^ {WeightBits{neg_i[l]}}) & {WeightBits{magnitudes_i[b][l]}});
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

    for (genvar p = 0; p < Pairs; p++) begin : gen_pair
      localparam int unsigned Here = (2 * p + 1 < Planes) ? 4 : 2;

      spike_csa #(
        .Operands (Here),
        .Width    (SumWidth)
      ) u_pair_csa (
        .operands_i (planes[4*p +: Here]),
        .sum_o      (numbers[2*p]),
        .carry_o    (numbers[2*p+1])
      );
    end

    spike_csa #(
      .Operands (2 * Pairs),
      .Width    (SumWidth)
    ) u_csa (
      .operands_i (numbers_q),
      .sum_o      (sum),
      .carry_o    (carry)
    );

    always_ff @(posedge clk_i) begin
      if (product_en_i && enable_i) numbers_q <= numbers;
      if (sum_en_i && enable_i) sum_q <= sum + carry;
    end
  end

  logic [LowWidth-1:0] term;
  logic [LowWidth:0]   low;

  if (Passes > 1) begin : gen_passes
    assign term = low_high_i ? LowWidth'(sum_q) << Planes : LowWidth'(sum_q);
  end else begin : gen_pass
    assign term = LowWidth'(sum_q);
  end

  assign low = (LowWidth + 1)'(low_first_i ? '0 : low_q) + (LowWidth + 1)'(term);

  always_ff @(posedge clk_i) begin
    if (low_en_i && enable_i) {carry_q, low_q} <= low;
    if (high_en_i && enable_i) high_q <= (high_first_i ? '0 : high_q) + HighWidth'(carry_q);
  end

  assign acc_o = {high_q, low_q};

  // A sum is less than its carry-save numbers have room for; a single pass is never the second one.
  logic unused_bits;
  assign unused_bits = ^{sum_q, low_high_i};

endmodule
