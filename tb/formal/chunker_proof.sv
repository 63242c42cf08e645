// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: chunks come group by group, block by block, in a row as often as its shape says; which are the last of a block,
// a group and a row; and behind the last one comes the first. For every shape of a row.

module chunker_proof #(
  parameter int unsigned Slots  = 4,
  parameter int unsigned Blocks = 21
) (
  input logic                        clk_i,
  input logic                        start_i,
  input logic                        next_i,
  input logic [$clog2(Blocks+1)-1:0] group_blocks_i,
  input logic [$clog2(Blocks+1)-1:0] row_blocks_i,
  input logic [$clog2(Slots+1)-1:0]  tail_chunks_i
);

  localparam int unsigned SlotWidth  = $clog2(Slots + 1);
  localparam int unsigned BlockWidth = $clog2(Blocks + 1);

  logic [BlockWidth-1:0] block;
  logic [SlotWidth-1:0]  slot;
  logic                  first_block, tail_block, block_last, group_last, row_last;

  spike_chunker #(
    .Slots  (Slots),
    .Blocks (Blocks)
  ) u_chunker (
    .clk_i,
    .start_i,
    .group_blocks_i,
    .row_blocks_i,
    .tail_chunks_i,
    .next_i,
    .block_o       (block),
    .slot_o        (slot),
    .first_block_o (first_block),
    .tail_block_o  (tail_block),
    .block_last_o  (block_last),
    .group_last_o  (group_last),
    .row_last_o    (row_last)
  );

  // The shape of the row, and where we are, counted up and compared
  logic                  busy_q = 1'b0;
  logic [BlockWidth-1:0] group_blocks_q, row_blocks_q, block_q, group_block_q;
  logic [SlotWidth-1:0]  tail_chunks_q, slot_q;
  logic                  tail, last, end_of_row;

  assign tail       = group_block_q == group_blocks_q - 1'b1;
  assign last       = slot_q == (tail ? tail_chunks_q : SlotWidth'(Slots)) - 1'b1;
  assign end_of_row = block_q == row_blocks_q - 1'b1;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      busy_q         <= 1'b1;
      group_blocks_q <= group_blocks_i;
      row_blocks_q   <= row_blocks_i;
      tail_chunks_q  <= tail_chunks_i;
      block_q        <= '0;
      group_block_q  <= '0;
      slot_q         <= '0;
    end else if (next_i) begin
      slot_q <= last ? '0 : slot_q + 1'b1;
      if (last) begin
        block_q       <= end_of_row ? '0 : block_q + 1'b1;
        group_block_q <= tail ? '0 : group_block_q + 1'b1;
      end
    end
  end

  always_comb begin
    // the sequencer starts no other job, and a row is whole groups
    assume (group_blocks_i != '0 && tail_chunks_i != '0 && tail_chunks_i <= SlotWidth'(Slots));
    assume (row_blocks_i != '0 && row_blocks_i <= BlockWidth'(Blocks) && row_blocks_i % group_blocks_i == '0);
    // a job's shape stays as long as it runs
    if (busy_q) begin
      assume (group_blocks_i == group_blocks_q && row_blocks_i == row_blocks_q && tail_chunks_i == tail_chunks_q);
    end
    if (busy_q) begin
      Inside:    assert (slot_q < (tail ? tail_chunks_q : SlotWidth'(Slots)));
      Row:       assert (block_q < row_blocks_q && group_block_q < group_blocks_q);
      Whole:     assert ((block_q - group_block_q) % group_blocks_q == '0 && group_block_q <= block_q);
      GroupLeft: assert (u_chunker.group_left_q == group_blocks_q - 1'b1 - group_block_q);
      RowLeft:   assert (u_chunker.row_left_q == row_blocks_q - 1'b1 - block_q);
      Block:     assert (block == block_q);
      Slot:      assert (slot == slot_q);
      First:     assert (first_block == (group_block_q == '0));
      Tail:      assert (tail_block == tail);
      BlockLast: assert (block_last == last);
      GroupLast: assert (group_last == (tail && last));
      RowLast:   assert (row_last == (end_of_row && last));
      RowEnd:    assert (u_chunker.end_q == end_of_row);
    end
    cover (busy_q && row_last && block_q != '0 && !start_i);
  end

  if (Slots > 1) begin : gen_left
    always_comb begin
      if (busy_q) begin
        BlockLeft: assert (u_chunker.gen_slots.left_q == (tail ? tail_chunks_q : SlotWidth'(Slots)) - 1'b1 - slot_q);
      end
    end
  end

endmodule
