// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// A spike core with a streamer: a layer goes from memory to memory over an AXI4 port. Registers of the core are at
// 0x000, those of the streamer at 0x100 (AXI4-Lite). Fired spikes leave on a stream, as they do from the core alone.

module streamed_core
  import spike_pkg::*;
  import streamer_pkg::*;
#(
  parameter int unsigned Rows         = 8,     // token rows of a tile
  parameter int unsigned Columns      = 16,    // outputs of a tile
  parameter int unsigned Lanes        = 16,    // spikes added in one cycle; a power of two, at least 4
  parameter int unsigned Slots        = 16,    // inputs that a lane's weight bank holds; a power of two
  parameter int unsigned WeightInputs = Lanes, // inputs in a beat of the weight stream; divides Lanes
  parameter int unsigned WeightBits   = 8,     // 2 .. 8
  parameter int unsigned Tmax         = TmaxLimit,
  parameter int unsigned MaxInputs    = 8192,  // K that the spike store holds (each group rounded up to blocks)
  parameter int unsigned MembraneBits   = 32,   // of a membrane in the stream: 32 or 16
  parameter bit          NibbleWeights  = 1'b0, // weights in the stream are 4 bits, not 8; for WeightBits up to 4
  parameter int unsigned SpikeStream    = 0,    // width of the stream in bits, a power of two; 0: the spikes of a chunk
  parameter bit          Csd          = 1'b1,  // able to fire csd; tc_lif alone needs less storage
  parameter int unsigned AddrWidth    = 64,    // of the AXI4 port, 32 .. 64
  parameter int unsigned DataWidth    = 128,   // of it and of the core's streams; a power of two, 32 .. 1,024
  parameter int unsigned MaxBurst     = 16,    // beats; a power of two, 1 .. 256
  parameter int unsigned Bursts       = 8,     // of each kind on their way at most
  localparam int unsigned SpikeBeat   = (SpikeStream != 0) ? SpikeStream : 2 * Lanes
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // registers, AXI4-Lite
  input  logic                   s_axil_awvalid_i,
  output logic                   s_axil_awready_o,
  input  logic [RegAddrWidth:0]  s_axil_awaddr_i,
  input  logic                   s_axil_wvalid_i,
  output logic                   s_axil_wready_o,
  input  logic [31:0]            s_axil_wdata_i,
  input  logic [3:0]             s_axil_wstrb_i,
  output logic                   s_axil_bvalid_o,
  input  logic                   s_axil_bready_i,
  output logic [1:0]             s_axil_bresp_o,
  input  logic                   s_axil_arvalid_i,
  output logic                   s_axil_arready_o,
  input  logic [RegAddrWidth:0]  s_axil_araddr_i,
  output logic                   s_axil_rvalid_o,
  input  logic                   s_axil_rready_i,
  output logic [31:0]            s_axil_rdata_o,
  output logic [1:0]             s_axil_rresp_o,
  output logic                   irq_o,  // of the core or of the streamer

  // AXI4: reads with ID 0 are membranes, with ID 1 weights; writes are sums
  output logic                   m_axi_awvalid_o,
  input  logic                   m_axi_awready_i,
  output logic                   m_axi_awid_o,
  output logic [AddrWidth-1:0]   m_axi_awaddr_o,
  output logic [7:0]             m_axi_awlen_o,
  output logic [2:0]             m_axi_awsize_o,
  output logic [1:0]             m_axi_awburst_o,
  output logic                   m_axi_awlock_o,
  output logic [3:0]             m_axi_awcache_o,
  output logic [2:0]             m_axi_awprot_o,
  output logic [3:0]             m_axi_awqos_o,
  output logic                   m_axi_wvalid_o,
  input  logic                   m_axi_wready_i,
  output logic [DataWidth-1:0]   m_axi_wdata_o,
  output logic [DataWidth/8-1:0] m_axi_wstrb_o,
  output logic                   m_axi_wlast_o,
  input  logic                   m_axi_bvalid_i,
  output logic                   m_axi_bready_o,
  input  logic                   m_axi_bid_i,
  input  logic [1:0]             m_axi_bresp_i,
  output logic                   m_axi_arvalid_o,
  input  logic                   m_axi_arready_i,
  output logic                   m_axi_arid_o,
  output logic [AddrWidth-1:0]   m_axi_araddr_o,
  output logic [7:0]             m_axi_arlen_o,
  output logic [2:0]             m_axi_arsize_o,
  output logic [1:0]             m_axi_arburst_o,
  output logic                   m_axi_arlock_o,
  output logic [3:0]             m_axi_arcache_o,
  output logic [2:0]             m_axi_arprot_o,
  output logic [3:0]             m_axi_arqos_o,
  input  logic                   m_axi_rvalid_i,
  output logic                   m_axi_rready_o,
  input  logic                   m_axi_rid_i,
  input  logic [DataWidth-1:0]   m_axi_rdata_i,
  input  logic [1:0]             m_axi_rresp_i,
  input  logic                   m_axi_rlast_i,

  // fired spikes, AXI4-Stream
  output logic                       m_axis_spike_tvalid_o,
  input  logic                       m_axis_spike_tready_i,
  output logic [SpikeBeat-1:0]       m_axis_spike_tdata_o,
  output logic [(SpikeBeat+7)/8-1:0] m_axis_spike_tkeep_o,
  output logic                       m_axis_spike_tlast_o
);

  // -------------------------------------------------------------------------------------------------- registers
  logic                         awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic [RegAddrWidth-1:0]      awaddr, araddr;
  logic [31:0]                  wdata, rdata;
  logic [3:0]                   wstrb;
  logic [1:0]                   bresp, rresp;
  logic                         write, write_ok, read_ok, core_irq, streamer_irq;
  logic [StreamerAddrWidth-1:0] write_addr, read_addr;
  logic [31:0]                  write_data, read_data;
  logic [3:0]                   write_strb;

  streamer_axil u_axil (
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
    .m_axil_awvalid_o (awvalid),
    .m_axil_awready_i (awready),
    .m_axil_wvalid_o  (wvalid),
    .m_axil_wready_i  (wready),
    .m_axil_awaddr_o  (awaddr),
    .m_axil_wdata_o   (wdata),
    .m_axil_wstrb_o   (wstrb),
    .m_axil_bvalid_i  (bvalid),
    .m_axil_bready_o  (bready),
    .m_axil_bresp_i   (bresp),
    .m_axil_arvalid_o (arvalid),
    .m_axil_arready_i (arready),
    .m_axil_araddr_o  (araddr),
    .m_axil_rvalid_i  (rvalid),
    .m_axil_rready_o  (rready),
    .m_axil_rdata_i   (rdata),
    .m_axil_rresp_i   (rresp),
    .write_o          (write),
    .write_addr_o     (write_addr),
    .write_data_o     (write_data),
    .write_strb_o     (write_strb),
    .write_ok_i       (write_ok),
    .read_addr_o      (read_addr),
    .read_data_i      (read_data),
    .read_ok_i        (read_ok)
  );

  assign irq_o = core_irq || streamer_irq;

  // ---------------------------------------------------------------------------------------------------- streams
  logic                   membrane_valid, membrane_ready, membrane_last;
  logic                   weight_valid, weight_ready, weight_last;
  logic                   sum_valid, sum_ready, sum_last;
  logic [DataWidth-1:0]   membrane_data, weight_data, sum_data;
  logic [DataWidth/8-1:0] sum_keep;

  spike_streamer #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth),
    .MaxBurst  (MaxBurst),
    .Bursts    (Bursts)
  ) u_streamer (
    .clk_i,
    .rst_ni,
    .write_i          (write),
    .write_addr_i     (write_addr),
    .write_data_i     (write_data),
    .write_strb_i     (write_strb),
    .write_ok_o       (write_ok),
    .read_addr_i      (read_addr),
    .read_data_o      (read_data),
    .read_ok_o        (read_ok),
    .irq_o            (streamer_irq),
    .m_axi_awvalid_o,
    .m_axi_awready_i,
    .m_axi_awid_o,
    .m_axi_awaddr_o,
    .m_axi_awlen_o,
    .m_axi_awsize_o,
    .m_axi_awburst_o,
    .m_axi_awlock_o,
    .m_axi_awcache_o,
    .m_axi_awprot_o,
    .m_axi_awqos_o,
    .m_axi_wvalid_o,
    .m_axi_wready_i,
    .m_axi_wdata_o,
    .m_axi_wstrb_o,
    .m_axi_wlast_o,
    .m_axi_bvalid_i,
    .m_axi_bready_o,
    .m_axi_bid_i,
    .m_axi_bresp_i,
    .m_axi_arvalid_o,
    .m_axi_arready_i,
    .m_axi_arid_o,
    .m_axi_araddr_o,
    .m_axi_arlen_o,
    .m_axi_arsize_o,
    .m_axi_arburst_o,
    .m_axi_arlock_o,
    .m_axi_arcache_o,
    .m_axi_arprot_o,
    .m_axi_arqos_o,
    .m_axi_rvalid_i,
    .m_axi_rready_o,
    .m_axi_rid_i,
    .m_axi_rdata_i,
    .m_axi_rresp_i,
    .m_axi_rlast_i,
    .membrane_valid_o (membrane_valid),
    .membrane_ready_i (membrane_ready),
    .membrane_data_o  (membrane_data),
    .membrane_last_o  (membrane_last),
    .weight_valid_o   (weight_valid),
    .weight_ready_i   (weight_ready),
    .weight_data_o    (weight_data),
    .weight_last_o    (weight_last),
    .sum_valid_i      (sum_valid),
    .sum_ready_o      (sum_ready),
    .sum_data_i       (sum_data),
    .sum_keep_i       (sum_keep),
    .sum_last_i       (sum_last)
  );

  spike_core #(
    .Rows           (Rows),
    .Columns        (Columns),
    .Lanes          (Lanes),
    .Slots          (Slots),
    .WeightInputs   (WeightInputs),
    .WeightBits     (WeightBits),
    .Tmax           (Tmax),
    .MaxInputs      (MaxInputs),
    .MembraneBits   (MembraneBits),
    .NibbleWeights  (NibbleWeights),
    .MembraneStream (DataWidth),
    .WeightStream   (DataWidth),
    .SpikeStream    (SpikeStream),
    .AccStream      (DataWidth),
    .Csd            (Csd)
  ) u_core (
    .clk_i,
    .rst_ni,
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
    .irq_o                    (core_irq),
    .s_axis_membrane_tvalid_i (membrane_valid),
    .s_axis_membrane_tready_o (membrane_ready),
    .s_axis_membrane_tdata_i  (membrane_data),
    .s_axis_membrane_tlast_i  (membrane_last),
    .s_axis_membrane_tuser_i  ('0),
    .s_axis_weight_tvalid_i   (weight_valid),
    .s_axis_weight_tready_o   (weight_ready),
    .s_axis_weight_tdata_i    (weight_data),
    .s_axis_weight_tlast_i    (weight_last),
    .m_axis_spike_tvalid_o,
    .m_axis_spike_tready_i,
    .m_axis_spike_tdata_o,
    .m_axis_spike_tkeep_o,
    .m_axis_spike_tlast_o,
    .m_axis_acc_tvalid_o      (sum_valid),
    .m_axis_acc_tready_i      (sum_ready),
    .m_axis_acc_tdata_o       (sum_data),
    .m_axis_acc_tkeep_o       (sum_keep),
    .m_axis_acc_tlast_o       (sum_last)
  );

endmodule
