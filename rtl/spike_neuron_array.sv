// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The front end: takes the membranes of one row tile from the stream, fires them on `Lanes` neurons step by
// step, writes every spike plane to the spike store and, on request, copies it to the spike stream.
//
//   stream in    row 0: header (T), chunk 0, chunk 1, ...   row 1: header, ...       TLAST ends each row
//   a chunk      `Lanes` membranes; the last chunk of a group may hold fewer, the rest of the beat is ignored
//   stream out   row 0: chunk 0: step 0, 1, ..  chunk 1: step 0, ..                   TLAST ends each row
//
// A chunk takes one cycle for each of its row's steps; the next chunk is charged during the last one.

`include "spike_assert.svh"

module spike_neuron_array
  import spike_pkg::*;
#(
  parameter int unsigned Rows   = 8,
  parameter int unsigned Lanes  = 8,
  parameter int unsigned Tmax   = TmaxLimit,
  parameter int unsigned Chunks = 1024,
  localparam int unsigned RowWidth   = $clog2(Rows + 1),
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1),
  localparam int unsigned ExpWidth   = $clog2(Tmax + 1)
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,

  // job
  input  coding_e                             coding_i,
  input  logic [4:0]                          frac_bits_i,
  input  logic                                spike_stream_i,
  input  logic [ChunkWidth-1:0]               group_chunks_i,  // chunks of a group
  input  logic [LaneWidth-1:0]                tail_lanes_i,    // inputs in the last chunk of a group
  input  logic [ChunkWidth-1:0]               row_chunks_i,    // chunks of a row

  // row tile
  input  logic                                start_i,
  input  logic [RowWidth-1:0]                 rows_i,
  output logic                                busy_o,
  output logic [StepWidth-1:0]                planes_o,        // most steps of any row of the tile

  // membranes
  input  logic                                membrane_valid_i,
  output logic                                membrane_ready_o,
  input  logic [Lanes-1:0][MembraneWidth-1:0] membrane_data_i,
  input  logic                                membrane_last_i,

  // spike store
  output logic                                store_we_o,
  output logic                                store_mask_we_o,
  output logic [RowWidth-1:0]                 store_row_o,
  output logic [ChunkWidth-1:0]               store_chunk_o,
  output logic [ExpWidth-1:0]                 store_exponent_o,
  output spike_t [Lanes-1:0]                  store_spikes_o,
  output logic [Tmax:0]                       store_mask_o,

  // spike stream
  output logic                                spike_valid_o,
  input  logic                                spike_ready_i,
  output spike_t [Lanes-1:0]                  spike_data_o,
  output logic                                spike_last_o,

  // events
  output logic [LaneWidth-1:0]                spikes_o,
  output logic [LaneWidth-1:0]                saturated_o,
  output logic                                row_done_o,
  output logic                                stall_membrane_o,
  output logic                                stall_spike_o,
  output logic                                error_timesteps_o,
  output logic                                error_last_o
);

  typedef enum logic [1:0] {
    StIdle,
    StHeader,
    StChunk,
    StFlush
  } state_e;

  state_e                state_q, state_d;
  logic [RowWidth-1:0]   row_q;
  logic [ChunkWidth-1:0] chunk_q, group_chunk_q;
  logic [TWidth-1:0]     timesteps_q, header_t;
  logic                  header, charge, last_row, last_chunk, group_last;

  // The chunk that is in the neurons
  logic                  live_q, live_last_q;
  logic [RowWidth-1:0]   live_row_q;
  logic [ChunkWidth-1:0] live_chunk_q;
  logic [ExpWidth-1:0]   exponent_q;
  logic [Tmax:0]         mask_q, mask_d;
  logic                  step, final_step, free, spike_ready;

  // ------------------------------------------------------------------------------------ stream and counting
  assign last_row         = row_q == rows_i - 1'b1;
  assign last_chunk       = chunk_q == row_chunks_i - 1'b1;
  assign group_last       = group_chunk_q == group_chunks_i - 1'b1;
  assign membrane_ready_o = (state_q == StHeader) || (state_q == StChunk && free);
  assign header           = membrane_valid_i && state_q == StHeader;
  assign charge           = membrane_valid_i && state_q == StChunk && free;
  assign busy_o           = state_q != StIdle;

  // T of the header, forced into range so that a bad row cannot hang the job
  logic [7:0] raw_t;
  assign raw_t             = membrane_data_i[0][HeaderTLsb +: 8];
  assign error_timesteps_o = header && (raw_t == 8'd0 || raw_t > 8'(Tmax));

  always_comb begin
    header_t = raw_t[TWidth-1:0];
    if (raw_t == 8'd0) header_t = TWidth'(1);
    if (raw_t > 8'(Tmax)) header_t = TWidth'(Tmax);
  end

  assign error_last_o = (header && membrane_last_i) || (charge && membrane_last_i != last_chunk);

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:   if (start_i) state_d = StHeader;
      StHeader: if (header) state_d = StChunk;
      StChunk:  if (charge && last_chunk) state_d = last_row ? StFlush : StHeader;
      StFlush:  if (free) state_d = StIdle;
      default:  state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q       <= StIdle;
      row_q         <= '0;
      chunk_q       <= '0;
      group_chunk_q <= '0;
      timesteps_q   <= TWidth'(1);
      planes_o      <= '0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle && start_i) begin
        row_q    <= '0;
        planes_o <= '0;
      end
      if (header) begin
        timesteps_q   <= header_t;
        chunk_q       <= '0;
        group_chunk_q <= '0;
        if (steps(header_t) > planes_o) planes_o <= steps(header_t);
      end
      if (charge) begin
        chunk_q       <= chunk_q + 1'b1;
        group_chunk_q <= group_last ? '0 : group_chunk_q + 1'b1;
        if (last_chunk) row_q <= row_q + 1'b1;
      end
    end
  end

  function automatic logic [StepWidth-1:0] steps(input logic [TWidth-1:0] timesteps);
    return StepWidth'(timesteps) + StepWidth'(coding_i == CodingCsd);
  endfunction

  // ------------------------------------------------------------------------------------------------ stepping
  assign step       = live_q && spike_ready;
  assign final_step = step && exponent_q == '0;
  assign free       = !live_q || final_step;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      live_q <= 1'b0;
    end else if (charge) begin
      live_q <= 1'b1;
    end else if (final_step) begin
      live_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (charge) begin
      live_row_q   <= row_q;
      live_chunk_q <= chunk_q;
      live_last_q  <= last_chunk;
      exponent_q   <= ExpWidth'(steps(timesteps_q) - 1'b1);
      mask_q       <= '0;
    end else if (step) begin
      exponent_q <= exponent_q - 1'b1;
      mask_q     <= mask_d;
    end
  end

  // ------------------------------------------------------------------------------------------------- neurons
  spike_t [Lanes-1:0] spikes;
  logic [Lanes-1:0]   fired, saturated;

  for (genvar l = 0; l < Lanes; l++) begin : gen_neuron
    logic valid;
    assign valid = !group_last || LaneWidth'(l) < tail_lanes_i;

    spike_neuron #(
      .Tmax(Tmax)
    ) u_neuron (
      .clk_i,
      .coding_i,
      .frac_bits_i,
      .charge_i    (charge),
      .membrane_i  (valid ? membrane_data_i[l] : '0),
      .timesteps_i (timesteps_q),
      .saturated_o (saturated[l]),
      .step_i      (step),
      .exponent_i  (exponent_q),
      .spike_o     (spikes[l])
    );

    assign fired[l] = spikes[l].fire;
  end

  always_comb begin
    mask_d = mask_q;
    mask_d[exponent_q] = |fired;
  end

  function automatic logic [LaneWidth-1:0] count(input logic [Lanes-1:0] bits);
    count = '0;
    for (int unsigned l = 0; l < Lanes; l++) count += LaneWidth'(bits[l]);
  endfunction

  // -------------------------------------------------------------------------------------------- spike store
  assign store_we_o       = step;
  assign store_mask_we_o  = final_step;
  assign store_row_o      = live_row_q;
  assign store_chunk_o    = live_chunk_q;
  assign store_exponent_o = exponent_q;
  assign store_spikes_o   = spikes;
  assign store_mask_o     = mask_d;

  // ------------------------------------------------------------------------------------------- spike stream
  logic fifo_ready;

  spike_fifo #(
    .Width($bits(spikes) + 1)
  ) u_spike_fifo (
    .clk_i,
    .rst_ni,
    .valid_i (live_q && spike_stream_i),
    .ready_o (fifo_ready),
    .data_i  ({live_last_q && exponent_q == '0, spikes}),
    .valid_o (spike_valid_o),
    .ready_i (spike_ready_i),
    .data_o  ({spike_last_o, spike_data_o})
  );

  assign spike_ready = fifo_ready || !spike_stream_i;

  // -------------------------------------------------------------------------------------------------- events
  assign spikes_o         = step ? count(fired) : '0;
  assign saturated_o      = charge ? count(saturated) : '0;
  assign row_done_o       = final_step && live_last_q;
  assign stall_membrane_o = membrane_ready_o && !membrane_valid_i;
  assign stall_spike_o    = live_q && !spike_ready;

endmodule
