// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. Takes the place of rtl/spike_core.sv when faults are simulated: `mutant_core` is its netlist, built for
// these very parameters, with faults that `mutation` chooses; 0 is none.

module spike_core
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Lanes        = 16,    // spikes added in one cycle; a power of two, at least 4
  parameter int unsigned Slots        = 16,    // inputs that a lane's weight bank holds; a power of two
  parameter int unsigned WeightInputs = Lanes, // inputs in a beat of the weight stream; divides Lanes
  parameter int unsigned WeightBits   = 8,     // 2 .. 8
  parameter int unsigned Tmax         = TmaxLimit,
  parameter int unsigned MaxInputs    = 8192,  // K that the spike store holds (each group rounded up to blocks)
  parameter bit          Csd          = 1'b1,  // able to fire csd; tc_lif alone needs less storage
  parameter bit          LateCounters = 1'b0   // for simulations: counters come out of reset just below a carry
) (
  input  logic                                        clk_i,
  input  logic                                        rst_ni,

  // registers, AXI4-Lite
  input  logic                                        s_axil_awvalid_i,
  output logic                                        s_axil_awready_o,
  input  logic [RegAddrWidth-1:0]                     s_axil_awaddr_i,
  input  logic                                        s_axil_wvalid_i,
  output logic                                        s_axil_wready_o,
  input  logic [31:0]                                 s_axil_wdata_i,
  input  logic [3:0]                                  s_axil_wstrb_i,
  output logic                                        s_axil_bvalid_o,
  input  logic                                        s_axil_bready_i,
  output logic [1:0]                                  s_axil_bresp_o,
  input  logic                                        s_axil_arvalid_i,
  output logic                                        s_axil_arready_o,
  input  logic [RegAddrWidth-1:0]                     s_axil_araddr_i,
  output logic                                        s_axil_rvalid_o,
  input  logic                                        s_axil_rready_i,
  output logic [31:0]                                 s_axil_rdata_o,
  output logic [1:0]                                  s_axil_rresp_o,
  output logic                                        irq_o,

  // membranes, AXI4-Stream
  input  logic                                        s_axis_membrane_tvalid_i,
  output logic                                        s_axis_membrane_tready_o,
  input  logic [Lanes*MembraneWidth-1:0]              s_axis_membrane_tdata_i,
  input  logic                                        s_axis_membrane_tlast_i,

  // weights, AXI4-Stream
  input  logic                                        s_axis_weight_tvalid_i,
  output logic                                        s_axis_weight_tready_o,
  input  logic [WeightInputs*Columns*8-1:0]           s_axis_weight_tdata_i,
  input  logic                                        s_axis_weight_tlast_i,

  // fired spikes, AXI4-Stream
  output logic                                        m_axis_spike_tvalid_o,
  input  logic                                        m_axis_spike_tready_i,
  output logic [2*Lanes-1:0]                          m_axis_spike_tdata_o,
  output logic                                        m_axis_spike_tlast_o,

  // accumulators, AXI4-Stream
  output logic                                        m_axis_acc_tvalid_o,
  input  logic                                        m_axis_acc_tready_i,
  output logic [Columns*AccWidth-1:0]                 m_axis_acc_tdata_o,
  output logic                                        m_axis_acc_tlast_o
);

  logic [9:0] mutation;

  initial begin
    if ($value$plusargs("mutation=%d", mutation) == 0) mutation = '0;
  end

  mutant_core u_mutant (
    .mutation,
    .clk_i,
    .rst_ni,
    .s_axil_awvalid_i,
    .s_axil_awready_o,
    .s_axil_awaddr_i,
    .s_axil_wvalid_i,
    .s_axil_wready_o,
    .s_axil_wdata_i,
    .s_axil_wstrb_i,
    .s_axil_bvalid_o,
    .s_axil_bready_i,
    .s_axil_bresp_o,
    .s_axil_arvalid_i,
    .s_axil_arready_o,
    .s_axil_araddr_i,
    .s_axil_rvalid_o,
    .s_axil_rready_i,
    .s_axil_rdata_o,
    .s_axil_rresp_o,
    .irq_o,
    .s_axis_membrane_tvalid_i,
    .s_axis_membrane_tready_o,
    .s_axis_membrane_tdata_i,
    .s_axis_membrane_tlast_i,
    .s_axis_weight_tvalid_i,
    .s_axis_weight_tready_o,
    .s_axis_weight_tdata_i,
    .s_axis_weight_tlast_i,
    .m_axis_spike_tvalid_o,
    .m_axis_spike_tready_i,
    .m_axis_spike_tdata_o,
    .m_axis_spike_tlast_o,
    .m_axis_acc_tvalid_o,
    .m_axis_acc_tready_i,
    .m_axis_acc_tdata_o,
    .m_axis_acc_tlast_o
  );

endmodule
