// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The group core: streams, registers and results of spike_core for `group4_beam4`, where of four neighbouring inputs at most
// one fires in a step. Weights are broadcast to all rows, as in a dense array; a chunk of 4 * `Groups` inputs takes as many
// cycles as the row has steps, whatever fires.
//
//   membrane stream -> group_front: encoders -> group_store -> group_array -> group_drain -> accumulator stream
//                            |                     weight stream --^
//                            '-> spike stream

`include "spike_assert.svh"

module group_core
  import spike_pkg::*;
  import group_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Groups       = 32,    // of four inputs, in a chunk; a power of two
  parameter int unsigned Units        = 1,     // encoders; divides Groups
  parameter int unsigned WeightInputs = Groups, // inputs in a beat of the weight stream; divides 4 * Groups
  parameter int unsigned WeightBits   = 4,     // 2 .. 8
  parameter int unsigned Steps        = 7,     // largest S, 2 .. 7
  parameter int unsigned MaxInputs    = 2048,  // K that the store holds
  parameter int unsigned MembraneBits   = 32,   // of a membrane in the stream: 32 or 16
  parameter bit          NibbleWeights  = 1'b0, // weights in the stream are 4 bits, not 8; for WeightBits up to 4
  parameter bit          UserTimesteps  = 1'b0, // S of a row comes in TUSER, and the row has no header
  parameter int unsigned MembraneStream = 0,    // width of the stream in bits, a power of two; 0: a unit
  parameter int unsigned WeightStream   = 0,    // the same; 0: WeightInputs * Columns weights
  parameter int unsigned SpikeStream    = 0,    // the same; 0: a unit
  parameter int unsigned AccStream      = 0,    // the same; 0: Columns accumulators
  localparam int unsigned Lanes          = GroupInputs * Groups,
  localparam int unsigned MembraneUnit   = GroupInputs * Units * MembraneBits,
  localparam int unsigned WeightUnit     = WeightInputs * Columns * (NibbleWeights ? 4 : 8),
  localparam int unsigned SpikeUnit      = 32 * Units,
  localparam int unsigned AccUnit        = Columns * AccWidth,
  localparam int unsigned MembraneBeat   = (MembraneStream != 0) ? MembraneStream : MembraneUnit,
  localparam int unsigned WeightBeat     = (WeightStream != 0) ? WeightStream : WeightUnit,
  localparam int unsigned SpikeBeat      = (SpikeStream != 0) ? SpikeStream : SpikeUnit,
  localparam int unsigned AccBeat        = (AccStream != 0) ? AccStream : AccUnit
) (
  input  logic                                        clk_i,
  input  logic                                        rst_ni,

  // registers, AXI4-Lite
  input  logic                                        s_axil_awvalid_i,
  output logic                                        s_axil_awready_o,
  input  logic [RegAddrWidth-1:0]                     s_axil_awaddr_i,
  input  logic                                        s_axil_wvalid_i,
  output logic                                        s_axil_wready_o,
  input  logic [31:0]                                 s_axil_wdata_i,
  input  logic [3:0]                                  s_axil_wstrb_i,
  output logic                                        s_axil_bvalid_o,
  input  logic                                        s_axil_bready_i,
  output logic [1:0]                                  s_axil_bresp_o,
  input  logic                                        s_axil_arvalid_i,
  output logic                                        s_axil_arready_o,
  input  logic [RegAddrWidth-1:0]                     s_axil_araddr_i,
  output logic                                        s_axil_rvalid_o,
  input  logic                                        s_axil_rready_i,
  output logic [31:0]                                 s_axil_rdata_o,
  output logic [1:0]                                  s_axil_rresp_o,
  output logic                                        irq_o,

  // membranes, AXI4-Stream
  input  logic                                        s_axis_membrane_tvalid_i,
  output logic                                        s_axis_membrane_tready_o,
  input  logic [MembraneBeat-1:0]                     s_axis_membrane_tdata_i,
  input  logic                                        s_axis_membrane_tlast_i,
  input  logic [7:0]                                  s_axis_membrane_tuser_i,  // S of the row, with UserTimesteps

  // weights, AXI4-Stream
  input  logic                                        s_axis_weight_tvalid_i,
  output logic                                        s_axis_weight_tready_o,
  input  logic [WeightBeat-1:0]                       s_axis_weight_tdata_i,
  input  logic                                        s_axis_weight_tlast_i,

  // spikes, AXI4-Stream
  output logic                                        m_axis_spike_tvalid_o,
  input  logic                                        m_axis_spike_tready_i,
  output logic [SpikeBeat-1:0]                        m_axis_spike_tdata_o,
  output logic [(SpikeBeat+7)/8-1:0]                  m_axis_spike_tkeep_o,
  output logic                                        m_axis_spike_tlast_o,

  // accumulators, AXI4-Stream
  output logic                                        m_axis_acc_tvalid_o,
  input  logic                                        m_axis_acc_tready_i,
  output logic [AccBeat-1:0]                          m_axis_acc_tdata_o,
  output logic [(AccBeat+7)/8-1:0]                    m_axis_acc_tkeep_o,
  output logic                                        m_axis_acc_tlast_o
);

  localparam int unsigned Chunks     = MaxInputs / Lanes;
  localparam int unsigned RowWidth   = $clog2(Rows + 1);
  localparam int unsigned ColWidth   = $clog2(Columns + 1);
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1);
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1);
  localparam int unsigned InputWidth = $clog2(MaxInputs + 1);
  localparam int unsigned AddrWidth  = $clog2(2 * Chunks * Steps);
  localparam int unsigned Parts      = Groups / Units;
  localparam int unsigned CntWidth   = $clog2(Units + 1);

  // Of the largest sum, with its sign: each group has magnitudes of at most 3^Steps - 2^Steps.
  localparam int unsigned AccBits = WeightBits + $clog2(MaxInputs / GroupInputs) + $clog2(3 ** Steps - 2 ** Steps);

  localparam logic [31:0] Id = 32'h5350_4731;  // "SPG1": drivers of spike_core know that it is none
  localparam logic [31:0] Shape = {8'(WeightInputs), 8'(Lanes), 8'(Columns), 8'(Rows)};
  localparam logic [31:0] Limits = {16'd0, 8'd1, StepWidth'(Steps), 4'(WeightBits)};

  // log2 of the widths, 0 as above; how membranes and weights are sent
  localparam logic [31:0] Streams = {
    13'd0, UserTimesteps, NibbleWeights, MembraneBits == 16, 4'($clog2(AccStream)), 4'($clog2(SpikeStream)),
    4'($clog2(WeightStream)), 4'($clog2(MembraneStream))
  };

  `SPIKE_REQUIRE(gen_bad_rows, Rows >= 1 && Rows <= 255, "Rows has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_columns, Columns >= 1 && Columns <= 255, "Columns has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_groups, Groups >= 2 && Groups <= 32 && Groups == 1 << $clog2(Groups),
                 "Groups has to be a power of two from 2 to 32")
  `SPIKE_REQUIRE(gen_bad_units, Units >= 1 && Groups % Units == 0, "Units has to divide Groups")
  `SPIKE_REQUIRE(gen_bad_weight_bits, WeightBits >= 2 && WeightBits <= 8, "WeightBits has to be from 2 to 8")
  `SPIKE_REQUIRE(gen_bad_steps, Steps >= 2 && Steps <= TmaxLimit, "Steps has to be from 2 to 7")
  `SPIKE_REQUIRE(gen_bad_max_inputs, Chunks >= 2 && MaxInputs == Chunks * Lanes,
                 "MaxInputs has to be a multiple of 4 * Groups, at least two times that")
  `SPIKE_REQUIRE(gen_bad_acc, AccBits <= AccWidth, "accumulators of MaxInputs and WeightBits do not fit 32 bits")
  `SPIKE_REQUIRE(gen_bad_membrane_bits, MembraneBits == 16 || MembraneBits == 32, "MembraneBits has to be 16 or 32")
  `SPIKE_REQUIRE(gen_bad_nibbles, !NibbleWeights || (WeightBits <= 4 && WeightUnit % 8 == 0),
                 "NibbleWeights is for WeightBits up to 4, and an even number of weights in a beat")

  // -------------------------------------------------------------------------------------------------- control
  job_t                              job;
  logic                              start, queued, clear, aborting, busy, abort_busy, done;
  error_t                            error, sequencer_error;
  logic [Counters-1:0][IncWidth-1:0] increment, increment_q;
  logic [Counters-1:0][63:0]         count;

  spike_regs #(
    .Id      (Id),
    .Shape   (Shape),
    .Limits  (Limits),
    .Blocks  (32'(Chunks)),
    .Streams (Streams)
  ) u_regs (
    .clk_i,
    .rst_ni,
    .s_axil_awvalid_i,
    .s_axil_awready_o,
    .s_axil_awaddr_i,
    .s_axil_wvalid_i,
    .s_axil_wready_o,
    .s_axil_wdata_i,
    .s_axil_wstrb_i,
    .s_axil_bvalid_o,
    .s_axil_bready_i,
    .s_axil_bresp_o,
    .s_axil_arvalid_i,
    .s_axil_arready_o,
    .s_axil_araddr_i,
    .s_axil_rvalid_o,
    .s_axil_rready_i,
    .s_axil_rdata_o,
    .s_axil_rresp_o,
    .job_o    (job),
    .start_o  (start),
    .queued_o (queued),
    .clear_o  (clear),
    .abort_o  (aborting),
    .busy_i   (busy || abort_busy),
    .done_i   (done),
    .error_i  (error),
    .count_i  (count),
    .irq_o
  );

  spike_counters u_counters (
    .clk_i,
    .rst_ni,
    .clear_i     (clear),
    .increment_i (increment_q),
    .count_o     (count)
  );

  // ---------------------------------------------------------------------------------------------------- ports
  logic       engine_rst_n, drop_all;
  logic [1:0] drop;  // weights, membranes
  logic       membrane_ready, weight_ready, acc_valid, acc_ready, spike_valid, spike_ready;

  spike_abort #(
    .Outputs (2)
  ) u_abort (
    .clk_i,
    .rst_ni,
    .abort_i       (aborting),
    .busy_o        (abort_busy),
    .drop_o        (drop_all),
    .engine_rst_no (engine_rst_n),
    .valid_i       ({spike_valid, acc_valid}),
    .ready_o       ({spike_ready, acc_ready}),
    .valid_o       ({m_axis_spike_tvalid_o, m_axis_acc_tvalid_o}),
    .ready_i       ({m_axis_spike_tready_i, m_axis_acc_tready_i})
  );

  logic                      membrane_valid, membrane_last, membrane_open, membrane_end, membrane_inside, membrane_take;
  logic                      weight_unit_valid, weight_last, weight_open, weight_end, weight_inside, weight_take;
  logic [MembraneUnit-1:0]   membranes;
  logic [WeightUnit-1:0]     weight_unit;
  logic                      spike_unit_valid, spike_unit_ready, spike_unit_last;
  logic [SpikeUnit-1:0]      spike_unit;
  logic                      acc_unit_valid, acc_unit_ready, acc_unit_last;
  logic [AccUnit-1:0]        acc_unit;

  spike_unpack #(
    .Width (MembraneBeat),
    .Unit  (MembraneUnit)
  ) u_membranes (
    .clk_i,
    .rst_ni  (engine_rst_n),
    .valid_i (s_axis_membrane_tvalid_i && !drop_all),
    .ready_o (membrane_take),
    .data_i  (s_axis_membrane_tdata_i),
    .last_i  (s_axis_membrane_tlast_i),
    .open_i  (membrane_open),
    .end_i   (membrane_end),
    .valid_o (membrane_valid),
    .ready_i (membrane_ready),
    .data_o  (membranes),
    .last_o  (membrane_last),
    .error_o (membrane_inside)
  );

  spike_unpack #(
    .Width (WeightBeat),
    .Unit  (WeightUnit)
  ) u_weight_units (
    .clk_i,
    .rst_ni  (engine_rst_n),
    .valid_i (s_axis_weight_tvalid_i && !drop_all),
    .ready_o (weight_take),
    .data_i  (s_axis_weight_tdata_i),
    .last_i  (s_axis_weight_tlast_i),
    .open_i  (weight_open),
    .end_i   (weight_end),
    .valid_o (weight_unit_valid),
    .ready_i (weight_ready),
    .data_o  (weight_unit),
    .last_o  (weight_last),
    .error_o (weight_inside)
  );

  spike_pack #(
    .Width (SpikeBeat),
    .Unit  (SpikeUnit)
  ) u_spike_beats (
    .clk_i,
    .rst_ni  (engine_rst_n),
    .valid_i (spike_unit_valid),
    .ready_o (spike_unit_ready),
    .data_i  (spike_unit),
    .last_i  (spike_unit_last),
    .valid_o (spike_valid),
    .ready_i (spike_ready),
    .data_o  (m_axis_spike_tdata_o),
    .keep_o  (m_axis_spike_tkeep_o),
    .last_o  (m_axis_spike_tlast_o)
  );

  spike_pack #(
    .Width (AccBeat),
    .Unit  (AccUnit)
  ) u_acc_beats (
    .clk_i,
    .rst_ni  (engine_rst_n),
    .valid_i (acc_unit_valid),
    .ready_o (acc_unit_ready),
    .data_i  (acc_unit),
    .last_i  (acc_unit_last),
    .valid_o (acc_valid),
    .ready_i (acc_ready),
    .data_o  (m_axis_acc_tdata_o),
    .keep_o  (m_axis_acc_tkeep_o),
    .last_o  (m_axis_acc_tlast_o)
  );

  // Membranes are signed, whatever their width.
  logic [GroupInputs*Units-1:0][MembraneWidth-1:0] membrane_lanes;

  always_comb begin
    for (int unsigned l = 0; l < GroupInputs * Units; l++) begin
      membrane_lanes[l] = MembraneWidth'(signed'(membranes[MembraneBits*l +: MembraneBits]));
    end
  end

  assign s_axis_membrane_tready_o = membrane_take || drop_all || drop[0];
  assign s_axis_weight_tready_o   = weight_take || drop_all || drop[1];

  logic [ChunkWidth-1:0] group_chunks, row_chunks;
  logic [0:0]            tail_chunks;
  logic [LaneWidth-1:0]  tail_lanes;

  logic unused_tail;
  assign unused_tail = tail_chunks;

  logic                  run, fire_idle, load_idle, walk_idle, array_idle, drain_idle;

  spike_sequencer #(
    .Lanes  (Lanes),
    .Slots  (1),
    .Blocks (Chunks),
    .Csd    (1'b0)
  ) u_sequencer (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .job_i          (job),
    .start_i        (start),
    .queued_i       (queued),
    .busy_o         (busy),
    .done_o         (done),
    .error_o        (sequencer_error),
    .group_blocks_o (group_chunks),
    .row_blocks_o   (row_chunks),
    .tail_chunks_o  (tail_chunks),
    .tail_lanes_o   (tail_lanes),
    .run_o          (run),
    .idle_i         (fire_idle && load_idle && walk_idle && array_idle && drain_idle),
    .valid_i        ({s_axis_weight_tvalid_i, s_axis_membrane_tvalid_i}),
    .last_i         ({s_axis_weight_tlast_i, s_axis_membrane_tlast_i}),
    .drop_o         (drop)
  );

  // ------------------------------------------------------------------------------------------------- front end
  logic                                       store_ready, store_open, store_we, store_row_done, store_done;
  logic                                       store_release;
  logic [RowWidth-1:0]                        store_row;
  logic [AddrWidth-1:0]                       store_addr;
  logic [Parts-1:0]                           store_part;
  logic [Units-1:0][SpikeBits-1:0]            store_spikes;
  logic [LeftWidth-1:0]                       store_row_left;
  logic [CntWidth-1:0]                        fired;
  logic [TmaxLimit-1:0]                       row_done;
  logic                                       stall_membrane, stall_store, stall_spike;
  logic                                       error_timesteps, error_membrane_last;

  group_front #(
    .Rows          (Rows),
    .Groups        (Groups),
    .Chunks        (Chunks),
    .Steps         (Steps),
    .Units         (Units),
    .UserTimesteps (UserTimesteps)
  ) u_front (
    .clk_i,
    .rst_ni            (engine_rst_n),
    .start_i           (run),
    .idle_o            (fire_idle),
    .open_o            (membrane_open),
    .end_o             (membrane_end),
    .spike_stream_i    (job.spike_stream),
    .rows_i            (job.rows),
    .groups_i          (job.groups[InputWidth-1:0]),
    .group_inputs_i    (job.group_inputs[InputWidth-1:0]),
    .membrane_valid_i  (membrane_valid),
    .membrane_ready_o  (membrane_ready),
    .membrane_data_i   (membrane_lanes),
    .membrane_user_i   (s_axis_membrane_tuser_i),
    .membrane_last_i   (membrane_last),
    .store_ready_i     (store_ready),
    .store_open_o      (store_open),
    .store_we_o        (store_we),
    .store_row_o       (store_row),
    .store_addr_o      (store_addr),
    .store_part_o      (store_part),
    .store_spikes_o    (store_spikes),
    .store_row_done_o  (store_row_done),
    .store_left_o      (store_row_left),
    .store_done_o      (store_done),
    .spike_valid_o     (spike_unit_valid),
    .spike_ready_i     (spike_unit_ready),
    .spike_data_o      (spike_unit),
    .spike_last_o      (spike_unit_last),
    .spikes_o          (fired),
    .row_done_o        (row_done),
    .stall_membrane_o  (stall_membrane),
    .stall_store_o     (stall_store),
    .stall_spike_o     (stall_spike),
    .error_timesteps_o (error_timesteps),
    .error_last_o      (error_membrane_last)
  );

  // ---------------------------------------------------------------------------------------------------- store
  logic                                       read, read_half, load, enable;
  logic [AddrWidth-1:0]                       read_addr;
  logic [Rows-1:0][Groups-1:0][SpikeBits-1:0] spikes;
  logic [1:0][Rows-1:0][LeftWidth-1:0]        row_left;
  logic [1:0][LeftWidth-1:0]                  most_left;

  group_store #(
    .Rows   (Rows),
    .Groups (Groups),
    .Chunks (Chunks),
    .Steps  (Steps),
    .Units  (Units)
  ) u_store (
    .clk_i,
    .rst_ni     (engine_rst_n),
    .ready_o    (store_ready),
    .open_i     (store_open),
    .we_i       (store_we),
    .row_i      (store_row),
    .addr_i     (store_addr),
    .part_i     (store_part),
    .spikes_i   (store_spikes),
    .row_done_i (store_row_done),
    .row_left_i (store_row_left),
    .done_i     (store_done),
    .release_i  (store_release),
    .re_i       (read),
    .half_i     (read_half),
    .raddr_i    (read_addr),
    .spikes_o   (spikes),
    .left_o     (row_left),
    .most_o     (most_left)
  );

  logic                op_valid;
  step_t               op;
  logic                weight_valid, wait_fire, wait_weight;
  logic [Rows-1:0]     load_works;
  logic [Groups-1:0]   load_filled;
  logic [RowWidth-1:0] op_rows, sum_rows;
  logic [ColWidth-1:0] op_columns, sum_columns;

  group_walker #(
    .Rows    (Rows),
    .Columns (Columns),
    .Groups  (Groups),
    .Chunks  (Chunks),
    .Steps   (Steps)
  ) u_walker (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .enable_i       (enable),
    .start_i        (run),
    .idle_o         (walk_idle),
    .rows_i         (job.rows),
    .outputs_i      (job.outputs),
    .group_chunks_i (group_chunks),
    .row_chunks_i   (row_chunks),
    .tail_lanes_i   (tail_lanes),
    .store_done_i   (store_done),
    .store_left_i   (row_left),
    .store_most_i   (most_left),
    .store_re_o     (read),
    .store_half_o   (read_half),
    .store_addr_o   (read_addr),
    .load_o         (load),
    .load_works_o   (load_works),
    .load_filled_o  (load_filled),
    .weight_valid_i (weight_valid),
    .op_valid_o     (op_valid),
    .op_o           (op),
    .op_rows_o      (op_rows),
    .op_columns_o   (op_columns),
    .wait_fire_o    (wait_fire),
    .wait_weight_o  (wait_weight)
  );

  // ---------------------------------------------------------------------------------------- weights and array
  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0] weights;
  logic                                          error_weight_last, error_weight_range;

  dense_weights #(
    .Rows         (Rows),
    .Columns      (Columns),
    .Lanes        (Lanes),
    .Chunks       (Chunks),
    .WeightInputs (WeightInputs),
    .WeightBits   (WeightBits),
    .FieldBits    (NibbleWeights ? 4 : 8)
  ) u_weights (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .start_i        (run),
    .idle_o         (load_idle),
    .open_o         (weight_open),
    .end_o          (weight_end),
    .rows_i         (job.rows),
    .outputs_i      (job.outputs),
    .group_chunks_i (group_chunks),
    .row_chunks_i   (row_chunks),
    .tail_lanes_i   (tail_lanes),
    .weight_valid_i (weight_unit_valid),
    .weight_ready_o (weight_ready),
    .weight_data_i  (weight_unit),
    .weight_last_i  (weight_last),
    .chunk_valid_o  (weight_valid),
    .chunk_o        (weights),
    .chunk_pop_i    (op_valid && enable && op.last),
    .error_last_o   (error_weight_last),
    .error_range_o  (error_weight_range)
  );

  logic                                       sums_soon, sums_valid, tile_end;
  logic [Rows-1:0][Columns-1:0][AccBits-1:0]  acc;
  logic [Rows-1:0][AccBits-1:0]               excess;

  group_array #(
    .Rows       (Rows),
    .Columns    (Columns),
    .Groups     (Groups),
    .WeightBits (WeightBits),
    .Steps      (Steps),
    .AccBits    (AccBits)
  ) u_array (
    .clk_i,
    .rst_ni        (engine_rst_n),
    .enable_i      (enable),
    .load_i        (load),
    .load_works_i  (load_works),
    .load_filled_i (load_filled),
    .spikes_i      (spikes),
    .op_valid_i    (op_valid),
    .op_i          (op),
    .op_rows_i     (op_rows),
    .op_columns_i  (op_columns),
    .weights_i     (weights),
    .soon_o        (sums_soon),
    .valid_o       (sums_valid),
    .acc_o         (acc),
    .excess_o      (excess),
    .rows_o        (sum_rows),
    .columns_o     (sum_columns),
    .tile_end_o    (tile_end),
    .idle_o        (array_idle)
  );

  group_drain #(
    .Rows    (Rows),
    .Columns (Columns),
    .Steps   (Steps),
    .AccBits (AccBits)
  ) u_drain (
    .clk_i,
    .rst_ni      (engine_rst_n),
    .enable_o    (enable),
    .idle_o      (drain_idle),
    .soon_i      (sums_soon),
    .valid_i     (sums_valid),
    .acc_i       (acc),
    .excess_i    (excess),
    .rows_i      (sum_rows),
    .columns_i   (sum_columns),
    .tile_end_i  (tile_end),
    .left_i      (row_left),
    .release_o   (store_release),
    .acc_valid_o (acc_unit_valid),
    .acc_ready_i (acc_unit_ready),
    .acc_data_o  (acc_unit),
    .acc_last_o  (acc_unit_last)
  );

  // --------------------------------------------------------------------------------------- errors and counters
  always_comb begin
    error               = sequencer_error;
    error.timesteps     = error_timesteps;
    error.membrane_last = error_membrane_last || membrane_inside;
    error.weight_last   = error_weight_last || weight_inside;
    error.weight_range  = error_weight_range;
  end

  always_comb begin
    increment                   = '0;
    increment[CntCycles]        = IncWidth'(busy);
    increment[CntRows]          = IncWidth'(row_done != '0);
    increment[CntSpikes]        = IncWidth'(fired);
    increment[CntWords]         = IncWidth'(op_valid && enable);
    increment[CntStallMembrane] = IncWidth'(stall_membrane);
    increment[CntStallStore]    = IncWidth'(stall_store);
    increment[CntStallSpike]    = IncWidth'(stall_spike);
    increment[CntStallFire]     = IncWidth'(wait_fire);
    increment[CntStallWeight]   = IncWidth'(wait_weight);
    increment[CntStallAcc]      = IncWidth'(!enable);
    for (int unsigned t = 0; t < TmaxLimit; t++) begin
      increment[5'(CntRowsT1) + 5'(t)] = IncWidth'(row_done[t]);
    end
  end

  // Counted a cycle later: sums of events are long paths of their own.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) increment_q <= '0;
    else increment_q <= increment;
  end

  `SPIKE_ASSERT_STABLE(SpikeStable, m_axis_spike_tvalid_o, m_axis_spike_tready_i,
                       {m_axis_spike_tdata_o, m_axis_spike_tkeep_o, m_axis_spike_tlast_o})
  `SPIKE_ASSERT_STABLE(AccStable, m_axis_acc_tvalid_o, m_axis_acc_tready_i,
                       {m_axis_acc_tdata_o, m_axis_acc_tkeep_o, m_axis_acc_tlast_o})
  `SPIKE_ASSERT(RowsWithWeights, !op_valid || weight_valid)
  `SPIKE_ASSERT(BusyUntilIdle, busy || (fire_idle && load_idle && walk_idle && array_idle && drain_idle))

endmodule
