// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks the tiles of a job: row tile by row tile, and in each all column tiles. Front end, weight loader and scheduler
// run ahead of each other, so each walks on its own. All that is said of a tile comes from registers: what follows a tile is
// worked out while it is used, and so is what a walker has to know of the next one to do the same with rows.

`include "spike_assert.svh"

module spike_tiler
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  input  logic                  start_i,
  input  logic [CountWidth-1:0] rows_i,          // M
  input  logic [CountWidth-1:0] outputs_i,       // N

  output logic                  valid_o,         // there is a tile
  input  logic                  next_i,          // and it has been taken
  output logic [RowWidth-1:0]   rows_o,          // its rows
  output logic                  one_o,           // it has one row
  output logic                  one_next_o,      // the next tile has; with start_i, the first
  output logic [ColWidth-1:0]   columns_o,       // its columns
  output logic                  row_tile_last_o  // the last column tile of its row tile
);

  logic                  valid_q, last_rows_q, last_outputs_q, last_rows_d, last_outputs_d, begin_row;
  logic [RowWidth-1:0]   rows_q;
  logic                  one_q, one_d;
  logic [ColWidth-1:0]   columns_q;
  logic [CountWidth-1:0] rows_left_q, outputs_left_q;  // from this tile on
  logic [CountWidth-1:0] rows_left_d, outputs_left_d;  // from the next

  assign valid_o         = valid_q;
  assign rows_o          = rows_q;
  assign one_o           = one_q;
  assign one_next_o      = begin_row ? one_d : one_q;
  assign columns_o       = columns_q;
  assign row_tile_last_o = last_outputs_q;

  assign begin_row      = start_i || last_outputs_q;
  assign rows_left_d    = start_i ? rows_i : rows_left_q - CountWidth'(Rows);
  assign outputs_left_d = begin_row ? outputs_i : outputs_left_q - CountWidth'(Columns);
  assign last_rows_d    = start_i ? rows_i <= CountWidth'(Rows) : rows_left_q <= CountWidth'(2 * Rows);
  assign one_d          = last_rows_d ? rows_left_d[RowWidth-1:0] == RowWidth'(1) : Rows == 1;
  assign last_outputs_d = begin_row ? outputs_i <= CountWidth'(Columns) : outputs_left_q <= CountWidth'(2 * Columns);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
    end else if (start_i) begin
      valid_q <= 1'b1;
    end else if (next_i && last_outputs_q && last_rows_q) begin
      valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i || next_i) begin
      outputs_left_q <= outputs_left_d;
      last_outputs_q <= last_outputs_d;
      columns_q      <= last_outputs_d ? outputs_left_d[ColWidth-1:0] : ColWidth'(Columns);
      if (begin_row) begin
        rows_left_q <= rows_left_d;
        last_rows_q <= last_rows_d;
        one_q       <= one_d;
        rows_q      <= last_rows_d ? rows_left_d[RowWidth-1:0] : RowWidth'(Rows);
      end
    end
  end

  `SPIKE_EXPECT(NextValid, !next_i || valid_q)
  `SPIKE_EXPECT(StartIdle, !start_i || !valid_q)

endmodule
