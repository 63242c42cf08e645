// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Adds the sums of a row's blocks into the row's accumulators, and sends those that are complete: with the last block of
// a group a row leaves, through a queue of two, and nothing is written back. They are kept in as many bits as the largest sum
// needs, and leave with their sign extended. With OneBlock every block is a whole group: nothing is added, and there is no memory.
//
//   beat    `Columns` accumulators of one row, 32 bits each, column 0 lowest; columns beyond N are 0
//   TLAST   ends a tile (one group of one column tile of one row tile)
//
// enable_o stops the array while a complete row cannot leave. It goes to all that the array holds, so it is a register: what
// it has to be is worked out in the cycle before.

`include "spike_assert.svh"

module spike_accumulator
  import spike_pkg::*;
#(
  parameter int unsigned Rows      = 8,
  parameter int unsigned Columns   = 16,
  parameter int unsigned HalfWidth = 26,
  parameter int unsigned SumBits   = AccWidth,  // hold any sum of a row, at most AccWidth
  parameter bit          OneBlock  = 1'b0,      // a group has one block
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                               clk_i,
  input  logic                               rst_ni,
  output logic                               enable_o,
  output logic                               idle_o,

  // a sum will be there in the next cycle
  input  logic                               soon_i,
  input  logic [RowWidth-1:0]                soon_row_i,
  input  logic                               soon_first_i,
  input  logic                               soon_last_i,

  // sum, in halves
  input  logic                               valid_i,
  input  logic [Columns-1:0][HalfWidth-1:0]  sums_i,
  input  logic [RowWidth-1:0]                row_i,
  input  logic [ColWidth-1:0]                columns_i,
  input  place_t                             place_i,

  // accumulator stream
  output logic                               acc_valid_o,
  input  logic                               acc_ready_i,
  output logic [Columns-1:0][AccWidth-1:0]   acc_data_o,
  output logic                               acc_last_o
);

  localparam int unsigned AddrWidth = (Rows > 1) ? $clog2(Rows) : 1;

  logic                              leave, keep, queue_ready, queue_room;
  logic [Columns-1:0][SumBits-1:0]   total, row, out;

  assign leave    = valid_i && place_i.acc_last;
  assign keep     = valid_i && !place_i.acc_last;
  assign idle_o   = !acc_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) enable_o <= 1'b1;
    else enable_o <= queue_room || !(enable_o ? soon_i && soon_last_i : leave);
  end

  if (OneBlock) begin : gen_whole
    for (genvar c = 0; c < Columns; c++) begin : gen_sum
      logic signed [HalfWidth-1:0] sum;
      assign sum      = sums_i[c];
      assign total[c] = SumBits'(sum >>> 1);
    end

    logic unused;
    assign unused = ^{keep, soon_first_i, soon_row_i, row_i, place_i.acc_first};
  end else begin : gen_sums
    logic [Columns-1:0][SumBits-1:0] old;

    spike_ram #(
      .Width   (Columns * SumBits),
      .Depth   (Rows),
      .OnePort (1'b1)
    ) u_sums (
      .clk_i,
      .we_i    (keep),
      .waddr_i (row_i[AddrWidth-1:0]),
      .wdata_i (total),
      .re_i    (soon_i && !soon_first_i && enable_o),
      .raddr_i (soon_row_i[AddrWidth-1:0]),
      .rdata_o (old)
    );

    for (genvar c = 0; c < Columns; c++) begin : gen_sum
      logic signed [HalfWidth-1:0] sum;
      assign sum      = sums_i[c];
      assign total[c] = (place_i.acc_first ? '0 : old[c]) + SumBits'(sum >>> 1);
    end
  end

  for (genvar c = 0; c < Columns; c++) begin : gen_column
    assign row[c]        = (ColWidth'(c) < columns_i) ? total[c] : '0;
    assign acc_data_o[c] = AccWidth'(signed'(out[c]));
  end

  // Sums wait in as many bits as they need.
  spike_fifo #(
    .Width (Columns * SumBits + 1)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i (leave),
    .ready_o (queue_ready),
    .room_o  (queue_room),
    .data_i  ({place_i.tile_last, row}),
    .valid_o (acc_valid_o),
    .ready_i (acc_ready_i),
    .data_o  ({acc_last_o, out})
  );

  if (RowWidth > AddrWidth) begin : gen_unused
    logic unused_row;
    assign unused_row = ^{row_i[RowWidth-1:AddrWidth], soon_row_i[RowWidth-1:AddrWidth]};
  end

  `SPIKE_ASSERT(Stops, enable_o == (!leave || queue_ready))
  `SPIKE_EXPECT(Apart, !(soon_i && valid_i))
  `SPIKE_EXPECT(Whole, !OneBlock || !valid_i || (place_i.acc_first && place_i.acc_last))
  `SPIKE_EXPECT(WholeSums, !valid_i || !sums_i[0][0])
  `SPIKE_ASSERT_STABLE(AccStable, acc_valid_o, acc_ready_i, {acc_data_o, acc_last_o})

endmodule
