// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Joins beats of the weight stream into chunks of `Lanes` inputs x `Columns` weights and checks them. A weight is used
// once by all rows of a tile, and gone: nothing but one chunk is kept (and, where a chunk is several beats, its parts).
//
//   beat    [input][column], a field each: field i * Columns + c is W[n0 + c, k0 + i]
//   order   for each row tile: for each column tile: for each group: for each chunk
//   TLAST   ends each column tile
//
// Weights leave with their sign bit inverted, that is as w + 2^(WeightBits-1): see dense_column.

`include "spike_assert.svh"

module dense_weights
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,
  parameter int unsigned Columns      = 16,
  parameter int unsigned Lanes        = 16,
  parameter int unsigned Chunks       = 128,
  parameter int unsigned WeightInputs = 16,
  parameter int unsigned WeightBits   = 4,
  parameter int unsigned FieldBits    = 8,  // of a weight in a beat
  localparam int unsigned ChunkWidth = $clog2(Chunks + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1)
) (
  input  logic                                           clk_i,
  input  logic                                           rst_ni,

  // job
  input  logic                                           start_i,
  output logic                                           idle_o,
  output logic                                           open_o,          // takes another beat, though maybe not yet
  output logic                                           end_o,           // which ends a column tile
  input  logic [CountWidth-1:0]                          rows_i,
  input  logic [CountWidth-1:0]                          outputs_i,
  input  logic [ChunkWidth-1:0]                          group_chunks_i,
  input  logic [ChunkWidth-1:0]                          row_chunks_i,
  input  logic [LaneWidth-1:0]                           tail_lanes_i,

  // weight stream
  input  logic                                           weight_valid_i,
  output logic                                           weight_ready_o,
  input  logic [WeightInputs-1:0][Columns-1:0][FieldBits-1:0]weight_data_i,
  input  logic                                           weight_last_i,

  // chunk
  output logic                                           chunk_valid_o,
  output logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]  chunk_o,
  input  logic                                           chunk_pop_i,

  // events
  output logic                                           error_last_o,
  output logic                                           error_range_o
);

  localparam int unsigned Beats     = Lanes / WeightInputs;
  localparam int unsigned BeatWidth = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int unsigned RowWidth  = $clog2(Rows + 1);
  localparam int unsigned ColWidth  = $clog2(Columns + 1);

  `SPIKE_REQUIRE(gen_bad_inputs, WeightInputs >= 1 && Lanes % WeightInputs == 0, "WeightInputs has to divide Lanes")

  // -------------------------------------------------------------------------------------------- where we are
  logic                  tile_valid, row_tile_last, take, valid_q, chunk_last, tail, row_last, pass_last;
  logic [RowWidth-1:0]   tile_rows;
  logic [ColWidth-1:0]   columns;
  logic [BeatWidth-1:0]  beat_q;

  logic unused_one, unused_one_next;

  spike_tiler #(
    .Rows    (Rows),
    .Columns (Columns)
  ) u_tiler (
    .clk_i,
    .rst_ni,
    .start_i,
    .rows_i,
    .outputs_i,
    .valid_o         (tile_valid),
    .next_i          (take && pass_last),
    .rows_o          (tile_rows),
    .one_o           (unused_one),
    .one_next_o      (unused_one_next),
    .columns_o       (columns),
    .row_tile_last_o (row_tile_last)
  );

  logic                  unused_slot, unused_first, unused_last, unused_group;
  logic [ChunkWidth-1:0] unused_chunk;

  spike_chunker #(
    .Slots  (1),
    .Blocks (Chunks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i (group_chunks_i),
    .row_blocks_i   (row_chunks_i),
    .tail_chunks_i  (1'b1),
    .next_i         (take && chunk_last),
    .block_o        (unused_chunk),
    .slot_o         (unused_slot),
    .first_block_o  (unused_first),
    .tail_block_o   (tail),
    .block_last_o   (unused_last),
    .group_last_o   (unused_group),
    .row_last_o     (row_last)
  );

  // Weights are the same for all rows of a tile.
  logic unused_tile;
  assign unused_tile = ^{tile_rows, row_tile_last};

  assign chunk_last     = beat_q == BeatWidth'(Beats - 1);
  assign weight_ready_o = tile_valid && (!chunk_last || !valid_q || chunk_pop_i);
  assign take           = weight_valid_i && weight_ready_o;
  assign pass_last      = chunk_last && row_last;
  assign open_o         = tile_valid;
  assign end_o          = pass_last;
  assign idle_o         = !tile_valid && !valid_q;

  always_ff @(posedge clk_i) begin
    if (start_i) beat_q <= '0;
    else if (take) beat_q <= chunk_last ? '0 : beat_q + 1'b1;
  end

  // -------------------------------------------------------------------------------------------------- chunk
  logic [WeightInputs-1:0][Columns-1:0][WeightBits-1:0]         beat;
  logic [Beats-1:0][WeightInputs-1:0][Columns-1:0][WeightBits-1:0] weights_q;

  for (genvar i = 0; i < WeightInputs; i++) begin : gen_input
    for (genvar c = 0; c < Columns; c++) begin : gen_column
      assign beat[i][c] = {!weight_data_i[i][c][WeightBits-1], weight_data_i[i][c][WeightBits-2:0]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (take && chunk_last) valid_q <= 1'b1;
    else if (chunk_pop_i) valid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (take && chunk_last) weights_q[Beats-1] <= beat;
  end

  if (Beats > 1) begin : gen_parts
    logic [Beats-2:0][WeightInputs-1:0][Columns-1:0][WeightBits-1:0] part_q;

    always_ff @(posedge clk_i) begin
      for (int unsigned b = 0; b < Beats - 1; b++) begin
        if (take && beat_q == BeatWidth'(b)) part_q[b] <= beat;
      end
      if (take && chunk_last) weights_q[Beats-2:0] <= part_q;
    end
  end

  assign chunk_valid_o = valid_q;
  assign chunk_o       = weights_q;

  // ------------------------------------------------------------------------------------------------- checks
  logic [LaneWidth-1:0] lanes, first;

  assign error_last_o = take && weight_last_i != pass_last;
  assign lanes        = tail ? tail_lanes_i : LaneWidth'(Lanes);

  always_comb begin
    first = '0;
    for (int unsigned b = 0; b < Beats; b++) begin
      if (beat_q == BeatWidth'(b)) first = LaneWidth'(b * WeightInputs);
    end
  end

  always_comb begin
    error_range_o = 1'b0;
    for (int unsigned i = 0; i < WeightInputs; i++) begin
      for (int unsigned c = 0; c < Columns; c++) begin
        if (first + LaneWidth'(i) < lanes && ColWidth'(c) < columns
            && weight_data_i[i][c][FieldBits-1:WeightBits-1] != '0
            && weight_data_i[i][c][FieldBits-1:WeightBits-1] != '1) begin
          error_range_o = take;
        end
      end
    end
  end

endmodule
