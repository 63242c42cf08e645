// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: whatever both sides do, a beat leaves the queue after exactly those that came before it, once, unchanged; and the
// queue neither refuses while it has room nor withholds what it has.
//
// One beat is picked at an arbitrary moment and followed: `ahead_q` counts the beats that must leave before it.

module fifo_proof #(
  parameter int unsigned Width = 2,
  parameter int unsigned Depth = 2
) (
  input logic             clk_i,
  input logic             valid_i,
  input logic             ready_i,
  input logic [Width-1:0] data_i,
  input logic             reset_i,  // at any time
  input logic             pick_i
);

  localparam int unsigned Bits = $clog2(Depth + 2);

  logic             rst_ni, started_q = 1'b0;
  logic             ready_o, room_o, valid_o, push, pop;
  logic [Width-1:0] data_o, picked_q;
  logic [Bits-1:0]  inside_q, ahead_q;
  logic             follow_q, room_q, known_q;

  assign rst_ni = started_q && !reset_i;
  assign push   = valid_i && ready_o;
  assign pop    = valid_o && ready_i;

  spike_fifo #(
    .Width (Width),
    .Depth (Depth)
  ) u_fifo (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o,
    .room_o,
    .data_i,
    .valid_o,
    .ready_i,
    .data_o
  );

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    room_q    <= room_o;
    known_q   <= rst_ni;
    if (!rst_ni) begin
      inside_q <= '0;
      follow_q <= 1'b0;
    end else begin
      inside_q <= inside_q + Bits'(push) - Bits'(pop);
      if (push && pick_i && !follow_q) begin
        follow_q <= 1'b1;
        picked_q <= data_i;
        ahead_q  <= inside_q - Bits'(pop);
      end else if (follow_q && pop) begin
        ahead_q <= ahead_q - 1'b1;
        if (ahead_q == '0) follow_q <= 1'b0;
      end
    end
  end

  always_comb begin
    if (rst_ni) begin
      Order:    assert (!(follow_q && ahead_q == '0) || (valid_o && data_o == picked_q));
      NoLoss:   assert (!follow_q || ahead_q < inside_q);
      Offers:   assert (valid_o == (inside_q != '0));
      Room:     assert (ready_o == (inside_q != Bits'(Depth)));
      Ahead:    assert (!known_q || ready_o == room_q);
      Capacity: assert (inside_q <= Bits'(Depth));
    end
    cover (rst_ni && follow_q && ahead_q == '0 && pop && inside_q == Bits'(Depth));
  end

endmodule
