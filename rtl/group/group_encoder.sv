// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Finds out which input of a group fires in which step: the beam of four states that docs/numerics.md describes, to the bit.
//
// A step takes five cycles, and five groups are on their way in turn, so a group of S steps takes S cycles of the encoder:
//
//   stage 1   keys: by how much a candidate changes the sum of squares, over the step's weight w, and less w
//   stage 2   candidates are compared, each with all that it has to be
//   stage 3   so their places among all are known, and the best four
//   stage 4   their states: which one they come from, which input fires, what is left of it
//   stage 5   its place among the state's inputs; the sum of squares in units of the next step
//
// A state keeps its inputs in order, the largest residual first, of equal ones the lower input. So its candidates come in
// order, too: four in which an input fires, and one in which nobody does. The states themselves are in order, so what nobody
// fires in is a fifth list. Two candidates need not be compared if the lists hold so many before them that one of the two
// cannot be among the best four anyway: place i of a list against place j of another one only where i + j < 4.
//
// A key is the state's sum - 2|r| where an input fires with a residual r, and sum - w where nobody does: w less than what changes,
// for all alike, so that the many candidates need no sum of three numbers.
//
// Sums of squares are relative, as all that matters is their order: each step takes what the best state had before away.
// With that they are within +-2^15, in units of the step's weight, and have a fraction bit for each step before.

`include "spike_assert.svh"

module group_encoder
  import group_pkg::*;
#(
  parameter int unsigned Steps = 7
) (
  input  logic                                             clk_i,
  input  logic                                             rst_ni,

  input  logic                                             valid_i,
  output logic                                             ready_o,
  input  logic [GroupInputs-1:0][MagnitudeBits-1:0]        magnitudes_i,
  input  logic [GroupInputs-1:0]                           neg_i,
  input  logic [LeftWidth-1:0]                             left_i,    // steps behind the first one

  // in the order in which groups came, if they have equally many steps; it has to be taken
  output logic                                             valid_o,
  output logic [Steps-1:0][SpikeBits-1:0]                  spikes_o   // of the step that so many follow; else noise
);

  localparam int unsigned Beam     = 4;
  localparam int unsigned Frac     = Steps - 1;
  localparam int unsigned KeyWidth = 16 + Frac;

  `SPIKE_REQUIRE(gen_bad_steps, Steps >= 2 && Steps <= 8, "Steps has to be from 2 to 8")

  typedef logic signed [KeyWidth-1:0] key_t;
  typedef logic [MagnitudeBits-1:0]   magnitude_t;

  // What is left of an input
  typedef struct packed {
    magnitude_t magnitude;
    logic       neg;
    logic [1:0] index;
  } residual_t;

  typedef struct packed {
    residual_t [GroupInputs-1:0]     left;   // in order
    logic [Steps-1:0][SpikeBits-1:0] fired;
  } state_t;

  localparam int unsigned ResidualBits = $bits(residual_t);
  localparam int unsigned StateBits    = $bits(state_t);

  typedef logic [ResidualBits-1:0] residual_bits_t;
  typedef logic [StateBits-1:0]    state_bits_t;

  // Place of a candidate's key above all others that are no state's: so invalid states lose against the first one's.
  localparam key_t Beyond = key_t'(1 << (14 + Frac));

  // A number without a sign that comes in the same order
  function automatic logic [KeyWidth-1:0] ordered(input key_t key);
    return {!key[KeyWidth-1], key[KeyWidth-2:0]};
  endfunction

  // ------------------------------------------------------------------------------------------ a group comes in
  residual_t [GroupInputs-1:0]                  group, sorted;
  logic      [GroupInputs-1:0][GroupInputs-1:0] ahead;  // [i][j], i < j: i comes before j
  logic      [GroupInputs-1:0][GroupInputs-1:0] place;  // [p][i]: i is at place p

  for (genvar i = 0; i < GroupInputs; i++) begin : gen_in
    assign group[i] = '{magnitude: magnitudes_i[i], neg: neg_i[i], index: 2'(i)};

    for (genvar j = 0; j < GroupInputs; j++) begin : gen_pair
      assign ahead[i][j] = i < j && magnitudes_i[i] >= magnitudes_i[j];
    end
  end

  always_comb begin
    place = '0;
    for (int unsigned a = 0; a < GroupInputs; a++) begin
      logic [2:0] count;
      count = '0;
      for (int unsigned j = 0; j < GroupInputs; j++) count += 3'(j < a ? ahead[j][a] : j > a && !ahead[a][j]);
      for (int unsigned p = 0; p < GroupInputs; p++) place[p][a] = count == 3'(p);
    end
    for (int unsigned p = 0; p < GroupInputs; p++) begin
      residual_bits_t mixed;
      mixed = '0;
      for (int unsigned a = 0; a < GroupInputs; a++) mixed |= residual_bits_t'(group[a]) & {ResidualBits{place[p][a]}};
      sorted[p] = mixed;
    end
  end

  // ------------------------------------------------------------------------------------------- stage 1: keys
  logic                                 valid1_q, valid2_q, valid3_q, valid4_q, valid5_q;
  logic                                 ready_q, last4_q;  // !valid5_q; the group is complete
  logic [LeftWidth-1:0]                 left1_q, left2_q, left3_q, left4_q, left5_q;
  state_t [Beam-1:0]                    states1_q, states2_q, states3_q, states4_q, states_d;
  key_t   [Beam-1:0]                    sums1_q, sums_d;
  key_t   [Beam-1:0][GroupInputs-1:0]   keys, keys_q;
  key_t   [Beam-1:0]                    rests, rests_q; // the keys of those in which nobody fires
  magnitude_t                           weight1_q, weight5_q;
  key_t   [Beam-1:0]                    above_q;        // the sum of a state over that of the first

  assign ready_o = ready_q;

  for (genvar b = 0; b < Beam; b++) begin : gen_keys
    logic [15:0] whole;  // the sum above its fraction, which no key changes

    assign whole    = sums1_q[b][KeyWidth-1:Frac];
    assign rests[b] = {whole - 16'(weight1_q), sums1_q[b][Frac-1:0]};

    for (genvar i = 0; i < GroupInputs; i++) begin : gen_key
      assign keys[b][i] = {whole - 16'({states1_q[b].left[i].magnitude, 1'b0}), sums1_q[b][Frac-1:0]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid1_q) begin
      states2_q <= states1_q;
      left2_q   <= left1_q;
      keys_q    <= keys;
      rests_q   <= rests;
      for (int unsigned b = 0; b < Beam; b++) above_q[b] <= (b == 0) ? '0 : sums1_q[b] - sums1_q[0];
    end
  end

  // -------------------------------------------------------------------------------- stage 2: who wins
  // Candidate i of list b, b < Beam: the state's input at place i fires. Of list Beam: nobody fires in state i.
  localparam int unsigned Lists = Beam + 1;

  logic [Lists-1:0][3:0][Lists-1:0][3:0] wins, wins_q;  // [b][i][c][j], b < c: the first comes before the second
  key_t [Beam-1:0]                       moved3_q;      // 3/2 of `above`

  for (genvar b = 0; b < Lists; b++) begin : gen_list
    for (genvar i = 0; i < 4; i++) begin : gen_candidate
      for (genvar c = 0; c < Lists; c++) begin : gen_other
        for (genvar j = 0; j < 4; j++) begin : gen_pair
          if (b >= c || i + j > 3) begin : gen_none
            assign wins[b][i][c][j] = 1'b0;
          end else if (c == Beam) begin : gen_nobody  // nobody first
            assign wins[b][i][c][j] = ordered(keys_q[b][i]) < ordered(rests_q[j]);
          end else begin : gen_both  // then the lower input, then the better state
            assign wins[b][i][c][j] = {ordered(keys_q[b][i]), states2_q[b].left[i].index}
                                      <= {ordered(keys_q[c][j]), states2_q[c].left[j].index};
          end
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid2_q) begin
      states3_q <= states2_q;
      left3_q   <= left2_q;
      wins_q    <= wins;
      for (int unsigned b = 0; b < Beam; b++) moved3_q[b] <= above_q[b] + (signed'(above_q[b]) >>> 1);
    end
  end

  // -------------------------------------------------------------------------------- stage 3: the best four
  logic [3:0][Lists-1:0][3:0]            best;                // [p][b][i]: the candidate at place p of all
  logic [3:0][Beam-1:0]                  from, from_q;        // its state
  logic [3:0][GroupInputs-1:0]           fires, fires_q;      // the place of the input that fires
  logic [3:0][Beam-1:0][GroupInputs-1:0] changes, changes_q;  // of which state and place: the last if nobody fires
  logic [3:0]                            nobody_q;
  key_t [Beam-1:0]                       moved_q;
  magnitude_t                            weight4_q;

  always_comb begin
    best = '0;
    for (int unsigned b = 0; b < Lists; b++) begin
      for (int unsigned i = 0; i < 4; i++) begin
        logic [4:0] count;
        count = 5'(i);
        for (int unsigned c = 0; c < Lists; c++) begin
          for (int unsigned j = 0; j < 4 - i; j++) begin
            count += 5'(c < b ? wins_q[c][j][b][i] : c > b && !wins_q[b][i][c][j]);
          end
        end
        for (int unsigned p = i; p < 4; p++) best[p][b][i] = count == 5'(p);
      end
    end
    from    = '0;
    fires   = '0;
    changes = '0;
    for (int unsigned p = 0; p < 4; p++) begin
      for (int unsigned i = 0; i < 4; i++) begin
        for (int unsigned b = 0; b < Beam; b++) begin
          from[p][b]  |= best[p][b][i];
          fires[p][i] |= best[p][b][i];
        end
        from[p][i] |= best[p][Beam][i];
      end
      changes[p] = best[p][Beam-1:0];
      for (int unsigned b = 0; b < Beam; b++) changes[p][b][GroupInputs-1] |= best[p][Beam][b];
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid3_q) begin
      states4_q <= states3_q;
      left4_q   <= left3_q;
      weight4_q <= step_weight(left3_q);
      from_q    <= from;
      fires_q   <= fires;
      changes_q <= changes;
      for (int unsigned p = 0; p < 4; p++) nobody_q[p] <= fires[p] == '0;
      moved_q   <= moved3_q;
    end
  end

  // ------------------------------------------------------------------------------------- stage 4: their states
  typedef struct packed {
    residual_t [GroupInputs-2:0]     others;
    residual_t                       changed;
    logic                            none;     // nobody fires: what has changed is the last input, by nothing
    logic [Steps-1:0][SpikeBits-1:0] fired;
    key_t                            moved;
    logic signed [15:0]              change;   // w - 2|r|
  } child_t;

  child_t [Beam-1:0] children, children_q;

  for (genvar p = 0; p < Beam; p++) begin : gen_child
    state_t          parent;
    key_t            moved;
    residual_t       old;
    magnitude_t      taken, less, beyond, rest;
    logic            over, nobody;
    spike_of_group_t spike;

    always_comb begin
      state_bits_t         mixed;
      logic [KeyWidth-1:0] mixed_key;
      residual_bits_t      mixed_input;

      mixed       = '0;
      mixed_key   = '0;
      mixed_input = '0;
      for (int unsigned b = 0; b < Beam; b++) begin
        mixed     |= state_bits_t'(states4_q[b]) & {StateBits{from_q[p][b]}};
        mixed_key |= unsigned'(moved_q[b]) & {KeyWidth{from_q[p][b]}};
        for (int unsigned i = 0; i < GroupInputs; i++) begin
          mixed_input |= residual_bits_t'(states4_q[b].left[i]) & {ResidualBits{changes_q[p][b][i]}};
        end
      end
      parent = mixed;
      moved  = mixed_key;
      old    = mixed_input;
    end

    assign nobody = nobody_q[p];
    assign taken  = nobody ? '0 : weight4_q;
    // Both differences, of which the borrow takes its choice. Not with `?:`: synthesis would share one subtractor, behind the borrow.
    assign {over, less} = {1'b0, old.magnitude} - {1'b0, taken};  // over: the residual turns over
    assign beyond       = taken - old.magnitude;
    assign rest         = (less & {MagnitudeBits{!over}}) | (beyond & {MagnitudeBits{over}});

    assign spike  = '{fire: !nobody, neg: old.neg && !nobody, index: old.index};

    always_comb begin
      children[p].others[0] = fires_q[p][0] ? parent.left[1] : parent.left[0];
      children[p].others[1] = (fires_q[p][0] || fires_q[p][1]) ? parent.left[2] : parent.left[1];
      children[p].others[2] = (fires_q[p][3] || nobody) ? parent.left[2] : parent.left[3];
      children[p].changed   = '{magnitude: rest, neg: old.neg ^ over, index: old.index};
      children[p].none      = nobody;
      children[p].fired     = parent.fired;
      for (int unsigned s = 0; s < Steps; s++) begin
        if (left4_q == LeftWidth'(s)) children[p].fired[s] = spike;
      end
      children[p].moved     = moved;
      children[p].change    = nobody ? '0 : 16'(weight4_q) - 16'({old.magnitude, 1'b0});
    end
  end

  assign valid_o  = last4_q;
  assign spikes_o = children[0].fired;

  always_ff @(posedge clk_i) begin
    if (valid4_q) begin
      children_q <= children;
      left5_q    <= left4_q;
      weight5_q  <= step_weight(left4_q - 1'b1);
    end
  end

  // ------------------------------------------------------------------------------- stage 5: in order again
  for (genvar p = 0; p < Beam; p++) begin : gen_next
    child_t     child;
    logic [2:0] first;  // what has changed comes before this one
    key_t       change;

    assign child = children_q[p];

    for (genvar i = 0; i < 3; i++) begin : gen_first
      assign first[i] = !child.none
                        && {child.changed.magnitude, ~child.changed.index}
                           > {child.others[i].magnitude, ~child.others[i].index};
    end

    assign states_d[p].left[0] = first[0] ? child.changed : child.others[0];
    assign states_d[p].left[1] = first[0] ? child.others[0] : first[1] ? child.changed : child.others[1];
    assign states_d[p].left[2] = first[1] ? child.others[1] : first[2] ? child.changed : child.others[2];
    assign states_d[p].left[3] = first[2] ? child.others[2] : child.changed;
    assign states_d[p].fired   = child.fired;

    // 3/2 of (above + change)
    assign change    = {child.change, {Frac{1'b0}}};
    assign sums_d[p] = child.moved + change + (signed'(change) >>> 1);
  end

  always_ff @(posedge clk_i) begin
    if (valid5_q) begin
      states1_q <= states_d;
      sums1_q   <= sums_d;
      left1_q   <= left5_q - 1'b1;
      weight1_q <= weight5_q;
    end else if (valid_i) begin
      for (int unsigned b = 0; b < Beam; b++) begin
        states1_q[b].left <= sorted;
        sums1_q[b]        <= (b == 0) ? '0 : Beyond;
      end
      left1_q   <= left_i;
      weight1_q <= step_weight(left_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid1_q <= 1'b0;
      valid2_q <= 1'b0;
      valid3_q <= 1'b0;
      valid4_q <= 1'b0;
      valid5_q <= 1'b0;
      ready_q  <= 1'b1;
      last4_q  <= 1'b0;
    end else begin
      valid1_q <= valid5_q || valid_i;
      valid2_q <= valid1_q;
      valid3_q <= valid2_q;
      valid4_q <= valid3_q;
      valid5_q <= valid4_q && !last4_q;
      ready_q  <= !valid4_q || last4_q;
      last4_q  <= valid3_q && left3_q == '0;
    end
  end

  `SPIKE_EXPECT(Fits, !valid_i || left_i < LeftWidth'(Steps))
  `SPIKE_ASSERT(FourBest, !valid3_q || ($onehot(from[0]) && $onehot(from[1]) && $onehot(from[2]) && $onehot(from[3])))

endmodule
