// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The dense baseline: the same streams, registers, front end and results as spike_core, computed by an array that
// multiplies every weight with every activation, `Rows` x `Columns` x `Lanes` a cycle. It fires no spikes: what the front
// end calls the spikes of an input is, for it, the input's magnitude in binary.
//
//   membrane stream -> front end -> store -> array -> drain -> accumulator stream
//                               \  weight stream --^      ^
//                                -> offsets -------------/
//
// tc_lif only (a job in csd ends with an error).

`include "spike_assert.svh"

module dense_core
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Lanes        = 16,    // inputs a cycle; a power of two
  parameter int unsigned WeightInputs = Lanes, // inputs in a beat of the weight stream; divides Lanes
  parameter int unsigned WeightBits   = 4,     // 2 .. 8
  parameter int unsigned Tmax         = 4,     // magnitudes have this many bits
  parameter int unsigned Planes       = Tmax,  // of them in a pass; a chunk with larger magnitudes takes two
  parameter int unsigned MaxInputs    = 2048,  // K that the store holds
  parameter int unsigned MaxGroups    = MaxInputs / Lanes, // groups of a row, at most
  parameter int unsigned MembraneBits   = 32,   // of a membrane in the stream: 32 or 16
  parameter bit          NibbleWeights  = 1'b0, // weights in the stream are 4 bits, not 8; for WeightBits up to 4
  parameter bit          UserTimesteps  = 1'b0, // T of a row comes in TUSER, and the row has no header
  parameter int unsigned MembraneStream = 0,    // width of the stream in bits, a power of two; 0: a chunk
  parameter int unsigned WeightStream   = 0,    // the same; 0: WeightInputs * Columns weights
  parameter int unsigned AccStream      = 0,    // the same; 0: Columns accumulators
  parameter bit          Multiply     = 1'b0, // products with `*` instead of the carry-save tree
  localparam int unsigned MembraneUnit   = Lanes * MembraneBits,
  localparam int unsigned WeightUnit     = WeightInputs * Columns * (NibbleWeights ? 4 : 8),
  localparam int unsigned AccUnit        = Columns * AccWidth,
  localparam int unsigned MembraneBeat   = (MembraneStream != 0) ? MembraneStream : MembraneUnit,
  localparam int unsigned WeightBeat     = (WeightStream != 0) ? WeightStream : WeightUnit,
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
  input  logic [7:0]                                  s_axis_membrane_tuser_i,  // T of the row, with UserTimesteps

  // weights, AXI4-Stream
  input  logic                                        s_axis_weight_tvalid_i,
  output logic                                        s_axis_weight_tready_o,
  input  logic [WeightBeat-1:0]                       s_axis_weight_tdata_i,
  input  logic                                        s_axis_weight_tlast_i,

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
  localparam int unsigned CntWidth   = $clog2((Tmax + 1) * Lanes + 1);
  localparam int unsigned ChunkBits  = (Planes < Tmax) ? 2 * Planes : Planes;
  localparam int unsigned LowBits    = WeightBits + ChunkBits + $clog2(Lanes);  // see dense_column
  localparam int unsigned RowBits    = WeightBits + Tmax + $clog2(MaxInputs);   // of the largest sum, with its sign
  localparam int unsigned AccBits    = (RowBits > LowBits) ? RowBits : LowBits + 1;

  localparam logic [31:0] Shape = {8'(WeightInputs), 8'(Lanes), 8'(Columns), 8'(Rows)};
  localparam logic [31:0] Limits = {16'd0, 8'd1, 4'(Tmax), 4'(WeightBits)};

  // log2 of the widths, 0 as above; how membranes and weights are sent
  localparam logic [31:0] Streams = {
    13'd0, UserTimesteps, NibbleWeights, MembraneBits == 16, 4'($clog2(AccStream)), 4'd0,
    4'($clog2(WeightStream)), 4'($clog2(MembraneStream))
  };

  `SPIKE_REQUIRE(gen_bad_rows, Rows >= 1 && Rows <= 255, "Rows has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_columns, Columns >= 1 && Columns <= 255, "Columns has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_lanes, Lanes >= 4 && Lanes <= 128 && Lanes == 1 << $clog2(Lanes),
                 "Lanes has to be a power of two from 4 to 128")
  `SPIKE_REQUIRE(gen_bad_weight_bits, WeightBits >= 2 && WeightBits <= 8, "WeightBits has to be from 2 to 8")
  `SPIKE_REQUIRE(gen_bad_tmax, Tmax >= 1 && Tmax <= TmaxLimit, "Tmax has to be from 1 to 7")
  `SPIKE_REQUIRE(gen_bad_planes, Planes >= 1 && Planes <= Tmax && Tmax <= 2 * Planes,
                 "Planes has to be from half of Tmax to Tmax")
  `SPIKE_REQUIRE(gen_bad_max_inputs, Chunks >= 2 && MaxInputs == Chunks * Lanes,
                 "MaxInputs has to be a multiple of Lanes, at least two times Lanes")
  `SPIKE_REQUIRE(gen_bad_max_groups, MaxGroups >= 1 && MaxGroups <= Chunks,
                 "MaxGroups has to be from 1 to MaxInputs / Lanes")
  `SPIKE_REQUIRE(gen_bad_membrane_bits, MembraneBits == 16 || MembraneBits == 32, "MembraneBits has to be 16 or 32")
  `SPIKE_REQUIRE(gen_bad_nibbles, !NibbleWeights || (WeightBits <= 4 && WeightUnit % 8 == 0),
                 "NibbleWeights is for WeightBits up to 4, and an even number of weights in a beat")
  `SPIKE_REQUIRE(gen_bad_membrane_stream, MembraneStream == 0
                 || (MembraneStream >= 32 && MembraneStream <= 1024 && MembraneStream == (1 << $clog2(MembraneStream))),
                 "MembraneStream has to be 0 or a power of two from 32 to 1024")
  `SPIKE_REQUIRE(gen_bad_weight_stream, WeightStream == 0
                 || (WeightStream >= 32 && WeightStream <= 1024 && WeightStream == (1 << $clog2(WeightStream))),
                 "WeightStream has to be 0 or a power of two from 32 to 1024")
  `SPIKE_REQUIRE(gen_bad_acc_stream, AccStream == 0
                 || (AccStream >= 32 && AccStream <= 1024 && AccStream == (1 << $clog2(AccStream))),
                 "AccStream has to be 0 or a power of two from 32 to 1024")

  // -------------------------------------------------------------------------------------------------- control
  job_t                              job;
  logic                              start, queued, clear, aborting, busy, abort_busy, done;
  error_t                            error, sequencer_error;
  logic [Counters-1:0][IncWidth-1:0] increment, increment_q;
  logic [Counters-1:0][63:0]         count;

  spike_regs #(
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
  logic                  engine_rst_n, drop_all;
  logic [1:0]            drop;  // weights, membranes
  logic                  membrane_ready, weight_ready, acc_valid, acc_ready;

  spike_abort #(
    .Outputs (1)
  ) u_abort (
    .clk_i,
    .rst_ni,
    .abort_i       (aborting),
    .busy_o        (abort_busy),
    .drop_o        (drop_all),
    .engine_rst_no (engine_rst_n),
    .valid_i       (acc_valid),
    .ready_o       (acc_ready),
    .valid_o       (m_axis_acc_tvalid_o),
    .ready_i       (m_axis_acc_tready_i)
  );

  logic                      membrane_valid, membrane_last, membrane_open, membrane_end, membrane_inside, membrane_take;
  logic                      weight_unit_valid, weight_last, weight_open, weight_end, weight_inside, weight_take;
  logic [MembraneUnit-1:0]   membranes;
  logic [WeightUnit-1:0]     weight_unit;
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
  logic [Lanes-1:0][MembraneWidth-1:0] membrane_lanes;

  always_comb begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      membrane_lanes[l] = MembraneWidth'(signed'(membranes[MembraneBits*l +: MembraneBits]));
    end
  end

  assign s_axis_membrane_tready_o = membrane_take || drop_all || drop[0];
  assign s_axis_weight_tready_o   = weight_take || drop_all || drop[1];

  logic [ChunkWidth-1:0] group_chunks, row_chunks;
  logic [0:0]            tail_chunks;
  logic [LaneWidth-1:0]  tail_lanes;
  logic                  run, fire_idle, load_idle, walk_idle, array_idle, drain_idle;

  spike_sequencer #(
    .Lanes  (Lanes),
    .Slots  (1),
    .Blocks (Chunks),
    .Csd    (1'b0),
    .Groups (MaxGroups)
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
  logic                       store_ready, store_open, store_we, store_done, store_release;
  logic [RowWidth-1:0]        store_row;
  logic [ChunkWidth-1:0]      store_chunk;
  logic [Tmax-1:0][Lanes-1:0] store_fire;
  logic [0:0][Lanes-1:0]      store_neg;
  logic [CntWidth-1:0]        fired, skipped;
  logic [LaneWidth-1:0]       saturated;
  logic [TmaxLimit-1:0]       row_done;
  logic                       stall_membrane, stall_store, error_timesteps, error_membrane_last;
  logic                       unused_end, unused_low_we, unused_low_slot;  // plane 0 comes with the others
  logic [RowWidth-1:0]        unused_low_row;
  logic [ChunkWidth-1:0]      unused_low_chunk;
  logic                       unused_slot, unused_mask_we, unused_valid, unused_last, unused_stall;
  logic [Tmax-1:0]            unused_mask;
  spike_t [Lanes-1:0]         unused_spikes;

  spike_neuron_array #(
    .Rows          (Rows),
    .Lanes         (Lanes),
    .Slots         (1),
    .Blocks        (Chunks),
    .Tmax          (Tmax),
    .Csd           (1'b0),
    .UserTimesteps (UserTimesteps)
  ) u_neuron_array (
    .clk_i,
    .rst_ni            (engine_rst_n),
    .start_i           (run),
    .idle_o            (fire_idle),
    .open_o            (membrane_open),
    .end_o             (membrane_end),
    .coding_i          (CodingTcLif),
    .capped_i          (1'b0),
    .frac_bits_i       (job.frac_bits),
    .spike_stream_i    (1'b0),
    .rows_i            (job.rows),
    .group_blocks_i    (group_chunks),
    .row_blocks_i      (row_chunks),
    .tail_chunks_i     (tail_chunks),
    .tail_lanes_i      (tail_lanes),
    .membrane_valid_i  (membrane_valid),
    .membrane_ready_o  (membrane_ready),
    .membrane_data_i   (membrane_lanes),
    .membrane_user_i   (s_axis_membrane_tuser_i),
    .membrane_last_i   (membrane_last),
    .store_ready_i     (store_ready),
    .store_open_o      (store_open),
    .store_we_o        (store_we),
    .store_row_o       (store_row),
    .store_block_o     (store_chunk),
    .store_slot_o      (unused_slot),
    .store_fire_o      (store_fire),
    .store_neg_o       (store_neg),
    .store_end_o       (unused_end),
    .store_low_we_o    (unused_low_we),
    .store_low_row_o   (unused_low_row),
    .store_low_block_o (unused_low_chunk),
    .store_low_slot_o  (unused_low_slot),
    .store_mask_we_o   (unused_mask_we),
    .store_mask_o      (unused_mask),
    .store_done_o      (store_done),
    .spike_valid_o     (unused_valid),
    .spike_ready_i     (1'b1),
    .spike_data_o      (unused_spikes),
    .spike_last_o      (unused_last),
    .spikes_o          (fired),
    .skipped_o         (skipped),
    .saturated_o       (saturated),
    .row_done_o        (row_done),
    .stall_membrane_o  (stall_membrane),
    .stall_store_o     (stall_store),
    .stall_spike_o     (unused_stall),
    .error_timesteps_o (error_timesteps),
    .error_last_o      (error_membrane_last)
  );

  // ---------------------------------------------------------------------------------------------------- store
  logic                                  read, read_half, load, enable;
  logic [ChunkWidth-1:0]                 read_chunk;
  logic [Rows-1:0][Tmax-1:0][Lanes-1:0]  magnitudes;
  logic [Rows-1:0][Lanes-1:0]            negs;

  dense_store #(
    .Rows   (Rows),
    .Lanes  (Lanes),
    .Chunks (Chunks),
    .Planes (Tmax)
  ) u_store (
    .clk_i,
    .rst_ni       (engine_rst_n),
    .ready_o      (store_ready),
    .open_i       (store_open),
    .we_i         (store_we),
    .row_i        (store_row),
    .chunk_i      (store_chunk),
    .fire_i       (store_fire),
    .neg_i        (store_neg[0]),
    .done_i       (store_done),
    .release_i    (store_release),
    .re_i         (read),
    .half_i       (read_half),
    .rchunk_i     (read_chunk),
    .magnitudes_o (magnitudes),
    .neg_o        (negs)
  );

  logic                op_valid, op_again, op_first, op_last, op_pass_end, op_tile_end;
  logic                weight_valid, wait_fire, wait_weight;
  logic [RowWidth-1:0] load_rows, op_rows, sum_rows;
  logic [ColWidth-1:0] op_columns, sum_columns;

  dense_walker #(
    .Rows    (Rows),
    .Columns (Columns),
    .Chunks  (Chunks)
  ) u_walker (
    .clk_i,
    .rst_ni          (engine_rst_n),
    .enable_i        (enable),
    .start_i         (run),
    .idle_o          (walk_idle),
    .rows_i          (job.rows),
    .outputs_i       (job.outputs),
    .group_chunks_i  (group_chunks),
    .row_chunks_i    (row_chunks),
    .store_done_i    (store_done),
    .store_re_o      (read),
    .store_half_o    (read_half),
    .store_chunk_o   (read_chunk),
    .load_o          (load),
    .load_rows_o     (load_rows),
    .weight_valid_i  (weight_valid),
    .op_again_i      (op_again),
    .op_valid_o      (op_valid),
    .op_first_o      (op_first),
    .op_last_o       (op_last),
    .op_pass_end_o   (op_pass_end),
    .op_tile_end_o   (op_tile_end),
    .op_rows_o       (op_rows),
    .op_columns_o    (op_columns),
    .wait_fire_o     (wait_fire),
    .wait_weight_o   (wait_weight)
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
    .chunk_pop_i    (op_valid && enable && !op_again),
    .error_last_o   (error_weight_last),
    .error_range_o  (error_weight_range)
  );

  logic                                       low_soon, low_valid, high_valid, pass_end, low_tile_end, high_tile_end;
  logic                                       offset_re, offset_first;
  logic [AccBits-1:0]                         offset;
  logic [Rows-1:0][Columns-1:0][AccBits-1:0]  acc;

  dense_array #(
    .Rows       (Rows),
    .Columns    (Columns),
    .Lanes      (Lanes),
    .WeightBits (WeightBits),
    .Bits       (Tmax),
    .Planes     (Planes),
    .AccWidth   (AccBits),
    .Multiply   (Multiply)
  ) u_array (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .enable_i       (enable),
    .load_i         (load),
    .load_rows_i    (load_rows),
    .magnitudes_i   (magnitudes),
    .neg_i          (negs),
    .op_valid_i     (op_valid),
    .op_again_o     (op_again),
    .op_first_i     (op_first),
    .op_last_i      (op_last),
    .op_pass_end_i  (op_pass_end),
    .op_tile_end_i  (op_tile_end),
    .op_rows_i      (op_rows),
    .op_columns_i   (op_columns),
    .weights_i      (weights),
    .low_soon_o     (low_soon),
    .low_valid_o    (low_valid),
    .low_pass_end_o (pass_end),
    .low_tile_end_o (low_tile_end),
    .high_valid_o   (high_valid),
    .acc_o          (acc),
    .rows_o         (sum_rows),
    .columns_o      (sum_columns),
    .tile_end_o     (high_tile_end),
    .idle_o         (array_idle)
  );

  dense_offsets #(
    .Rows       (Rows),
    .Lanes      (Lanes),
    .Chunks     (Chunks),
    .Groups     (MaxGroups),
    .WeightBits (WeightBits),
    .Planes     (Tmax),
    .PassPlanes (Planes),
    .AccBits    (AccBits),
    .Multiply   (Multiply)
  ) u_offsets (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .start_i        (run),
    .group_chunks_i (group_chunks),
    .row_chunks_i   (row_chunks),
    .we_i           (store_we),
    .fire_i         (store_fire),
    .neg_i          (store_neg[0]),
    .done_i         (store_done),
    .re_i           (offset_re),
    .first_i        (offset_first),
    .pass_end_i     (pass_end),
    .tile_end_i     (low_tile_end),
    .offset_o       (offset)
  );

  dense_drain #(
    .Rows    (Rows),
    .Columns (Columns),
    .AccBits (AccBits),
    .LowBits (LowBits)
  ) u_drain (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .enable_o       (enable),
    .idle_o         (drain_idle),
    .low_soon_i     (low_soon),
    .low_valid_i    (low_valid),
    .high_valid_i   (high_valid),
    .acc_i          (acc),
    .rows_i         (sum_rows),
    .columns_i      (sum_columns),
    .tile_end_i     (high_tile_end),
    .offset_re_o    (offset_re),
    .offset_first_o (offset_first),
    .offset_i       (offset),
    .release_o      (store_release),
    .acc_valid_o    (acc_unit_valid),
    .acc_ready_i    (acc_unit_ready),
    .acc_data_o     (acc_unit),
    .acc_last_o     (acc_unit_last)
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
    increment[CntSaturated]     = IncWidth'(saturated);
    increment[CntWords]         = IncWidth'(op_valid && enable);
    increment[CntSkipped]       = IncWidth'(skipped);
    increment[CntStallMembrane] = IncWidth'(stall_membrane);
    increment[CntStallStore]    = IncWidth'(stall_store);
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

endmodule
