// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What the modules of the group core agree on. Four neighbouring inputs are a group, of which at most one fires in each of a
// row's S steps. A step that `left` others follow weighs 3^left * 2^(S-1-left) in units of the code, and so
// 3^left * 2^(7-left) in units of a membrane, which are 1/128 of the last step's weight whatever S is.

package group_pkg;

  parameter int unsigned GroupInputs = 4;
  parameter int unsigned LeftWidth = 3;       // holds 0 .. 7 steps that follow

  // The largest membrane of 8 steps is 3^8 - 2^8; no residual is larger.
  parameter int unsigned MagnitudeBits = 13;

  // What a group does in a step.
  typedef struct packed {
    logic       fire;
    logic       neg;    // only where it fires
    logic [1:0] index;  // the input that does
  } spike_of_group_t;

  parameter int unsigned SpikeBits = $bits(spike_of_group_t);

  // Where a step stands in its job.
  typedef struct packed {
    logic first;        // of a chunk
    logic last;         // of a chunk
    logic group_first;  // the chunk is the first of its scale group
    logic group_last;   // the last of it,
    logic tile_end;     // of its row, and in the last column tile of the row tile
  } step_t;

  // Weight of a step that `left` others follow, in units of a membrane.
  function automatic logic [MagnitudeBits-1:0] step_weight(input logic [LeftWidth-1:0] left);
    unique case (left)
      3'd0: return MagnitudeBits'(128);
      3'd1: return MagnitudeBits'(192);
      3'd2: return MagnitudeBits'(288);
      3'd3: return MagnitudeBits'(432);
      3'd4: return MagnitudeBits'(648);
      3'd5: return MagnitudeBits'(972);
      3'd6: return MagnitudeBits'(1458);
      default: return MagnitudeBits'(2187);
    endcase
  endfunction

  // The largest membrane of a row whose first step `left` others follow: (3^S - 2^S) * 2^(8-S).
  function automatic logic [MagnitudeBits-1:0] largest_membrane(input logic [LeftWidth-1:0] left);
    unique case (left)
      3'd0: return MagnitudeBits'(128);
      3'd1: return MagnitudeBits'(320);
      3'd2: return MagnitudeBits'(608);
      3'd3: return MagnitudeBits'(1040);
      3'd4: return MagnitudeBits'(1688);
      3'd5: return MagnitudeBits'(2660);
      3'd6: return MagnitudeBits'(4118);
      default: return MagnitudeBits'(6305);
    endcase
  endfunction

endpackage
