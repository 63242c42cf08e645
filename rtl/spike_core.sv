// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The spike core: membranes and weights in, fired spikes and exact integer accumulators out.
//
//   membrane stream -> neuron array -> spike store -> scheduler -> array -> drain -> accumulator stream
//                           |                             ^
//                           v                             |
//                      spike stream      weight stream -> weight loader
//
// The streams are AXI4-Stream (valid, ready, data, last), the registers AXI4-Lite; see spike_pkg and the
// modules' headers for the layout of each beat.

`include "spike_assert.svh"

module spike_core
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Lanes        = 8,     // inputs added in one cycle; a power of two, at least 4
  parameter int unsigned WeightInputs = Lanes, // inputs in a beat of the weight stream; divides Lanes
  parameter int unsigned WeightBits   = 8,     // 2 .. 8
  parameter int unsigned Tmax         = TmaxLimit,
  parameter int unsigned MaxInputs    = 8192   // K that the spike store holds (each group rounded up to Lanes)
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
  input  logic [Lanes*MembraneWidth-1:0]              s_axis_membrane_tdata_i,
  input  logic                                        s_axis_membrane_tlast_i,

  // weights, AXI4-Stream
  input  logic                                        s_axis_weight_tvalid_i,
  output logic                                        s_axis_weight_tready_o,
  input  logic [WeightInputs*Columns*8-1:0]           s_axis_weight_tdata_i,
  input  logic                                        s_axis_weight_tlast_i,

  // fired spikes, AXI4-Stream
  output logic                                        m_axis_spike_tvalid_o,
  input  logic                                        m_axis_spike_tready_i,
  output logic [2*Lanes-1:0]                          m_axis_spike_tdata_o,
  output logic                                        m_axis_spike_tlast_o,

  // accumulators, AXI4-Stream
  output logic                                        m_axis_acc_tvalid_o,
  input  logic                                        m_axis_acc_tready_i,
  output logic [Columns*AccWidth-1:0]                 m_axis_acc_tdata_o,
  output logic                                        m_axis_acc_tlast_o
);

  localparam int unsigned Chunks     = MaxInputs / Lanes;
  localparam int unsigned RowWidth   = $clog2(Rows + 1);
  localparam int unsigned ColWidth   = $clog2(Columns + 1);
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1);
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1);
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1);
  localparam int unsigned CntWidth   = $clog2(Rows * Lanes + 1);

  localparam logic [31:0] Shape = {8'(WeightInputs), 8'(Lanes), 8'(Columns), 8'(Rows)};
  localparam logic [31:0] Limits = {24'd0, 4'(Tmax), 4'(WeightBits)};

  `SPIKE_REQUIRE(gen_bad_rows, Rows >= 1 && Rows <= 255)
  `SPIKE_REQUIRE(gen_bad_columns, Columns >= 1 && Columns <= 255)
  `SPIKE_REQUIRE(gen_bad_lanes, Lanes >= 4 && Lanes <= 128)
  `SPIKE_REQUIRE(gen_bad_weight_bits, WeightBits >= 2 && WeightBits <= 8)
  `SPIKE_REQUIRE(gen_bad_tmax, Tmax >= 1 && Tmax <= TmaxLimit)
  `SPIKE_REQUIRE(gen_bad_max_inputs, Chunks >= 1 && MaxInputs == (Chunks << $clog2(Lanes)))

  // -------------------------------------------------------------------------------------------------- control
  job_t                              job;
  logic                              start, clear, busy, done;
  error_t                            error, sequencer_error;
  logic [Counters-1:0][IncWidth-1:0] increment;
  logic [Counters-1:0][63:0]         count;

  spike_regs #(
    .Shape  (Shape),
    .Limits (Limits),
    .Chunks (32'(Chunks))
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
    .job_o   (job),
    .start_o (start),
    .clear_o (clear),
    .busy_i  (busy),
    .done_i  (done),
    .error_i (error),
    .count_i (count),
    .irq_o
  );

  spike_counters u_counters (
    .clk_i,
    .rst_ni,
    .clear_i     (clear),
    .increment_i (increment),
    .count_o     (count)
  );

  logic [ChunkWidth-1:0] group_chunks, row_chunks;
  logic [LaneWidth-1:0]  tail_lanes;
  logic                  fire_start, fire_busy;
  logic [RowWidth-1:0]   tile_rows;
  logic                  pass_valid, pass_ready, pass_idle;
  logic [ColWidth-1:0]   pass_columns;
  logic                  drain_idle;

  spike_sequencer #(
    .Rows    (Rows),
    .Columns (Columns),
    .Lanes   (Lanes),
    .Chunks  (Chunks)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .job_i          (job),
    .start_i        (start),
    .busy_o         (busy),
    .done_o         (done),
    .error_o        (sequencer_error),
    .group_chunks_o (group_chunks),
    .row_chunks_o   (row_chunks),
    .tail_lanes_o   (tail_lanes),
    .fire_start_o   (fire_start),
    .tile_rows_o    (tile_rows),
    .fire_busy_i    (fire_busy),
    .pass_valid_o   (pass_valid),
    .pass_ready_i   (pass_ready),
    .pass_columns_o (pass_columns),
    .pass_idle_i    (pass_idle),
    .drained_i      (drain_idle && !m_axis_spike_tvalid_o)
  );

  // ------------------------------------------------------------------------------------------------- front end
  logic [StepWidth-1:0]  planes;
  logic                  store_we, store_mask_we;
  logic [RowWidth-1:0]   store_row;
  logic [ChunkWidth-1:0] store_chunk;
  logic [ExpWidth-1:0]   store_exponent;
  spike_t [Lanes-1:0]    store_spikes;
  logic [Tmax:0]         store_mask;
  logic [LaneWidth-1:0]  fired, saturated;
  logic                  row_done, stall_membrane, stall_spike, error_timesteps, error_membrane_last;

  spike_neuron_array #(
    .Rows   (Rows),
    .Lanes  (Lanes),
    .Tmax   (Tmax),
    .Chunks (Chunks)
  ) u_neuron_array (
    .clk_i,
    .rst_ni,
    .coding_i          (job.coding),
    .frac_bits_i       (job.frac_bits),
    .spike_stream_i    (job.spike_stream),
    .group_chunks_i    (group_chunks),
    .tail_lanes_i      (tail_lanes),
    .row_chunks_i      (row_chunks),
    .start_i           (fire_start),
    .rows_i            (tile_rows),
    .busy_o            (fire_busy),
    .planes_o          (planes),
    .membrane_valid_i  (s_axis_membrane_tvalid_i),
    .membrane_ready_o  (s_axis_membrane_tready_o),
    .membrane_data_i   (s_axis_membrane_tdata_i),
    .membrane_last_i   (s_axis_membrane_tlast_i),
    .store_we_o        (store_we),
    .store_mask_we_o   (store_mask_we),
    .store_row_o       (store_row),
    .store_chunk_o     (store_chunk),
    .store_exponent_o  (store_exponent),
    .store_spikes_o    (store_spikes),
    .store_mask_o      (store_mask),
    .spike_valid_o     (m_axis_spike_tvalid_o),
    .spike_ready_i     (m_axis_spike_tready_i),
    .spike_data_o      (m_axis_spike_tdata_o),
    .spike_last_o      (m_axis_spike_tlast_o),
    .spikes_o          (fired),
    .saturated_o       (saturated),
    .row_done_o        (row_done),
    .stall_membrane_o  (stall_membrane),
    .stall_spike_o     (stall_spike),
    .error_timesteps_o (error_timesteps),
    .error_last_o      (error_membrane_last)
  );

  // ---------------------------------------------------------------------------------------- store and schedule
  logic                         mask_re, plane_re;
  logic [ChunkWidth-1:0]        mask_chunk, plane_chunk;
  logic [ExpWidth-1:0]          plane_exponent;
  logic [Rows-1:0][Tmax:0]      masks;
  spike_t [Rows-1:0][Lanes-1:0] plane_spikes;

  spike_store #(
    .Rows   (Rows),
    .Lanes  (Lanes),
    .Tmax   (Tmax),
    .Chunks (Chunks)
  ) u_store (
    .clk_i,
    .we_i             (store_we),
    .mask_we_i        (store_mask_we),
    .row_i            (store_row),
    .chunk_i          (store_chunk),
    .exponent_i       (store_exponent),
    .spikes_i         (store_spikes),
    .mask_i           (store_mask),
    .mask_re_i        (mask_re),
    .mask_chunk_i     (mask_chunk),
    .masks_o          (masks),
    .plane_re_i       (plane_re),
    .plane_chunk_i    (plane_chunk),
    .plane_exponent_i (plane_exponent),
    .spikes_o         (plane_spikes)
  );

  logic                         chunk_valid, chunk_pop, chunk_last;
  logic [LaneWidth-1:0]         chunk_lanes;
  logic [ColWidth-1:0]          chunk_columns;
  logic                         op_valid, op_first, op_last;
  logic [ExpWidth-1:0]          op_exponent;
  spike_t [Rows-1:0][Lanes-1:0] op_spikes;
  logic [RowWidth-1:0]          op_rows;
  logic [ColWidth-1:0]          op_columns;
  logic                         drain_free;
  logic                         visited, stall_weight, stall_acc;
  logic [CntWidth-1:0]          visits;
  logic [StepWidth-1:0]         skipped;

  spike_scheduler #(
    .Rows    (Rows),
    .Columns (Columns),
    .Lanes   (Lanes),
    .Tmax    (Tmax),
    .Chunks  (Chunks)
  ) u_scheduler (
    .clk_i,
    .rst_ni,
    .group_chunks_i   (group_chunks),
    .row_chunks_i     (row_chunks),
    .tail_lanes_i     (tail_lanes),
    .planes_i         (planes),
    .pass_valid_i     (pass_valid),
    .pass_ready_o     (pass_ready),
    .pass_rows_i      (tile_rows),
    .pass_columns_i   (pass_columns),
    .idle_o           (pass_idle),
    .mask_re_o        (mask_re),
    .mask_chunk_o     (mask_chunk),
    .masks_i          (masks),
    .plane_re_o       (plane_re),
    .plane_chunk_o    (plane_chunk),
    .plane_exponent_o (plane_exponent),
    .spikes_i         (plane_spikes),
    .weight_valid_i   (chunk_valid),
    .weight_pop_o     (chunk_pop),
    .weight_last_o    (chunk_last),
    .weight_lanes_o   (chunk_lanes),
    .weight_columns_o (chunk_columns),
    .op_valid_o       (op_valid),
    .op_first_o       (op_first),
    .op_last_o        (op_last),
    .op_exponent_o    (op_exponent),
    .op_spikes_o      (op_spikes),
    .op_rows_o        (op_rows),
    .op_columns_o     (op_columns),
    .drain_free_i     (drain_free),
    .visited_o        (visited),
    .visits_o         (visits),
    .skipped_o        (skipped),
    .stall_weight_o   (stall_weight),
    .stall_acc_o      (stall_acc)
  );

  // ------------------------------------------------------------------------------------------ weights and array
  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0] chunk_weights;
  logic                                          error_weight_last, error_weight_range;

  spike_weight_loader #(
    .Columns      (Columns),
    .Lanes        (Lanes),
    .WeightInputs (WeightInputs),
    .WeightBits   (WeightBits)
  ) u_weight_loader (
    .clk_i,
    .rst_ni,
    .weight_valid_i  (s_axis_weight_tvalid_i),
    .weight_ready_o  (s_axis_weight_tready_o),
    .weight_data_i   (s_axis_weight_tdata_i),
    .weight_last_i   (s_axis_weight_tlast_i),
    .chunk_valid_o   (chunk_valid),
    .chunk_weights_o (chunk_weights),
    .chunk_pop_i     (chunk_pop),
    .chunk_last_i    (chunk_last),
    .chunk_lanes_i   (chunk_lanes),
    .chunk_columns_i (chunk_columns),
    .error_last_o    (error_weight_last),
    .error_range_o   (error_weight_range)
  );

  logic                                        capture;
  logic [Rows-1:0][Columns-1:0][AccWidth-1:0]  acc;
  logic [RowWidth-1:0]                         acc_rows;
  logic [ColWidth-1:0]                         acc_columns;

  spike_array #(
    .Rows       (Rows),
    .Columns    (Columns),
    .Lanes      (Lanes),
    .WeightBits (WeightBits),
    .Tmax       (Tmax)
  ) u_array (
    .clk_i,
    .rst_ni,
    .op_valid_i    (op_valid),
    .op_first_i    (op_first),
    .op_last_i     (op_last),
    .op_exponent_i (op_exponent),
    .op_spikes_i   (op_spikes),
    .op_rows_i     (op_rows),
    .op_columns_i  (op_columns),
    .weights_i     (chunk_weights),
    .capture_o     (capture),
    .acc_o         (acc),
    .rows_o        (acc_rows),
    .columns_o     (acc_columns)
  );

  spike_drain #(
    .Rows    (Rows),
    .Columns (Columns)
  ) u_drain (
    .clk_i,
    .rst_ni,
    .reserve_i   (op_valid && op_last),
    .free_o      (drain_free),
    .idle_o      (drain_idle),
    .capture_i   (capture),
    .acc_i       (acc),
    .rows_i      (acc_rows),
    .columns_i   (acc_columns),
    .acc_valid_o (m_axis_acc_tvalid_o),
    .acc_ready_i (m_axis_acc_tready_i),
    .acc_data_o  (m_axis_acc_tdata_o),
    .acc_last_o  (m_axis_acc_tlast_o)
  );

  // --------------------------------------------------------------------------------------- errors and counters
  always_comb begin
    error               = sequencer_error;
    error.timesteps     = error_timesteps;
    error.membrane_last = error_membrane_last;
    error.weight_last   = error_weight_last;
    error.weight_range  = error_weight_range;
  end

  always_comb begin
    increment                   = '0;
    increment[CntCycles]        = IncWidth'(busy);
    increment[CntRows]          = IncWidth'(row_done);
    increment[CntSpikes]        = IncWidth'(fired);
    increment[CntSaturated]     = IncWidth'(saturated);
    increment[CntVisits]        = IncWidth'(visits);
    increment[CntPlanes]        = IncWidth'(visited);
    increment[CntSkipped]       = IncWidth'(skipped);
    increment[CntStallMembrane] = IncWidth'(stall_membrane);
    increment[CntStallWeight]   = IncWidth'(stall_weight);
    increment[CntStallSpike]    = IncWidth'(stall_spike);
    increment[CntStallAcc]      = IncWidth'(stall_acc);
  end

  // --------------------------------------------------------------------------------------------------- promises
  `SPIKE_ASSERT_STABLE(SpikeStable, m_axis_spike_tvalid_o, m_axis_spike_tready_i,
                       {m_axis_spike_tdata_o, m_axis_spike_tlast_o})
  `SPIKE_ASSERT(WeightsMeetPlanes, op_valid |-> chunk_valid)

endmodule
