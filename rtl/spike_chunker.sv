// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Walks the chunks of a row: group by group, in a group block by block. Front end, weight loader and walker are at different
// chunks, so each walks on its own. All that is said of a chunk comes from registers: what follows a chunk is worked out
// while it is used, so nothing that a chunk decides has to wait for a comparison. After the last chunk of a row comes the
// first of the next.
//
// With Slots = 1 a block is a chunk: who is interested in blocks alone walks these.

module spike_chunker #(
  parameter int unsigned Slots  = 16,
  parameter int unsigned Blocks = 32,
  localparam int unsigned SlotWidth  = $clog2(Slots + 1),
  localparam int unsigned BlockWidth = $clog2(Blocks + 1)
) (
  input  logic                  clk_i,

  input  logic                  start_i,         // to the first chunk of a row of this shape:
  input  logic [BlockWidth-1:0] group_blocks_i,  // blocks of a group
  input  logic [BlockWidth-1:0] row_blocks_i,    // blocks of a row
  input  logic [SlotWidth-1:0]  tail_chunks_i,   // chunks in the last block of a group

  input  logic                  next_i,          // the chunk has been taken
  output logic [BlockWidth-1:0] block_o,         // of the row
  output logic [SlotWidth-1:0]  slot_o,          // chunk of the block
  output logic                  first_block_o,   // the block is the first of its group
  output logic                  tail_block_o,    // the block is the last of its group
  output logic                  block_last_o,    // the chunk is the last of its block
  output logic                  group_last_o,    // the chunk is the last of its group
  output logic                  row_last_o       // the chunk is the last of its row
);

  logic                  first_q, tail_q, tail_d, end_q, end_d, last, new_block, new_group, new_row;
  logic [BlockWidth-1:0] block_q, group_left_q, group_left_d, row_left_q, row_left_d;  // left: after this block

  assign new_block = start_i || last;
  assign new_group = start_i || tail_q;
  assign new_row   = start_i || end_q;

  // ------------------------------------------------------------------------------------------ the next block
  assign group_left_d = new_group ? group_blocks_i - 1'b1 : group_left_q - 1'b1;
  assign tail_d       = new_group ? group_blocks_i == BlockWidth'(1) : group_left_q == BlockWidth'(1);
  assign row_left_d   = new_row ? row_blocks_i - 1'b1 : row_left_q - 1'b1;
  assign end_d        = new_row ? row_blocks_i == BlockWidth'(1) : row_left_q == BlockWidth'(1);

  always_ff @(posedge clk_i) begin
    if (start_i || (next_i && last)) begin
      block_q      <= new_row ? '0 : block_q + 1'b1;
      group_left_q <= group_left_d;
      row_left_q   <= row_left_d;
      first_q      <= new_group;
      tail_q       <= tail_d;
      end_q        <= end_d;
    end
  end

  // ------------------------------------------------------------------------------------------ the next chunk
  if (Slots > 1) begin : gen_slots
    logic                 last_q, last_d;
    logic [SlotWidth-1:0] slot_q, left_q, left_d;

    always_comb begin
      if (!new_block) begin
        left_d = left_q - 1'b1;
        last_d = left_q == SlotWidth'(1);
      end else if (tail_d) begin
        left_d = tail_chunks_i - 1'b1;
        last_d = tail_chunks_i == SlotWidth'(1);
      end else begin
        left_d = SlotWidth'(Slots - 1);
        last_d = 1'b0;
      end
    end

    always_ff @(posedge clk_i) begin
      if (start_i || next_i) begin
        slot_q <= new_block ? '0 : slot_q + 1'b1;
        left_q <= left_d;
        last_q <= last_d;
      end
    end

    assign last   = last_q;
    assign slot_o = slot_q;
  end else begin : gen_slot
    assign last   = 1'b1;
    assign slot_o = '0;

    logic unused_tail;
    assign unused_tail = ^{tail_chunks_i, new_block};
  end

  assign block_o       = block_q;
  assign first_block_o = first_q;
  assign tail_block_o  = tail_q;
  assign block_last_o  = last;
  assign group_last_o  = last && tail_q;
  assign row_last_o    = last && end_q;

endmodule
