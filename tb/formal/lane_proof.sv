// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of what a lane says about its planes: whether a spike of the present one is left, and whether this word is the last
// that needs it, are known before the word, and right. So the picker turns to the next plane neither before the last spike is
// gone (it would be lost) nor a word later (which would be empty). And each spike that is given away was there.
//
// Planes come and go as the picker lets them: a next one is loaded where there is none, or in the cycle in which it moves up.

module lane_proof #(
  parameter int unsigned Slots = 16
) (
  input logic             clk_i,
  input logic             reset_i,      // at any time
  input logic             next_load_i,
  input logic [Slots-1:0] next_fire_i,
  input logic [Slots-1:0] next_neg_i,
  input logic             move_i,
  input logic             issue_i,
  input logic             same_row_i
);

  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1;

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic                 present_q, next_q, ahead, through, valid, of_next, neg;
  logic [AddrWidth-1:0] slot;
  logic [Slots-1:0]     fire, next_fire;

  assign ahead = present_q && next_q && same_row_i;

  spike_lane #(
    .Slots (Slots)
  ) u_lane (
    .clk_i,
    .next_load_i,
    .next_fire_i,
    .next_neg_i,
    .move_i,
    .through_o (through),
    .issue_i,
    .present_i (present_q),
    .ahead_i   (ahead),
    .valid_o   (valid),
    .next_o    (of_next),
    .neg_o     (neg),
    .slot_o    (slot)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      present_q <= 1'b0;
      next_q    <= 1'b0;
    end else begin
      if (move_i) present_q <= 1'b1;
      next_q <= next_load_i || (next_q && !move_i);
    end
  end

  assign fire      = u_lane.fire_q;
  assign next_fire = u_lane.next_fire_q;

  always_comb begin
    assume (!move_i || next_q);
    assume (!move_i || !present_q || (issue_i && through));  // of all lanes, this one among them
    assume (!issue_i || present_q);
    assume (!next_load_i || !next_q || move_i);
    if (rst_ni && present_q) begin
      Left:    assert (of_next == (fire == '0));
      Through: assert (through == ((fire & (fire - 1'b1)) == '0));
      Given:   assert (!valid || of_next || (fire[slot] && neg == u_lane.neg_q[slot]));
      Ahead:   assert (!valid || !of_next || (ahead && next_fire[slot] && neg == u_lane.next_neg_q[slot]));
      Offered: assert (valid == (fire != '0 || (ahead && next_fire != '0)));
    end
    cover (rst_ni && present_q && issue_i && through && move_i && of_next && valid);
  end

endmodule
