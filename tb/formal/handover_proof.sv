// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of what walker, weight loader and spike store hand over to each other: no half of the banks, and none of the store, is written
// before all that was read of it has been used; none is read before it is complete; and both sides mean the same half.
//
// The front end fires row tiles whenever there is room, weights come whenever they like, the picker takes planes whenever it
// likes, and the banks are released any time after the plane that says so. The job is a small one with two tiles
// each way and two groups; jobs follow each other.

module handover_proof
  import spike_pkg::*;
(
  input logic       clk_i,
  input logic       reset_i,  // at any time
  input logic       start_i,
  input logic       weight_valid_i,
  input logic       open_i,      // front end: a row tile begins
  input logic       done_i,      // and is complete
  input logic       take_i,      // picker
  input logic       release_i,   // array
  input logic [1:0] mask_i       // what the store shows of a row
);

  localparam int unsigned Blocks = 2;

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic       walk_idle, load_idle, store_release, mask_re, mask_half, plane_re, plane_half;
  logic       plane_valid, plane_bank, plane_release, take;
  logic       bank_done, bank_release, weight_ready;
  logic [3:0] bank_we;
  logic [0:0] bank_addr;

  assign take = take_i && plane_valid;

  spike_weight_loader #(
    .Rows (1), .Columns (1), .Lanes (4), .Slots (1), .Blocks (Blocks), .WeightInputs (4), .WeightBits (2)
  ) u_loader (
    .clk_i,
    .rst_ni,
    .start_i,
    .idle_o         (load_idle),
    .rows_i         (32'd2),
    .outputs_i      (32'd2),
    .group_blocks_i (2'd1),
    .row_blocks_i   (2'd2),
    .tail_chunks_i  (1'b1),
    .tail_lanes_i   (3'd4),
    .weight_valid_i,
    .weight_ready_o (weight_ready),
    .weight_data_i  ('0),
    .weight_last_i  (1'b0),
    .bank_we_o      (bank_we),
    .bank_addr_o    (bank_addr),
    .bank_data_o    (),
    .bank_done_o    (bank_done),
    .bank_release_i (bank_release),
    .error_last_o   (),
    .error_range_o  ()
  );

  spike_walker #(
    .Rows (1), .Columns (1), .Lanes (4), .Slots (1), .Blocks (Blocks), .Tmax (2), .Csd (1'b0)
  ) u_walker (
    .clk_i,
    .rst_ni,
    .start_i,
    .idle_o           (walk_idle),
    .rows_i           (32'd2),
    .outputs_i        (32'd2),
    .group_blocks_i   (2'd1),
    .row_blocks_i     (2'd2),
    .tail_chunks_i    (1'b1),
    .store_done_i     (done_i),
    .store_release_o  (store_release),
    .bank_done_i      (bank_done),
    .mask_re_o        (mask_re),
    .mask_half_o      (mask_half),
    .mask_row_o       (),
    .mask_block_o     (),
    .mask_i,
    .plane_re_o       (plane_re),
    .plane_half_o     (plane_half),
    .plane_row_o      (),
    .plane_block_o    (),
    .plane_exponent_o (),
    .fire_i           ('0),
    .neg_i            ('0),
    .plane_valid_o    (plane_valid),
    .plane_take_i     (take),
    .plane_fire_o     (),
    .plane_neg_o      (),
    .plane_last_o     (),
    .plane_bank_o     (plane_bank),
    .plane_release_o  (plane_release),
    .plane_tile_row_o (),
    .plane_columns_o  (),
    .plane_place_o    (),
    .wait_fire_o      (),
    .wait_weight_o    ()
  );

  // Everything is counted modulo four; never more than two are apart.
  logic [1:0] loaded_q, used_q, freed_q;       // blocks: complete in the banks; their last plane taken; released
  logic [1:0] opened_q, fired_q, left_q;       // row tiles: begun, complete, released
  logic       c_half_q;                        // half of the store that shows a plane

  assign bank_release = release_i && used_q != freed_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      loaded_q <= '0;
      used_q   <= '0;
      freed_q  <= '0;
      opened_q <= '0;
      fired_q  <= '0;
      left_q   <= '0;
    end else begin
      loaded_q <= loaded_q + 2'(bank_done);
      used_q   <= used_q + 2'(take && plane_release);
      freed_q  <= freed_q + 2'(bank_release);
      opened_q <= opened_q + 2'(open_i);
      fired_q  <= fired_q + 2'(done_i);
      left_q   <= left_q + 2'(store_release);
      if (plane_re) c_half_q <= plane_half;
    end
  end

  always_comb begin
    // the sequencer starts a job when all is idle, and not in a reset
    assume (!start_i || (rst_ni && walk_idle && load_idle && used_q == freed_q && opened_q == left_q));
    // the front end: room first, then a whole tile
    assume (!open_i || 2'(opened_q - left_q) < 2'd2);
    assume (!done_i || opened_q != fired_q);
    if (rst_ni) begin
      // banks
      WriteHalf: assert (bank_we == '0 || bank_addr == loaded_q[0]);
      WriteFree: assert (bank_we == '0 || 2'(loaded_q - freed_q) < 2'd2);
      PlaneHalf: assert (!plane_valid || plane_bank == used_q[0]);
      PlaneFull: assert (!plane_valid || used_q != loaded_q);
      // store
      MaskFull:  assert (!mask_re || fired_q != left_q);
      PlaneRead: assert (!plane_re || fired_q != left_q);
      MaskHalf:  assert (!mask_re || mask_half == left_q[0] || 2'(fired_q - left_q) == 2'd2);
      Shown:     assert (!u_walker.c_valid_q || (fired_q != left_q && c_half_q == left_q[0])
                         || (2'(fired_q - left_q) == 2'd2 && c_half_q != left_q[0]));
      LeaveOnce: assert (!store_release || fired_q != left_q);
    end
    cover (rst_ni && store_release && 2'(loaded_q - freed_q) == 2'd2);
  end

endmodule
