// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One TC-LIF neuron: charged with a membrane, it shows the spikes of all its steps in the next cycle.
//
//   charge   V = min(floor(|membrane| * 2^-F + 1/2), 2^T - 1), the sign is latched
//   fire     theta = 2^exponent;   tc_lif: V >= theta      csd: 3|V| > 2 theta
//   reset    V = V - sgn(V) * theta where it fired (soft reset)
//
// Thresholds are whole numbers, so the fraction of V can never decide a step: V is stored without it. The bound on V
// is what makes a saturated neuron fire in every step.
//
// And thresholds are powers of two that halve from step to step, so no comparison is left to be made: a tc_lif neuron
// arrives at theta with V < 2 theta, fires if bit `exponent` of V is set, and its soft reset clears just that bit. A csd
// neuron arrives with 3|V| <= 4 theta; its spikes are the digits of 3V/2 - V/2 taken without borrow, that is the bits in
// which 3V and V differ, one place up: +1 where 3V has the one, -1 where V has it.

module spike_neuron
  import spike_pkg::*;
#(
  parameter int unsigned Tmax = TmaxLimit,
  parameter bit          Csd  = 1'b1,
  localparam int unsigned Planes = Tmax + int'(Csd)
) (
  input  logic                            clk_i,

  input  coding_e                         coding_i,
  input  logic [4:0]                      frac_bits_i,

  // charge
  input  logic                            charge_i,
  input  logic signed [MembraneWidth-1:0] membrane_i,
  input  logic [TWidth-1:0]               timesteps_i,
  output logic                            saturated_o,  // with charge_i

  // spikes of all exponents, from the cycle after charge_i on
  output spike_t [Planes-1:0]             spikes_o
);

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

  logic            sign_q;
  logic [Tmax-1:0] v_q;

  always_ff @(posedge clk_i) begin
    if (charge_i) begin
      sign_q <= membrane_i[MembraneWidth-1];
      v_q    <= saturated_o ? limit : whole[Tmax-1:0];
    end
  end

  // ---------------------------------------------------------------------------------------- fire and reset
  logic [Planes-1:0] fire, turn;

  if (Csd) begin : gen_csd
    logic [Tmax+1:0] once, thrice;

    assign once   = (Tmax + 2)'(v_q);
    assign thrice = once + {once[Tmax:0], 1'b0};

    assign fire = (coding_i == CodingCsd) ? once[Tmax+1:1] ^ thrice[Tmax+1:1] : Planes'(v_q);
    assign turn = (coding_i == CodingCsd) ? once[Tmax+1:1] & ~thrice[Tmax+1:1] : '0;

    logic unused_thrice;
    assign unused_thrice = thrice[0];
  end else begin : gen_tc_lif
    assign fire = v_q;
    assign turn = '0;

    logic unused_coding;
    assign unused_coding = coding_i;
  end

  for (genvar e = 0; e < Planes; e++) begin : gen_plane
    assign spikes_o[e] = '{fire: fire[e], neg: fire[e] & (sign_q ^ turn[e])};
  end

endmodule
