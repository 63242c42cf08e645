// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What a neuron loses if it leaves out a spike of the last step, in four classes: stands beside a spike_neuron, and takes the
// same signals at the same time.
//
//   v = floor(4 |membrane| * 2^-F) + 2, at most 4 (2^T - 1) + 3       the code is v / 4, the class v mod 4
//
// As in the neuron |membrane| is never added up: a negative one inverts its bits, and the 1 that is missing then reaches
// the quarters only if all bits below them are zero in the membrane. The 2, half a code, turns over the upper bit.

module spike_loss #(
  parameter int unsigned MembraneWidth = 32
) (
  input  logic                     clk_i,

  input  logic [4:0]               frac_bits_i,  // F, 2 at least

  // charge
  input  logic                     charge_i,
  input  logic [MembraneWidth-1:0] membrane_i,
  input  logic [MembraneWidth-1:0] below_i,      // bits_below(F - 1): those below the quarters

  // the code of the last charge
  input  logic                     take_i,
  input  logic                     saturated_i,
  output logic [1:0]               loss_o        // from the cycle after take_i on
);

  logic                     negative, carry_q;
  logic [MembraneWidth-1:0] x;
  logic [1:0]               quarters_q, quarters;

  assign negative = membrane_i[MembraneWidth-1];
  assign x        = membrane_i ^ {MembraneWidth{negative}};
  assign quarters = quarters_q + 2'(carry_q);

  always_ff @(posedge clk_i) begin
    if (charge_i) begin
      quarters_q <= 2'({x, 2'b00} >> frac_bits_i);
      carry_q    <= negative && (membrane_i & below_i) == '0;
    end
    if (take_i) loss_o <= saturated_i ? 2'd3 : quarters ^ 2'd2;
  end

endmodule
