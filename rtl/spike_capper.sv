// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Capped firing: lanes of a block that would fire more often than its lanes do on the mean, rounded up, drop spikes of the
// last step, the plane of exponent 0. Those go first that lose least, of equal ones those of the lowest slot:
// docs/numerics.md, capped firing.
//
//   fill     chunks come in, from the lowest slot up; their plane 0 waits here while the spikes of the lanes are counted
//   judge    the cycle after a block's last chunk came in: how many spikes are too many in each lane, and so which
//            classes of loss go whole, and how many spikes of the class above them
//   leave    from the next cycle on plane 0 goes out, a chunk a cycle, without the spikes that are dropped
//
// A chunk of the next block takes the place of one that leaves, so of blocks of one length all but one cycle a block
// bring a chunk. A block is judged when the one before it is gone: a shorter one waits for a longer one.

`include "spike_assert.svh"

module spike_capper #(
  parameter int unsigned Lanes = 8,
  parameter int unsigned Slots = 8,
  parameter int unsigned Tmax  = 7,
  parameter int unsigned Width = 1,  // of what travels with a block
  localparam int unsigned SlotWidth = $clog2(Slots + 1)
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,

  output logic                       idle_o,

  // chunks
  input  logic                       valid_i,
  output logic                       ready_o,
  input  logic [Tmax-1:0][Lanes-1:0] fire_i,   // all spikes, plane 0 included
  input  logic [Lanes-1:0][1:0]      loss_i,   // class of loss of those in plane 0
  input  logic                       last_i,   // the block is complete
  input  logic [Width-1:0]           data_i,   // with the last one: of the block

  // plane 0 of the same chunks, in the same order
  output logic                       valid_o,
  output logic [SlotWidth-1:0]       slot_o,
  output logic [Lanes-1:0]           fire_o,   // without what is dropped
  output logic                       last_o,
  output logic [Width-1:0]           data_o    // of the block, with each chunk
);

  localparam int unsigned Shift      = $clog2(Lanes);
  localparam int unsigned OddWidth   = $clog2(Slots + 1);          // spikes of a lane in plane 0 of a block
  localparam int unsigned OnesWidth  = $clog2(Tmax * Slots + 1);   // in all planes
  localparam int unsigned TotalWidth = $clog2(Tmax * Slots * Lanes + Lanes);

  `SPIKE_REQUIRE(gen_bad_lanes, Lanes >= 2 && Lanes == 1 << Shift, "Lanes has to be a power of two")

  typedef logic [OnesWidth-1:0] ones_t;

  typedef struct packed {
    logic [Lanes-1:0]      fire;
    logic [Lanes-1:0][1:0] loss;
  } chunk_t;

  chunk_t [Slots-1:0]   buffer_q;
  chunk_t               out;
  logic [SlotWidth-1:0] fill_slot_q, leave_slot_q;
  logic [SlotWidth-1:0] full_slot_q, last_slot_q;  // the last of the block that is complete, and of the one that leaves
  logic [Width-1:0]     full_data_q;
  logic                 complete_q;  // a block came in that has not been judged
  logic                 leaving_q;   // one that has is not gone yet
  logic                 fill, judge, gone;

  // ---------------------------------------------------------------------------------------------------- order
  assign last_o  = leave_slot_q == last_slot_q;
  assign gone    = leaving_q && last_o;
  assign judge   = complete_q && (!leaving_q || gone);
  assign ready_o = !complete_q;  // what is filled has left: none begins to come in before the last begins to leave
  assign fill    = valid_i && ready_o;
  assign valid_o = leaving_q;
  assign slot_o  = leave_slot_q;
  assign idle_o  = !complete_q && !leaving_q && fill_slot_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_slot_q  <= '0;
      leave_slot_q <= '0;
      complete_q   <= 1'b0;
      leaving_q    <= 1'b0;
    end else begin
      if (fill) fill_slot_q <= last_i ? '0 : fill_slot_q + 1'b1;
      if (leaving_q) leave_slot_q <= last_o ? '0 : leave_slot_q + 1'b1;
      if (fill && last_i) complete_q <= 1'b1;
      else if (judge) complete_q <= 1'b0;
      if (judge) leaving_q <= 1'b1;
      else if (gone) leaving_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (fill && last_i) begin
      full_slot_q <= fill_slot_q;
      full_data_q <= data_i;
    end
    if (judge) begin
      last_slot_q <= full_slot_q;
      data_o      <= full_data_q;
    end
  end

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    always_ff @(posedge clk_i) begin
      if (fill && fill_slot_q == SlotWidth'(s)) buffer_q[s] <= '{fire: fire_i[0], loss: loss_i};
    end
  end

  always_comb begin
    out = '0;
    for (int unsigned s = 0; s < Slots; s++) begin
      if (leave_slot_q == SlotWidth'(s)) out |= buffer_q[s];
    end
  end

  // ---------------------------------------------------------------------------------------------------- count
  // Of plane 0 a lane counts the spikes of each class and those below it; of the highest class nobody asks.
  ones_t [Lanes-1:0]                    ones_q, ones, fired;
  logic  [Lanes-1:0][2:0][OddWidth-1:0] upto_q, upto;
  logic  [TotalWidth-1:0]               total_q, total;
  logic                                 first;  // chunk of a block

  assign first = fill_slot_q == '0;

  always_comb begin
    total = first ? '0 : total_q;
    for (int unsigned l = 0; l < Lanes; l++) begin
      fired[l] = '0;
      for (int unsigned e = 0; e < Tmax; e++) fired[l] += ones_t'(fire_i[e][l]);
      ones[l] = (first ? '0 : ones_q[l]) + fired[l];
      total += TotalWidth'(fired[l]);
      for (int unsigned c = 0; c < 3; c++) begin
        upto[l][c] = (first ? '0 : upto_q[l][c]) + OddWidth'(fire_i[0][l] && loss_i[l] <= 2'(c));
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (fill) begin
      ones_q  <= ones;
      upto_q  <= upto;
      total_q <= total;
    end
  end

  // ---------------------------------------------------------------------------------------------------- judge
  // Spikes of classes below `class` go, and the first `some` of that class.
  ones_t [Lanes-1:0]      over, some_d, some_q;
  logic  [Lanes-1:0][1:0] class_d, class_q;
  ones_t                  cap;

  assign cap = ones_t'((total_q + TotalWidth'(Lanes - 1)) >> Shift);

  always_comb begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      over[l]    = (ones_q[l] > cap) ? ones_q[l] - cap : '0;
      class_d[l] = 2'd0;
      some_d[l]  = over[l];
      for (int unsigned c = 0; c < 3; c++) begin
        if (over[l] > ones_t'(upto_q[l][c])) begin
          class_d[l] = 2'(c + 1);
          some_d[l]  = over[l] - ones_t'(upto_q[l][c]);
        end
      end
    end
  end

  // ---------------------------------------------------------------------------------------------------- leave
  logic [Lanes-1:0] meets;  // a spike of the class of which some go, and not all of them have gone

  always_comb begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      meets[l]  = out.loss[l] == class_q[l] && some_q[l] != '0;
      fire_o[l] = out.fire[l] && !meets[l] && out.loss[l] >= class_q[l];
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      if (judge) begin
        class_q[l] <= class_d[l];
        some_q[l]  <= some_d[l];
      end else if (leaving_q && out.fire[l] && meets[l]) begin
        some_q[l] <= some_q[l] - 1'b1;
      end
    end
  end

  `SPIKE_ASSERT(Unread, !fill || !leaving_q || fill_slot_q <= leave_slot_q)
  `SPIKE_EXPECT(BlockFits, !fill || last_i || fill_slot_q != SlotWidth'(Slots - 1))
  `SPIKE_ASSERT(Cap, !complete_q || (total_q + TotalWidth'(Lanes - 1)) >> Shift <= TotalWidth'(Tmax * Slots))

endmodule
