// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Makes words of additions out of spike planes: one spike a lane, and no zero. All lanes work on the same two planes of
// a row, e and e-1; when no lane has a spike of e left, e-1 takes its place and the plane after it comes in. So a lane
// may be one plane ahead of the slowest one, which is what keeps the lanes busy, and a sum has to move by one binary
// place only when planes change.
//
//   word    for each lane: a slot of its bank, a sign, whether the spike is of plane e-1
//   first   first word of the row in this block: forget the old sum
//   shift   planes have changed since the word before: move the sum by one place before adding
//   last    last word of the row in this block: the sum is complete, in halves

`include "spike_assert.svh"

module spike_picker
  import spike_pkg::*;
#(
  parameter int unsigned Rows    = 8,
  parameter int unsigned Columns = 16,
  parameter int unsigned Lanes   = 16,
  parameter int unsigned Slots   = 16,
  localparam int unsigned RowWidth  = $clog2(Rows + 1),
  localparam int unsigned ColWidth  = $clog2(Columns + 1),
  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,

  // planes
  input  logic                            plane_valid_i,
  output logic                            plane_take_o,
  input  logic [Slots-1:0][Lanes-1:0]     plane_fire_i,
  input  logic [Slots-1:0][Lanes-1:0]     plane_neg_i,
  input  logic                            plane_last_i,
  input  logic                            plane_bank_i,
  input  logic                            plane_release_i,
  input  logic [RowWidth-1:0]             plane_row_i,
  input  logic [ColWidth-1:0]             plane_columns_i,
  input  place_t                          plane_place_i,

  // words
  input  logic                            enable_i,        // the array takes a word
  output logic                            word_valid_o,
  output logic [Lanes-1:0]                word_lanes_o,    // lanes that have a spike
  output logic [Lanes-1:0]                word_next_o,
  output logic [Lanes-1:0]                word_neg_o,
  output logic [Lanes-1:0][AddrWidth-1:0] word_slot_o,
  output logic                            word_bank_o,
  output logic                            word_first_o,
  output logic                            word_shift_o,
  output logic                            word_last_o,
  output logic                            word_release_o,  // the last word that needs this half of the banks
  output logic [RowWidth-1:0]             word_row_o,
  output logic [ColWidth-1:0]             word_columns_o,
  output place_t                          word_place_o,

  output logic                            idle_o
);

  typedef struct packed {
    logic                last;
    logic                bank;
    logic                free;  // release the bank afterwards
    logic [RowWidth-1:0] row;
    logic [ColWidth-1:0] columns;
    place_t              place;
  } plane_t;

  logic   valid_q, next_valid_q;
  plane_t plane_q, next_q;
  logic   issue, advance, move, ahead;

  // ------------------------------------------------------------------------------------------------- planes
  assign ahead        = valid_q && next_valid_q && !plane_q.last;
  assign move         = next_valid_q && (!valid_q || advance);
  assign plane_take_o = plane_valid_i && (!next_valid_q || !valid_q || advance);  // as move frees the place

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q      <= 1'b0;
      next_valid_q <= 1'b0;
    end else begin
      if (move) valid_q <= 1'b1;
      else if (advance) valid_q <= 1'b0;
      if (plane_take_o) next_valid_q <= 1'b1;
      else if (move) next_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (move) plane_q <= next_q;
    if (plane_take_o) begin
      next_q <= '{
        last:    plane_last_i,
        bank:    plane_bank_i,
        free:    plane_release_i,
        row:     plane_row_i,
        columns: plane_columns_i,
        place:   plane_place_i
      };
    end
  end

  // -------------------------------------------------------------------------------------------------- lanes
  logic [Lanes-1:0] through;
  logic             step, next_step, next_turn;
  logic             turn_q;  // no lane needs the present plane after this word, or there is none
  logic             ends_q;  // and there is one: the same for control, which need not wait for what all planes hang on

  assign step      = issue || (!valid_q && next_valid_q);
  assign next_turn = !next_valid_q || turn_q;
  assign next_step = step || (!next_valid_q && plane_valid_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      turn_q <= 1'b1;
      ends_q <= 1'b0;
    end else if (step) begin
      turn_q <= &through || (turn_q && !next_valid_q);
      ends_q <= &through && !(turn_q && !next_valid_q);
    end
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [Slots-1:0] fire, neg;

    for (genvar s = 0; s < Slots; s++) begin : gen_slot
      assign fire[s] = plane_fire_i[s][l];
      assign neg[s]  = plane_neg_i[s][l];
    end

    spike_lane #(
      .Slots (Slots)
    ) u_lane (
      .clk_i,
      .next_step_i (next_step),
      .next_turn_i (next_turn),
      .next_fire_i (fire),
      .next_neg_i  (neg),
      .step_i      (step),
      .turn_i      (turn_q),
      .through_o   (through[l]),
      .present_i   (valid_q),
      .ahead_i     (ahead),
      .valid_o     (word_lanes_o[l]),
      .next_o      (word_next_o[l]),
      .neg_o       (word_neg_o[l]),
      .slot_o      (word_slot_o[l])
    );
  end

  // -------------------------------------------------------------------------------------------------- words
  // A row's sum so far is read from memory in the cycle in which the sum before it is written, if their last words follow
  // each other at once; and the memory has one port. Whether they could is known when a plane becomes the present one: a
  // row that has no plane but the lowest may be one word.
  logic first_q, shift_q, just_q, again_q, again;

  assign again   = next_q.last && (valid_q ? plane_q.last : just_q && !enable_i);
  assign issue   = valid_q && enable_i && !again_q;
  assign advance = ends_q && enable_i && !again_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      first_q <= 1'b1;
      shift_q <= 1'b0;
      just_q  <= 1'b0;
      again_q <= 1'b0;
    end else begin
      if (issue) begin
        first_q <= word_last_o;
        shift_q <= advance && !word_last_o;
      end
      if (enable_i) just_q <= issue && word_last_o;
      if (move) again_q <= again;
      else if (enable_i) again_q <= 1'b0;
    end
  end

  assign word_valid_o   = issue;
  assign word_bank_o    = plane_q.bank;
  assign word_first_o   = first_q;
  assign word_shift_o   = shift_q;
  assign word_last_o    = advance && plane_q.last;
  assign word_release_o = word_last_o && plane_q.free;
  assign word_row_o     = plane_q.row;
  assign word_columns_o = plane_q.columns;
  assign word_place_o   = plane_q.place;

  assign idle_o = !valid_q && !next_valid_q;

  `SPIKE_ASSERT(Turn, turn_q == (ends_q || !valid_q) && (!ends_q || valid_q))
  `SPIKE_ASSERT(SameRow, !ahead || (plane_q.row == next_q.row && plane_q.bank == next_q.bank))

endmodule
