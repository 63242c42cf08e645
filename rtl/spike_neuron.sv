// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// One TC-LIF neuron: charged with a membrane in one cycle, it takes the code over in a next one, and from then on shows the
// spikes of all its steps.
//
//   charge   V = min(floor(|membrane| * 2^-F + 1/2), 2^T - 1), the sign is latched
//   fire     theta = 2^exponent;   tc_lif: V >= theta      csd: 3|V| > 2 theta
//   reset    V = V - sgn(V) * theta where it fired (soft reset)
//
// Thresholds are whole numbers, so the fraction of V can never decide a step: V is stored without it. The bound on V
// is what makes a saturated neuron fire in every step.
//
// |membrane| + 1/2 is never added up. A negative membrane inverts its bits, x = |membrane| - 1, and what is left to add is
// less than one: 1/2, and the 1 that the inversion left out. So V is the whole part of x, plus one if the highest bit
// of its fraction is set, or if only that 1 is missing to make it so.
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
  input  logic [MembraneWidth-1:0]        membrane_i,   // two's complement
  input  logic [MembraneWidth-1:0]        below_i,      // bits_below(F), the same for all neurons
  input  logic [MembraneWidth-1:0]        beyond_i,     // bits_beyond(F, T)

  // the code of the last charge
  input  logic                            take_i,
  input  logic                            filled_i,     // there is an input for this neuron; else its code is 0
  input  logic [Tmax-1:0]                 limit_i,      // 2^T - 1
  output logic                            saturated_o,  // with take_i

  // spikes of all exponents, from the cycle after take_i on
  output spike_t [Planes-1:0]             spikes_o
);

  // ---------------------------------------------------------------------------------------------- charge
  logic                     negative, negative_q, carry_q, over_q;
  logic [MembraneWidth-1:0] x;
  logic [Tmax:0]            window;   // whole part, and the highest bit of the fraction
  logic [Tmax-1:0]          whole_q;

  assign negative = membrane_i[MembraneWidth-1];
  assign x        = membrane_i ^ {MembraneWidth{negative}};
  assign window   = (Tmax + 1)'({x, 1'b0} >> frac_bits_i);

  always_ff @(posedge clk_i) begin
    if (charge_i) begin
      negative_q <= negative;
      whole_q    <= window[Tmax:1];
      carry_q    <= window[0] || (negative && (membrane_i & below_i) == '0);
      over_q     <= (x & beyond_i) != '0;
    end
  end

  // ------------------------------------------------------------------------------------------------ code
  logic            sign_q;
  logic [Tmax-1:0] v_q;

  assign saturated_o = over_q || (carry_q && whole_q == limit_i);

  always_ff @(posedge clk_i) begin
    if (take_i) begin
      sign_q <= negative_q;
      v_q    <= (saturated_o ? limit_i : whole_q + Tmax'(carry_q)) & {Tmax{filled_i}};
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
