// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the tiler in a proof that is about no numbers: a job of any number of tiles, each of 1 to `Rows`
// rows. What nothing drives here is free in every cycle. As from the real one, tiles beside each other have equally
// many rows, and what is said of the next tile is true.

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
  input  logic [CountWidth-1:0] rows_i,
  input  logic [CountWidth-1:0] outputs_i,
  output logic                  valid_o,
  input  logic                  next_i,
  output logic [RowWidth-1:0]   rows_o,
  output logic                  one_o,
  output logic                  one_next_o,
  output logic [ColWidth-1:0]   columns_o,
  output logic                  row_tile_last_o
);

  logic                valid_q, last_q, any_last, any_end, begin_row;
  logic [RowWidth-1:0] rows_q, rows_next_q, any_rows;

  assign begin_row       = start_i || last_q;
  assign valid_o         = valid_q;
  assign rows_o          = rows_q;
  assign one_o           = rows_q == RowWidth'(1);
  assign one_next_o      = begin_row ? rows_next_q == RowWidth'(1) : one_o;
  assign row_tile_last_o = last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (start_i) valid_q <= 1'b1;
    else if (next_i && last_q && any_end) valid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rows_q      <= RowWidth'(1);
      rows_next_q <= RowWidth'(1);
    end else if (start_i || next_i) begin
      last_q <= any_last;
      if (begin_row) begin
        rows_q      <= rows_next_q;
        rows_next_q <= (any_rows == '0 || any_rows > RowWidth'(Rows)) ? RowWidth'(1) : any_rows;
      end
    end
  end

endmodule
