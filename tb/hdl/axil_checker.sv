// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. What AXI4-Lite asks of a subordinate, whatever its manager does; a bit is set in the cycle after its
// rule was broken:
//
//   0   in reset nothing is on offer, from the second cycle on
//   1   an answer to a write stays as it is until it is taken
//   2   so does one to a read
//   3   an answer to a write comes after its address and its data were taken, one for each
//   4   an answer to a read comes after its address was taken, one for each

`include "spike_assert.svh"

module axil_checker #(
  parameter bit Fatal = 1'b1  // a broken rule ends the simulation
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        awvalid_i,
  input  logic        awready_i,
  input  logic        wvalid_i,
  input  logic        wready_i,
  input  logic        bvalid_i,
  input  logic        bready_i,
  input  logic [1:0]  bresp_i,
  input  logic        arvalid_i,
  input  logic        arready_i,
  input  logic        rvalid_i,
  input  logic        rready_i,
  input  logic [31:0] rdata_i,
  input  logic [1:0]  rresp_i,
  output logic [4:0]  broken_o
);

  logic        reset_q, b_waits_q, r_waits_q, begun_q = 1'b0;
  logic [1:0]  bresp_q, rresp_q;
  logic [31:0] rdata_q;
  int unsigned aw, w, ar;  // taken and not answered

  always @(posedge clk_i) begin
    begun_q   <= 1'b1;
    reset_q   <= !rst_ni;
    b_waits_q <= rst_ni && bvalid_i && !bready_i;
    r_waits_q <= rst_ni && rvalid_i && !rready_i;
    bresp_q   <= bresp_i;
    rresp_q   <= rresp_i;
    rdata_q   <= rdata_i;
    broken_o <= '0;
    if (!begun_q) begin
      // registers hold noise
    end else if (!rst_ni) begin
      if (reset_q && (awready_i || wready_i || bvalid_i || arready_i || rvalid_i)) broken_o[0] <= 1'b1;
    end else begin
      if (b_waits_q && !(bvalid_i && bresp_i == bresp_q)) broken_o[1] <= 1'b1;
      if (r_waits_q && !(rvalid_i && rresp_i == rresp_q && rdata_i == rdata_q)) broken_o[2] <= 1'b1;
      if (bvalid_i && (aw == 0 || w == 0)) broken_o[3] <= 1'b1;
      if (rvalid_i && ar == 0) broken_o[4] <= 1'b1;
    end
    if (!rst_ni) begin
      aw = 0;
      w  = 0;
      ar = 0;
    end else begin
      if (bvalid_i && bready_i && aw != 0 && w != 0) begin
        aw--;
        w--;
      end
      if (rvalid_i && rready_i && ar != 0) ar--;
      if (awvalid_i && awready_i) aw++;
      if (wvalid_i && wready_i) w++;
      if (arvalid_i && arready_i) ar++;
    end
  end

  `SPIKE_ASSERT(Kept, !Fatal || !begun_q || broken_o == '0)

endmodule
