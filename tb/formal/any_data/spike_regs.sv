// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of the registers in proofs about control alone: whenever no job runs, any may start, and stays as
// long as it runs. There is no abort. What nothing drives is free in every cycle.

module spike_regs
  import spike_pkg::*;
#(
  parameter logic [31:0] Shape   = '0,
  parameter logic [31:0] Limits  = '0,
  parameter logic [31:0] Blocks  = '0,
  parameter logic [31:0] Streams = '0
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  input  logic                      s_axil_awvalid_i,
  output logic                      s_axil_awready_o,
  input  logic [RegAddrWidth-1:0]   s_axil_awaddr_i,
  input  logic                      s_axil_wvalid_i,
  output logic                      s_axil_wready_o,
  input  logic [31:0]               s_axil_wdata_i,
  input  logic [3:0]                s_axil_wstrb_i,
  output logic                      s_axil_bvalid_o,
  input  logic                      s_axil_bready_i,
  output logic [1:0]                s_axil_bresp_o,
  input  logic                      s_axil_arvalid_i,
  output logic                      s_axil_arready_o,
  input  logic [RegAddrWidth-1:0]   s_axil_araddr_i,
  output logic                      s_axil_rvalid_o,
  input  logic                      s_axil_rready_i,
  output logic [31:0]               s_axil_rdata_o,
  output logic [1:0]                s_axil_rresp_o,
  output job_t                      job_o,
  output logic                      start_o,
  output logic                      queued_o,
  output logic                      clear_o,
  output logic                      abort_o,
  input  logic                      busy_i,
  input  logic                      done_i,
  input  error_t                    error_i,
  input  logic [Counters-1:0][63:0] count_i,
  output logic                      irq_o
);

  logic any_start;
  job_t any_job;

  assign start_o = any_start && !busy_i;
  assign abort_o = 1'b0;

  always_ff @(posedge clk_i) begin
    if (!busy_i && !start_o) job_o <= any_job;
  end

endmodule
