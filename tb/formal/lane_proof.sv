// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of what a lane says about its planes: whether a spike of the present one is left, and whether this word is the last
// that needs it, are known before the word, and right. So the picker turns to the next plane neither before the last spike is
// gone (it would be lost) nor a word later (which would be empty). And each spike that is given away was there.
//
// Planes come and go as the picker lets them: a next one is loaded where there is none, or in the cycle in which it moves up;
// where none is, anything may be loaded.

module lane_proof #(
  parameter int unsigned Slots = 16
) (
  input logic             clk_i,
  input logic             reset_i,      // at any time
  input logic             offer_i,      // there is a plane for next
  input logic [Slots-1:0] next_fire_i,
  input logic [Slots-1:0] next_neg_i,
  input logic             turn_i,       // no lane needs the present plane after this word
  input logic             issue_i,
  input logic             same_row_i
);

  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1;

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic                 present_q, next_q, step, move, ahead, through, through_q, valid, of_next, neg;
  logic [AddrWidth-1:0] slot;
  logic [Slots-1:0]     fire, next_fire;

  assign ahead = present_q && next_q && same_row_i;
  assign step  = issue_i || (!present_q && next_q);
  assign move  = next_q && (!present_q || (issue_i && turn_i));

  spike_lane #(
    .Slots (Slots)
  ) u_lane (
    .clk_i,
    .next_step_i (step || (!next_q && offer_i)),
    .next_turn_i (turn_i || !present_q || !next_q),
    .next_fire_i,
    .next_neg_i,
    .step_i    (step),
    .turn_i    (turn_i || !present_q),
    .through_o (through),
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
      present_q <= move || (present_q && !(issue_i && turn_i));
      next_q    <= (next_q && !move) || offer_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (step) through_q <= through;
  end

  assign fire      = u_lane.fire_q;
  assign next_fire = u_lane.next_fire_q;

  always_comb begin
    assume (!issue_i || present_q);
    assume (!turn_i || !present_q || through_q);  // all lanes are, this one among them
    if (rst_ni && present_q) begin
      Left:    assert (of_next == (fire == '0));
      Through: assert (through_q == ((fire & (fire - 1'b1)) == '0));
      Given:   assert (!valid || of_next || (fire[slot] && neg == u_lane.neg_q[slot]));
      Ahead:   assert (!valid || !of_next || (ahead && next_fire[slot] && neg == u_lane.next_neg_q[slot]));
      Offered: assert (valid == (fire != '0 || (ahead && next_fire != '0)));
    end
    cover (rst_ni && present_q && issue_i && through_q && move && of_next && valid);
  end

endmodule
