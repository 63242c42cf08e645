// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One lane's share of two planes: the present one, e, and the next of the same row, e-1. Whenever the picker issues a
// word, the lane gives away one spike: of the present plane as long as it has any, else of the next.

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

  logic [Slots-1:0] fire_q, neg_q, next_fire_q, next_neg_q;
  logic [Slots-1:0] first, next_first, fire_d, next_fire_d, select, neg;
  logic             any;

  // Lowest bit that is set
  assign first      = fire_q & (~fire_q + 1'b1);
  assign next_first = next_fire_q & (~next_fire_q + 1'b1);

  assign any         = present_i && fire_q != '0;
  assign fire_d      = fire_q & ~first;
  assign next_fire_d = next_fire_q & ~((issue_i && !any && ahead_i) ? next_first : '0);
  assign through_o   = fire_d == '0;

  assign select  = any ? first : (ahead_i ? next_first : '0);
  assign neg     = any ? neg_q : next_neg_q;
  assign next_o  = !any;
  assign valid_o = select != '0;
  assign neg_o   = (select & neg) != '0;

  always_comb begin
    slot_o = '0;
    for (int unsigned s = 0; s < Slots; s++) begin
      if (select[s]) slot_o |= AddrWidth'(s);
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
