// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks the tiles of a job: row tile by row tile, and in each all column tiles. Front end, weight loader and scheduler
// run ahead of each other, so each walks on its own.

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
  output logic [ColWidth-1:0]   columns_o,       // its columns
  output logic                  row_tile_last_o  // the last column tile of its row tile
);

  logic                  valid_q, last_rows, last_outputs;
  logic [CountWidth-1:0] rows_left_q, outputs_left_q;

  assign last_rows       = rows_left_q <= CountWidth'(Rows);
  assign last_outputs    = outputs_left_q <= CountWidth'(Columns);
  assign valid_o         = valid_q;
  assign rows_o          = last_rows ? rows_left_q[RowWidth-1:0] : RowWidth'(Rows);
  assign columns_o       = last_outputs ? outputs_left_q[ColWidth-1:0] : ColWidth'(Columns);
  assign row_tile_last_o = last_outputs;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
    end else if (start_i) begin
      valid_q <= 1'b1;
    end else if (next_i && last_outputs && last_rows) begin
      valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      rows_left_q    <= rows_i;
      outputs_left_q <= outputs_i;
    end else if (next_i) begin
      outputs_left_q <= last_outputs ? outputs_i : outputs_left_q - CountWidth'(Columns);
      if (last_outputs) rows_left_q <= rows_left_q - CountWidth'(Rows);
    end
  end

  `SPIKE_EXPECT(NextValid, !next_i || valid_q)
  `SPIKE_EXPECT(StartIdle, !start_i || !valid_q)

endmodule
