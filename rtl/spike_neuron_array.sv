// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The front end: takes the membranes of a job from the stream, fires them on `Lanes` neurons, a chunk a cycle, writes
// the spikes of all steps to the spike store and, on request, copies them to the spike stream.
//
//   stream in    row 0: header (T), chunk 0, chunk 1, ...   row 1: header, ...       TLAST ends each row
//                or, T beside the data, without the headers: a row begins a cycle before its first chunk is taken
//   a chunk      `Lanes` membranes; the last chunk of a group may hold fewer, the rest of the beat is ignored
//   stream out   row 0: chunk 0: step 0, 1, ..  chunk 1: step 0, ..                   TLAST ends each row
//
//   cycle 0   a chunk is at the input: its neurons are charged
//   cycle 1   its codes are there (charged)
//   cycle 2   its spikes are there (live); they stay until the spike stream has had them all
//
// The spike stream carries one step a beat, so with it a chunk takes one cycle for each of its row's steps.
//
// In capped firing the last step of a chunk, plane 0, is known when its block is complete: it goes to the store then, with
// the block's mask, and there is no spike stream.

`include "spike_assert.svh"

module spike_neuron_array
  import spike_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Lanes  = 16,
  parameter int unsigned Slots  = 16,
  parameter int unsigned Blocks = 32,
  parameter int unsigned Tmax   = TmaxLimit,
  parameter bit          Csd    = 1'b1,
  parameter bit          Capped = 1'b0,          // able to cap tc_lif
  parameter bit          UserTimesteps = 1'b0,  // T comes beside the chunks of a row, not in a header
  localparam int unsigned Planes     = Tmax + int'(Csd),
  localparam int unsigned SignPlanes = Csd ? (Planes + 1) / 2 : 1,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1),
  localparam int unsigned CntWidth   = $clog2((Tmax + 1) * Lanes + 1)
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,

  // job
  input  logic                                start_i,
  output logic                                idle_o,
  output logic                                open_o,          // takes another header or chunk, though maybe not yet
  output logic                                end_o,           // which ends a row
  input  coding_e                             coding_i,
  input  logic                                capped_i,        // only with Capped and tc_lif
  input  logic [4:0]                          frac_bits_i,
  input  logic                                spike_stream_i,  // not if it is capped
  input  logic [CountWidth-1:0]               rows_i,          // M
  input  logic [BlockWidth-1:0]               group_blocks_i,
  input  logic [BlockWidth-1:0]               row_blocks_i,
  input  logic [SlotWidth-1:0]                tail_chunks_i,
  input  logic [LaneWidth-1:0]                tail_lanes_i,

  // membranes
  input  logic                                membrane_valid_i,
  output logic                                membrane_ready_o,
  input  logic [Lanes-1:0][MembraneWidth-1:0] membrane_data_i,
  input  logic [7:0]                          membrane_user_i, // T, if it comes so
  input  logic                                membrane_last_i,

  // spike store
  input  logic                                store_ready_i,   // there is room for a row tile
  output logic                                store_open_o,    // a row tile begins: the room is taken
  output logic                                store_we_o,
  output logic [RowWidth-1:0]                 store_row_o,
  output logic [BlockWidth-1:0]               store_block_o,
  output logic [SlotWidth-1:0]                store_slot_o,
  output logic [Planes-1:0][Lanes-1:0]        store_fire_o,    // plane 0: with store_low_we_o
  output logic [SignPlanes-1:0][Lanes-1:0]    store_neg_o,
  output logic                                store_end_o,     // with the last chunk of a row tile

  // plane 0 of the same chunks, later if it is capped
  output logic                                store_low_we_o,
  output logic [RowWidth-1:0]                 store_low_row_o,
  output logic [BlockWidth-1:0]               store_low_block_o,
  output logic [SlotWidth-1:0]                store_low_slot_o,
  output logic                                store_mask_we_o, // with the last chunk of a block
  output logic [Planes-1:0]                   store_mask_o,    // exponents with a spike in the block
  output logic                                store_done_o,    // with the last chunk of a row tile

  // spike stream
  output logic                                spike_valid_o,
  input  logic                                spike_ready_i,
  output spike_t [Lanes-1:0]                  spike_data_o,
  output logic                                spike_last_o,

  // events
  output logic [CntWidth-1:0]                 spikes_o,
  output logic [CntWidth-1:0]                 skipped_o,
  output logic [LaneWidth-1:0]                saturated_o,
  output logic [TmaxLimit-1:0]                row_done_o,      // one hot: T - 1 of the row
  output logic                                stall_membrane_o,
  output logic                                stall_store_o,
  output logic                                stall_spike_o,
  output logic                                error_timesteps_o,
  output logic                                error_last_o
);

  typedef enum logic [1:0] {
    StIdle,
    StHeader,
    StChunk
  } state_e;

  state_e                state_q, state_d;
  logic [CountWidth-1:0] rows_left_q;
  logic [RowWidth-1:0]   row_q, row_d;
  logic [BlockWidth-1:0] block;
  logic [SlotWidth-1:0]  slot;
  logic [TWidth-1:0]     timesteps_q, header_t;
  logic                  header, charge, open, at_header, at_chunk;
  logic                  block_last, group_last, row_last;
  logic                  job_last_q, tile_last_q;  // the row is the last of the job, of its tile
  logic [LaneWidth-1:0]  lanes;
  logic [MembraneWidth-1:0] below_q, beyond_q;
  logic [4:0]               frac_bits_q;  // next to the neurons

  // A chunk that is in the neurons
  typedef struct packed {
    logic [RowWidth-1:0]   row;
    logic [BlockWidth-1:0] block;
    logic [SlotWidth-1:0]  slot;
    logic [Lanes-1:0]      filled;     // lanes that have an input
    logic [LaneWidth-1:0]  lanes;      // and how many they are
    logic [TWidth-1:0]     timesteps;
    logic [Tmax-1:0]       limit;      // 2^T - 1
    logic                  block_last;
    logic                  row_last;
    logic                  tile_last;
  } chunk_t;

  logic                 charged_q, live_q, take, done, spike_ready, row_next;
  chunk_t               charged, live;
  logic [StepWidth-1:0] live_steps;
  logic                 cap_ready, cap_idle;

  // ------------------------------------------------------------------------------------ stream and counting
  logic unused_first, unused_tail;

  spike_chunker #(
    .Slots  (Slots),
    .Blocks (Blocks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .next_i        (charge),
    .block_o       (block),
    .slot_o        (slot),
    .first_block_o (unused_first),
    .tail_block_o  (unused_tail),
    .block_last_o  (block_last),
    .group_last_o  (group_last),
    .row_last_o    (row_last)
  );

  assign lanes = group_last ? tail_lanes_i : LaneWidth'(Lanes);

  assign row_d     = tile_last_q ? '0 : row_q + 1'b1;
  assign open      = row_q != '0 || store_ready_i;
  assign at_header = state_q == StHeader && open;
  assign at_chunk  = state_q == StChunk && (!charged_q || take);

  assign membrane_ready_o = (at_header && !UserTimesteps) || at_chunk;
  assign header           = membrane_valid_i && at_header;
  assign charge           = membrane_valid_i && at_chunk;
  assign row_next         = charge && row_last;
  assign open_o           = state_q != StIdle;
  assign end_o            = state_q == StChunk && row_last;
  assign idle_o           = state_q == StIdle && !charged_q && !live_q && cap_idle && !spike_valid_o;
  assign store_open_o     = header && row_q == '0;

  // T of the row, forced into range so that a bad row cannot hang the job
  logic [7:0] raw_t;
  assign raw_t             = UserTimesteps ? membrane_user_i : membrane_data_i[0][HeaderTLsb +: 8];
  assign error_timesteps_o = header && (raw_t == 8'd0 || raw_t > 8'(Tmax));

  logic unused_user;
  assign unused_user = ^membrane_user_i;

  always_comb begin
    header_t = raw_t[TWidth-1:0];
    if (raw_t == 8'd0) header_t = TWidth'(1);
    if (raw_t > 8'(Tmax)) header_t = TWidth'(Tmax);
  end

  assign error_last_o = (header && membrane_last_i && !UserTimesteps) || (charge && membrane_last_i != row_last);

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:   if (start_i) state_d = StHeader;
      StHeader: if (header) state_d = StChunk;
      StChunk:  if (row_next) state_d = job_last_q ? StIdle : StHeader;
      default:  state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      state_q <= state_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle || row_next) begin
      rows_left_q <= (state_q == StIdle) ? rows_i : rows_left_q - 1'b1;
      row_q       <= (state_q == StIdle) ? '0 : row_d;
      job_last_q  <= (state_q == StIdle) ? rows_i == CountWidth'(1) : rows_left_q == CountWidth'(2);
      tile_last_q <= (state_q == StIdle) ? Rows == 1 || rows_i == CountWidth'(1)
                                         : rows_left_q == CountWidth'(2) || row_d == RowWidth'(Rows - 1);
    end
    if (header) begin
      timesteps_q <= header_t;
      beyond_q    <= bits_beyond(frac_bits_i, header_t);
    end
  end

  // ------------------------------------------------------------------------------------------------- neurons
  spike_t [Lanes-1:0][Planes-1:0] spikes;
  logic [Lanes-1:0]               saturated, filled;
  logic [Tmax-1:0]                limit;

  for (genvar l = 0; l < Lanes; l++) begin : gen_neuron
    spike_neuron #(
      .Tmax (Tmax),
      .Csd  (Csd)
    ) u_neuron (
      .clk_i,
      .coding_i,
      .frac_bits_i (frac_bits_q),
      .charge_i    (charge),
      .membrane_i  (membrane_data_i[l]),
      .below_i     (below_q),
      .beyond_i    (beyond_q),
      .take_i      (take),
      .filled_i    (charged.filled[l]),
      .limit_i     (charged.limit),
      .saturated_o (saturated[l]),
      .spikes_o    (spikes[l])
    );

    assign filled[l] = LaneWidth'(l) < lanes;
  end

  for (genvar t = 0; t < Tmax; t++) begin : gen_limit
    assign limit[t] = timesteps_q > TWidth'(t);
  end

  assign take = charged_q && (!live_q || done);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      charged_q <= 1'b0;
      live_q    <= 1'b0;
    end else begin
      if (charge) charged_q <= 1'b1;
      else if (take) charged_q <= 1'b0;
      if (take) live_q <= 1'b1;
      else if (done) live_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    frac_bits_q <= frac_bits_i;
    below_q     <= bits_below(frac_bits_i);
    if (take) live <= charged;
    if (charge) begin
      charged <= '{
        row:        row_q,
        block:      block,
        slot:       slot,
        filled:     filled,
        lanes:      lanes,
        timesteps:  timesteps_q,
        limit:      limit,
        block_last: block_last,
        row_last:   row_last,
        tile_last:  row_last && tile_last_q
      };
    end
  end

  logic unused_live;
  assign unused_live = ^{live.filled, live.limit};

  assign live_steps = StepWidth'(live.timesteps) + StepWidth'(coding_i == CodingCsd);

  // -------------------------------------------------------------------------------------------- spike store
  logic [Planes-1:0][Lanes-1:0] fire;
  logic [Planes-1:0]            mask_q, mask, fired;
  logic [Lanes-1:0]             low_fire;   // plane 0, when it is known
  logic [LaneWidth-1:0]         low_lanes;  // inputs of its chunk

  assign store_we_o    = done;
  assign store_row_o   = live.row;
  assign store_block_o = live.block;
  assign store_slot_o  = live.slot;
  assign store_end_o   = done && live.tile_last;
  assign mask          = mask_q | fired;

  always_comb begin
    store_neg_o = '0;
    for (int unsigned e = 0; e < Planes; e++) begin
      for (int unsigned l = 0; l < Lanes; l++) begin
        fire[e][l] = spikes[l][e].fire;
        store_neg_o[Csd ? e / 2 : 0][l] |= spikes[l][e].neg;
      end
      fired[e] = |fire[e];
    end
  end

  for (genvar e = 0; e < Planes; e++) begin : gen_store_fire
    assign store_fire_o[e] = (e == 0) ? low_fire : fire[e];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) mask_q <= '0;
    else if (done) mask_q <= live.block_last ? '0 : mask;
  end

  // ------------------------------------------------------------------------------------------- capped firing
  if (Capped) begin : gen_capped
    // A block whose plane 0 waits
    typedef struct packed {
      logic [RowWidth-1:0]   row;
      logic [BlockWidth-1:0] block;
      logic [LaneWidth-1:0]  lanes;      // inputs of the last chunk
      logic                  tile_last;
      logic [Planes-1:0]     mask;       // of the other planes
    } block_t;

    logic [Lanes-1:0][1:0] loss;
    block_t                waiting, leaving;
    logic                  leave, leave_last, any_q;
    logic [Lanes-1:0]      leave_fire;
    logic [SlotWidth-1:0]  leave_slot;
    logic [MembraneWidth-1:0] below_quarters_q;

    always_ff @(posedge clk_i) below_quarters_q <= bits_below(frac_bits_i - 1'b1);

    for (genvar l = 0; l < Lanes; l++) begin : gen_loss
      spike_loss u_loss (
        .clk_i,
        .frac_bits_i (frac_bits_q),
        .charge_i    (charge),
        .membrane_i  (membrane_data_i[l]),
        .below_i     (below_quarters_q),
        .take_i      (take),
        .saturated_i (saturated[l]),
        .loss_o      (loss[l])
      );
    end

    assign waiting = '{
      row:       live.row,
      block:     live.block,
      lanes:     live.lanes,
      tile_last: live.tile_last,
      mask:      mask
    };

    spike_capper #(
      .Lanes (Lanes),
      .Slots (Slots),
      .Tmax  (Planes),
      .Width ($bits(block_t))
    ) u_capper (
      .clk_i,
      .rst_ni,
      .idle_o  (cap_idle),
      .valid_i (live_q && capped_i),
      .ready_o (cap_ready),
      .fire_i  (fire),
      .loss_i  (loss),
      .last_i  (live.block_last),
      .data_i  (waiting),
      .valid_o (leave),
      .slot_o  (leave_slot),
      .fire_o  (leave_fire),
      .last_o  (leave_last),
      .data_o  (leaving)
    );

    always_ff @(posedge clk_i) begin
      if (!rst_ni) any_q <= 1'b0;
      else if (leave) any_q <= !leave_last && (any_q || leave_fire != '0);
    end

    always_comb begin
      store_low_we_o    = done;
      store_low_row_o   = live.row;
      store_low_block_o = live.block;
      store_low_slot_o  = live.slot;
      low_fire          = fire[0];
      low_lanes         = live.lanes;
      store_mask_we_o   = done && live.block_last;
      store_mask_o      = mask;
      store_done_o      = done && live.tile_last;
      if (capped_i) begin
        store_low_we_o    = leave;
        store_low_row_o   = leaving.row;
        store_low_block_o = leaving.block;
        store_low_slot_o  = leave_slot;
        low_fire          = leave_fire;
        low_lanes         = leave_last ? leaving.lanes : LaneWidth'(Lanes);
        store_mask_we_o   = leave && leave_last;
        store_mask_o      = leaving.mask;
        store_mask_o[0]   = any_q || leave_fire != '0;
        store_done_o      = leave && leave_last && leaving.tile_last;
      end
    end

    `SPIKE_EXPECT(Alone, !live_q || !capped_i || (coding_i == CodingTcLif && !spike_stream_i))
  end else begin : gen_uncapped
    assign cap_ready         = 1'b1;
    assign cap_idle          = 1'b1;
    assign store_low_we_o    = done;
    assign store_low_row_o   = live.row;
    assign store_low_block_o = live.block;
    assign store_low_slot_o  = live.slot;
    assign low_fire          = fire[0];
    assign low_lanes         = live.lanes;
    assign store_mask_we_o   = done && live.block_last;
    assign store_mask_o      = mask;
    assign store_done_o      = done && live.tile_last;

    logic unused_capped;
    assign unused_capped = capped_i;
  end

  // ------------------------------------------------------------------------------------------- spike stream
  logic [StepWidth-1:0] exponent_q;
  logic                 step_last_q, fifo_ready, unused_room;  // step_last_q: or no stream
  spike_t [Lanes-1:0]   plane;

  always_ff @(posedge clk_i) begin
    if (take) begin
      exponent_q  <= StepWidth'(charged.timesteps) + StepWidth'(coding_i == CodingCsd) - 1'b1;
      step_last_q <= !spike_stream_i || (charged.timesteps == TWidth'(1) && coding_i != CodingCsd);
    end else if (live_q && fifo_ready) begin
      exponent_q  <= exponent_q - 1'b1;
      step_last_q <= !spike_stream_i || exponent_q == StepWidth'(1);
    end
  end

  always_comb begin
    plane = '0;
    for (int unsigned e = 0; e < Planes; e++) begin
      for (int unsigned l = 0; l < Lanes; l++) begin
        if (exponent_q == StepWidth'(e)) plane[l] = spikes[l][e];
      end
    end
  end

  spike_fifo #(
    .Width($bits(plane) + 1)
  ) u_spike_fifo (
    .clk_i,
    .rst_ni,
    .valid_i (live_q && spike_stream_i),
    .ready_o (fifo_ready),
    .room_o  (unused_room),
    .data_i  ({live.row_last && step_last_q, plane}),
    .valid_o (spike_valid_o),
    .ready_i (spike_ready_i),
    .data_o  ({spike_last_o, spike_data_o})
  );

  assign spike_ready = fifo_ready || !spike_stream_i;
  assign done        = live_q && spike_ready && step_last_q && (cap_ready || !capped_i);

  // -------------------------------------------------------------------------------------------------- events
  // Counted one and two cycles later: sums of many events are long paths of their own. Plane 0 is counted as it comes.
  logic [Planes-1:0][Lanes/4-1:0][2:0] fours_d, fours_q;  // spikes of four lanes
  logic [CntWidth-1:0] places, places_q, places_late_q, number;  // places: steps times inputs
  logic [LaneWidth-1:0] low_places_q;  // of plane 0, which may come later
  logic [Lanes-1:0]    saturated_q;

  always_comb begin
    places = '0;
    for (int unsigned e = 1; e < Planes; e++) begin
      if (StepWidth'(e) < live_steps) places += CntWidth'(live.lanes);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fours_q       <= '0;
      places_q      <= '0;
      low_places_q  <= '0;
      places_late_q <= '0;
      spikes_o      <= '0;
      saturated_q   <= '0;
    end else begin
      for (int unsigned e = 0; e < Planes; e++) fours_q[e] <= (e == 0 ? store_low_we_o : done) ? fours_d[e] : '0;
      places_q      <= done ? places : '0;
      low_places_q  <= store_low_we_o ? low_lanes : '0;
      places_late_q <= places_q + CntWidth'(low_places_q);
      spikes_o      <= number;
      saturated_q   <= take ? saturated & charged.filled : '0;
    end
  end

  always_comb begin
    fours_d     = '0;
    number      = '0;
    saturated_o = '0;
    for (int unsigned l = 0; l < Lanes; l++) begin
      for (int unsigned e = 0; e < Planes; e++) fours_d[e][l/4] += 3'(store_fire_o[e][l]);
      saturated_o += LaneWidth'(saturated_q[l]);
    end
    for (int unsigned l = 0; l < Lanes / 4; l++) begin
      for (int unsigned e = 0; e < Planes; e++) number += CntWidth'(fours_q[e][l]);
    end
  end

  assign skipped_o = places_late_q - spikes_o;

  always_comb begin
    row_done_o = '0;
    for (int unsigned t = 0; t < TmaxLimit; t++) begin
      row_done_o[t] = done && live.row_last && live.timesteps == TWidth'(t + 1);
    end
  end

  assign stall_membrane_o = membrane_ready_o && !membrane_valid_i;
  assign stall_store_o    = state_q == StHeader && row_q == '0 && !store_ready_i;
  assign stall_spike_o    = live_q && !spike_ready;

  `SPIKE_ASSERT(DoneOnce, !done || live_q)
  `SPIKE_ASSERT(OneRow, $onehot0(row_done_o))

endmodule
