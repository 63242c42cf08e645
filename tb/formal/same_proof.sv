// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: front end, weight loader and walker go through the same row tiles and blocks, for every M and N of 32 bits:
// what the walker waits for is to come, and when it ends, nothing is left over. progress_proof takes this for
// granted.
//
// Loader and walker walk the same places, and the loader is `lead` blocks ahead. A third walk (near) stands one block
// ahead of the walker, or beside it when the loader does. So the loader's place is the walker's, what follows it, or
// what follows that; and what follows a place is what the modules would go to in the next step.

module same_proof
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 2,
  parameter int unsigned Columns = 2,
  parameter int unsigned Slots   = 2,
  parameter int unsigned Blocks  = 5,
  localparam int unsigned Lanes      = 4,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ColWidth   = $clog2(Columns + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1)
) (
  input logic                  clk_i,
  input logic                  reset_i,  // at any time
  input logic                  start_i,
  input logic [CountWidth-1:0] rows_i,
  input logic [CountWidth-1:0] outputs_i,
  input logic [BlockWidth-1:0] group_blocks_i,
  input logic [BlockWidth-1:0] row_blocks_i,
  input logic [SlotWidth-1:0]  tail_chunks_i,
  input logic                  weight_valid_i,
  input logic                  release_i,   // array
  input logic                  take_i,      // picker
  input logic [1:0]            mask_i,      // store
  input logic                  store_ready_i,
  input logic                  membrane_valid_i,
  input logic [7:0]            membrane_i,  // of which T of a row
  input logic                  spike_stream_i,
  input logic                  spike_ready_i
);

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic bank_done, plane_valid, tile_done, fire_idle, firing;

  spike_neuron_array #(
    .Rows (Rows), .Lanes (Lanes), .Slots (Slots), .Blocks (Blocks), .Tmax (2), .Csd (1'b0)
  ) u_front (
    .clk_i,
    .rst_ni,
    .start_i,
    .idle_o            (fire_idle),
    .open_o            (firing),
    .end_o             (),
    .coding_i          (CodingTcLif),
    .capped_i          (1'b0),
    .frac_bits_i       ('0),
    .spike_stream_i,
    .rows_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .tail_lanes_i      (3'd4),
    .membrane_valid_i,
    .membrane_ready_o  (),
    .membrane_data_i   ({120'd0, membrane_i}),
    .membrane_user_i   ('0),
    .membrane_last_i   (1'b0),
    .store_ready_i,
    .store_open_o      (),
    .store_we_o        (),
    .store_row_o       (),
    .store_block_o     (),
    .store_slot_o      (),
    .store_fire_o      (),
    .store_neg_o       (),
    .store_end_o       (),
    .store_low_we_o    (),
    .store_low_row_o   (),
    .store_low_block_o (),
    .store_low_slot_o  (),
    .store_mask_we_o   (),
    .store_mask_o      (),
    .store_done_o      (tile_done),
    .spike_valid_o     (),
    .spike_ready_i,
    .spike_data_o      (),
    .spike_last_o      (),
    .spikes_o          (),
    .skipped_o         (),
    .saturated_o       (),
    .row_done_o        (),
    .stall_membrane_o  (),
    .stall_store_o     (),
    .stall_spike_o     (),
    .error_timesteps_o (),
    .error_last_o      ()
  );

  spike_weight_loader #(
    .Rows (Rows), .Columns (Columns), .Lanes (Lanes), .Slots (Slots), .Blocks (Blocks),
    .WeightInputs (2), .WeightBits (2)
  ) u_loader (
    .clk_i,
    .rst_ni,
    .start_i,
    .idle_o         (),
    .open_o         (),
    .end_o          (),
    .rows_i,
    .outputs_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .tail_lanes_i   (3'd4),
    .weight_valid_i,
    .weight_ready_o (),
    .weight_data_i  ('0),
    .weight_last_i  (1'b0),
    .bank_we_o      (),
    .bank_addr_o    (),
    .bank_data_o    (),
    .bank_done_o    (bank_done),
    .bank_release_i (release_i),
    .error_last_o   (),
    .error_range_o  ()
  );

  spike_walker #(
    .Rows (Rows), .Columns (Columns), .Lanes (Lanes), .Slots (Slots), .Blocks (Blocks), .Tmax (2), .Csd (1'b0)
  ) u_walker (
    .clk_i,
    .rst_ni,
    .start_i,
    .idle_o           (),
    .rows_i,
    .outputs_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .store_done_i     (tile_done),
    .store_release_o  (),
    .bank_done_i      (bank_done),
    .mask_re_o        (),
    .mask_half_o      (),
    .mask_row_o       (),
    .mask_block_o     (),
    .mask_i,
    .plane_re_o       (),
    .plane_half_o     (),
    .plane_row_o      (),
    .plane_block_o    (),
    .plane_exponent_o (),
    .fire_i           ('0),
    .neg_i            ('0),
    .plane_valid_o    (plane_valid),
    .plane_take_i     (take_i && plane_valid),
    .plane_fire_o     (),
    .plane_neg_o      (),
    .plane_last_o     (),
    .plane_bank_o     (),
    .plane_release_o  (),
    .plane_tile_row_o (),
    .plane_columns_o  (),
    .plane_place_o    (),
    .wait_fire_o      (),
    .wait_weight_o    ()
  );

  // -------------------------------------------------------------------------------------------------- the third walk
  logic       near_valid, near_row_end, near_step, loader_step, walker_step;
  logic [1:0] lead;

  assign lead        = u_walker.banks_q;
  assign loader_step = bank_done;
  assign walker_step = u_walker.a_next && u_walker.a_block_end_q;

  always_comb begin
    unique case (lead)
      2'd0:    near_step = loader_step;
      2'd1:    near_step = loader_step && walker_step;
      default: near_step = walker_step;
    endcase
  end

  spike_tiler #(
    .Rows (Rows), .Columns (Columns)
  ) u_near_tiles (
    .clk_i,
    .rst_ni,
    .start_i,
    .rows_i,
    .outputs_i,
    .valid_o         (near_valid),
    .next_i          (near_step && near_row_end),
    .rows_o          (),
    .one_o           (),
    .one_next_o      (),
    .columns_o       (),
    .row_tile_last_o ()
  );

  spike_chunker #(
    .Slots (1), .Blocks (Blocks)
  ) u_near_blocks (
    .clk_i,
    .start_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i (1'b1),
    .next_i        (near_step),
    .block_o       (),
    .slot_o        (),
    .first_block_o (),
    .tail_block_o  (),
    .block_last_o  (),
    .group_last_o  (),
    .row_last_o    (near_row_end)
  );

  // A place in the job: all that a walk's registers know of what is to come. `valid` is 0 after the last.
  typedef struct packed {
    logic                  valid;
    logic [CountWidth-1:0] rows_left;
    logic [CountWidth-1:0] outputs_left;
    logic                  last_rows;
    logic                  last_outputs;
    logic [BlockWidth-1:0] group_left;
    logic [BlockWidth-1:0] row_left;
    logic                  tail;
    logic                  row_end;
  } place_of_t;

`define PLACE(tiles, blocks) '{ \
    valid: tiles.valid_q, rows_left: tiles.rows_left_q, outputs_left: tiles.outputs_left_q, \
    last_rows: tiles.last_rows_q, last_outputs: tiles.last_outputs_q, group_left: blocks.group_left_q, \
    row_left: blocks.row_left_q, tail: blocks.tail_q, row_end: blocks.end_q}

  // where these registers go in a step that is no start
  function automatic place_of_t after(input place_of_t p);
    after            = p;
    after.group_left = p.tail ? group_blocks_i - 1'b1 : p.group_left - 1'b1;
    after.tail       = p.tail ? group_blocks_i == BlockWidth'(1) : p.group_left == BlockWidth'(1);
    after.row_left   = p.row_end ? row_blocks_i - 1'b1 : p.row_left - 1'b1;
    after.row_end    = p.row_end ? row_blocks_i == BlockWidth'(1) : p.row_left == BlockWidth'(1);
    if (p.row_end) begin
      after.valid        = !(p.last_rows && p.last_outputs);
      after.outputs_left = p.last_outputs ? outputs_i : p.outputs_left - CountWidth'(Columns);
      after.last_outputs = p.last_outputs ? outputs_i <= CountWidth'(Columns)
                                          : p.outputs_left <= CountWidth'(2 * Columns);
      if (p.last_outputs) begin
        after.rows_left = p.rows_left - CountWidth'(Rows);
        after.last_rows = p.rows_left <= CountWidth'(2 * Rows);
      end
    end
  endfunction

  place_of_t loader, near, walker;

  assign loader = `PLACE(u_loader.u_tiler, u_loader.u_chunker);
  assign near   = `PLACE(u_near_tiles, u_near_blocks);
  assign walker = `PLACE(u_walker.u_tiler, u_walker.u_blocks);

  // Row tiles are counted: those that the front end has taken in, or begun, and the walker has not left.
  logic [2:0]            begun, opened;
  logic                  in_row;
  logic [CountWidth-1:0] rows_left, ahead;
  logic [RowWidth-1:0]   row;

  assign row       = u_front.row_q;
  assign in_row    = firing && (row != '0 || u_front.state_q == 2'd2);
  assign begun     = 3'(u_walker.tiles_q) + 3'(u_front.charged_q && u_front.charged.tile_last)
                     + 3'(u_front.live_q && u_front.live.tile_last);
  assign opened    = begun + 3'(in_row);
  assign rows_left = u_front.rows_left_q;
  assign ahead     = CountWidth'(begun) * CountWidth'(Rows);

  // ----------------------------------------------------------------------------------------------------- promises
  always_comb begin
    // the sequencer starts a job that has rows, when all is idle
    assume (!start_i || (rst_ni && !loader.valid && !walker.valid && fire_idle && rows_i != '0 && outputs_i != '0));
    // banks and store have two halves: what is given back was taken before
    assume (!release_i || 3'(u_loader.free_q) + 3'(lead) < 3'd2);
    assume (!store_ready_i || opened < 3'd2);
    if (rst_ni) begin
      Halves:     assert (3'(u_loader.free_q) + 3'(lead) <= 3'd2);
      May:        assert (!u_walker.may_q || (lead != '0 && u_walker.tiles_q != '0));
      Beside:     assert (lead != 2'd0 || (loader.valid == walker.valid && near.valid == walker.valid));
      BesideAll:  assert (lead != 2'd0 || !walker.valid || (loader == walker && near == walker));
      OneAhead:   assert (lead != 2'd1 || (walker.valid && near == after(walker) && loader == near));
      TwoAhead:   assert (lead != 2'd2 || (walker.valid && near == after(walker)
                                           && near.valid && loader == after(near)));
      Tiles:      assert (opened <= 3'd2);
      LastRows:   assert (!walker.valid || (walker.last_rows == (walker.rows_left <= CountWidth'(Rows))
                                            && walker.rows_left != '0));
      FireState:  assert (u_front.state_q != 2'd3);
      ChunkLast:  assert (!u_front.charged_q || !u_front.charged.tile_last || u_front.charged.row_last);
      FireRows:   assert (!firing || (rows_left != '0 && row < RowWidth'(Rows)
                                      && u_front.job_last_q == (rows_left == CountWidth'(1))
                                      && u_front.tile_last_q == (u_front.job_last_q || row == RowWidth'(Rows - 1))));
      Firing:     assert (!firing || (walker.valid && walker.rows_left > ahead
                                      && rows_left + CountWidth'(row) == walker.rows_left - ahead));
      Fired:      assert (firing || !walker.valid || (begun != '0 && walker.rows_left <= ahead
                                                      && walker.rows_left > ahead - CountWidth'(Rows)));
      NoneBegun:  assert (walker.valid || begun == '0);
      // what progress_proof takes for granted
      SameTiles:  assert (!walker.valid || u_walker.tiles_q != '0 || opened != '0 || firing);
      SameBlocks: assert (!walker.valid || lead != '0 || loader.valid);
      SameEnd:    assert (walker.valid || (!firing && opened == '0 && lead == '0 && !loader.valid));
    end
    cover (rst_ni && lead == 2'd2 && walker.valid && !loader.valid);
  end

  // ------------------------------------------------------------------------------------- the job stays while it runs
  logic [2*CountWidth+2*BlockWidth+SlotWidth-1:0] job, job_q;

  assign job = {rows_i, outputs_i, group_blocks_i, row_blocks_i, tail_chunks_i};

  always_ff @(posedge clk_i) job_q <= job;
  always_comb assume (!(rst_ni && (loader.valid || walker.valid)) || job == job_q);

endmodule
