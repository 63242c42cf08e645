// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The spike core: membranes and weights in, fired spikes and exact integer accumulators out.
//
//   membrane stream -> neuron array -> spike store -> walker -> picker -> array -> accumulator -> accumulator stream
//                           |                                              ^
//                           v                                              |
//                      spike stream                 weight stream -> weight loader
//
// Neuron array, weight loader and walker each go through the job on their own; the two halves of the spike store and of
// the weight banks keep them together.
//
// The streams are AXI4-Stream (valid, ready, data, last), the registers AXI4-Lite; see spike_pkg and the
// modules' headers for the layout of each beat.

`include "spike_assert.svh"

module spike_core
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Lanes        = 16,    // spikes added in one cycle; a power of two, at least 4
  parameter int unsigned Slots        = 16,    // inputs that a lane's weight bank holds; a power of two
  parameter int unsigned WeightInputs = Lanes, // inputs in a beat of the weight stream; divides Lanes
  parameter int unsigned WeightBits   = 8,     // 2 .. 8
  parameter int unsigned Tmax         = TmaxLimit,
  parameter int unsigned MaxInputs    = 8192,  // K that the spike store holds (each group rounded up to blocks)
  parameter int unsigned MembraneBits   = 32,   // of a membrane in the stream: 32 or 16
  parameter bit          NibbleWeights  = 1'b0, // weights in the stream are 4 bits, not 8; for WeightBits up to 4
  parameter bit          UserTimesteps  = 1'b0, // T of a row comes in TUSER, and the row has no header
  parameter int unsigned MembraneStream = 0,    // width of the stream in bits, a power of two; 0: a chunk
  parameter int unsigned WeightStream   = 0,    // the same; 0: WeightInputs * Columns weights
  parameter int unsigned SpikeStream    = 0,    // the same; 0: the spikes of a chunk
  parameter int unsigned AccStream      = 0,    // the same; 0: Columns accumulators
  parameter bit          Csd          = 1'b1,  // able to fire csd; tc_lif alone needs less storage
  parameter bit          Capped       = 1'b0,  // able to cap tc_lif: full lanes of a block drop spikes of the last step
  parameter bit          OneBlock     = 1'b0,  // a group fits into a block, Lanes x Slots inputs: no sums are kept
  parameter bit          LateCounters = 1'b0, // for simulations: counters come out of reset just below a carry
  localparam int unsigned MembraneUnit   = Lanes * MembraneBits,
  localparam int unsigned WeightUnit     = WeightInputs * Columns * (NibbleWeights ? 4 : 8),
  localparam int unsigned AccUnit        = Columns * AccWidth,
  localparam int unsigned MembraneBeat   = (MembraneStream != 0) ? MembraneStream : MembraneUnit,
  localparam int unsigned WeightBeat     = (WeightStream != 0) ? WeightStream : WeightUnit,
  localparam int unsigned SpikeBeat      = (SpikeStream != 0) ? SpikeStream : 2 * Lanes,
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

  // fired spikes, AXI4-Stream
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

  localparam int unsigned Planes     = Tmax + int'(Csd);
  localparam int unsigned SignPlanes = Csd ? (Planes + 1) / 2 : 1;
  localparam int unsigned Blocks     = MaxInputs / (Lanes * Slots);
  localparam int unsigned RowWidth   = $clog2(Rows + 1);
  localparam int unsigned ColWidth   = $clog2(Columns + 1);
  localparam int unsigned BlockWidth = $clog2(Blocks + 1);
  localparam int unsigned SlotWidth  = $clog2(Slots + 1);
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1);
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1);
  localparam int unsigned CntWidth   = $clog2((Tmax + 1) * Lanes + 1);
  localparam int unsigned AddrWidth  = (Slots > 1) ? $clog2(Slots) : 1;
  localparam int unsigned BankWidth  = $clog2(Slots) + 1;
  localparam int unsigned HalfWidth  = WeightBits + $clog2(Lanes) + $clog2(Slots) + Planes + 1;
  // of inputs of less than 2^Tmax, weights of WeightBits
  localparam int unsigned LargestSum = WeightBits + Tmax + $clog2(OneBlock ? Lanes * Slots : MaxInputs);
  localparam int unsigned SumBits    = (LargestSum < AccWidth) ? LargestSum : AccWidth;

  localparam logic [31:0] Shape = {8'(WeightInputs), 8'(Lanes), 8'(Columns), 8'(Rows)};
  localparam logic [31:0] Limits = {13'd0, Capped, OneBlock, Csd, 8'(Slots), 4'(Tmax), 4'(WeightBits)};

  // log2 of the widths, 0 as above; how membranes and weights are sent
  localparam logic [31:0] Streams = {
    13'd0, UserTimesteps, NibbleWeights, MembraneBits == 16, 4'($clog2(AccStream)), 4'($clog2(SpikeStream)),
    4'($clog2(WeightStream)), 4'($clog2(MembraneStream))
  };

  `SPIKE_REQUIRE(gen_bad_rows, Rows >= 1 && Rows <= 255, "Rows has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_columns, Columns >= 1 && Columns <= 255, "Columns has to be from 1 to 255")
  `SPIKE_REQUIRE(gen_bad_lanes, Lanes >= 4 && Lanes <= 128 && Lanes == 1 << $clog2(Lanes),
                 "Lanes has to be a power of two from 4 to 128")
  `SPIKE_REQUIRE(gen_bad_slots, Slots >= 1 && Slots <= 128 && Slots == 1 << $clog2(Slots),
                 "Slots has to be a power of two from 1 to 128")
  `SPIKE_REQUIRE(gen_bad_weight_bits, WeightBits >= 2 && WeightBits <= 8, "WeightBits has to be from 2 to 8")
  `SPIKE_REQUIRE(gen_bad_tmax, Tmax >= 1 && Tmax <= TmaxLimit, "Tmax has to be from 1 to 7")
  `SPIKE_REQUIRE(gen_bad_max_inputs, Blocks >= 1 && MaxInputs == Blocks * Lanes * Slots,
                 "MaxInputs has to be a multiple of Lanes x Slots, and not 0")
  `SPIKE_REQUIRE(gen_bad_membrane_bits, MembraneBits == 16 || MembraneBits == 32, "MembraneBits has to be 16 or 32")
  `SPIKE_REQUIRE(gen_bad_nibbles, !NibbleWeights || (WeightBits <= 4 && WeightUnit % 8 == 0),
                 "NibbleWeights is for WeightBits up to 4, and an even number of weights in a beat")
  `SPIKE_REQUIRE(gen_bad_membrane_stream, MembraneStream == 0
                 || (MembraneStream >= 32 && MembraneStream <= 1024 && MembraneStream == (1 << $clog2(MembraneStream))),
                 "MembraneStream has to be 0 or a power of two from 32 to 1024")
  `SPIKE_REQUIRE(gen_bad_weight_stream, WeightStream == 0
                 || (WeightStream >= 32 && WeightStream <= 1024 && WeightStream == (1 << $clog2(WeightStream))),
                 "WeightStream has to be 0 or a power of two from 32 to 1024")
  `SPIKE_REQUIRE(gen_bad_spike_stream, SpikeStream == 0
                 || (SpikeStream >= 32 && SpikeStream <= 1024 && SpikeStream == (1 << $clog2(SpikeStream))),
                 "SpikeStream has to be 0 or a power of two from 32 to 1024")
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
    .Blocks  (32'(Blocks)),
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

  spike_counters #(
    .LateStart (LateCounters)
  ) u_counters (
    .clk_i,
    .rst_ni,
    .clear_i     (clear),
    .increment_i (increment_q),
    .count_o     (count)
  );

  // ---------------------------------------------------------------------------------------------------- ports
  logic                  engine_rst_n, drop_all;
  logic [1:0]            drop;  // weights, membranes
  logic                  membrane_ready, weight_ready, spike_valid, spike_ready, acc_valid, acc_ready;

  spike_abort #(
    .Outputs (2)
  ) u_abort (
    .clk_i,
    .rst_ni,
    .abort_i       (aborting),
    .busy_o        (abort_busy),
    .drop_o        (drop_all),
    .engine_rst_no (engine_rst_n),
    .valid_i       ({acc_valid, spike_valid}),
    .ready_o       ({acc_ready, spike_ready}),
    .valid_o       ({m_axis_acc_tvalid_o, m_axis_spike_tvalid_o}),
    .ready_i       ({m_axis_acc_tready_i, m_axis_spike_tready_i})
  );

  logic                      membrane_valid, membrane_last, membrane_open, membrane_end, membrane_inside, membrane_take;
  logic                      weight_valid, weight_last, weight_open, weight_end, weight_inside, weight_take;
  logic [MembraneUnit-1:0]   membranes;
  logic [WeightUnit-1:0]     weights;
  logic                      spike_unit_valid, spike_unit_ready, spike_unit_last;
  logic [2*Lanes-1:0]        spike_unit;
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
    .valid_o (weight_valid),
    .ready_i (weight_ready),
    .data_o  (weights),
    .last_o  (weight_last),
    .error_o (weight_inside)
  );

  spike_pack #(
    .Width (SpikeBeat),
    .Unit  (2 * Lanes)
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
  logic [Lanes-1:0][MembraneWidth-1:0] membrane_lanes;

  always_comb begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      membrane_lanes[l] = MembraneWidth'(signed'(membranes[MembraneBits*l +: MembraneBits]));
    end
  end

  assign s_axis_membrane_tready_o = membrane_take || drop_all || drop[0];
  assign s_axis_weight_tready_o   = weight_take || drop_all || drop[1];

  logic [BlockWidth-1:0] group_blocks, row_blocks;
  logic [SlotWidth-1:0]  tail_chunks;
  logic [LaneWidth-1:0]  tail_lanes;
  logic                  run, idle, fire_idle, load_idle, walk_idle, pick_idle, array_idle, acc_idle;

  assign idle = fire_idle && load_idle && walk_idle && pick_idle && array_idle && acc_idle;

  spike_sequencer #(
    .Lanes       (Lanes),
    .Slots       (Slots),
    .Blocks      (Blocks),
    .Csd         (Csd),
    .Capped      (Capped),
    .GroupBlocks (OneBlock ? 1 : Blocks)
  ) u_sequencer (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .job_i          (job),
    .start_i        (start),
    .queued_i       (queued),
    .busy_o         (busy),
    .done_o         (done),
    .error_o        (sequencer_error),
    .group_blocks_o (group_blocks),
    .row_blocks_o   (row_blocks),
    .tail_chunks_o  (tail_chunks),
    .tail_lanes_o   (tail_lanes),
    .run_o          (run),
    .idle_i         (idle),
    .valid_i        ({s_axis_weight_tvalid_i, s_axis_membrane_tvalid_i}),
    .last_i         ({s_axis_weight_tlast_i, s_axis_membrane_tlast_i}),
    .drop_o         (drop)
  );

  // ------------------------------------------------------------------------------------------------- front end
  logic                             store_ready, store_open, store_we, store_end, store_done, store_release;
  logic                             store_low_we, store_mask_we;
  logic [RowWidth-1:0]              store_row, store_low_row;
  logic [BlockWidth-1:0]            store_block, store_low_block;
  logic [SlotWidth-1:0]             store_slot, store_low_slot;
  logic [Planes-1:0][Lanes-1:0]     store_fire;
  logic [SignPlanes-1:0][Lanes-1:0] store_neg;
  logic [Planes-1:0]                store_mask;
  logic [CntWidth-1:0]              fired, skipped;
  logic [LaneWidth-1:0]             saturated;
  logic [TmaxLimit-1:0]             row_done;
  logic                             stall_membrane, stall_store, stall_spike, error_timesteps, error_membrane_last;

  spike_neuron_array #(
    .Rows          (Rows),
    .Lanes         (Lanes),
    .Slots         (Slots),
    .Blocks        (Blocks),
    .Tmax          (Tmax),
    .Csd           (Csd),
    .Capped        (Capped),
    .UserTimesteps (UserTimesteps)
  ) u_neuron_array (
    .clk_i,
    .rst_ni            (engine_rst_n),
    .start_i           (run),
    .idle_o            (fire_idle),
    .open_o            (membrane_open),
    .end_o             (membrane_end),
    .coding_i          (job.coding),
    .capped_i          (job.capped),
    .frac_bits_i       (job.frac_bits),
    .spike_stream_i    (job.spike_stream),
    .rows_i            (job.rows),
    .group_blocks_i    (group_blocks),
    .row_blocks_i      (row_blocks),
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
    .store_block_o     (store_block),
    .store_slot_o      (store_slot),
    .store_fire_o      (store_fire),
    .store_neg_o       (store_neg),
    .store_end_o       (store_end),
    .store_low_we_o    (store_low_we),
    .store_low_row_o   (store_low_row),
    .store_low_block_o (store_low_block),
    .store_low_slot_o  (store_low_slot),
    .store_mask_we_o   (store_mask_we),
    .store_mask_o      (store_mask),
    .store_done_o      (store_done),
    .spike_valid_o     (spike_unit_valid),
    .spike_ready_i     (spike_unit_ready),
    .spike_data_o      (spike_unit),
    .spike_last_o      (spike_unit_last),
    .spikes_o          (fired),
    .skipped_o         (skipped),
    .saturated_o       (saturated),
    .row_done_o        (row_done),
    .stall_membrane_o  (stall_membrane),
    .stall_store_o     (stall_store),
    .stall_spike_o     (stall_spike),
    .error_timesteps_o (error_timesteps),
    .error_last_o      (error_membrane_last)
  );

  // ------------------------------------------------------------------------------------------ store and planes
  logic                        mask_re, mask_half, plane_re, plane_half;
  logic [RowWidth-1:0]         mask_row, plane_row;
  logic [BlockWidth-1:0]       mask_block, plane_block;
  logic [Planes-1:0]           mask;
  logic [ExpWidth-1:0]         plane_exponent;
  logic [Slots-1:0][Lanes-1:0] stored_fire, stored_neg;

  spike_store #(
    .Rows   (Rows),
    .Lanes  (Lanes),
    .Slots  (Slots),
    .Blocks (Blocks),
    .Tmax   (Tmax),
    .Csd    (Csd),
    .Capped (Capped)
  ) u_store (
    .clk_i,
    .rst_ni           (engine_rst_n),
    .ready_o          (store_ready),
    .open_i           (store_open),
    .we_i             (store_we),
    .row_i            (store_row),
    .block_i          (store_block),
    .slot_i           (store_slot),
    .fire_i           (store_fire),
    .neg_i            (store_neg),
    .end_i            (store_end),
    .low_we_i         (store_low_we),
    .low_row_i        (store_low_row),
    .low_block_i      (store_low_block),
    .low_slot_i       (store_low_slot),
    .mask_we_i        (store_mask_we),
    .mask_i           (store_mask),
    .done_i           (store_done),
    .release_i        (store_release),
    .mask_re_i        (mask_re),
    .mask_half_i      (mask_half),
    .mask_row_i       (mask_row),
    .mask_block_i     (mask_block),
    .mask_o           (mask),
    .plane_re_i       (plane_re),
    .plane_half_i     (plane_half),
    .plane_row_i      (plane_row),
    .plane_block_i    (plane_block),
    .plane_exponent_i (plane_exponent),
    .fire_o           (stored_fire),
    .neg_o            (stored_neg)
  );

  logic                        bank_done, bank_release;
  logic                        c_valid, c_take, c_last, c_bank, c_release;
  logic [Slots-1:0][Lanes-1:0] c_fire, c_neg;
  logic [RowWidth-1:0]         c_row;
  logic [ColWidth-1:0]         c_columns;
  place_t                      c_place;
  logic                        wait_fire, wait_weight;

  spike_walker #(
    .Rows    (Rows),
    .Columns (Columns),
    .Lanes   (Lanes),
    .Slots   (Slots),
    .Blocks  (Blocks),
    .Tmax    (Tmax),
    .Csd     (Csd)
  ) u_walker (
    .clk_i,
    .rst_ni           (engine_rst_n),
    .start_i          (run),
    .idle_o           (walk_idle),
    .rows_i           (job.rows),
    .outputs_i        (job.outputs),
    .group_blocks_i   (group_blocks),
    .row_blocks_i     (row_blocks),
    .tail_chunks_i    (tail_chunks),
    .store_done_i     (store_done),
    .store_release_o  (store_release),
    .bank_done_i      (bank_done),
    .mask_re_o        (mask_re),
    .mask_half_o      (mask_half),
    .mask_row_o       (mask_row),
    .mask_block_o     (mask_block),
    .mask_i           (mask),
    .plane_re_o       (plane_re),
    .plane_half_o     (plane_half),
    .plane_row_o      (plane_row),
    .plane_block_o    (plane_block),
    .plane_exponent_o (plane_exponent),
    .fire_i           (stored_fire),
    .neg_i            (stored_neg),
    .plane_valid_o    (c_valid),
    .plane_take_i     (c_take),
    .plane_fire_o     (c_fire),
    .plane_neg_o      (c_neg),
    .plane_last_o     (c_last),
    .plane_bank_o     (c_bank),
    .plane_release_o  (c_release),
    .plane_tile_row_o (c_row),
    .plane_columns_o  (c_columns),
    .plane_place_o    (c_place),
    .wait_fire_o      (wait_fire),
    .wait_weight_o    (wait_weight)
  );

  // ---------------------------------------------------------------------------------------- weights and words
  logic [Lanes-1:0]                              bank_we;
  logic [BankWidth-1:0]                          bank_addr;
  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0] bank_data;
  logic                                          error_weight_last, error_weight_range;

  spike_weight_loader #(
    .Rows         (Rows),
    .Columns      (Columns),
    .Lanes        (Lanes),
    .Slots        (Slots),
    .Blocks       (Blocks),
    .WeightInputs (WeightInputs),
    .WeightBits   (WeightBits),
    .FieldBits    (NibbleWeights ? 4 : 8)
  ) u_weight_loader (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .start_i        (run),
    .idle_o         (load_idle),
    .open_o         (weight_open),
    .end_o          (weight_end),
    .rows_i         (job.rows),
    .outputs_i      (job.outputs),
    .group_blocks_i (group_blocks),
    .row_blocks_i   (row_blocks),
    .tail_chunks_i  (tail_chunks),
    .tail_lanes_i   (tail_lanes),
    .weight_valid_i (weight_valid),
    .weight_ready_o (weight_ready),
    .weight_data_i  (weights),
    .weight_last_i  (weight_last),
    .bank_we_o      (bank_we),
    .bank_addr_o    (bank_addr),
    .bank_data_o    (bank_data),
    .bank_done_o    (bank_done),
    .bank_release_i (bank_release),
    .error_last_o   (error_weight_last),
    .error_range_o  (error_weight_range)
  );

  logic                            enable, word_valid, word_bank, word_first, word_shift, word_last, word_release;
  logic [Lanes-1:0]                word_lanes, word_next, word_neg;
  logic [Lanes-1:0][AddrWidth-1:0] word_slot;
  logic [RowWidth-1:0]             word_row;
  logic [ColWidth-1:0]             word_columns;
  place_t                          word_place;

  spike_picker #(
    .Rows    (Rows),
    .Columns (Columns),
    .Lanes   (Lanes),
    .Slots   (Slots)
  ) u_picker (
    .clk_i,
    .rst_ni          (engine_rst_n),
    .plane_valid_i   (c_valid),
    .plane_take_o    (c_take),
    .plane_fire_i    (c_fire),
    .plane_neg_i     (c_neg),
    .plane_last_i    (c_last),
    .plane_bank_i    (c_bank),
    .plane_release_i (c_release),
    .plane_row_i     (c_row),
    .plane_columns_i (c_columns),
    .plane_place_i   (c_place),
    .enable_i        (enable),
    .word_valid_o    (word_valid),
    .word_lanes_o    (word_lanes),
    .word_next_o     (word_next),
    .word_neg_o      (word_neg),
    .word_slot_o     (word_slot),
    .word_bank_o     (word_bank),
    .word_first_o    (word_first),
    .word_shift_o    (word_shift),
    .word_last_o     (word_last),
    .word_release_o  (word_release),
    .word_row_o      (word_row),
    .word_columns_o  (word_columns),
    .word_place_o    (word_place),
    .idle_o          (pick_idle)
  );

  // ----------------------------------------------------------------------------------------- array and results
  logic                              sum_soon, sum_soon_first, sum_soon_last, sum_valid;
  logic [RowWidth-1:0]               sum_soon_row, sum_row;
  logic [Columns-1:0][HalfWidth-1:0] sums;
  logic [ColWidth-1:0]               sum_columns;
  place_t                            sum_place;
  logic [Lanes-1:0]                  added;

  spike_array #(
    .Rows       (Rows),
    .Columns    (Columns),
    .Lanes      (Lanes),
    .Slots      (Slots),
    .WeightBits (WeightBits),
    .Tmax       (Tmax),
    .Csd        (Csd)
  ) u_array (
    .clk_i,
    .rst_ni         (engine_rst_n),
    .enable_i       (enable),
    .word_valid_i   (word_valid),
    .word_lanes_i   (word_lanes),
    .word_next_i    (word_next),
    .word_neg_i     (word_neg),
    .word_slot_i    (word_slot),
    .word_bank_i    (word_bank),
    .word_first_i   (word_first),
    .word_shift_i   (word_shift),
    .word_last_i    (word_last),
    .word_release_i (word_release),
    .word_row_i     (word_row),
    .word_columns_i (word_columns),
    .word_place_i   (word_place),
    .bank_we_i      (bank_we),
    .bank_addr_i    (bank_addr),
    .bank_data_i    (bank_data),
    .bank_release_o (bank_release),
    .done_soon_o    (sum_soon),
    .soon_row_o     (sum_soon_row),
    .soon_first_o   (sum_soon_first),
    .soon_last_o    (sum_soon_last),
    .done_o         (sum_valid),
    .sums_o         (sums),
    .row_o          (sum_row),
    .columns_o      (sum_columns),
    .place_o        (sum_place),
    .idle_o         (array_idle),
    .added_o        (added)
  );

  spike_accumulator #(
    .Rows      (Rows),
    .Columns   (Columns),
    .HalfWidth (HalfWidth),
    .SumBits   (SumBits),
    .OneBlock  (OneBlock)
  ) u_accumulator (
    .clk_i,
    .rst_ni       (engine_rst_n),
    .enable_o     (enable),
    .idle_o       (acc_idle),
    .soon_i       (sum_soon),
    .soon_row_i   (sum_soon_row),
    .soon_first_i (sum_soon_first),
    .soon_last_i  (sum_soon_last),
    .valid_i      (sum_valid),
    .sums_i       (sums),
    .row_i        (sum_row),
    .columns_i    (sum_columns),
    .place_i      (sum_place),
    .acc_valid_o  (acc_unit_valid),
    .acc_ready_i  (acc_unit_ready),
    .acc_data_o   (acc_unit),
    .acc_last_o   (acc_unit_last)
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
    increment[CntWords]         = IncWidth'(word_valid);
    increment[CntSkipped]       = IncWidth'(skipped);
    increment[CntStallMembrane] = IncWidth'(stall_membrane);
    increment[CntStallStore]    = IncWidth'(stall_store);
    increment[CntStallSpike]    = IncWidth'(stall_spike);
    increment[CntStallFire]     = IncWidth'(wait_fire && pick_idle);
    increment[CntStallWeight]   = IncWidth'(wait_weight && pick_idle);
    increment[CntStallAcc]      = IncWidth'(!enable);
    for (int unsigned l = 0; l < Lanes; l++) increment[CntAdditions] += IncWidth'(added[l]);
    for (int unsigned t = 0; t < TmaxLimit; t++) begin
      increment[5'(CntRowsT1) + 5'(t)] = IncWidth'(row_done[t]);
    end
  end

  // Counted a cycle later: sums of events are long paths of their own.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) increment_q <= '0;
    else increment_q <= increment;
  end

  // --------------------------------------------------------------------------------------------------- promises
  `SPIKE_ASSERT_STABLE(SpikeStable, m_axis_spike_tvalid_o, m_axis_spike_tready_i,
                       {m_axis_spike_tdata_o, m_axis_spike_tlast_o})
  `SPIKE_ASSERT(BusyUntilIdle, busy || idle)

endmodule
