// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One lane's share of two planes: the present one, e, and the next of the same row, e-1. Whenever the picker issues a
// word, the lane gives away one spike: of the present plane as long as it has any, else of the next. Whether there is one
// left is known before the word; whether a word is the lane's last of the plane, in the cycle before, as all lanes together
// decide by that what follows.
//
// A plane that is not there may hold anything. So whether a register changes (step) and what it gets (turn) are told apart,
// and the latter, which goes to every bit of the planes, does not wait for the array's enable.

module spike_lane #(
  parameter int unsigned Slots = 16,
  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1
) (
  input  logic                 clk_i,

  // planes
  input  logic                 next_step_i,   // a word is issued, or a plane comes in
  input  logic                 next_turn_i,   // then a plane comes in, if there is one
  input  logic [Slots-1:0]     next_fire_i,
  input  logic [Slots-1:0]     next_neg_i,
  input  logic                 step_i,        // a word is issued, or the next plane finds no present one
  input  logic                 turn_i,        // then the next plane becomes the present one
  output logic                 through_o,     // after this step: the next word is the lane's last of its present plane

  // word
  input  logic                 present_i,     // there is a present plane
  input  logic                 ahead_i,       // the next plane belongs to the same row and may be used
  output logic                 valid_o,
  output logic                 next_o,        // the spike is of the next plane
  output logic                 neg_o,
  output logic [AddrWidth-1:0] slot_o
);

  logic [Slots-1:0]     fire_q, neg_q, next_fire_q, next_neg_q;
  logic [Slots-1:0]     first, next_first, fire_d, next_fire_d;
  logic                 any_q, take_next;
  logic [1:0]           left, next_left;             // spikes of each plane; three and more are three
  logic [AddrWidth-1:0] slot, next_slot;

  // Lowest bit that is set
  assign first      = fire_q & (~fire_q + 1'b1);
  assign next_first = next_fire_q & (~next_fire_q + 1'b1);

  assign take_next   = !any_q && ahead_i;  // in a word
  assign fire_d      = fire_q & ~first;
  assign next_fire_d = take_next ? next_fire_q & ~next_first : next_fire_q;
  assign through_o   = turn_i ? !next_left[1] || (take_next && next_left == 2'd2) : left != 2'd3;

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
    if (step_i) any_q <= turn_i ? next_left != '0 && !(take_next && next_left == 2'd1) : left[1];
  end

  always_ff @(posedge clk_i) begin
    if (step_i) fire_q <= turn_i ? next_fire_d : fire_d;
    if (step_i && turn_i) neg_q <= next_neg_q;
    if (next_step_i) next_fire_q <= next_turn_i ? next_fire_i : next_fire_d;
    if (next_step_i && next_turn_i) next_neg_q <= next_neg_i;
  end

endmodule
