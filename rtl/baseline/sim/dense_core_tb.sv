// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. dense_core in its bench; see core_bench.

module dense_core_tb #(
  parameter int unsigned Rows         = 3,
  parameter int unsigned Columns      = 4,
  parameter int unsigned Lanes        = 8,
  parameter int unsigned WeightInputs = Lanes,
  parameter int unsigned WeightBits   = 4,
  parameter int unsigned Tmax         = 4,
  parameter int unsigned MaxInputs    = 128,
  parameter bit          Multiply     = 1'b0
);

  logic                        clk, rst_n;
  logic                        awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic [7:0]                  awaddr, araddr;
  logic [31:0]                 wdata, rdata;
  logic [3:0]                  wstrb;
  logic [1:0]                  bresp, rresp;
  logic                        unused_irq;
  logic                        membrane_valid, membrane_ready, membrane_last;
  logic [32*Lanes-1:0]         membrane_data;
  logic                        weight_valid, weight_ready, weight_last;
  logic [8*WeightInputs*Columns-1:0] weight_data;
  logic                        unused_spike_ready;
  logic                        acc_valid, acc_ready, acc_last;
  logic [32*Columns-1:0]       acc_data;
  logic [4*Columns-1:0]        unused_acc_keep;

  core_bench #(
    .Rows         (Rows),
    .Columns      (Columns),
    .Lanes        (Lanes),
    .WeightInputs (WeightInputs),
    .WeightBits   (WeightBits),
    .Tmax         (Tmax),
    .MaxInputs    (MaxInputs),
    .Slots        (1),
    .Csd          (1'b0),
    .SpikeStream  (1'b0)
  ) u_bench (
    .clk_o             (clk),
    .rst_no            (rst_n),
    .axil_awvalid_o    (awvalid),
    .axil_awready_i    (awready),
    .axil_awaddr_o     (awaddr),
    .axil_wvalid_o     (wvalid),
    .axil_wready_i     (wready),
    .axil_wdata_o      (wdata),
    .axil_wstrb_o      (wstrb),
    .axil_bvalid_i     (bvalid),
    .axil_bready_o     (bready),
    .axil_bresp_i      (bresp),
    .axil_arvalid_o    (arvalid),
    .axil_arready_i    (arready),
    .axil_araddr_o     (araddr),
    .axil_rvalid_i     (rvalid),
    .axil_rready_o     (rready),
    .axil_rdata_i      (rdata),
    .axil_rresp_i      (rresp),
    .membrane_tvalid_o (membrane_valid),
    .membrane_tready_i (membrane_ready),
    .membrane_tdata_o  (membrane_data),
    .membrane_tlast_o  (membrane_last),
    .weight_tvalid_o   (weight_valid),
    .weight_tready_i   (weight_ready),
    .weight_tdata_o    (weight_data),
    .weight_tlast_o    (weight_last),
    .spike_tvalid_i    (1'b0),
    .spike_tready_o    (unused_spike_ready),
    .spike_tdata_i     ('0),
    .spike_tlast_i     (1'b0),
    .acc_tvalid_i      (acc_valid),
    .acc_tready_o      (acc_ready),
    .acc_tdata_i       (acc_data),
    .acc_tlast_i       (acc_last)
  );

  dense_core #(
    .Rows         (Rows),
    .Columns      (Columns),
    .Lanes        (Lanes),
    .WeightInputs (WeightInputs),
    .WeightBits   (WeightBits),
    .Tmax         (Tmax),
    .MaxInputs    (MaxInputs),
    .Multiply     (Multiply)
  ) u_dense_core (
    .clk_i                    (clk),
    .rst_ni                   (rst_n),
    .s_axil_awvalid_i         (awvalid),
    .s_axil_awready_o         (awready),
    .s_axil_awaddr_i          (awaddr),
    .s_axil_wvalid_i          (wvalid),
    .s_axil_wready_o          (wready),
    .s_axil_wdata_i           (wdata),
    .s_axil_wstrb_i           (wstrb),
    .s_axil_bvalid_o          (bvalid),
    .s_axil_bready_i          (bready),
    .s_axil_bresp_o           (bresp),
    .s_axil_arvalid_i         (arvalid),
    .s_axil_arready_o         (arready),
    .s_axil_araddr_i          (araddr),
    .s_axil_rvalid_o          (rvalid),
    .s_axil_rready_i          (rready),
    .s_axil_rdata_o           (rdata),
    .s_axil_rresp_o           (rresp),
    .irq_o                    (unused_irq),
    .s_axis_membrane_tvalid_i (membrane_valid),
    .s_axis_membrane_tready_o (membrane_ready),
    .s_axis_membrane_tdata_i  (membrane_data),
    .s_axis_membrane_tlast_i  (membrane_last),
    .s_axis_membrane_tuser_i  ('0),
    .s_axis_weight_tvalid_i   (weight_valid),
    .s_axis_weight_tready_o   (weight_ready),
    .s_axis_weight_tdata_i    (weight_data),
    .s_axis_weight_tlast_i    (weight_last),
    .m_axis_acc_tvalid_o      (acc_valid),
    .m_axis_acc_tready_i      (acc_ready),
    .m_axis_acc_tdata_o       (acc_data),
    .m_axis_acc_tkeep_o       (unused_acc_keep),
    .m_axis_acc_tlast_o       (acc_last)
  );

endmodule
