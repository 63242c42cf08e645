// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. streamed_core with the port names that AXI bus models look for.

module streamed_harness
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
  input  logic                              clk,
  input  logic                              rst_n,

  // registers, AXI4-Lite
  input  logic                              s_axil_awvalid,
  output logic                              s_axil_awready,
  input  logic [RegAddrWidth:0]             s_axil_awaddr,
  input  logic                              s_axil_wvalid,
  output logic                              s_axil_wready,
  input  logic [31:0]                       s_axil_wdata,
  input  logic [3:0]                        s_axil_wstrb,
  output logic                              s_axil_bvalid,
  input  logic                              s_axil_bready,
  output logic [1:0]                        s_axil_bresp,
  input  logic                              s_axil_arvalid,
  output logic                              s_axil_arready,
  input  logic [RegAddrWidth:0]             s_axil_araddr,
  output logic                              s_axil_rvalid,
  input  logic                              s_axil_rready,
  output logic [31:0]                       s_axil_rdata,
  output logic [1:0]                        s_axil_rresp,
  output logic                              irq,

  // AXI4: reads with ID 0 are membranes, with ID 1 weights; writes are sums
  output logic                              m_axi_awvalid,
  input  logic                              m_axi_awready,
  output logic                              m_axi_awid,
  output logic [AddrWidth-1:0]              m_axi_awaddr,
  output logic [7:0]                        m_axi_awlen,
  output logic [2:0]                        m_axi_awsize,
  output logic [1:0]                        m_axi_awburst,
  output logic                              m_axi_awlock,
  output logic [3:0]                        m_axi_awcache,
  output logic [2:0]                        m_axi_awprot,
  output logic [3:0]                        m_axi_awqos,
  output logic                              m_axi_wvalid,
  input  logic                              m_axi_wready,
  output logic [DataWidth-1:0]              m_axi_wdata,
  output logic [DataWidth/8-1:0]            m_axi_wstrb,
  output logic                              m_axi_wlast,
  input  logic                              m_axi_bvalid,
  output logic                              m_axi_bready,
  input  logic                              m_axi_bid,
  input  logic [1:0]                        m_axi_bresp,
  output logic                              m_axi_arvalid,
  input  logic                              m_axi_arready,
  output logic                              m_axi_arid,
  output logic [AddrWidth-1:0]              m_axi_araddr,
  output logic [7:0]                        m_axi_arlen,
  output logic [2:0]                        m_axi_arsize,
  output logic [1:0]                        m_axi_arburst,
  output logic                              m_axi_arlock,
  output logic [3:0]                        m_axi_arcache,
  output logic [2:0]                        m_axi_arprot,
  output logic [3:0]                        m_axi_arqos,
  input  logic                              m_axi_rvalid,
  output logic                              m_axi_rready,
  input  logic                              m_axi_rid,
  input  logic [DataWidth-1:0]              m_axi_rdata,
  input  logic [1:0]                        m_axi_rresp,
  input  logic                              m_axi_rlast,

  // fired spikes, AXI4-Stream
  output logic                              m_axis_spike_tvalid,
  input  logic                              m_axis_spike_tready,
  output logic [SpikeBeat-1:0]              m_axis_spike_tdata,
  output logic [(SpikeBeat+7)/8-1:0]        m_axis_spike_tkeep,
  output logic                              m_axis_spike_tlast
);

  streamed_core #(
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
    .SpikeStream    (SpikeStream),
    .Csd            (Csd),
    .AddrWidth      (AddrWidth),
    .DataWidth      (DataWidth),
    .MaxBurst       (MaxBurst),
    .Bursts         (Bursts)
  ) u_core (
    .clk_i                 (clk),
    .rst_ni                (rst_n),
    .s_axil_awvalid_i      (s_axil_awvalid),
    .s_axil_awready_o      (s_axil_awready),
    .s_axil_awaddr_i       (s_axil_awaddr),
    .s_axil_wvalid_i       (s_axil_wvalid),
    .s_axil_wready_o       (s_axil_wready),
    .s_axil_wdata_i        (s_axil_wdata),
    .s_axil_wstrb_i        (s_axil_wstrb),
    .s_axil_bvalid_o       (s_axil_bvalid),
    .s_axil_bready_i       (s_axil_bready),
    .s_axil_bresp_o        (s_axil_bresp),
    .s_axil_arvalid_i      (s_axil_arvalid),
    .s_axil_arready_o      (s_axil_arready),
    .s_axil_araddr_i       (s_axil_araddr),
    .s_axil_rvalid_o       (s_axil_rvalid),
    .s_axil_rready_i       (s_axil_rready),
    .s_axil_rdata_o        (s_axil_rdata),
    .s_axil_rresp_o        (s_axil_rresp),
    .irq_o                 (irq),
    .m_axi_awvalid_o       (m_axi_awvalid),
    .m_axi_awready_i       (m_axi_awready),
    .m_axi_awid_o          (m_axi_awid),
    .m_axi_awaddr_o        (m_axi_awaddr),
    .m_axi_awlen_o         (m_axi_awlen),
    .m_axi_awsize_o        (m_axi_awsize),
    .m_axi_awburst_o       (m_axi_awburst),
    .m_axi_awlock_o        (m_axi_awlock),
    .m_axi_awcache_o       (m_axi_awcache),
    .m_axi_awprot_o        (m_axi_awprot),
    .m_axi_awqos_o         (m_axi_awqos),
    .m_axi_wvalid_o        (m_axi_wvalid),
    .m_axi_wready_i        (m_axi_wready),
    .m_axi_wdata_o         (m_axi_wdata),
    .m_axi_wstrb_o         (m_axi_wstrb),
    .m_axi_wlast_o         (m_axi_wlast),
    .m_axi_bvalid_i        (m_axi_bvalid),
    .m_axi_bready_o        (m_axi_bready),
    .m_axi_bid_i           (m_axi_bid),
    .m_axi_bresp_i         (m_axi_bresp),
    .m_axi_arvalid_o       (m_axi_arvalid),
    .m_axi_arready_i       (m_axi_arready),
    .m_axi_arid_o          (m_axi_arid),
    .m_axi_araddr_o        (m_axi_araddr),
    .m_axi_arlen_o         (m_axi_arlen),
    .m_axi_arsize_o        (m_axi_arsize),
    .m_axi_arburst_o       (m_axi_arburst),
    .m_axi_arlock_o        (m_axi_arlock),
    .m_axi_arcache_o       (m_axi_arcache),
    .m_axi_arprot_o        (m_axi_arprot),
    .m_axi_arqos_o         (m_axi_arqos),
    .m_axi_rvalid_i        (m_axi_rvalid),
    .m_axi_rready_o        (m_axi_rready),
    .m_axi_rid_i           (m_axi_rid),
    .m_axi_rdata_i         (m_axi_rdata),
    .m_axi_rresp_i         (m_axi_rresp),
    .m_axi_rlast_i         (m_axi_rlast),
    .m_axis_spike_tvalid_o (m_axis_spike_tvalid),
    .m_axis_spike_tready_i (m_axis_spike_tready),
    .m_axis_spike_tdata_o  (m_axis_spike_tdata),
    .m_axis_spike_tkeep_o  (m_axis_spike_tkeep),
    .m_axis_spike_tlast_o  (m_axis_spike_tlast)
  );

  // ------------------------------------------------------------------------------------------- rules of the buses
  logic [4:0] broken;

  axil_checker u_registers (
    .clk_i     (clk),
    .rst_ni    (rst_n),
    .awvalid_i (s_axil_awvalid),
    .awready_i (s_axil_awready),
    .wvalid_i  (s_axil_wvalid),
    .wready_i  (s_axil_wready),
    .bvalid_i  (s_axil_bvalid),
    .bready_i  (s_axil_bready),
    .bresp_i   (s_axil_bresp),
    .arvalid_i (s_axil_arvalid),
    .arready_i (s_axil_arready),
    .rvalid_i  (s_axil_rvalid),
    .rready_i  (s_axil_rready),
    .rdata_i   (s_axil_rdata),
    .rresp_i   (s_axil_rresp),
    .broken_o  (broken)
  );

  logic [4:0] broken_writes;

  axi_write_checker #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth)
  ) u_writes (
    .clk_i     (clk),
    .rst_ni    (rst_n),
    .awvalid_i (m_axi_awvalid),
    .awready_i (m_axi_awready),
    .awaddr_i  (m_axi_awaddr),
    .awlen_i   (m_axi_awlen),
    .wvalid_i  (m_axi_wvalid),
    .wready_i  (m_axi_wready),
    .wdata_i   (m_axi_wdata),
    .wstrb_i   (m_axi_wstrb),
    .wlast_i   (m_axi_wlast),
    .bvalid_i  (m_axi_bvalid),
    .bready_i  (m_axi_bready),
    .broken_o  (broken_writes)
  );

endmodule
