// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: of every plane that goes into the picker, every spike comes out in exactly one word of its row, with its own
// sign, and by the shifts that follow it weighs 2^exponent in the row's sum. Words keep the row's place, and no
// plane waits forever. Two rows never end in words that the array takes one right behind the other.
//
// One spike, of any lane and slot, is picked at an arbitrary moment and followed. Rows come as the walker sends them: planes
// from any exponent down to 0.

module picker_proof
  import spike_pkg::*;
#(
  parameter int unsigned Rows  = 2,
  parameter int unsigned Lanes = 2,
  parameter int unsigned Slots = 2,
  parameter int unsigned Tmax  = 3
) (
  input logic                        clk_i,
  input logic                        reset_i,  // at any time
  input logic                        plane_valid_i,
  input logic [Slots-1:0][Lanes-1:0] plane_fire_i,
  input logic [Slots-1:0][Lanes-1:0] plane_neg_i,
  input logic                        plane_bank_i,
  input logic                        plane_release_i,
  input logic [$clog2(Rows+1)-1:0]   plane_row_i,
  input place_t                      plane_place_i,
  input logic [2:0]                  top_i,    // first exponent of the next row
  input logic                        enable_i,
  input logic                        pick_i,
  // lane and slot of the spike that is followed: any, the same all the time
  input logic [((Lanes > 1) ? $clog2(Lanes) : 1)-1:0] lane_i,
  input logic [((Slots > 1) ? $clog2(Slots) : 1)-1:0] slot_i
);

  localparam int unsigned Columns   = 1;
  localparam int unsigned RowWidth  = $clog2(Rows + 1);
  localparam int unsigned LaneBits  = (Lanes > 1) ? $clog2(Lanes) : 1;
  localparam int unsigned SlotBits  = (Slots > 1) ? $clog2(Slots) : 1;
  localparam int unsigned ValueBits = Tmax + 3;

  logic started_q = 1'b0;
  logic rst_ni;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  logic                            plane_take, idle;
  logic                            word_valid, word_bank, word_first, word_shift, word_last, word_release;
  logic [Lanes-1:0]                word_lanes, word_next, word_neg;
  logic [Lanes-1:0][SlotBits-1:0]  word_slot;
  logic [RowWidth-1:0]             word_row;
  logic [0:0]                      word_columns;
  place_t                          word_place;
  logic [2:0]                      exponent;

  spike_picker #(
    .Rows    (Rows),
    .Columns (Columns),
    .Lanes   (Lanes),
    .Slots   (Slots)
  ) u_picker (
    .clk_i,
    .rst_ni,
    .plane_valid_i,
    .plane_take_o    (plane_take),
    .plane_fire_i,
    .plane_neg_i,
    .plane_last_i    (exponent == '0),
    .plane_bank_i,
    .plane_release_i,
    .plane_row_i,
    .plane_columns_i (1'b1),
    .plane_place_i,
    .enable_i,
    .word_valid_o    (word_valid),
    .word_lanes_o    (word_lanes),
    .word_next_o     (word_next),
    .word_neg_o      (word_neg),
    .word_slot_o     (word_slot),
    .word_bank_o     (word_bank),
    .word_first_o    (word_first),
    .word_shift_o    (word_shift),
    .word_last_o     (word_last),
    .word_release_o  (word_release),
    .word_row_o      (word_row),
    .word_columns_o  (word_columns),
    .word_place_o    (word_place),
    .idle_o          (idle)
  );

  // --------------------------------------------------------------------------------------- what comes in
  logic                inside_q;    // a row has begun and not ended
  logic [2:0]          exponent_q;  // of its plane before
  logic                bank_q;
  logic [RowWidth-1:0] row_q;
  place_t              place_q;

  assign exponent = inside_q ? exponent_q - 1'b1 : top_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      inside_q <= 1'b0;
    end else if (plane_take) begin
      inside_q   <= exponent != '0;
      exponent_q <= exponent;
      bank_q     <= plane_bank_i;
      row_q      <= plane_row_i;
      place_q    <= plane_place_i;
    end
  end

  always_comb begin
    assume (top_i <= 3'(Tmax - 1));
    assume (plane_row_i < RowWidth'(Rows));
    if (inside_q) assume (plane_bank_i == bank_q && plane_row_i == row_q && plane_place_i == place_q);
    assume (!plane_release_i || exponent == '0);
  end

  // ------------------------------------------------------------------------------------------ one spike
  logic [LaneBits-1:0] lane_q;
  logic [SlotBits-1:0] slot_q;
  logic                hit_in, hit_out, follow_q, out_q, mine;
  logic [2:0]          waiting_q, ahead_q;   // spikes of this lane and slot inside; those before the picked one
  logic [2:0]          rows_q, rows_ahead_q; // rows inside; those before the picked one's
  logic [2:0]          e_q;
  logic                neg_q, follow_bank_q;
  logic [RowWidth-1:0] follow_row_q;
  place_t              follow_place_q;
  logic [ValueBits-1:0] value_q, value;
  logic                row_in, row_out;

  always_ff @(posedge clk_i) begin
    lane_q <= lane_i;
    slot_q <= slot_i;
  end

  always_comb begin
    assume (32'(lane_i) < Lanes && 32'(slot_i) < Slots && (!started_q || (lane_i == lane_q && slot_i == slot_q)));
  end

  assign hit_in  = plane_take && plane_fire_i[slot_i][lane_i];
  assign hit_out = word_valid && word_lanes[lane_i] && word_slot[lane_i] == slot_i;
  assign row_in  = plane_take && !inside_q;
  assign row_out = word_valid && word_last;
  assign mine    = hit_out && follow_q && !out_q && ahead_q == '0;

  // The picked spike's part in the row's sum, in halves, as the array makes it.
  always_comb begin
    value = word_first ? '0 : word_shift ? value_q << 1 : value_q;
    if (mine) value = value + (word_next[lane_i] ? ValueBits'(1) : ValueBits'(2));
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waiting_q <= '0;
      rows_q    <= '0;
      follow_q  <= 1'b0;
      out_q     <= 1'b0;
      value_q   <= '0;
    end else begin
      waiting_q <= waiting_q + 3'(hit_in) - 3'(hit_out);
      rows_q    <= rows_q + 3'(row_in) - 3'(row_out);
      if (hit_in && pick_i && !follow_q) begin
        follow_q       <= 1'b1;
        out_q          <= 1'b0;
        value_q        <= '0;
        ahead_q        <= waiting_q - 3'(hit_out);
        rows_ahead_q   <= rows_q - 3'(row_out) - 3'(inside_q);
        e_q            <= exponent;
        neg_q          <= plane_neg_i[slot_i][lane_i];
        follow_bank_q  <= plane_bank_i;
        follow_row_q   <= plane_row_i;
        follow_place_q <= plane_place_i;
      end else if (follow_q) begin
        if (hit_out && ahead_q != '0) ahead_q <= ahead_q - 1'b1;
        if (row_out && rows_ahead_q != '0) rows_ahead_q <= rows_ahead_q - 1'b1;
        if (mine) out_q <= 1'b1;
        if (word_valid) value_q <= value;
        if (row_out && rows_ahead_q == '0) follow_q <= 1'b0;
      end
    end
  end

  logic ended_q;  // in the word before

  always_ff @(posedge clk_i) begin
    if (!rst_ni) ended_q <= 1'b0;
    else if (enable_i) ended_q <= row_out;
  end

  always_comb begin
    if (rst_ni) begin
      InItsRow:  assert (!mine || rows_ahead_q == '0);
      ItsSign:   assert (!mine || word_neg[lane_i] == neg_q);
      Delivered: assert (!(follow_q && row_out && rows_ahead_q == '0) || out_q || mine);
      Weight:    assert (!(follow_q && row_out && rows_ahead_q == '0) || value == ValueBits'(2) << e_q);
      Place:     assert (!(follow_q && word_valid && rows_ahead_q == '0)
                         || (word_row == follow_row_q && word_bank == follow_bank_q && word_place == follow_place_q));
      NoneMade:  assert (!hit_out || waiting_q != '0);
      RowsOnce:  assert (!row_out || rows_q != '0);
      Idle:      assert (!idle || (waiting_q == '0 && rows_q == '0) || inside_q);
      Release:   assert (!word_release || word_last);
      Apart:     assert (!(row_out && ended_q));
    end
  end

  // ------------------------------------------------------------------------------------------ no deadlock
  // The array goes on and a plane is offered: it is taken after at most as many words as a lane has slots, and one cycle
  // more where two sums would meet.
  logic [3:0] patience_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || plane_take || !plane_valid_i) patience_q <= '0;
    else if (enable_i) patience_q <= patience_q + 1'b1;
  end

  always_comb begin
    // a spike of plane 1 whose sum has yet to move
    cover (rst_ni && follow_q && out_q && e_q == 3'd1 && word_valid && word_last && value_q == ValueBits'(2));
    if (rst_ni) Progress: assert (patience_q <= 4'(Slots + 1));
  end

endmodule
