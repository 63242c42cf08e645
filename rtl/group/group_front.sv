// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The front end of the group core: takes the membranes of a job from the stream, a unit of `Units` groups at a time, lets as many
// encoders find out who fires, writes their spikes to the store, a step a cycle, and, on request, copies them to the spike stream.
//
//   stream in    row 0: header (S), unit 0, unit 1, ...   row 1: header, ...        TLAST ends each row
//   a unit       4 * Units membranes; the last unit of a scale group may hold fewer, the rest of the beat is ignored
//   stream out   row 0: unit 0, unit 1, ...                                         TLAST ends each row
//                a unit: 32 bits for each group, 4 for each step, the last step lowest (spike_of_group_t)
//
// An encoder takes a new group every S cycles, and the store is written in as many.

`include "spike_assert.svh"

module group_front
  import spike_pkg::*;
  import group_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Groups = 32,
  parameter int unsigned Chunks = 16,
  parameter int unsigned Steps  = 7,
  parameter int unsigned Units  = 1,
  parameter bit          UserTimesteps = 1'b0,  // S comes beside the units of a row, not in a header
  localparam int unsigned Inputs     = GroupInputs * Units,
  localparam int unsigned MaxInputs  = GroupInputs * Groups * Chunks,
  localparam int unsigned InputWidth = $clog2(MaxInputs + 1),
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned AddrWidth  = $clog2(2 * Chunks * Steps),
  localparam int unsigned Parts      = Groups / Units,
  localparam int unsigned CntWidth   = $clog2(Units + 1)
) (
  input  logic                                 clk_i,
  input  logic                                 rst_ni,

  // job
  input  logic                                 start_i,
  output logic                                 idle_o,
  output logic                                 open_o,          // takes another header or unit, though maybe not yet
  output logic                                 end_o,           // which ends a row
  input  logic                                 spike_stream_i,
  input  logic [CountWidth-1:0]                rows_i,          // M
  input  logic [InputWidth-1:0]                groups_i,        // scale groups of a row,
  input  logic [InputWidth-1:0]                group_inputs_i,  // and the inputs of each

  // membranes
  input  logic                                 membrane_valid_i,
  output logic                                 membrane_ready_o,
  input  logic [Inputs-1:0][MembraneWidth-1:0] membrane_data_i,
  input  logic [7:0]                           membrane_user_i, // S, if it comes so
  input  logic                                 membrane_last_i,

  // store
  input  logic                                 store_ready_i,   // there is room for a row tile
  output logic                                 store_open_o,    // a row tile begins: the room is taken
  output logic                                 store_we_o,
  output logic [RowWidth-1:0]                  store_row_o,
  output logic [AddrWidth-1:0]                 store_addr_o,
  output logic [Parts-1:0]                     store_part_o,
  output logic [Units-1:0][SpikeBits-1:0]      store_spikes_o,
  output logic                                 store_row_done_o,
  output logic [LeftWidth-1:0]                 store_left_o,
  output logic                                 store_done_o,

  // spike stream
  output logic                                 spike_valid_o,
  input  logic                                 spike_ready_i,
  output logic [Units-1:0][31:0]               spike_data_o,
  output logic                                 spike_last_o,

  // events
  output logic [CntWidth-1:0]                  spikes_o,
  output logic [TmaxLimit-1:0]                 row_done_o,      // one hot: S - 1 of the row
  output logic                                 stall_membrane_o,
  output logic                                 stall_store_o,
  output logic                                 stall_spike_o,
  output logic                                 error_timesteps_o,
  output logic                                 error_last_o
);

  localparam int unsigned Depth     = 10;  // units on their way: in an encoder, and as many that wait for the store
  localparam int unsigned PartWidth = (Parts > 1) ? $clog2(Parts) : 1;

  typedef enum logic [1:0] {
    StIdle,
    StHeader,
    StUnit
  } state_e;

  // Where a unit's spikes go
  typedef struct packed {
    logic [RowWidth-1:0]  row;
    logic [AddrWidth-1:0] base;
    logic [PartWidth-1:0] part;
    logic [LeftWidth-1:0] left;       // steps behind the first
    logic                 row_last;
    logic                 tile_last;
  } target_t;

  // ------------------------------------------------------------------------------------------ stream and counting
  state_e                state_q, state_d;
  logic [CountWidth-1:0] rows_left_q;
  logic [RowWidth-1:0]   row_q;
  logic [InputWidth-1:0] inputs_left_q, groups_left_q;
  logic [PartWidth-1:0]  part_q;
  logic [AddrWidth-1:0]  base_q;
  logic [LeftWidth-1:0]  left_q;
  logic                  header, charge, open, at_header, at_unit, group_last, row_last, job_last, tile_last, part_last;
  logic [7:0]            raw_s;

  assign group_last = inputs_left_q <= InputWidth'(Inputs);
  assign row_last   = group_last && groups_left_q == InputWidth'(1);
  assign job_last   = rows_left_q == CountWidth'(1);
  assign tile_last  = job_last || row_q == RowWidth'(Rows - 1);
  assign part_last  = part_q == PartWidth'(Parts - 1);

  logic charged_q, take;

  assign open      = row_q != '0 || store_ready_i;
  assign at_header = state_q == StHeader && open;
  assign at_unit   = state_q == StUnit && (!charged_q || take);

  assign membrane_ready_o = (at_header && !UserTimesteps) || at_unit;
  assign header           = membrane_valid_i && at_header;
  assign charge           = membrane_valid_i && at_unit;
  assign open_o           = state_q != StIdle;
  assign end_o            = state_q == StUnit && row_last;
  assign store_open_o     = header && row_q == '0;

  // S of the row, forced into range so that a bad row cannot hang the job
  assign raw_s             = UserTimesteps ? membrane_user_i : membrane_data_i[0][HeaderTLsb +: 8];
  assign error_timesteps_o = header && (raw_s == 8'd0 || raw_s > 8'(Steps));
  assign error_last_o      = (header && membrane_last_i && !UserTimesteps) || (charge && membrane_last_i != row_last);

  logic unused_user;
  assign unused_user = ^membrane_user_i;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:   if (start_i) state_d = StHeader;
      StHeader: if (header) state_d = StUnit;
      StUnit:   if (charge && row_last) state_d = job_last ? StIdle : StHeader;
      default:  state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) begin
      rows_left_q <= rows_i;
      row_q       <= '0;
    end else if (charge && row_last) begin
      rows_left_q <= rows_left_q - 1'b1;
      row_q       <= tile_last ? '0 : row_q + 1'b1;
    end
    if (header) begin
      left_q <= (raw_s == 8'd0) ? '0 : (raw_s > 8'(Steps)) ? LeftWidth'(Steps - 1) : LeftWidth'(raw_s - 8'd1);
      inputs_left_q <= group_inputs_i;
      groups_left_q <= groups_i;
      part_q        <= '0;
      base_q        <= '0;
    end else if (charge) begin
      inputs_left_q <= group_last ? group_inputs_i : inputs_left_q - InputWidth'(Inputs);
      if (group_last) groups_left_q <= groups_left_q - 1'b1;
      part_q <= (group_last || part_last) ? '0 : part_q + 1'b1;
      if (group_last || part_last) base_q <= base_q + AddrWidth'(Steps);
    end
  end

  // ------------------------------------------------------------------------------------------------------ charge
  target_t                                                 target, charged;
  logic [Units-1:0][GroupInputs-1:0][MagnitudeBits-1:0]    magnitudes, magnitudes_q;
  logic [Units-1:0][GroupInputs-1:0]                       neg, neg_q;
  logic [MagnitudeBits-1:0]                                largest;

  assign target  = '{row: row_q, base: base_q, part: part_q, left: left_q, row_last: row_last,
                     tile_last: row_last && tile_last};
  assign largest = largest_membrane(left_q);

  for (genvar u = 0; u < Units; u++) begin : gen_unit
    for (genvar j = 0; j < GroupInputs; j++) begin : gen_input
      logic [MembraneWidth-1:0] membrane, positive;

      assign membrane         = membrane_data_i[GroupInputs*u+j];
      assign neg[u][j]        = membrane[MembraneWidth-1];
      assign positive         = neg[u][j] ? -membrane : membrane;
      assign magnitudes[u][j] = (InputWidth'(GroupInputs * u + j) >= inputs_left_q) ? '0
                              : (positive > MembraneWidth'(largest)) ? largest : positive[MagnitudeBits-1:0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) charged_q <= 1'b0;
    else if (charge) charged_q <= 1'b1;
    else if (take) charged_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (charge) begin
      charged      <= target;
      magnitudes_q <= magnitudes;
      neg_q        <= neg;
    end
  end

  // ---------------------------------------------------------------------------------------------------- encoders
  // Units leave in the order in which they came only if they have equally many steps, so others wait until all have left.
  logic                                                 targets_ready, targets_valid, fits, done;
  logic [Units-1:0]                                     encoder_ready, encoded;
  logic [Units-1:0][Steps-1:0][SpikeBits-1:0]           spikes, train;
  logic                                                 train_valid, train_ready;
  logic [LeftWidth-1:0]                                 last_left_q;
  target_t                                              to;
  logic                                                 unused_targets_room, unused_trains_room;

  assign fits = !targets_valid || charged.left == last_left_q;
  assign take = charged_q && encoder_ready[0] && targets_ready && fits;

  always_ff @(posedge clk_i) begin
    if (take) last_left_q <= charged.left;
  end

  for (genvar u = 0; u < Units; u++) begin : gen_encoder
    group_encoder #(
      .Steps (Steps)
    ) u_encoder (
      .clk_i,
      .rst_ni,
      .valid_i      (take),
      .ready_o      (encoder_ready[u]),
      .magnitudes_i (magnitudes_q[u]),
      .neg_i        (neg_q[u]),
      .left_i       (charged.left),
      .valid_o      (encoded[u]),
      .spikes_o     (spikes[u])
    );
  end

  spike_fifo #(
    .Width ($bits(target_t)),
    .Depth (Depth)
  ) u_targets (
    .clk_i,
    .rst_ni,
    .valid_i (take),
    .ready_o (targets_ready),
    .room_o  (unused_targets_room),
    .data_i  (charged),
    .valid_o (targets_valid),
    .ready_i (done),
    .data_o  (to)
  );

  spike_fifo #(
    .Width ($bits(train)),
    .Depth (Depth)
  ) u_trains (
    .clk_i,
    .rst_ni,
    .valid_i (encoded[0]),
    .ready_o (train_ready),
    .room_o  (unused_trains_room),
    .data_i  (spikes),
    .valid_o (train_valid),
    .ready_i (done),
    .data_o  (train)
  );

  // ------------------------------------------------------------------------------------------- store, spike stream
  logic [LeftWidth-1:0]   at_q;             // of the step that is written
  logic                   going_q, queue_ready, unused_room, write;
  logic [LeftWidth-1:0]   at;
  logic [Units-1:0][31:0] copy;

  // The first step goes together with the copy.
  assign at    = going_q ? at_q : to.left;
  assign write = train_valid && (going_q || !spike_stream_i || queue_ready);
  assign done  = write && at == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) going_q <= 1'b0;
    else if (write) going_q <= !done;
  end

  always_ff @(posedge clk_i) begin
    if (write) at_q <= at - 1'b1;
  end

  assign store_we_o       = write;
  assign store_row_o      = to.row;
  assign store_addr_o     = to.base + AddrWidth'(at);
  assign store_row_done_o = done && to.row_last;
  assign store_left_o     = to.left;
  assign store_done_o     = done && to.tile_last;

  for (genvar p = 0; p < Parts; p++) begin : gen_part
    assign store_part_o[p] = to.part == PartWidth'(p);
  end

  always_comb begin
    copy = '0;
    for (int unsigned u = 0; u < Units; u++) begin
      store_spikes_o[u] = '0;
      for (int unsigned s = 0; s < Steps; s++) begin
        if (at == LeftWidth'(s)) store_spikes_o[u] = train[u][s];
        if (LeftWidth'(s) <= to.left) copy[u][SpikeBits*s +: SpikeBits] = train[u][s];
      end
    end
  end

  spike_fifo #(
    .Width ($bits(copy) + 1)
  ) u_copies (
    .clk_i,
    .rst_ni,
    .valid_i (train_valid && !going_q && spike_stream_i),
    .ready_o (queue_ready),
    .room_o  (unused_room),
    .data_i  ({to.row_last, copy}),
    .valid_o (spike_valid_o),
    .ready_i (spike_ready_i),
    .data_o  ({spike_last_o, spike_data_o})
  );

  assign idle_o = state_q == StIdle && !charged_q && !targets_valid && !spike_valid_o;

  // ------------------------------------------------------------------------------------------------------ events
  always_comb begin
    spikes_o = '0;
    for (int unsigned u = 0; u < Units; u++) begin
      spikes_o += CntWidth'(write && store_spikes_o[u][SpikeBits-1]);
    end
  end

  always_comb begin
    row_done_o = '0;
    for (int unsigned s = 0; s < TmaxLimit; s++) row_done_o[s] = store_row_done_o && to.left == LeftWidth'(s);
  end

  assign stall_membrane_o = (at_header || at_unit) && !membrane_valid_i;
  assign stall_store_o    = state_q == StHeader && !open;
  assign stall_spike_o    = train_valid && !write;

  `SPIKE_ASSERT(Together, encoder_ready == '0 || encoder_ready == '1)
  `SPIKE_ASSERT(Room, encoded == '0 || (encoded == '1 && train_ready))

endmodule
