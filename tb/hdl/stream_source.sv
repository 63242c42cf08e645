// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. Plays a memory image as an AXI4-Stream, as a DMA engine would, without any Python per cycle.
//
// On go_i it opens <+images>/job<job_i>.<Name>.bin and sends it beat by beat, `repeats_i` times over, with TLAST
// after every `packet_i` beats. In each cycle it holds back a new beat with a probability of stall_i / 256.

module stream_source #(
  parameter int unsigned Width = 32,
  parameter string       Name  = "stream"
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  input  logic             go_i,
  input  logic [31:0]      job_i,
  input  logic [31:0]      repeats_i,
  input  logic [31:0]      packet_i,
  input  logic [7:0]       stall_i,
  input  logic [31:0]      seed_i,

  output logic             more_o,    // the image is not at its end
  output logic             tvalid_o,
  input  logic             tready_i,
  output logic [Width-1:0] tdata_o,
  output logic             tlast_o
);

  localparam int Bytes = Width / 8;

  string       dir;
  int          fd = 0;
  logic        active = 1'b0;
  logic [31:0] left, beat, random;
  logic [Width-1:0] raw;

  initial begin
    if ($value$plusargs("images=%s", dir) == 0) dir = ".";
  end

  assign more_o = active;

  // One beat in file order: the first byte is the least significant.
  function automatic logic fetch();
    if ($fread(raw, fd) == Bytes) return 1'b1;
    if (left == 32'd1) return 1'b0;
    left = left - 1;
    void'($rewind(fd));
    return $fread(raw, fd) == Bytes;
  endfunction

  always @(posedge clk_i) begin
    random = {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    if (!rst_ni || go_i) begin
      if (fd != 0) $fclose(fd);
      fd = 0;
      active   = 1'b0;
      tvalid_o <= 1'b0;
      tlast_o  <= 1'b0;
      random   = seed_i | 32'd1;
      if (rst_ni) begin
        fd = $fopen($sformatf("%s/job%0d.%s.bin", dir, job_i, Name), "rb");
        if (fd == 0) $fatal(1, "no image %s/job%0d.%s.bin", dir, job_i, Name);
        active = 1'b1;
        left   = repeats_i;
        beat   = 32'd0;
      end
    end else if (!tvalid_o || tready_i) begin
      tvalid_o <= 1'b0;
      if (active && random[7:0] >= stall_i) begin
        if (fetch()) begin
          beat = (beat + 1 == packet_i) ? 32'd0 : beat + 1;
          tvalid_o <= 1'b1;
          tdata_o  <= {<<8{raw}};
          tlast_o  <= beat == 32'd0;
        end else begin
          active = 1'b0;
        end
      end
    end
  end

endmodule
