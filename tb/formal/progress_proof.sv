// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof that a job never stands still: while it runs, a beat is taken on one of the four streams, the picker takes a
// plane, or the job ends, at least once in `Limit` cycles; provided that no input for which the core waits, and no
// output that has something on offer, pauses for more than `Pause` cycles in a row.
//
// It is the whole core; any_data/ and any_tiles/ take the places of data, registers and tiler, so that it is about
// any job, any spikes, any number of tiles. What that takes away, that front end, weight loader and walker go through
// the same row tiles and blocks, is taken for granted here (SAME) and proven in same_proof.
//
// It comes in parts. Hold: the promises are kept from cycle to cycle, by induction; no fairness is needed for that.
// Watch: from every state in which they hold, reachable or not, no `Limit` cycles without progress follow. Both
// together hold for ever. Reach is no proof: it has to fail, as a job that gives sums does come to its end.

`define PROMISE(label, expr) if (Part == Hold) label: assert (expr); else if (Part == Watch) assume (expr);
`define SAME(expr) if (Part != Hold) assume (expr);

module progress_proof
  import spike_pkg::*;
#(
  parameter int unsigned Rows           = 2,
  parameter int unsigned Columns        = 2,
  parameter int unsigned Slots          = 2,
  parameter int unsigned Blocks         = 2,
  parameter int unsigned Tmax           = 2,
  parameter bit          Csd            = 1'b0,
  parameter bit          UserTimesteps  = 1'b0,
  parameter int unsigned MembraneStream = 32,  // a chunk is two beats
  parameter int unsigned WeightStream   = 32,  // a beat is two units
  parameter int unsigned SpikeStream    = 32,  // four units
  parameter int unsigned AccStream      = 32,  // a unit is two beats
  parameter int unsigned Part           = 0,
  parameter bit          Picked         = 1'b1,  // a plane that the picker takes counts
  parameter int unsigned Pause          = 2,
  parameter int unsigned Limit          = 18,
  localparam int unsigned Hold         = 0,   // the promises, without the watch
  localparam int unsigned Watch        = 1,   // the watch, from every state in which the promises hold
  localparam int unsigned Reach        = 2,   // does not hold: from a reset on no job ends that has given sums
  localparam int unsigned Lanes        = 4,
  localparam int unsigned MembraneBeat = (MembraneStream != 0) ? MembraneStream : Lanes * 16,
  localparam int unsigned WeightBeat   = (WeightStream != 0) ? WeightStream : 2 * Columns * 4
) (
  input logic                    clk_i,
  input logic                    reset_i,  // at any time
  input logic                    membrane_valid_i,
  input logic [MembraneBeat-1:0] membrane_data_i,
  input logic                    membrane_last_i,
  input logic [7:0]              membrane_user_i,
  input logic                    weight_valid_i,
  input logic [WeightBeat-1:0]   weight_data_i,
  input logic                    weight_last_i,
  input logic                    spike_ready_i,
  input logic                    acc_ready_i
);

  localparam int unsigned Planes     = Tmax + int'(Csd);
  localparam int unsigned RowWidth   = $clog2(Rows + 1);
  localparam int unsigned PauseWidth = $clog2(Pause + 1);
  localparam int unsigned WatchWidth = $clog2(Limit + 1);

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = (Part == Watch) || (started_q && !(reset_i && Part == Hold));

  logic membrane_ready, weight_ready, spike_valid, acc_valid;

  spike_core #(
    .Rows           (Rows),
    .Columns        (Columns),
    .Lanes          (Lanes),
    .Slots          (Slots),
    .WeightInputs   (2),
    .WeightBits     (2),
    .Tmax           (Tmax),
    .MaxInputs      (Lanes * Slots * Blocks),
    .MembraneBits   (16),
    .NibbleWeights  (1'b1),
    .UserTimesteps  (UserTimesteps),
    .MembraneStream (MembraneStream),
    .WeightStream   (WeightStream),
    .SpikeStream    (SpikeStream),
    .AccStream      (AccStream),
    .Csd            (Csd)
  ) u_core (
    .clk_i,
    .rst_ni,
    .s_axil_awvalid_i         (1'b0),
    .s_axil_awready_o         (),
    .s_axil_awaddr_i          ('0),
    .s_axil_wvalid_i          (1'b0),
    .s_axil_wready_o          (),
    .s_axil_wdata_i           ('0),
    .s_axil_wstrb_i           ('0),
    .s_axil_bvalid_o          (),
    .s_axil_bready_i          (1'b0),
    .s_axil_bresp_o           (),
    .s_axil_arvalid_i         (1'b0),
    .s_axil_arready_o         (),
    .s_axil_araddr_i          ('0),
    .s_axil_rvalid_o          (),
    .s_axil_rready_i          (1'b0),
    .s_axil_rdata_o           (),
    .s_axil_rresp_o           (),
    .irq_o                    (),
    .s_axis_membrane_tvalid_i (membrane_valid_i),
    .s_axis_membrane_tready_o (membrane_ready),
    .s_axis_membrane_tdata_i  (membrane_data_i),
    .s_axis_membrane_tlast_i  (membrane_last_i),
    .s_axis_membrane_tuser_i  (membrane_user_i),
    .s_axis_weight_tvalid_i   (weight_valid_i),
    .s_axis_weight_tready_o   (weight_ready),
    .s_axis_weight_tdata_i    (weight_data_i),
    .s_axis_weight_tlast_i    (weight_last_i),
    .m_axis_spike_tvalid_o    (spike_valid),
    .m_axis_spike_tready_i    (spike_ready_i),
    .m_axis_spike_tdata_o     (),
    .m_axis_spike_tkeep_o     (),
    .m_axis_spike_tlast_o     (),
    .m_axis_acc_tvalid_o      (acc_valid),
    .m_axis_acc_tready_i      (acc_ready_i),
    .m_axis_acc_tdata_o       (),
    .m_axis_acc_tkeep_o       (),
    .m_axis_acc_tlast_o       ()
  );

  // ------------------------------------------------------------------------------------------ the outside is fair
  logic [3:0]                 pauses, moves;  // streams that could go on if the outside did; and those that do
  logic [3:0][PauseWidth-1:0] paused_q;

  // where a beat holds several units, or T comes beside the data, the core uses a beat before it takes it
  assign pauses = {
    (membrane_ready || u_core.membrane_ready || (UserTimesteps && u_core.membrane_open)) && !membrane_valid_i,
    (weight_ready || u_core.weight_ready) && !weight_valid_i,
    spike_valid && !spike_ready_i, acc_valid && !acc_ready_i
  };
  assign moves = {
    membrane_ready && membrane_valid_i, weight_ready && weight_valid_i,
    spike_valid && spike_ready_i, acc_valid && acc_ready_i
  };

  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < 4; i++) begin
      paused_q[i] <= (rst_ni && pauses[i]) ? paused_q[i] + 1'b1 : '0;
    end
  end

  // ---------------------------------------------------------------------------------------------------- the watch
  logic                  progress;
  logic [WatchWidth-1:0] watch_q;

  assign progress = !u_core.busy || moves != '0 || (Picked && u_core.c_take);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || progress) watch_q <= '0;
    else watch_q <= watch_q + 1'b1;
  end

  logic summed_q;  // a sum has left since the job began

  always_ff @(posedge clk_i) summed_q <= rst_ni && u_core.busy && (summed_q || moves[0]);

  // -------------------------------------------------------------- where room of the store and halves of the banks are
  // Of a row in the walker: the lowest bits of its entry
  typedef struct packed {
    logic   block_end;
    logic   tile_end;
    place_t place;
  } ends_t;

  logic       firing, walking, loading;
  logic [1:0] opened, queued, tiles_left, blocks_left;
  ends_t      in_mask, in_b;
  ends_t [2:0] in_queue;
  logic [2:0] is_queued;
  logic [1:0] q_count, q_rd;

  assign firing  = u_core.membrane_open;
  assign walking = u_core.u_walker.tile_valid;
  assign loading = u_core.weight_open;

  // row tiles that the front end has begun and not handed over
  assign opened = 2'(firing && (u_core.u_neuron_array.row_q != '0 || u_core.u_neuron_array.state_q == 2'd2))
                + 2'(u_core.u_neuron_array.charged_q && u_core.u_neuron_array.charged.tile_last)
                + 2'(u_core.u_neuron_array.live_q && u_core.u_neuron_array.live.tile_last);

  assign q_count   = u_core.u_walker.u_queue.count_q;
  assign q_rd      = u_core.u_walker.u_queue.rd_q;
  assign is_queued = (q_count == 2'd3) ? 3'b111
                   : (q_count == 2'd2) ? ((q_rd == 2'd0) ? 3'b011 : (q_rd == 2'd1) ? 3'b110 : 3'b101)
                   : (q_count == 2'd1) ? ((q_rd == 2'd0) ? 3'b001 : (q_rd == 2'd1) ? 3'b010 : 3'b100) : 3'b000;

  assign in_queue[0] = u_core.u_walker.u_queue.mem_q[0][Planes +: 5];
  assign in_queue[1] = u_core.u_walker.u_queue.mem_q[1][Planes +: 5];
  assign in_queue[2] = u_core.u_walker.u_queue.mem_q[2][Planes +: 5];
  assign in_mask     = u_core.u_walker.mask_entry_q[4:0];
  assign in_b        = u_core.u_walker.b_q[4:0];

  logic in_c, in_d, in_next, in_present;  // a plane that releases a half of the banks
  logic mask_valid, b_valid, c_valid, d_valid;

  assign mask_valid = u_core.u_walker.mask_valid_q;
  assign b_valid    = u_core.u_walker.b_valid_q;
  assign c_valid    = u_core.u_walker.c_valid_q;
  assign d_valid    = u_core.u_walker.d_valid_q;
  assign in_c       = c_valid && u_core.u_walker.c_q.free;
  assign in_d       = d_valid && u_core.u_walker.d_q.free;
  assign in_next    = u_core.u_picker.next_valid_q && u_core.u_picker.next_q.free;
  assign in_present = u_core.u_picker.valid_q && u_core.u_picker.plane_q.free;

  logic [3:0] tile_places, block_places;

  always_comb begin
    tile_places = 4'(u_core.u_store.free_q) + 4'(opened) + 4'(u_core.u_walker.tiles_q)
                + 4'(mask_valid && in_mask.tile_end) + 4'(b_valid && in_b.tile_end)
                + 4'(c_valid && u_core.u_walker.c_tile_end_q);
    block_places = 4'(u_core.u_weight_loader.free_q) + 4'(u_core.u_walker.banks_q)
                 + 4'(mask_valid && in_mask.block_end) + 4'(b_valid && in_b.block_end)
                 + 4'(in_c) + 4'(in_d) + 4'(in_next) + 4'(in_present)
                 + 4'(u_core.u_array.release_q[1]) + 4'(u_core.u_array.release_q[2]);
    for (int unsigned i = 0; i < 3; i++) begin
      tile_places  += 4'(is_queued[i] && in_queue[i].tile_end);
      block_places += 4'(is_queued[i] && in_queue[i].block_end);
    end
  end

  logic ends_ok;
  always_comb begin
    ends_ok = (!in_mask.tile_end || in_mask.block_end || !mask_valid) && (!in_b.tile_end || in_b.block_end || !b_valid);
    for (int unsigned i = 0; i < 3; i++) begin
      ends_ok = ends_ok && (!is_queued[i] || !in_queue[i].tile_end || in_queue[i].block_end);
    end
  end

  logic [RowWidth-1:0] a_row, tile_rows, next_rows;
  assign a_row     = u_core.u_walker.a_row_q;
  assign tile_rows = u_core.u_walker.u_tiler.rows_q;
  assign next_rows = u_core.u_walker.u_tiler.rows_next_q;

  logic [RowWidth-1:0] row;
  assign row = u_core.u_neuron_array.row_q;

  // ----------------------------------------------------------------------------------------------------- promises
  always_comb begin
    for (int unsigned i = 0; i < 4; i++) begin
      assume (Part == Hold || !rst_ni || !pauses[i] || paused_q[i] < PauseWidth'(Pause));
    end
    // the walker is the last to end, and what it waits for is to come
    if (rst_ni) begin
      `SAME(walking || (!firing && opened == '0 && u_core.u_walker.tiles_q == '0
                                      && !loading && u_core.u_walker.banks_q == '0))
      `SAME(!walking || u_core.u_walker.tiles_q != '0 || opened != '0 || firing)
      `SAME(!walking || u_core.u_walker.banks_q != '0 || loading)
    end
    if (Part == Watch) assume (started_q || watch_q == '0);
    if (Part == Watch) Progress: assert (watch_q < WatchWidth'(Limit));
    if (Part == Reach) NoEnd: assert (!rst_ni || !u_core.done || !summed_q);
    if (rst_ni) begin
      // what can be held is somewhere
      `PROMISE(TilePlaces, tile_places == 4'd2)
      `PROMISE(BlockPlaces, block_places == 4'd2)
      // front end
      `PROMISE(FireState, u_core.u_neuron_array.state_q != 2'd3)
      `PROMISE(FireRow, !firing || row < RowWidth'(Rows))
      `PROMISE(FireLast, !firing || u_core.u_neuron_array.tile_last_q
                          || (row != RowWidth'(Rows - 1) && !u_core.u_neuron_array.job_last_q))
      `PROMISE(ChunkLast, !u_core.u_neuron_array.charged.tile_last || u_core.u_neuron_array.charged.row_last
                          || !u_core.u_neuron_array.charged_q)
      `PROMISE(SpikeCount, u_core.u_neuron_array.u_spike_fifo.count_q <= 2'd2)
      // walker
      `PROMISE(TileRows, tile_rows != '0 && tile_rows <= RowWidth'(Rows)
                          && next_rows != '0 && next_rows <= RowWidth'(Rows))
      `PROMISE(WalkRow, !walking || (a_row < tile_rows
                                     && u_core.u_walker.a_block_end_q == (a_row == tile_rows - 1'b1)))
      `PROMISE(QueueState, q_rd != 2'd3 && u_core.u_walker.u_queue.wr_q != 2'd3
                          && (32'(q_rd) + 32'(q_count)) % 3 == 32'(u_core.u_walker.u_queue.wr_q))
      `PROMISE(QueueCount, 4'(u_core.u_walker.masks_q) == 4'(mask_valid) + 4'(q_count)
                          && u_core.u_walker.masks_q <= 2'd3)
      `PROMISE(May, u_core.u_walker.may_q == (u_core.u_walker.tiles_q != '0 && u_core.u_walker.banks_q != '0
                                                    && u_core.u_walker.masks_q != 2'd3))
      `PROMISE(PlanesRead, u_core.u_walker.planes_q == 2'(c_valid) + 2'(d_valid))
      `PROMISE(TileEnds, ends_ok)
      `PROMISE(LastPlane, !b_valid || u_core.u_walker.b_last_q == (u_core.u_walker.b_exponent_q == '0))
      `PROMISE(FreeLast, (!in_c || u_core.u_walker.c_q.last) && (!in_d || u_core.u_walker.d_q.last)
                          && (!in_next || u_core.u_picker.next_q.last) && (!in_present || u_core.u_picker.plane_q.last))
      // picker, array, accumulator
      `PROMISE(Turn, u_core.u_picker.turn_q == (u_core.u_picker.ends_q || !u_core.u_picker.valid_q)
                          && (!u_core.u_picker.ends_q || u_core.u_picker.valid_q))
      `PROMISE(Releases, (u_core.u_array.release_q & ~u_core.u_array.valid_q[2:1]) == '0)
      `PROMISE(SumCount, u_core.u_accumulator.u_queue.count_q <= 2'd2)
      `PROMISE(Stops, u_core.enable == (!u_core.u_accumulator.leave || u_core.u_accumulator.queue_ready))
      // sequencer: engines work only while it waits for them
      `PROMISE(IdleBefore, u_core.u_sequencer.state_q == 3'd4 || u_core.idle)
      `PROMISE(SeqState, u_core.u_sequencer.state_q <= 3'd5)
    end
  end

endmodule
