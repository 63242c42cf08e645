// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Joins beats of the weight stream into chunks of `Lanes` inputs x `Columns` weights and checks them.
//
//   beat    [input][column], one byte each: byte i * Columns + c is W[n0 + c, k0 + i]
//   order   for each row tile: for each column tile: for each group: for each chunk
//   TLAST   ends each column tile
//
// A queue of two beats at the input and the chunk register keep one chunk in use while the next arrives.

`include "spike_assert.svh"

module spike_weight_loader
#(
  parameter int unsigned Columns      = 16,
  parameter int unsigned Lanes        = 8,
  parameter int unsigned WeightInputs = 8,
  parameter int unsigned WeightBits   = 8,
  localparam int unsigned ColWidth  = $clog2(Columns + 1),
  localparam int unsigned LaneWidth = $clog2(Lanes + 1)
) (
  input  logic                                              clk_i,
  input  logic                                              rst_ni,

  // weight stream
  input  logic                                              weight_valid_i,
  output logic                                              weight_ready_o,
  input  logic [WeightInputs-1:0][Columns-1:0][7:0]         weight_data_i,
  input  logic                                              weight_last_i,

  // chunk
  output logic                                              chunk_valid_o,
  output logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]     chunk_weights_o,
  input  logic                                              chunk_pop_i,
  input  logic                                              chunk_last_i,
  input  logic [LaneWidth-1:0]                              chunk_lanes_i,
  input  logic [ColWidth-1:0]                               chunk_columns_i,

  // events
  output logic                                              error_last_o,
  output logic                                              error_range_o
);

  localparam int unsigned Beats = Lanes / WeightInputs;  // beats of a chunk
  localparam int unsigned BeatWidth = WeightInputs * Columns * 8;

  `SPIKE_REQUIRE(gen_bad_inputs, Lanes % WeightInputs == 0)

  // -------------------------------------------------------------------------------------------------- queue
  logic                                        beat_valid, beat_ready, beat_last;
  logic [WeightInputs-1:0][Columns-1:0][7:0]   beat_data;

  spike_fifo #(
    .Width(BeatWidth + 1)
  ) u_fifo (
    .clk_i,
    .rst_ni,
    .valid_i (weight_valid_i),
    .ready_o (weight_ready_o),
    .data_i  ({weight_last_i, weight_data_i}),
    .valid_o (beat_valid),
    .ready_i (beat_ready),
    .data_o  ({beat_last, beat_data})
  );

  // -------------------------------------------------------------------------------------------------- chunk
  logic                                 valid_q, last_q, early_q;  // early: TLAST inside the chunk
  logic [Lanes-1:0][Columns-1:0][7:0]   chunk_q;
  logic                                 take, complete, free;

  assign free = !valid_q || chunk_pop_i;
  assign take = beat_valid && beat_ready;

  if (Beats == 1) begin : gen_single
    assign beat_ready = free;
    assign complete   = take;

    always_ff @(posedge clk_i) begin
      if (take) begin
        chunk_q <= beat_data;
        last_q  <= beat_last;
      end
    end

    assign early_q = 1'b0;
  end else begin : gen_join
    localparam int unsigned BeatCntWidth = $clog2(Beats);

    logic [BeatCntWidth-1:0]         count_q;
    logic [Beats-2:0][BeatWidth-1:0] part_q;
    logic                            part_last_q;
    logic                            at_end;

    assign at_end     = count_q == BeatCntWidth'(Beats - 1);
    assign beat_ready = !at_end || free;
    assign complete   = take && at_end;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q     <= '0;
        part_last_q <= 1'b0;
      end else if (take) begin
        count_q     <= at_end ? '0 : count_q + 1'b1;
        part_last_q <= !at_end && (part_last_q || beat_last);
      end
    end

    always_ff @(posedge clk_i) begin
      for (int unsigned b = 0; b < Beats - 1; b++) begin
        if (take && count_q == BeatCntWidth'(b)) part_q[b] <= beat_data;
      end
      if (complete) begin
        chunk_q <= {beat_data, part_q};
        last_q  <= beat_last;
        early_q <= part_last_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (complete) valid_q <= 1'b1;
    else if (chunk_pop_i) valid_q <= 1'b0;
  end

  assign chunk_valid_o = valid_q;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    for (genvar c = 0; c < Columns; c++) begin : gen_column
      assign chunk_weights_o[l][c] = chunk_q[l][c][WeightBits-1:0];
    end
  end

  // ------------------------------------------------------------------------------------------------- checks
  assign error_last_o = chunk_pop_i && (last_q != chunk_last_i || early_q);

  if (WeightBits < 8) begin : gen_range
    always_comb begin
      error_range_o = 1'b0;
      for (int unsigned l = 0; l < Lanes; l++) begin
        for (int unsigned c = 0; c < Columns; c++) begin
          if (LaneWidth'(l) < chunk_lanes_i && ColWidth'(c) < chunk_columns_i
              && chunk_q[l][c][7:WeightBits-1] != '0 && chunk_q[l][c][7:WeightBits-1] != '1) begin
            error_range_o = chunk_pop_i;
          end
        end
      end
    end
  end else begin : gen_no_range
    assign error_range_o = 1'b0;
    // Every byte is a legal weight: what counts in the chunk is of no interest here.
    logic unused;
    assign unused = ^{chunk_lanes_i, chunk_columns_i};
  end

  `SPIKE_ASSERT(PopValid, chunk_pop_i |-> valid_q)

endmodule
