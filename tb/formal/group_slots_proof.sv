// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of an encoder's pace: a group of S steps comes out 5 S - 1 cycles after it was taken, and no other; the place among five
// that it had is free again a cycle later. So groups of equally many steps leave in the order in which they came.

module group_slots_proof
  import group_pkg::*;
#(
  parameter int unsigned Steps = 7
) (
  input logic                                      clk_i,
  input logic                                      reset_i,  // at any time
  input logic                                      valid_i,
  input logic [GroupInputs-1:0][MagnitudeBits-1:0] magnitudes_i,
  input logic [GroupInputs-1:0]                    neg_i,
  input logic [LeftWidth-1:0]                      left_i
);

  localparam int unsigned Slots = 5;

  logic started_q = 1'b0;
  logic rst_ni, ready, valid, take;
  logic [Steps-1:0][SpikeBits-1:0] spikes;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;
  assign take   = valid_i && ready;

  group_encoder #(
    .Steps (Steps)
  ) u_encoder (
    .clk_i,
    .rst_ni,
    .valid_i      (take),
    .ready_o      (ready),
    .magnitudes_i,
    .neg_i,
    .left_i,
    .valid_o      (valid),
    .spikes_o     (spikes)
  );

  // Slot 0 is where a group may come in; a cycle later it is slot 1, then 2 … 4, then 0 again.
  logic [Slots-1:0]                busy_q;
  logic [Slots-1:0][LeftWidth-1:0] left_q;  // steps that follow the present one
  logic                            ends;    // the group of slot 4 has made its last step

  assign ends = busy_q[4] && left_q[4] == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= '0;
    end else begin
      busy_q <= {busy_q[3:1], busy_q[0] || take, busy_q[4] && !ends};
    end
    left_q <= {left_q[3:1], busy_q[0] ? left_q[0] : left_i, left_q[4] - 1'b1};
  end

  always_comb begin
    assume (left_i < LeftWidth'(Steps));
    if (rst_ni) begin
      Ready:  assert (ready == !busy_q[0]);
      Valid:  assert (valid == ends);
      Stages: assert (busy_q == {u_encoder.valid4_q, u_encoder.valid3_q, u_encoder.valid2_q, u_encoder.valid1_q,
                                 u_encoder.valid5_q});
      Left1:  assert (!busy_q[1] || left_q[1] == u_encoder.left1_q);
      Left2:  assert (!busy_q[2] || left_q[2] == u_encoder.left2_q);
      Left3:  assert (!busy_q[3] || left_q[3] == u_encoder.left3_q);
      Left4:  assert (!busy_q[4] || left_q[4] == u_encoder.left4_q);
      Left5:  assert (!busy_q[0] || left_q[0] == u_encoder.left5_q - 1'b1);
    end
    cover (rst_ni && ends && busy_q == '1);
  end

  logic unused_spikes;
  assign unused_spikes = ^spikes;

endmodule
