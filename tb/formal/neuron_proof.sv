// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof, complete: for every membrane, F, T and coding the neuron's spikes are its code, and they are what charge, fire
// and soft reset give when they are done step by step.
//
// The code c = sign * min(floor(|y| + 1/2), 2^T - 1), with y = membrane / 2^F, is pinned down by inequalities
// instead of being computed a second time: 2c - 1 <= 2|y| < 2c + 1, where the upper one may fail only for c = 2^T - 1.

module neuron_proof
  import spike_pkg::*;
#(
  parameter int unsigned Tmax = TmaxLimit,
  parameter bit          Csd  = 1'b1
) (
  input logic                            clk_i,
  input coding_e                         coding_i,
  input logic [4:0]                      frac_bits_i,
  input logic [MembraneWidth-1:0]        membrane_i,
  input logic [TWidth-1:0]               timesteps_i
);

  localparam int unsigned Planes = Tmax + int'(Csd);

  logic                            charged_q = 1'b0, second_q = 1'b0;  // charged; its code was taken, and holds
  logic signed [MembraneWidth-1:0] y_q;
  logic                            saturated, saturated_q;
  logic [Tmax-1:0]                 limit;
  spike_t [Planes-1:0]             spikes;

  for (genvar t = 0; t < Tmax; t++) begin : gen_limit
    assign limit[t] = timesteps_i > TWidth'(t);
  end

  spike_neuron #(
    .Tmax (Tmax),
    .Csd  (Csd)
  ) u_neuron (
    .clk_i,
    .coding_i,
    .frac_bits_i,
    .charge_i    (!charged_q),
    .membrane_i,
    .below_i     (bits_below(frac_bits_i)),
    .beyond_i    (bits_beyond(frac_bits_i, timesteps_i)),
    .take_i      (charged_q && !second_q),
    .filled_i    (1'b1),
    .limit_i     (limit),
    .saturated_o (saturated),
    .spikes_o    (spikes)
  );

  // Coding, F and T stay for a job and a row; the membrane input goes on as it likes.
  coding_e           coding_q;
  logic [4:0]        frac_bits_q;
  logic [TWidth-1:0] timesteps_q;

  always_ff @(posedge clk_i) begin
    charged_q <= 1'b1;
    second_q  <= charged_q;
    if (!charged_q) begin
      y_q         <= signed'(membrane_i);
      coding_q    <= coding_i;
      frac_bits_q <= frac_bits_i;
      timesteps_q <= timesteps_i;
    end
    if (charged_q && !second_q) saturated_q <= saturated;
  end

  always_comb begin
    assume (frac_bits_i <= 5'(MaxFracBits));
    assume (timesteps_i >= 1 && timesteps_i <= TWidth'(Tmax));
    assume (coding_i == CodingTcLif || Csd);
    if (charged_q) assume (coding_i == coding_q && frac_bits_i == frac_bits_q && timesteps_i == timesteps_q);
  end

  // ------------------------------------------------------------------------------------ value of the spikes
  localparam int unsigned Wide = 72;

  logic signed [Planes+1:0] value;
  logic [Planes+1:0]        magnitude, top;
  logic [Wide-1:0]          twice_y, below, above;

  always_comb begin
    value = '0;
    for (int unsigned e = 0; e < Planes; e++) begin
      if (spikes[e] == 2'b01) value += (Planes + 2)'(1) << e;
      if (spikes[e] == 2'b11) value -= (Planes + 2)'(1) << e;
    end
    magnitude = (value < 0) ? -value : value;
    top       = ((Planes + 2)'(1) << timesteps_i) - 1'b1;
    twice_y   = Wide'((y_q < 0) ? -33'(y_q) : 33'(y_q)) << 1;       // 2 |y| 2^F
    below     = Wide'({magnitude, 1'b0} - 1'b1) << frac_bits_i;     // (2c - 1) 2^F
    above     = Wide'({magnitude, 1'b0} + 1'b1) << frac_bits_i;     // (2c + 1) 2^F
  end

  always_comb begin
    Order: assert (!second_q || charged_q);
    if (second_q) begin
      Range:      assert (magnitude <= top);
      Sign:       assert (value == 0 || (value < 0) == (y_q < 0));
      Lower:      assert (magnitude == 0 || below <= twice_y);
      Upper:      assert (magnitude == top || twice_y < above);
      Saturation: assert (saturated_q == (twice_y >= (Wide'({top, 1'b0} + 1'b1) << frac_bits_i)));
    end
  end

  for (genvar e = 0; e < Planes; e++) begin : gen_plane
    always_comb begin
      if (second_q) begin
        SpikeCode: assert (spikes[e] != 2'b10);
        // exponents at or above the number of steps never fire, so that the array need not know T
        Steps: assert (spikes[e] == 2'b00 || e < 32'(timesteps_i) + 32'(coding_i == CodingCsd));
        if (coding_i == CodingTcLif) OneSign: assert (spikes[e] == 2'b00 || spikes[e][1] == (y_q < 0));
        if (e > 0 && coding_i == CodingCsd) NotAdjacent: assert (spikes[e] == 2'b00 || spikes[e-(e>0)] == 2'b00);
      end
    end
  end

  // ---------------------------------------------------------------------------- charge, fire, reset by steps
  // V starts at the code; theta = 2^e halves from step to step; a spike takes sgn(V) theta away.
  logic signed [Planes:0][Planes+3:0] v;

  assign v[Planes] = (Planes + 4)'(value);

  for (genvar e = 0; e < Planes; e++) begin : gen_step
    logic signed [Planes+3:0] here, size, theta;

    assign here  = v[e+1];
    assign size  = (here < 0) ? -here : here;
    assign theta = (Planes + 4)'(1) << e;
    assign v[e]  = !spikes[e].fire ? here : (here < 0) ? here + theta : here - theta;

    always_comb begin
      if (second_q) begin
        if (coding_i == CodingTcLif) Fires: assert (spikes[e].fire == (size >= theta));
        else FiresCsd: assert (spikes[e].fire == (size + size + size > theta + theta));
        Direction: assert (!spikes[e].fire || spikes[e].neg == (here < 0));
      end
    end
  end

  always_comb begin
    if (second_q) NothingLeft: assert (v[0] == '0);
    cover (second_q && saturated_q && timesteps_i == TWidth'(Tmax) && value < 0);
  end

endmodule
