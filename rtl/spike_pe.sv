// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One output of the array: adds or subtracts a weight for every spike of a plane, moves the sum to the plane's
// binary place and adds it to the accumulator. Nothing is multiplied.
//
//   cycle 1   sum = sum over lanes of (+w, -w or nothing)
//   cycle 2   acc = (first ? 0 : acc) + (sum << exponent)

module spike_pe
  import spike_pkg::*;
#(
  parameter int unsigned Lanes      = 8,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned Tmax       = TmaxLimit,
  localparam int unsigned ExpWidth = $clog2(Tmax + 1)
) (
  input  logic                              clk_i,

  // cycle 1
  input  logic                              sum_en_i,
  input  spike_t [Lanes-1:0]                spikes_i,
  input  logic [Lanes-1:0][WeightBits-1:0]  weights_i,

  // cycle 2
  input  logic                              acc_en_i,
  input  logic                              first_i,
  input  logic [ExpWidth-1:0]               exponent_i,

  output logic signed [AccWidth-1:0]        acc_o
);

  // Lanes * 2^(WeightBits-1) is reached: a spike of -1 turns the most negative weight positive.
  localparam int unsigned SumWidth = WeightBits + $clog2(Lanes) + 1;

  logic signed [SumWidth-1:0] sum_d, sum_q;
  logic signed [AccWidth-1:0] acc_d, acc_q;

  always_comb begin
    sum_d = '0;
    for (int unsigned l = 0; l < Lanes; l++) begin
      if (spikes_i[l].fire) begin
        if (spikes_i[l].neg) sum_d -= SumWidth'(signed'(weights_i[l]));
        else sum_d += SumWidth'(signed'(weights_i[l]));
      end
    end
  end

  assign acc_d = (first_i ? '0 : acc_q) + (AccWidth'(sum_q) <<< exponent_i);

  always_ff @(posedge clk_i) begin
    if (sum_en_i) sum_q <= sum_d;
    if (acc_en_i) acc_q <= acc_d;
  end

  assign acc_o = acc_q;

endmodule
