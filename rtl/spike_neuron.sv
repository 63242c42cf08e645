// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One TC-LIF neuron: charged with a membrane, it fires or stays silent once a step, most significant first.
//
//   charge   V = min(floor(|membrane| * 2^-F + 1/2), 2^T - 1), the sign is latched
//   fire     theta = 2^exponent;   tc_lif: V >= theta      csd: 3|V| > 2 theta
//   reset    V = V - sgn(V) * theta where it fired (soft reset)
//
// Thresholds are whole numbers, so the fraction of V can never decide a step: V is stored without it. The bound
// on V is the width of the membrane register; what it cuts off would make a tc_lif neuron fire in every step
// anyway, and is reported as saturated. In csd a reset may overshoot: V turns over, and so does the spike.

module spike_neuron
  import spike_pkg::*;
#(
  parameter int unsigned Tmax = TmaxLimit,
  localparam int unsigned ExpWidth = $clog2(Tmax + 1)
) (
  input  logic                            clk_i,

  input  coding_e                         coding_i,
  input  logic [4:0]                      frac_bits_i,

  // charge
  input  logic                            charge_i,
  input  logic signed [MembraneWidth-1:0] membrane_i,
  input  logic [TWidth-1:0]               timesteps_i,
  output logic                            saturated_o,  // with charge_i

  // fire and reset
  input  logic                            step_i,
  input  logic [ExpWidth-1:0]             exponent_i,
  output spike_t                          spike_o       // of the present step
);

  localparam int unsigned VWidth = Tmax + 1;  // signed

  // ---------------------------------------------------------------------------------------------- charge
  logic [MembraneWidth-1:0] magnitude;
  logic [MembraneWidth:0]   half, charged, whole;
  logic [Tmax-1:0]          limit;

  assign magnitude = membrane_i[MembraneWidth-1] ? -membrane_i : membrane_i;
  assign half      = ((MembraneWidth + 1)'(1) << frac_bits_i) >> 1;  // nothing when codes come in
  assign charged   = {1'b0, magnitude} + half;
  assign whole     = charged >> frac_bits_i;

  always_comb begin
    for (int unsigned t = 0; t < Tmax; t++) begin
      limit[t] = timesteps_i > TWidth'(t);  // 2^T - 1
    end
  end

  assign saturated_o = whole > (MembraneWidth + 1)'(limit);

  // ---------------------------------------------------------------------------------------- fire and reset
  logic                     sign_q;
  logic signed [VWidth-1:0] v_q, v_d;
  logic [VWidth-1:0]        v_abs, theta;
  logic                     fire;

  assign theta = VWidth'(1) << exponent_i;
  assign v_abs = v_q[VWidth-1] ? -v_q : v_q;

  always_comb begin
    if (coding_i == CodingCsd) begin
      fire = ((VWidth + 2)'(v_abs) + {1'b0, v_abs, 1'b0}) > {1'b0, theta, 1'b0};
    end else begin
      fire = v_abs >= theta;
    end
  end

  assign v_d = v_q[VWidth-1] ? v_q + theta : v_q - theta;

  always_ff @(posedge clk_i) begin
    if (charge_i) begin
      sign_q <= membrane_i[MembraneWidth-1];
      v_q    <= {1'b0, saturated_o ? limit : whole[Tmax-1:0]};
    end else if (step_i && fire) begin
      v_q <= v_d;
    end
  end

  assign spike_o = '{fire: fire, neg: fire & (sign_q ^ v_q[VWidth-1])};

endmodule
