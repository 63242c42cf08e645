// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Output buffer of the dense baseline: takes a tile's accumulators over, half by half, and sends them row by row, while the
// array goes on; each is taken away from its row's number (see dense_column). enable_o stops the array while a row would be overwritten that has not left. It goes to all that the array
// holds, so it is a register: what it has to be is worked out in the cycle before.
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
  input  logic                                       low_soon_i,    // low halves with the next cycle that is enabled
  input  logic                                       low_valid_i,
  input  logic                                       high_valid_i,
  input  logic [Rows-1:0][Columns-1:0][AccBits-1:0]  acc_i,
  input  logic [RowWidth-1:0]                        rows_i,
  input  logic [ColWidth-1:0]                        columns_i,
  input  logic                                       tile_end_i,    // with the high halves: the last of a row tile

  // what sums are taken away from, row by row
  output logic                                       offset_re_o,
  output logic                                       offset_first_o,  // of the next group's first row
  input  logic [AccBits-1:0]                         offset_i,        // one cycle later
  output logic                                       release_o,       // of a row tile the last one was taken

  // accumulator stream
  output logic                                       acc_valid_o,
  input  logic                                       acc_ready_i,
  output logic [Columns-1:0][AccWidth-1:0]           acc_data_o,
  output logic                                       acc_last_o
);

  localparam int unsigned IndexWidth = (Rows > 1) ? $clog2(Rows) : 1;

  logic [AccBits-1:0]                        offset_q;       // of the row that leaves
  logic                                      tile_end_q;
  logic [Rows-1:0][Columns-1:0][AccBits-1:0] buffer_q;
  logic [RowWidth-1:0]                       left_q;         // rows that have not left
  logic                                      some_q, one_q;  // left_q != 0, left_q == 1
  logic                                      some_d, one_d, full_d, take_high_d, low_d;
  logic [ColWidth-1:0]                       columns_q;
  logic [IndexWidth-1:0]                     row_q;
  logic                                      move, take_high, taken_q, queue_ready, queue_room;
  logic [Columns-1:0][AccBits-1:0]           row, out;

  assign move     = some_q && queue_ready;

  // A group of one chunk: its low halves come with the high halves of the one before, which are then taken first.
  assign take_high = high_valid_i && !taken_q;

  // The next cycle: rows have not left, or the last of them cannot leave then
  assign some_d      = take_high || (some_q && !(move && one_q));
  assign one_d       = take_high ? rows_i == RowWidth'(1) : move ? left_q == RowWidth'(2) : one_q;
  assign full_d      = some_d && !(one_d && queue_room);
  assign take_high_d = enable_o && low_valid_i;
  assign low_d       = enable_o ? low_soon_i : low_valid_i;

  assign idle_o   = !some_q && !acc_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      some_q   <= 1'b0;
      taken_q  <= 1'b0;
      enable_o <= 1'b1;
    end else begin
      some_q   <= some_d;
      taken_q  <= high_valid_i && !enable_o;
      enable_o <= !(low_d && (full_d || take_high_d));
    end
  end

  always_ff @(posedge clk_i) begin
    one_q <= one_d;
    if (take_high || move) offset_q <= offset_i;
    if (take_high) begin
      columns_q  <= columns_i;
      tile_end_q <= tile_end_i;
      left_q     <= rows_i;
      row_q      <= '0;
    end else if (move) begin
      left_q <= left_q - 1'b1;
      row_q  <= row_q + 1'b1;
    end
    for (int unsigned r = 0; r < Rows; r++) begin
      for (int unsigned c = 0; c < Columns; c++) begin
        if (low_valid_i && enable_o) buffer_q[r][c][LowBits-1:0] <= acc_i[r][c][LowBits-1:0];
        if (take_high) buffer_q[r][c][AccBits-1:LowBits] <= acc_i[r][c][AccBits-1:LowBits];
      end
    end
  end

  // The first row's number is read with the low halves, the next row's whenever one goes to offset_q.
  assign offset_first_o = low_valid_i && enable_o;
  assign offset_re_o    = offset_first_o || (take_high && rows_i != RowWidth'(1))
                          || (move && !one_q && left_q != RowWidth'(2));
  assign release_o      = move && one_q && tile_end_q;

  for (genvar c = 0; c < Columns; c++) begin : gen_column
    assign row[c]        = (ColWidth'(c) < columns_q) ? offset_q - buffer_q[row_q][c] : '0;
    assign acc_data_o[c] = AccWidth'(signed'(out[c]));
  end

  spike_fifo #(
    .Width (Columns * AccBits + 1)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i (some_q),
    .ready_o (queue_ready),
    .room_o  (queue_room),
    .data_i  ({one_q, row}),
    .valid_o (acc_valid_o),
    .ready_i (acc_ready_i),
    .data_o  ({acc_last_o, out})
  );

  `SPIKE_ASSERT(Stops, enable_o == !(low_valid_i && ((some_q && !(one_q && queue_ready)) || take_high)))
  `SPIKE_ASSERT_STABLE(AccStable, acc_valid_o, acc_ready_i, {acc_data_o, acc_last_o})

endmodule
