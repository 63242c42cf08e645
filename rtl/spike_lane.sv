// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One lane's share of two planes: the present one, e, and the next of the same row, e-1. Whenever the picker issues a
// word, the lane gives away one spike: of the present plane as long as it has any, else of the next. Whether there is one
// left, and whether it is the last, is known before the word: all lanes together decide on the next word by that.

module spike_lane #(
  parameter int unsigned Slots = 16,
  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1
) (
  input  logic                 clk_i,

  // planes
  input  logic                 next_load_i,   // the next plane comes in
  input  logic [Slots-1:0]     next_fire_i,
  input  logic [Slots-1:0]     next_neg_i,
  input  logic                 move_i,        // the next plane becomes the present one
  output logic                 through_o,     // this word is the lane's last of the present plane

  // word
  input  logic                 issue_i,
  input  logic                 present_i,     // there is a present plane
  input  logic                 ahead_i,       // the next plane belongs to the same row and may be used
  output logic                 valid_o,
  output logic                 next_o,        // the spike is of the next plane
  output logic                 neg_o,
  output logic [AddrWidth-1:0] slot_o
);

  logic [Slots-1:0]     fire_q, neg_q, next_fire_q, next_neg_q;
  logic [Slots-1:0]     first, next_first, fire_d, next_fire_d;
  logic                 any_q, single_q, take_next;  // single: no more than one
  logic [1:0]           left, next_left;             // spikes of each plane; three and more are three
  logic [AddrWidth-1:0] slot, next_slot;

  // Lowest bit that is set
  assign first      = fire_q & (~fire_q + 1'b1);
  assign next_first = next_fire_q & (~next_fire_q + 1'b1);

  assign take_next   = issue_i && !any_q && ahead_i;
  assign fire_d      = fire_q & ~first;
  assign next_fire_d = take_next ? next_fire_q & ~next_first : next_fire_q;
  assign through_o   = single_q;

  spike_tally #(
    .Width (Slots)
  ) u_left (
    .bits_i  (fire_q),
    .count_o (left)
  );

  spike_tally #(
    .Width (Slots)
  ) u_next_left (
    .bits_i  (next_fire_q),
    .count_o (next_left)
  );

  always_comb begin
    slot      = '0;
    next_slot = '0;
    for (int unsigned s = 0; s < Slots; s++) begin
      if (first[s]) slot |= AddrWidth'(s);
      if (next_first[s]) next_slot |= AddrWidth'(s);
    end
  end

  assign next_o  = !any_q;
  assign valid_o = any_q ? present_i : ahead_i && next_left != '0;
  assign neg_o   = any_q ? (first & neg_q) != '0 : (next_first & next_neg_q) != '0;
  assign slot_o  = any_q ? slot : next_slot;

  always_ff @(posedge clk_i) begin
    if (move_i) begin
      any_q    <= next_left != '0 && !(take_next && next_left == 2'd1);
      single_q <= !next_left[1] || (take_next && next_left == 2'd2);
    end else if (issue_i) begin
      any_q    <= left[1];
      single_q <= left != 2'd3;
    end
  end

  always_ff @(posedge clk_i) begin
    if (move_i) begin
      fire_q <= next_fire_d;
      neg_q  <= next_neg_q;
    end else if (issue_i) begin
      fire_q <= fire_d;
    end
    if (next_load_i) begin
      next_fire_q <= next_fire_i;
      next_neg_q  <= next_neg_i;
    end else begin
      next_fire_q <= next_fire_d;
    end
  end

endmodule
