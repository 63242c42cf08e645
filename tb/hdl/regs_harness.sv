// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. spike_regs with the port names that an AXI4-Lite bus model looks for.

module regs_harness
  import spike_pkg::*;
(
  input  logic                       clk,
  input  logic                       rst_n,

  input  logic                       s_axil_awvalid,
  output logic                       s_axil_awready,
  input  logic [RegAddrWidth-1:0]    s_axil_awaddr,
  input  logic                       s_axil_wvalid,
  output logic                       s_axil_wready,
  input  logic [31:0]                s_axil_wdata,
  input  logic [3:0]                 s_axil_wstrb,
  output logic                       s_axil_bvalid,
  input  logic                       s_axil_bready,
  output logic [1:0]                 s_axil_bresp,
  input  logic                       s_axil_arvalid,
  output logic                       s_axil_arready,
  input  logic [RegAddrWidth-1:0]    s_axil_araddr,
  output logic                       s_axil_rvalid,
  input  logic                       s_axil_rready,
  output logic [31:0]                s_axil_rdata,
  output logic [1:0]                 s_axil_rresp,

  output logic                       coding,
  output logic                       spike_stream,
  output logic [4:0]                 frac_bits,
  output logic [CountWidth-1:0]      rows,
  output logic [CountWidth-1:0]      outputs,
  output logic [CountWidth-1:0]      groups,
  output logic [CountWidth-1:0]      group_inputs,
  output logic                       start,
  output logic                       queued,
  output logic                       clear,
  output logic                       aborting,
  input  logic                       busy,
  input  logic                       done,
  input  logic [ErrorBits-1:0]       error,
  input  logic [Counters*64-1:0]     count,
  output logic                       irq
);

  job_t job;

  assign coding       = job.coding;
  assign spike_stream = job.spike_stream;
  assign frac_bits    = job.frac_bits;
  assign rows         = job.rows;
  assign outputs      = job.outputs;
  assign groups       = job.groups;
  assign group_inputs = job.group_inputs;

  spike_regs #(
    .Shape  (32'h0102_0304),
    .Limits (32'h0000_0078),
    .Blocks (32'd1024)
  ) u_regs (
    .clk_i            (clk),
    .rst_ni           (rst_n),
    .s_axil_awvalid_i (s_axil_awvalid),
    .s_axil_awready_o (s_axil_awready),
    .s_axil_awaddr_i  (s_axil_awaddr),
    .s_axil_wvalid_i  (s_axil_wvalid),
    .s_axil_wready_o  (s_axil_wready),
    .s_axil_wdata_i   (s_axil_wdata),
    .s_axil_wstrb_i   (s_axil_wstrb),
    .s_axil_bvalid_o  (s_axil_bvalid),
    .s_axil_bready_i  (s_axil_bready),
    .s_axil_bresp_o   (s_axil_bresp),
    .s_axil_arvalid_i (s_axil_arvalid),
    .s_axil_arready_o (s_axil_arready),
    .s_axil_araddr_i  (s_axil_araddr),
    .s_axil_rvalid_o  (s_axil_rvalid),
    .s_axil_rready_i  (s_axil_rready),
    .s_axil_rdata_o   (s_axil_rdata),
    .s_axil_rresp_o   (s_axil_rresp),
    .job_o            (job),
    .start_o          (start),
    .queued_o         (queued),
    .clear_o          (clear),
    .abort_o          (aborting),
    .busy_i           (busy),
    .done_i           (done),
    .error_i          (error),
    .count_i          (count),
    .irq_o            (irq)
  );

endmodule
