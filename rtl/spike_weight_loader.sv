// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Writes the weight stream into the lanes' banks, block by block, and checks it. A bank has two halves: one is loaded
// while the other is used.
//
//   beat    [input][column], a field each: field i * Columns + c is W[n0 + c, k0 + i]
//   order   for each row tile: for each column tile: for each group: for each chunk
//   TLAST   ends each column tile
//
// Beat b of a chunk goes to the lanes b * WeightInputs and up. Banks keep a weight with its sign bit inverted, that is
// w + 2^(WeightBits-1): see spike_column.

`include "spike_assert.svh"

module spike_weight_loader
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,
  parameter int unsigned Columns      = 16,
  parameter int unsigned Lanes        = 16,
  parameter int unsigned Slots        = 16,
  parameter int unsigned Blocks       = 32,
  parameter int unsigned WeightInputs = 16,
  parameter int unsigned WeightBits   = 8,
  parameter int unsigned FieldBits    = 8,  // of a weight in a beat
  localparam int unsigned BlockWidth = $clog2(Blocks + 1),
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned LaneWidth  = $clog2(Lanes + 1),
  localparam int unsigned BankWidth  = $clog2(Slots) + 1
) (
  input  logic                                              clk_i,
  input  logic                                              rst_ni,

  // job
  input  logic                                              start_i,
  output logic                                              idle_o,
  output logic                                              open_o,          // takes another beat, though maybe not yet
  output logic                                              end_o,           // which ends a column tile
  input  logic [CountWidth-1:0]                             rows_i,
  input  logic [CountWidth-1:0]                             outputs_i,
  input  logic [BlockWidth-1:0]                             group_blocks_i,
  input  logic [BlockWidth-1:0]                             row_blocks_i,
  input  logic [SlotWidth-1:0]                              tail_chunks_i,
  input  logic [LaneWidth-1:0]                              tail_lanes_i,

  // weight stream
  input  logic                                              weight_valid_i,
  output logic                                              weight_ready_o,
  input  logic [WeightInputs-1:0][Columns-1:0][FieldBits-1:0] weight_data_i,
  input  logic                                              weight_last_i,

  // banks
  output logic [Lanes-1:0]                                  bank_we_o,
  output logic [BankWidth-1:0]                              bank_addr_o,     // {half, slot}
  output logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]     bank_data_o,
  output logic                                              bank_done_o,     // a block is complete
  input  logic                                              bank_release_i,  // the older block is not needed any more

  // events
  output logic                                              error_last_o,
  output logic                                              error_range_o
);

  localparam int unsigned Beats     = Lanes / WeightInputs;  // beats of a chunk
  localparam int unsigned BeatWidth = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int unsigned RowWidth  = $clog2(Rows + 1);
  localparam int unsigned ColWidth  = $clog2(Columns + 1);

  `SPIKE_REQUIRE(gen_bad_inputs, WeightInputs >= 1 && Lanes % WeightInputs == 0, "WeightInputs has to divide Lanes")

  // -------------------------------------------------------------------------------------------- where we are
  logic                   tile_valid, tile_next, row_tile_last, take, half_q;
  logic [RowWidth-1:0]    tile_rows;
  logic [ColWidth-1:0]    columns;
  logic [SlotWidth-1:0]   slot;
  logic [BeatWidth-1:0]   beat_q;
  logic [1:0]             free_q;
  logic                   chunk_last, block_last, group_last, row_last, pass_last;

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
    .next_i          (tile_next),
    .rows_o          (tile_rows),
    .one_o           (unused_one),
    .one_next_o      (unused_one_next),
    .columns_o       (columns),
    .row_tile_last_o (row_tile_last)
  );

  logic                  unused_first, unused_tail;
  logic [BlockWidth-1:0] unused_block;

  spike_chunker #(
    .Slots  (Slots),
    .Blocks (Blocks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .next_i        (take && chunk_last),
    .block_o       (unused_block),
    .slot_o        (slot),
    .first_block_o (unused_first),
    .tail_block_o  (unused_tail),
    .block_last_o  (block_last),
    .group_last_o  (group_last),
    .row_last_o    (row_last)
  );

  // Weights are the same for all rows of a tile.
  logic unused_tile;
  assign unused_tile = ^{tile_rows, row_tile_last};

  assign weight_ready_o = tile_valid && free_q != '0;
  assign take           = weight_valid_i && weight_ready_o;
  assign chunk_last     = beat_q == BeatWidth'(Beats - 1);
  assign pass_last      = chunk_last && row_last;
  assign tile_next      = take && pass_last;
  assign bank_done_o    = take && chunk_last && block_last;
  assign open_o         = tile_valid;
  assign end_o          = pass_last;
  assign idle_o         = !tile_valid;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      half_q <= 1'b0;
      free_q <= 2'd2;
    end else begin
      if (bank_done_o) half_q <= !half_q;
      if (bank_done_o && !bank_release_i) free_q <= free_q - 1'b1;
      if (bank_release_i && !bank_done_o) free_q <= free_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) beat_q <= '0;
    else if (take) beat_q <= chunk_last ? '0 : beat_q + 1'b1;
  end

  // -------------------------------------------------------------------------------------------------- banks
  if (Slots > 1) begin : gen_addr
    assign bank_addr_o = {half_q, slot[BankWidth-2:0]};
  end else begin : gen_half
    assign bank_addr_o = half_q;
  end

  logic unused_slot;  // its highest bit, or all of it
  assign unused_slot = ^slot;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    assign bank_we_o[l] = take && beat_q == BeatWidth'(l / WeightInputs);

    for (genvar c = 0; c < Columns; c++) begin : gen_column
      assign bank_data_o[l][c] = {
        !weight_data_i[l % WeightInputs][c][WeightBits-1], weight_data_i[l % WeightInputs][c][WeightBits-2:0]
      };
    end
  end

  // ------------------------------------------------------------------------------------------------- checks
  assign error_last_o = take && weight_last_i != pass_last;

  if (WeightBits < FieldBits) begin : gen_range
    logic [LaneWidth-1:0] lanes, first;

    assign lanes = group_last ? tail_lanes_i : LaneWidth'(Lanes);

    always_comb begin
      first = '0;
      for (int unsigned b = 0; b < Beats; b++) begin
        if (beat_q == BeatWidth'(b)) first = LaneWidth'(b * WeightInputs);
      end
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
  end else begin : gen_no_range
    assign error_range_o = 1'b0;
    // Every field is a legal weight: what counts in a beat is of no interest here.
    logic unused;
    assign unused = ^{tail_lanes_i, columns, group_last};
  end

  `SPIKE_ASSERT(Free, free_q <= 2'd2)
  `SPIKE_EXPECT(ReleaseFull, !bank_release_i || free_q != 2'd2)

endmodule
