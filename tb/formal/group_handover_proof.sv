// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of what front end, store, walker and array hand over to each other: no half of the store is written before the array has
// done with it, none is read before it is complete, and all mean the same half.
//
// The front end fires row tiles whenever there is room, weights come whenever they like, the array pauses whenever it
// likes, and releases a row tile any time after its last step. The job is a small one with two tiles each way and two
// chunks; jobs follow each other.

module group_handover_proof
  import spike_pkg::*;
  import group_pkg::*;
(
  input logic       clk_i,
  input logic       reset_i,  // at any time
  input logic       start_i,
  input logic       enable_i,
  input logic       weight_valid_i,
  input logic       open_i,      // front end: a row tile begins,
  input logic       we_i,        // is written,
  input logic [2:0] addr_i,
  input logic       done_i,      // and is complete
  input logic       left_i,      // steps behind its first
  input logic       release_i    // array
);

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic                         ready, open, done, freed, re, half, op_valid, idle, take;
  logic [2:0]                   raddr;
  logic [1:0][0:0][LeftWidth-1:0] left;
  logic [1:0][LeftWidth-1:0]    most;
  logic [0:0][1:0][SpikeBits-1:0] spikes;
  step_t                        op;
  logic                         opened_q;          // a row tile is being written
  logic                         next_q;            // its half
  logic [1:0]                   full_q;            // halves that are complete and not released
  logic [1:0]                   over_q;            // row tiles whose last step was taken, not released

  assign open  = open_i && ready && !opened_q;
  assign done  = done_i && opened_q;
  assign take  = op_valid && enable_i;
  assign freed = release_i && over_q != '0;

  group_store #(
    .Rows (1), .Groups (2), .Chunks (2), .Steps (2), .Units (2)
  ) u_store (
    .clk_i,
    .rst_ni,
    .ready_o    (ready),
    .open_i     (open),
    .we_i       (we_i && opened_q),
    .row_i      (1'b0),
    .addr_i,
    .part_i     (1'b1),
    .spikes_i   ('0),
    .row_done_i (done),
    .row_left_i ({2'b0, left_i}),
    .done_i     (done),
    .release_i  (freed),
    .re_i       (re),
    .half_i     (half),
    .raddr_i    (raddr),
    .spikes_o   (spikes),
    .left_o     (left),
    .most_o     (most)
  );

  logic       load, wait_fire, wait_weight;
  logic [0:0] works, op_rows, op_columns;
  logic [1:0] filled;

  group_walker #(
    .Rows (1), .Columns (1), .Groups (2), .Chunks (2), .Steps (2)
  ) u_walker (
    .clk_i,
    .rst_ni,
    .enable_i,
    .start_i        (start_i && idle),
    .idle_o         (idle),
    .rows_i         (32'd2),
    .outputs_i      (32'd2),
    .group_chunks_i (2'd2),
    .row_chunks_i   (2'd2),
    .tail_lanes_i   (4'd8),
    .store_done_i   (done),
    .store_left_i   (left),
    .store_most_i   (most),
    .store_re_o     (re),
    .store_half_o   (half),
    .store_addr_o   (raddr),
    .load_o         (load),
    .load_works_o   (works),
    .load_filled_o  (filled),
    .weight_valid_i,
    .op_valid_o     (op_valid),
    .op_o           (op),
    .op_rows_o      (op_rows),
    .op_columns_o   (op_columns),
    .wait_fire_o    (wait_fire),
    .wait_weight_o  (wait_weight)
  );

  logic ends, older_q;  // the half that is released next

  assign ends = take && op.last && op.group_last && op.tile_end;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      opened_q <= 1'b0;
      next_q   <= 1'b0;
      older_q  <= 1'b0;
      full_q   <= '0;
      over_q   <= '0;
    end else begin
      opened_q <= (opened_q && !done) || open;
      if (done) next_q <= !next_q;
      if (done) full_q[next_q] <= 1'b1;
      if (freed) full_q[older_q] <= 1'b0;
      if (freed) older_q <= !older_q;
      over_q <= over_q + 2'(ends) - 2'(freed);
    end
  end

  always_comb begin
    if (rst_ni) begin
      Complete: assert (!re || full_q[half]);
      Apart:    assert (!opened_q || !full_q[next_q]);
      Room:     assert (!open || full_q != '1);
      Works:    assert (!load || full_q[u_walker.b_q.half]);
      Address:  assert (!re || raddr < 3'd4);
    end
    cover (rst_ni && full_q == '1 && freed);
  end

  logic unused;
  assign unused = ^{spikes, works, filled, op_rows, op_columns, wait_fire, wait_weight};

endmodule
