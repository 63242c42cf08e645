// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The streamer: membranes and weights from memory into a core, its sums back to memory, over one AXI4 port.
//
//   registers ─► stream_reader: membranes ─┐
//             ─► stream_reader: weights   ─┴─► AR, R        stream_writer: sums ─► AW, W, B
//
// A beat of the streams is a beat of the bus. Responses and data are always taken: reads are asked for when there is room,
// writes when their data are there. The two reads take turns.

`include "spike_assert.svh"

module spike_streamer
  import streamer_pkg::*;
#(
  parameter int unsigned AddrWidth = 64,   // 32 .. 64
  parameter int unsigned DataWidth = 128,  // a power of two, 32 .. 1,024
  parameter int unsigned MaxBurst  = 16,   // beats; a power of two, 1 .. 256
  parameter int unsigned Bursts    = 8     // of each kind on their way at most
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // registers, see streamer_axil
  input  logic                         write_i,
  input  logic [StreamerAddrWidth-1:0] write_addr_i,
  input  logic [31:0]                  write_data_i,
  input  logic [3:0]                   write_strb_i,
  output logic                         write_ok_o,
  input  logic [StreamerAddrWidth-1:0] read_addr_i,
  output logic [31:0]                  read_data_o,
  output logic                         read_ok_o,
  output logic                         irq_o,

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

  // streams of the core
  output logic                   membrane_valid_o,
  input  logic                   membrane_ready_i,
  output logic [DataWidth-1:0]   membrane_data_o,
  output logic                   membrane_last_o,
  output logic                   weight_valid_o,
  input  logic                   weight_ready_i,
  output logic [DataWidth-1:0]   weight_data_o,
  output logic                   weight_last_o,
  input  logic                   sum_valid_i,
  output logic                   sum_ready_o,
  input  logic [DataWidth-1:0]   sum_data_i,
  input  logic [DataWidth/8-1:0] sum_keep_i,
  input  logic                   sum_last_i
);

  `SPIKE_REQUIRE(gen_bad_addr_width, AddrWidth >= 32 && AddrWidth <= 64, "AddrWidth has to be from 32 to 64")
  `SPIKE_REQUIRE(gen_bad_data_width, DataWidth >= 32 && DataWidth <= 1024 && DataWidth == (1 << $clog2(DataWidth)),
                 "DataWidth has to be a power of two from 32 to 1024")
  `SPIKE_REQUIRE(gen_bad_max_burst, MaxBurst >= 1 && MaxBurst <= 256 && MaxBurst == (1 << $clog2(MaxBurst)),
                 "MaxBurst has to be a power of two from 1 to 256")
  `SPIKE_REQUIRE(gen_bad_bursts, Bursts >= 2, "Bursts has to be at least 2")

  localparam logic [2:0] Size = 3'($clog2(DataWidth / 8));
  localparam logic [1:0] Incr = 2'b01;
  localparam logic [3:0] Cache = 4'b0011;  // modifiable, bufferable

  descriptors_t    descriptors;
  logic [2:0]      waits, take, busy;
  logic            aborting, done, awake_q;
  streamer_error_t error_d, error_q;

  streamer_regs #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth),
    .MaxBurst  (MaxBurst)
  ) u_regs (
    .clk_i,
    .rst_ni,
    .write_i,
    .write_addr_i,
    .write_data_i,
    .write_strb_i,
    .write_ok_o,
    .read_addr_i,
    .read_data_o,
    .read_ok_o,
    .descriptors_o (descriptors),
    .waits_o       (waits),
    .take_i        (take),
    .abort_o       (aborting),
    .busy_i        (busy != '0),
    .done_i        (done),
    .error_i       (error_q),
    .irq_o
  );

  // ------------------------------------------------------------------------------------------------------ reads
  read_t [1:0]                reads;
  logic [1:0]                 ask, granted, came, stream_valid, stream_ready, stream_last;
  logic [1:0][AddrWidth-1:0]  ask_addr;
  logic [1:0][7:0]            ask_len;
  logic [1:0][DataWidth-1:0]  stream_data;
  logic                       turn_q, chosen, ask_ready;

  assign reads = {descriptors.weights, descriptors.membranes};

  for (genvar r = 0; r < 2; r++) begin : gen_reader
    stream_reader #(
      .AddrWidth (AddrWidth),
      .DataWidth (DataWidth),
      .MaxBurst  (MaxBurst),
      .Bursts    (Bursts)
    ) u_reader (
      .clk_i,
      .rst_ni,
      .start_i      (waits[r]),
      .take_o       (take[r]),
      .descriptor_i (reads[r]),
      .abort_i      (aborting),
      .busy_o       (busy[r]),
      .ar_valid_o   (ask[r]),
      .ar_ready_i   (granted[r]),
      .ar_addr_o    (ask_addr[r]),
      .ar_len_o     (ask_len[r]),
      .r_valid_i    (came[r]),
      .r_data_i     (m_axi_rdata_i),
      .r_last_i     (m_axi_rlast_i),
      .valid_o      (stream_valid[r]),
      .ready_i      (stream_ready[r]),
      .data_o       (stream_data[r]),
      .last_o       (stream_last[r])
    );

    assign granted[r] = ask_ready && ask[r] && chosen == r[0];
    assign came[r]    = m_axi_rvalid_i && m_axi_rready_o && m_axi_rid_i == r[0];
  end

  assign chosen = ask[turn_q] ? turn_q : !turn_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) turn_q <= 1'b0;
    else if (granted != '0) turn_q <= !chosen;
  end

  logic unused_asked;

  spike_fifo #(
    .Width (1 + AddrWidth + 8),
    .Depth (2)
  ) u_asked (
    .clk_i,
    .rst_ni,
    .valid_i (ask != '0),
    .ready_o (ask_ready),
    .room_o  (unused_asked),
    .data_i  ({chosen, ask_addr[chosen], ask_len[chosen]}),
    .valid_o (m_axi_arvalid_o),
    .ready_i (m_axi_arready_i),
    .data_o  ({m_axi_arid_o, m_axi_araddr_o, m_axi_arlen_o})
  );

  assign {weight_valid_o, membrane_valid_o} = stream_valid;
  assign {weight_data_o, membrane_data_o}   = stream_data;
  assign {weight_last_o, membrane_last_o}   = stream_last;
  assign stream_ready                       = {weight_ready_i, membrane_ready_i};

  // ----------------------------------------------------------------------------------------------------- writes
  stream_writer #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth),
    .MaxBurst  (MaxBurst),
    .Bursts    (Bursts)
  ) u_writer (
    .clk_i,
    .rst_ni,
    .start_i      (waits[2]),
    .take_o       (take[2]),
    .descriptor_i (descriptors.sums),
    .abort_i      (aborting),
    .busy_o       (busy[2]),
    .done_o       (done),
    .valid_i      (sum_valid_i),
    .ready_o      (sum_ready_o),
    .data_i       (sum_data_i),
    .keep_i       (sum_keep_i),
    .last_i       (sum_last_i),
    .aw_valid_o   (m_axi_awvalid_o),
    .aw_ready_i   (m_axi_awready_i),
    .aw_addr_o    (m_axi_awaddr_o),
    .aw_len_o     (m_axi_awlen_o),
    .w_valid_o    (m_axi_wvalid_o),
    .w_ready_i    (m_axi_wready_i),
    .w_data_o     (m_axi_wdata_o),
    .w_strb_o     (m_axi_wstrb_o),
    .w_last_o     (m_axi_wlast_o),
    .b_valid_i    (m_axi_bvalid_i && m_axi_bready_o)
  );

  // -------------------------------------------------------------------------------------------------------- bus
  always_ff @(posedge clk_i) awake_q <= rst_ni;

  assign m_axi_rready_o  = awake_q;
  assign m_axi_bready_o  = awake_q;
  assign m_axi_awid_o    = 1'b0;
  assign m_axi_awsize_o  = Size;
  assign m_axi_arsize_o  = Size;
  assign m_axi_awburst_o = Incr;
  assign m_axi_arburst_o = Incr;
  assign m_axi_awcache_o = Cache;
  assign m_axi_arcache_o = Cache;
  assign {m_axi_awlock_o, m_axi_awprot_o, m_axi_awqos_o} = '0;
  assign {m_axi_arlock_o, m_axi_arprot_o, m_axi_arqos_o} = '0;

  always_comb begin
    error_d                 = '0;
    error_d.membrane_slave  = came[0] && m_axi_rresp_i == RespSlvErr;
    error_d.membrane_decode = came[0] && m_axi_rresp_i == RespDecErr;
    error_d.weight_slave    = came[1] && m_axi_rresp_i == RespSlvErr;
    error_d.weight_decode   = came[1] && m_axi_rresp_i == RespDecErr;
    error_d.sum_slave       = m_axi_bvalid_i && m_axi_bready_o && m_axi_bresp_i == RespSlvErr;
    error_d.sum_decode      = m_axi_bvalid_i && m_axi_bready_o && m_axi_bresp_i == RespDecErr;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) error_q <= '0;
    else error_q <= error_d;
  end

  logic unused_id;
  assign unused_id = m_axi_bid_i;

  `SPIKE_ASSERT_STABLE(ArStable, m_axi_arvalid_o, m_axi_arready_i, {m_axi_arid_o, m_axi_araddr_o, m_axi_arlen_o})

endmodule
