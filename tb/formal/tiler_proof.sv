// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: the tiles of a job cover its M x N outputs once each: row tiles from above, in each the column tiles from the left,
// full ones but for the last; the end comes after the last one and not before. For every M and N of 32 bits.

module tiler_proof
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 3,
  parameter int unsigned Columns = 5
) (
  input logic                  clk_i,
  input logic                  reset_i,
  input logic                  start_i,
  input logic                  next_i,
  input logic [CountWidth-1:0] rows_i,
  input logic [CountWidth-1:0] outputs_i
);

  localparam int unsigned RowWidth = $clog2(Rows + 1);
  localparam int unsigned ColWidth = $clog2(Columns + 1);

  logic                started_q = 1'b0;
  logic                rst_ni, valid, row_tile_last, one, one_next;
  logic [RowWidth-1:0] rows;
  logic [ColWidth-1:0] columns;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  spike_tiler #(
    .Rows    (Rows),
    .Columns (Columns)
  ) u_tiler (
    .clk_i,
    .rst_ni,
    .start_i,
    .rows_i,
    .outputs_i,
    .valid_o         (valid),
    .next_i,
    .rows_o          (rows),
    .one_o           (one),
    .one_next_o      (one_next),
    .columns_o       (columns),
    .row_tile_last_o (row_tile_last)
  );

  // The job, and the first row and column that no tile has covered yet
  logic                  busy_q;
  logic [CountWidth-1:0] m_q, n_q, row_q, col_q;
  logic                  last_col, last_row;

  assign last_col = n_q - col_q <= CountWidth'(Columns);
  assign last_row = m_q - row_q <= CountWidth'(Rows);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
    end else if (start_i) begin
      busy_q <= 1'b1;
      m_q    <= rows_i;
      n_q    <= outputs_i;
      row_q  <= '0;
      col_q  <= '0;
    end else if (next_i) begin
      col_q <= last_col ? '0 : col_q + CountWidth'(columns);
      if (last_col) row_q <= row_q + CountWidth'(rows);
      if (last_col && last_row) busy_q <= 1'b0;
    end
  end

  logic told_q, one_next_q;  // what was said of this tile when the one before was taken

  always_ff @(posedge clk_i) begin
    told_q     <= rst_ni && (start_i || next_i);
    one_next_q <= one_next;
  end

  always_comb begin
    assume (rows_i != '0 && outputs_i != '0);               // the sequencer starts no other job
    if (busy_q) assume (rows_i == m_q && outputs_i == n_q); // registers are locked while a job runs
    // what the RTL counts down against what is counted up here
    if (rst_ni && busy_q) begin
      Inside:   assert (row_q < m_q && col_q < n_q);
      RowsLeft: assert (u_tiler.rows_left_q == m_q - row_q);
      ColsLeft: assert (u_tiler.outputs_left_q == n_q - col_q);
      RowTile:  assert (CountWidth'(rows) == (last_row ? m_q - row_q : CountWidth'(Rows)));
      ColTile:  assert (CountWidth'(columns) == (last_col ? n_q - col_q : CountWidth'(Columns)));
      LastRows: assert (u_tiler.last_rows_q == last_row);
      Last:     assert (row_tile_last == (col_q + CountWidth'(columns) == n_q));
    end
    if (rst_ni && busy_q) One: assert (one == (rows == RowWidth'(1)));
    if (rst_ni && busy_q && told_q) Next: assert (one == one_next_q);
    if (rst_ni) Valid: assert (valid == busy_q);
    cover (rst_ni && busy_q && row_q != '0 && col_q != '0);
  end

endmodule
