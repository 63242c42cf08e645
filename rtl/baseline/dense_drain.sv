// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Output buffer of the dense baseline: takes a tile's accumulators over, half by half, and sends them row by row, while the
// array goes on. enable_o stops the array while a row would be overwritten that has not left.
//
//   beat    `Columns` accumulators of one row, 32 bits each, column 0 lowest; columns beyond N are 0
//   TLAST   ends a tile (one group of one column tile of one row tile)

`include "spike_assert.svh"

module dense_drain
  import spike_pkg::*;
#(
  parameter int unsigned Rows     = 8,
  parameter int unsigned Columns  = 16,
  parameter int unsigned AccBits  = 20,
  parameter int unsigned LowBits  = 13,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                                       clk_i,
  input  logic                                       rst_ni,
  output logic                                       enable_o,
  output logic                                       idle_o,

  // array
  input  logic                                       offset_valid_i,
  input  logic [Rows-1:0][AccBits:0]                 offset_i,
  input  logic                                       low_valid_i,
  input  logic                                       high_valid_i,
  input  logic [Rows-1:0][Columns-1:0][AccBits-1:0]  acc_i,
  input  logic [RowWidth-1:0]                        rows_i,
  input  logic [ColWidth-1:0]                        columns_i,

  // accumulator stream
  output logic                                       acc_valid_o,
  input  logic                                       acc_ready_i,
  output logic [Columns-1:0][AccWidth-1:0]           acc_data_o,
  output logic                                       acc_last_o
);

  localparam int unsigned IndexWidth = (Rows > 1) ? $clog2(Rows) : 1;

  logic [Rows-1:0][AccBits:0]                early_q, stage_q, offset_q;
  logic [Rows-1:0][Columns-1:0][AccBits-1:0] buffer_q;
  logic [RowWidth-1:0]                       left_q;
  logic [ColWidth-1:0]                       columns_q;
  logic [IndexWidth-1:0]                     row_q;
  logic                                      move, full, take_high, taken_q, queue_ready;
  logic [Columns-1:0][AccBits:0]             row, out;

  assign move     = left_q != '0 && queue_ready;
  assign full     = left_q != '0 && !(left_q == RowWidth'(1) && move);

  // A group of one chunk: its low halves come with the high halves of the one before, which are then taken first.
  assign take_high = high_valid_i && !taken_q;
  assign enable_o  = !(low_valid_i && (full || take_high));
  assign idle_o   = left_q == '0 && !acc_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q  <= '0;
      taken_q <= 1'b0;
    end else begin
      taken_q <= high_valid_i && !enable_o;
      if (take_high) left_q <= rows_i;
      else if (move) left_q <= left_q - 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (offset_valid_i && enable_o) early_q <= offset_i;
    if (low_valid_i && enable_o) stage_q <= early_q;
    if (take_high) begin
      offset_q  <= stage_q;
      columns_q <= columns_i;
      row_q     <= '0;
    end else if (move) begin
      row_q <= row_q + 1'b1;
    end
    for (int unsigned r = 0; r < Rows; r++) begin
      for (int unsigned c = 0; c < Columns; c++) begin
        if (low_valid_i && enable_o) buffer_q[r][c][LowBits-1:0] <= acc_i[r][c][LowBits-1:0];
        if (take_high) buffer_q[r][c][AccBits-1:LowBits] <= acc_i[r][c][AccBits-1:LowBits];
      end
    end
  end

  for (genvar c = 0; c < Columns; c++) begin : gen_column
    assign row[c]        = (ColWidth'(c) < columns_q) ? offset_q[row_q] - (AccBits + 1)'(buffer_q[row_q][c]) : '0;
    assign acc_data_o[c] = AccWidth'(signed'(out[c]));
  end

  spike_fifo #(
    .Width (Columns * (AccBits + 1) + 1)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i (left_q != '0),
    .ready_o (queue_ready),
    .data_i  ({left_q == RowWidth'(1), row}),
    .valid_o (acc_valid_o),
    .ready_i (acc_ready_i),
    .data_o  ({acc_last_o, out})
  );

  `SPIKE_ASSERT_STABLE(AccStable, acc_valid_o, acc_ready_i, {acc_data_o, acc_last_o})

endmodule
