// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Output buffer of the group core: takes a tile's accumulators over and sends them row by row, while the array goes on. The
// row's excess (see group_array) is taken away, and what a row of fewer steps has as fraction, which is zero, is dropped.
// enable_o stops the array while a row would be overwritten that has not left. It goes to all that the array holds, so it is
// a register: what it has to be is worked out in the cycle before.
//
//   beat    `Columns` accumulators of one row, 32 bits each, column 0 lowest; columns beyond N are 0
//   TLAST   ends a tile (one scale group of one column tile of one row tile)

`include "spike_assert.svh"

module group_drain
  import spike_pkg::*;
  import group_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Steps   = 7,
  parameter int unsigned AccBits = 25,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                                       clk_i,
  input  logic                                       rst_ni,
  output logic                                       enable_o,
  output logic                                       idle_o,

  // array
  input  logic                                       soon_i,      // sums with the next cycle that is enabled
  input  logic                                       valid_i,
  input  logic [Rows-1:0][Columns-1:0][AccBits-1:0]  acc_i,
  input  logic [Rows-1:0][AccBits-1:0]               excess_i,
  input  logic [RowWidth-1:0]                        rows_i,
  input  logic [ColWidth-1:0]                        columns_i,
  input  logic                                       tile_end_i,  // the last of a row tile
  input  logic [1:0][Rows-1:0][LeftWidth-1:0]        left_i,      // of the halves: steps behind a row's first
  output logic                                       release_o,   // of a row tile the last one was taken

  // accumulator stream
  output logic                                       acc_valid_o,
  input  logic                                       acc_ready_i,
  output logic [Columns-1:0][AccWidth-1:0]           acc_data_o,
  output logic                                       acc_last_o
);

  localparam int unsigned IndexWidth = (Rows > 1) ? $clog2(Rows) : 1;

  // ------------------------------------------------------------------------------------------------------ buffer
  logic [Rows-1:0][Columns-1:0][AccBits-1:0] buffer_q;
  logic [Rows-1:0][AccBits-1:0]              excess_q;
  logic [RowWidth-1:0]                       left_q;         // rows that have not left
  logic                                      some_q, one_q;  // left_q != 0, left_q == 1
  logic                                      some_d, one_d, full_d, take, move, half_q, tile_end_q;
  logic [ColWidth-1:0]                       columns_q;
  logic [IndexWidth-1:0]                     row_q;

  // The row that leaves, before its excess is taken away
  typedef struct packed {
    logic                            last;
    logic [Columns-1:0]              filled;
    logic [LeftWidth-1:0]            fraction;  // bits
    logic [AccBits-1:0]              excess;
    logic [Columns-1:0][AccBits-1:0] sums;
  } row_t;

  row_t leaving_q, row;
  logic out_q, out_d, queue_ready, queue_room;

  assign take  = valid_i && enable_o;
  assign move  = some_q && (!out_q || queue_ready);
  assign out_d = move || (out_q && !queue_ready);

  // The next cycle: rows have not left, or the last of them cannot leave then
  assign some_d = take || (some_q && !(move && one_q));
  assign one_d  = take ? rows_i == RowWidth'(1) : move ? left_q == RowWidth'(2) : one_q;
  assign full_d = some_d && !(one_d && (!out_d || queue_room));

  assign idle_o    = !some_q && !out_q && !acc_valid_o;
  assign release_o = move && one_q && tile_end_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      some_q   <= 1'b0;
      out_q    <= 1'b0;
      half_q   <= 1'b0;
      enable_o <= 1'b1;
    end else begin
      some_q   <= some_d;
      out_q    <= out_d;
      enable_o <= !((enable_o ? soon_i : valid_i) && full_d);
      if (release_o) half_q <= !half_q;
    end
  end

  always_ff @(posedge clk_i) begin
    one_q <= one_d;
    if (take) begin
      buffer_q   <= acc_i;
      excess_q   <= excess_i;
      columns_q  <= columns_i;
      tile_end_q <= tile_end_i;
      left_q     <= rows_i;
      row_q      <= '0;
    end else if (move) begin
      left_q <= left_q - 1'b1;
      row_q  <= row_q + 1'b1;
    end
    if (move) leaving_q <= row;
  end

  assign row.last     = one_q;
  assign row.fraction = LeftWidth'(Steps - 1) - left_i[half_q][row_q];
  assign row.excess   = excess_q[row_q];
  assign row.sums     = buffer_q[row_q];

  for (genvar c = 0; c < Columns; c++) begin : gen_filled
    assign row.filled[c] = ColWidth'(c) < columns_q;
  end

  // -------------------------------------------------------------------------------------------------------- sums
  logic [Columns-1:0][AccBits-1:0] sums, out;
  logic [LeftWidth-1:0]            out_fraction;

  for (genvar c = 0; c < Columns; c++) begin : gen_column
    logic [AccBits-1:0]        difference;
    logic signed [AccBits-1:0] whole;

    assign difference    = leaving_q.sums[c] - leaving_q.excess;
    assign sums[c]       = difference & {AccBits{leaving_q.filled[c]}};
    assign whole         = signed'(out[c]) >>> out_fraction;  // behind the queue: the subtraction takes its cycle
    assign acc_data_o[c] = AccWidth'(whole);
  end

  spike_fifo #(
    .Width (Columns * AccBits + LeftWidth + 1)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i (out_q),
    .ready_o (queue_ready),
    .room_o  (queue_room),
    .data_i  ({leaving_q.last, leaving_q.fraction, sums}),
    .valid_o (acc_valid_o),
    .ready_i (acc_ready_i),
    .data_o  ({acc_last_o, out_fraction, out})
  );

  `SPIKE_ASSERT(Stops, enable_o || valid_i)
  `SPIKE_ASSERT(NotFull, !take || !some_q || (one_q && move))
  `SPIKE_ASSERT_STABLE(AccStable, acc_valid_o, acc_ready_i, {acc_data_o, acc_last_o})

endmodule
