// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Output buffer: takes the accumulators of a tile over in one cycle and sends them row by row, while the array
// goes on with the next group or tile.
//
//   beat    `Columns` accumulators of one row, 32 bits each, column 0 lowest; columns beyond N are 0
//   TLAST   ends a tile (one group of one column tile of one row tile)

`include "spike_assert.svh"

module spike_drain
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                                        clk_i,
  input  logic                                        rst_ni,

  // array
  input  logic                                        reserve_i,  // a capture will follow
  output logic                                        free_o,     // may reserve
  output logic                                        idle_o,     // nothing is held or will come
  input  logic                                        capture_i,
  input  logic [Rows-1:0][Columns-1:0][AccWidth-1:0]  acc_i,
  input  logic [RowWidth-1:0]                         rows_i,
  input  logic [ColWidth-1:0]                         columns_i,

  // accumulator stream
  output logic                                        acc_valid_o,
  input  logic                                        acc_ready_i,
  output logic [Columns-1:0][AccWidth-1:0]            acc_data_o,
  output logic                                        acc_last_o
);

  logic                                        busy_q, valid_q, final_beat;
  logic [RowWidth-1:0]                         rows_q;
  logic [Rows-1:0][Columns-1:0][AccWidth-1:0]  buffer_q;

  assign final_beat  = acc_valid_o && acc_ready_i && acc_last_o;
  assign free_o      = !busy_q || final_beat;
  assign idle_o      = !busy_q;
  assign acc_valid_o = valid_q;
  assign acc_data_o  = buffer_q[0];
  assign acc_last_o  = rows_q == RowWidth'(1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      valid_q <= 1'b0;
    end else begin
      if (reserve_i) busy_q <= 1'b1;
      else if (final_beat) busy_q <= 1'b0;
      if (capture_i) valid_q <= 1'b1;
      else if (final_beat) valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (capture_i) begin
      rows_q <= rows_i;
      for (int unsigned r = 0; r < Rows; r++) begin
        for (int unsigned c = 0; c < Columns; c++) begin
          buffer_q[r][c] <= (ColWidth'(c) < columns_i) ? acc_i[r][c] : '0;
        end
      end
    end else if (acc_valid_o && acc_ready_i) begin
      rows_q <= rows_q - 1'b1;
      for (int unsigned r = 0; r + 1 < Rows; r++) buffer_q[r] <= buffer_q[r+1];
    end
  end

  `SPIKE_ASSERT(NoOverwrite, capture_i |-> !valid_q)
  `SPIKE_ASSERT(ReserveFree, reserve_i |-> free_o)
  `SPIKE_ASSERT_STABLE(AccStable, acc_valid_o, acc_ready_i, {acc_data_o, acc_last_o})

endmodule
