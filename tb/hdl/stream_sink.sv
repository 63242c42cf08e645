// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. Takes an AXI4-Stream and writes {TLAST, TKEEP, TDATA} of every beat to a file, in 32-bit words,
// least significant first. In each cycle it refuses with a probability of stall_i / 256.

`include "spike_assert.svh"

module stream_sink #(
  parameter int unsigned Width = 32,
  parameter string       Name  = "stream",
  localparam int unsigned Keep = Width / 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  input  logic             go_i,
  input  logic             flush_i,
  input  logic [31:0]      job_i,
  input  logic [7:0]       stall_i,
  input  logic [31:0]      seed_i,

  input  logic             tvalid_i,
  output logic             tready_o,
  input  logic [Width-1:0] tdata_i,
  input  logic [Keep-1:0]  tkeep_i,
  input  logic             tlast_i
);

  string       dir;
  int          fd = 0;
  logic [31:0] random;

  initial begin
    if ($value$plusargs("images=%s", dir) == 0) dir = ".";
  end

  always @(posedge clk_i) begin
    random = {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    if (tvalid_i && tready_o && rst_ni && fd != 0) $fwrite(fd, "%u", {tlast_i, tkeep_i, tdata_i});
    if (!rst_ni || go_i || flush_i) begin
      if (fd != 0) $fclose(fd);
      fd = 0;
      random = seed_i | 32'd1;
      if (rst_ni && go_i) fd = $fopen($sformatf("%s/job%0d.%s.bin", dir, job_i, Name), "wb");
    end
    tready_o <= rst_ni && random[7:0] >= stall_i;
  end

  // AXI4-Stream: an offer stays as it is until it is taken
  `SPIKE_ASSERT_STABLE(Offer, tvalid_i, tready_o, {tlast_i, tkeep_i, tdata_i})

endmodule
