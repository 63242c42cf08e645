// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// How many bits are set: none, one, two, or three and more. A tree of small adders that stop at three.

module spike_tally #(
  parameter int unsigned Width = 16
) (
  input  logic [Width-1:0] bits_i,
  output logic [1:0]       count_o
);

  localparam int unsigned Levels = $clog2(Width);

  for (genvar i = 0; i <= Levels; i++) begin : gen_level
    logic [(1<<(Levels-i))-1:0][1:0] v;

    for (genvar n = 0; n < (1 << (Levels - i)); n++) begin : gen_node
      if (i == 0) begin : gen_in
        assign v[n] = (n < Width) ? {1'b0, bits_i[n % Width]} : 2'd0;
      end else begin : gen_add
        logic [1:0] a, b;
        assign a = gen_level[i-1].v[2*n];
        assign b = gen_level[i-1].v[2*n+1];
        // {2, 3} where there are two; odd, or all that is beyond
        assign v[n] = {a[1] | b[1] | (a[0] & b[0]),
                       (a[0] ^ b[0]) | (a[1] & (a[0] | b[1])) | (b[1] & b[0])};
      end
    end
  end

  assign count_o = gen_level[Levels].v[0];

endmodule
