// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of the abort, with one or a reset at any time: what an output has offered stays until it is taken, though the
// engines are reset; engines are reset only when all outputs are closed, and at most three cycles after the last offer was
// taken; nothing new is on offer until the abort is over; without an abort the streams are wires. A job that starts in the
// cycle after one that is not busy, with no abort asked for, meets engines that are not in reset.

module abort_proof #(
  parameter int unsigned Outputs = 2
) (
  input logic               clk_i,
  input logic               reset_i,
  input logic               abort_i,
  input logic [Outputs-1:0] valid_i,
  input logic [Outputs-1:0] ready_i
);

  logic               started_q = 1'b0;
  logic               rst_ni, busy, drop, engine_rst_n;
  logic [Outputs-1:0] ready, valid;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  spike_abort #(
    .Outputs (Outputs)
  ) u_abort (
    .clk_i,
    .rst_ni,
    .abort_i,
    .busy_o        (busy),
    .drop_o        (drop),
    .engine_rst_no (engine_rst_n),
    .valid_i,
    .ready_o       (ready),
    .valid_o       (valid),
    .ready_i
  );

  logic               live_q;                // there was a reset
  logic [Outputs-1:0] open_q, engine_open_q; // offered and not taken: at the port, at the engine
  logic [2:0]         wait_q;                // cycles of the abort without an offer
  logic               asked_q, free_q;

  always_ff @(posedge clk_i) begin
    live_q        <= started_q;
    open_q        <= rst_ni ? valid & ~ready_i : '0;
    engine_open_q <= rst_ni && engine_rst_n ? valid_i & ~ready : '0;
    asked_q       <= rst_ni && (abort_i || (asked_q && engine_rst_n));
    free_q        <= rst_ni && !busy && !abort_i;
    wait_q        <= rst_ni && drop && engine_rst_n && (valid & ~ready_i) == '0 ? wait_q + 1'b1 : '0;
  end

  always_comb begin
    // engines keep their offers, unless they are reset
    assume (!live_q || !engine_rst_n || (valid_i & engine_open_q) == engine_open_q);
    if (rst_ni && live_q) begin
      Stays:  assert ((valid & open_q) == open_q);
      Closed: assert (engine_rst_n || valid == '0);
      Soon:   assert (wait_q <= 3'd3);
      Clean:  assert (!engine_rst_n || !asked_q || busy);
      Starts: assert (!free_q || engine_rst_n);
      Drops:  assert (drop == u_abort.abort_q);
      Wires:  assert (busy || drop || (valid == valid_i && ready == ready_i && engine_rst_n));
    end
    cover (rst_ni && live_q && !engine_rst_n && !drop);
  end

endmodule
