// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Carry-save tree: the sum of many numbers as the sum of two, modulo 2^Width. Rows of full adders take three numbers to
// two until two are left; only then is a carry propagated, outside.

module spike_csa #(
  parameter int unsigned Operands = 17,
  parameter int unsigned Width    = 10
) (
  input  logic [Operands-1:0][Width-1:0] operands_i,
  output logic [Width-1:0]               sum_o,
  output logic [Width-1:0]               carry_o
);

  // Numbers that are left after 0, 1, 2 ... levels. A table, because some tools run a constant function anew wherever it is named.
  localparam int unsigned MaxLevels = 16;  // enough for a thousand operands

  typedef logic [MaxLevels:0][15:0] counts_t;

  function automatic counts_t counts();
    int unsigned n;
    n = Operands;
    for (int unsigned i = 0; i <= MaxLevels; i++) begin
      counts[i] = 16'(n);
      n         = n - n / 3;
    end
  endfunction

  localparam counts_t Left = counts();

  function automatic int unsigned depth();
    depth = 0;
    while (Left[depth] > 2) depth++;
  endfunction

  localparam int unsigned Levels = depth();

  for (genvar i = 0; i <= Levels; i++) begin : gen_level
    localparam int unsigned Here = 32'(Left[i]);
    logic [Here-1:0][Width-1:0] v;

    if (i == 0) begin : gen_in
      assign v = operands_i;
    end else begin : gen_add
      localparam int unsigned Adders = 32'(Left[i-1]) / 3;
      localparam int unsigned Rest = 32'(Left[i-1]) - 3 * Adders;

      for (genvar a = 0; a < Adders; a++) begin : gen_adder
        logic [Width-1:0] x, y, z, majority;
        assign x        = gen_level[i-1].v[3*a];
        assign y        = gen_level[i-1].v[3*a+1];
        assign z        = gen_level[i-1].v[3*a+2];
        assign majority = (x & y) | (x & z) | (y & z);
        assign v[2*a]   = x ^ y ^ z;
        assign v[2*a+1] = {majority[Width-2:0], 1'b0};

        logic unused_carry;
        assign unused_carry = majority[Width-1];
      end

      for (genvar r = 0; r < Rest; r++) begin : gen_rest
        assign v[2*Adders+r] = gen_level[i-1].v[3*Adders+r];
      end
    end
  end

  if (Operands > 1) begin : gen_two
    assign sum_o   = gen_level[Levels].v[0];
    assign carry_o = gen_level[Levels].v[1];
  end else begin : gen_one
    assign sum_o   = operands_i[0];
    assign carry_o = '0;
  end

endmodule
