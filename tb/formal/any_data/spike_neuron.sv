// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the neuron in proofs about control alone: it fires anything in any cycle (nothing drives it).

module spike_neuron
  import spike_pkg::*;
#(
  parameter int unsigned Tmax = TmaxLimit,
  parameter bit          Csd  = 1'b1,
  localparam int unsigned Planes = Tmax + int'(Csd)
) (
  input  logic                     clk_i,
  input  coding_e                  coding_i,
  input  logic [4:0]               frac_bits_i,
  input  logic                     charge_i,
  input  logic [MembraneWidth-1:0] membrane_i,
  input  logic [MembraneWidth-1:0] below_i,
  input  logic [MembraneWidth-1:0] beyond_i,
  input  logic                     take_i,
  input  logic                     filled_i,
  input  logic [Tmax-1:0]          limit_i,
  output logic                     saturated_o,
  output spike_t [Planes-1:0]      spikes_o
);

endmodule
