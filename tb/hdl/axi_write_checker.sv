// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. What AXI4 asks of the writes of a manager, and of the answers to them; a bit is set in the cycle after
// its rule was broken. Data of a burst may come before its address, or after it.
//
//   0   in reset nothing is on offer, from the second cycle on
//   1   an address stays as it is until it is taken
//   2   so does a beat of data
//   3   WLAST comes with the last beat that the address said, and with no other
//   4   an answer comes for a burst whose address and data were taken, one for each

`include "spike_assert.svh"

module axi_write_checker #(
  parameter int unsigned AddrWidth = 32,
  parameter int unsigned DataWidth = 32,
  parameter bit          Fatal     = 1'b1  // a broken rule ends the simulation
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   awvalid_i,
  input  logic                   awready_i,
  input  logic [AddrWidth-1:0]   awaddr_i,
  input  logic [7:0]             awlen_i,
  input  logic                   wvalid_i,
  input  logic                   wready_i,
  input  logic [DataWidth-1:0]   wdata_i,
  input  logic [DataWidth/8-1:0] wstrb_i,
  input  logic                   wlast_i,
  input  logic                   bvalid_i,
  input  logic                   bready_i,
  output logic [4:0]             broken_o
);

  logic                               reset_q, aw_waits_q, w_waits_q, begun_q = 1'b0;
  logic [AddrWidth+7:0]               address_q;
  logic [DataWidth+DataWidth/8:0]     beat_q;
  int unsigned                        announced[$], sent[$];  // beats of bursts: by addresses, by WLAST
  int unsigned                        beats, whole;

  always @(posedge clk_i) begin
    begun_q    <= 1'b1;
    reset_q    <= !rst_ni;
    aw_waits_q <= rst_ni && awvalid_i && !awready_i;
    w_waits_q  <= rst_ni && wvalid_i && !wready_i;
    address_q  <= {awaddr_i, awlen_i};
    beat_q     <= {wlast_i, wstrb_i, wdata_i};
    broken_o <= '0;
    if (!begun_q) begin
      // registers hold noise
    end else if (!rst_ni) begin
      if (reset_q && (awvalid_i || wvalid_i)) broken_o[0] <= 1'b1;
    end else begin
      if (aw_waits_q && !(awvalid_i && {awaddr_i, awlen_i} == address_q)) broken_o[1] <= 1'b1;
      if (w_waits_q && !(wvalid_i && {wlast_i, wstrb_i, wdata_i} == beat_q)) broken_o[2] <= 1'b1;
    end
    if (!rst_ni) begin
      announced.delete();
      sent.delete();
      beats = 0;
      whole = 0;
    end else begin
      if (bvalid_i && whole == 0) broken_o[4] <= 1'b1;
      if (bvalid_i && bready_i && whole != 0) whole--;
      if (awvalid_i && awready_i) announced.push_back(32'(awlen_i) + 1);
      if (wvalid_i && wready_i) begin
        beats++;
        if (wlast_i) begin
          sent.push_back(beats);
          beats = 0;
        end
      end
      while (announced.size() != 0 && sent.size() != 0) begin
        if (announced.pop_front() != sent.pop_front()) broken_o[3] <= 1'b1;
        whole++;
      end
      if (announced.size() != 0 && beats >= announced[0]) broken_o[3] <= 1'b1;
    end
  end

  `SPIKE_ASSERT(Kept, !Fatal || !begun_q || broken_o == '0)

endmodule
