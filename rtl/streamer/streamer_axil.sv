// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The register port of a streamed core: addresses below 0x100 are the core's and go on to it, those above the streamer's.
// One write and one read at a time; every one that was taken is answered, and nothing is taken in reset.

`include "spike_assert.svh"

module streamer_axil
  import spike_pkg::*;
  import streamer_pkg::*;
(
  input  logic                         clk_i,
  input  logic                         rst_ni,

  // AXI4-Lite
  input  logic                         s_axil_awvalid_i,
  output logic                         s_axil_awready_o,
  input  logic [RegAddrWidth:0]        s_axil_awaddr_i,
  input  logic                         s_axil_wvalid_i,
  output logic                         s_axil_wready_o,
  input  logic [31:0]                  s_axil_wdata_i,
  input  logic [3:0]                   s_axil_wstrb_i,
  output logic                         s_axil_bvalid_o,
  input  logic                         s_axil_bready_i,
  output logic [1:0]                   s_axil_bresp_o,
  input  logic                         s_axil_arvalid_i,
  output logic                         s_axil_arready_o,
  input  logic [RegAddrWidth:0]        s_axil_araddr_i,
  output logic                         s_axil_rvalid_o,
  input  logic                         s_axil_rready_i,
  output logic [31:0]                  s_axil_rdata_o,
  output logic [1:0]                   s_axil_rresp_o,

  // AXI4-Lite to the core
  output logic                         m_axil_awvalid_o,
  input  logic                         m_axil_awready_i,
  output logic                         m_axil_wvalid_o,
  input  logic                         m_axil_wready_i,
  output logic [RegAddrWidth-1:0]      m_axil_awaddr_o,
  output logic [31:0]                  m_axil_wdata_o,
  output logic [3:0]                   m_axil_wstrb_o,
  input  logic                         m_axil_bvalid_i,
  output logic                         m_axil_bready_o,
  input  logic [1:0]                   m_axil_bresp_i,
  output logic                         m_axil_arvalid_o,
  input  logic                         m_axil_arready_i,
  output logic [RegAddrWidth-1:0]      m_axil_araddr_o,
  input  logic                         m_axil_rvalid_i,
  output logic                         m_axil_rready_o,
  input  logic [31:0]                  m_axil_rdata_i,
  input  logic [1:0]                   m_axil_rresp_i,

  // the streamer's registers; answers come in the same cycle
  output logic                         write_o,
  output logic [StreamerAddrWidth-1:0] write_addr_o,
  output logic [31:0]                  write_data_o,
  output logic [3:0]                   write_strb_o,
  input  logic                         write_ok_i,
  output logic [StreamerAddrWidth-1:0] read_addr_o,
  input  logic [31:0]                  read_data_i,
  input  logic                         read_ok_i
);

  localparam logic [1:0] RespOkay = 2'b00;

  typedef enum logic [1:0] {
    Take,   // what is asked
    Pass,   // it is on its way to the core, or is done here
    Wait,   // for the core's answer
    Answer
  } state_e;

  // ----------------------------------------------------------------------------------------------------- writes
  state_e                write_q;
  logic                  awake_q, aw_held_q, w_held_q, aw_passed_q, w_passed_q;
  logic [RegAddrWidth:0] aw_q, ar_q;

  always_ff @(posedge clk_i) awake_q <= rst_ni;

  assign s_axil_awready_o = awake_q && write_q == Take && !aw_held_q;
  assign s_axil_wready_o  = awake_q && write_q == Take && !w_held_q;
  assign s_axil_bvalid_o  = write_q == Answer;
  assign m_axil_awvalid_o = write_q == Pass && aw_q[RegAddrWidth] == 1'b0 && !aw_passed_q;
  assign m_axil_wvalid_o  = write_q == Pass && aw_q[RegAddrWidth] == 1'b0 && !w_passed_q;
  assign m_axil_awaddr_o  = aw_q[RegAddrWidth-1:0];
  assign m_axil_bready_o  = write_q == Wait;
  assign m_axil_wdata_o   = write_data_o;
  assign m_axil_wstrb_o   = write_strb_o;
  assign write_o          = write_q == Pass && aw_q[RegAddrWidth];
  assign write_addr_o     = {aw_q[StreamerAddrWidth-1:2], 2'b00};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q        <= Take;
      aw_held_q      <= 1'b0;
      w_held_q       <= 1'b0;
      aw_passed_q    <= 1'b0;
      w_passed_q     <= 1'b0;
      s_axil_bresp_o <= RespOkay;
    end else begin
      unique case (write_q)
        Take: begin
          if (s_axil_awvalid_i && s_axil_awready_o) aw_held_q <= 1'b1;
          if (s_axil_wvalid_i && s_axil_wready_o) w_held_q <= 1'b1;
          if (aw_held_q && w_held_q) write_q <= Pass;
        end
        Pass: begin
          aw_held_q <= 1'b0;
          w_held_q  <= 1'b0;
          if (m_axil_awvalid_o && m_axil_awready_i) aw_passed_q <= 1'b1;
          if (m_axil_wvalid_o && m_axil_wready_i) w_passed_q <= 1'b1;
          if (write_o) begin
            write_q        <= Answer;
            s_axil_bresp_o <= write_ok_i ? RespOkay : RespSlvErr;
          end else if (aw_passed_q && w_passed_q) begin
            write_q     <= Wait;
            aw_passed_q <= 1'b0;
            w_passed_q  <= 1'b0;
          end
        end
        Wait: begin
          if (m_axil_bvalid_i) begin
            write_q        <= Answer;
            s_axil_bresp_o <= m_axil_bresp_i;
          end
        end
        Answer: if (s_axil_bready_i) write_q <= Take;
        default: write_q <= Take;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_axil_awvalid_i && s_axil_awready_o) aw_q <= s_axil_awaddr_i;
    if (s_axil_wvalid_i && s_axil_wready_o) begin
      write_data_o <= s_axil_wdata_i;
      write_strb_o <= s_axil_wstrb_i;
    end
  end

  // ------------------------------------------------------------------------------------------------------ reads
  state_e read_q;

  assign s_axil_arready_o = awake_q && read_q == Take;
  assign s_axil_rvalid_o  = read_q == Answer;
  assign m_axil_arvalid_o = read_q == Pass && !ar_q[RegAddrWidth];
  assign m_axil_araddr_o  = ar_q[RegAddrWidth-1:0];
  assign m_axil_rready_o  = read_q == Wait;
  assign read_addr_o      = {ar_q[StreamerAddrWidth-1:2], 2'b00};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q         <= Take;
      s_axil_rresp_o <= RespOkay;
    end else begin
      unique case (read_q)
        Take: if (s_axil_arvalid_i && s_axil_arready_o) read_q <= Pass;
        Pass: begin
          if (ar_q[RegAddrWidth]) begin
            read_q         <= Answer;
            s_axil_rresp_o <= read_ok_i ? RespOkay : RespSlvErr;
          end else if (m_axil_arready_i) begin
            read_q <= Wait;
          end
        end
        Wait: begin
          if (m_axil_rvalid_i) begin
            read_q         <= Answer;
            s_axil_rresp_o <= m_axil_rresp_i;
          end
        end
        Answer: if (s_axil_rready_i) read_q <= Take;
        default: read_q <= Take;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_axil_arvalid_i && s_axil_arready_o) ar_q <= s_axil_araddr_i;
    if (read_q == Pass) s_axil_rdata_o <= read_data_i;
    if (read_q == Wait && m_axil_rvalid_i) s_axil_rdata_o <= m_axil_rdata_i;
  end

  `SPIKE_ASSERT_STABLE(BStable, s_axil_bvalid_o, s_axil_bready_i, s_axil_bresp_o)
  `SPIKE_ASSERT_STABLE(RStable, s_axil_rvalid_o, s_axil_rready_i, {s_axil_rdata_o, s_axil_rresp_o})
  `SPIKE_ASSERT_STABLE(AwStable, m_axil_awvalid_o, m_axil_awready_i, m_axil_awaddr_o)
  `SPIKE_ASSERT_STABLE(WStable, m_axil_wvalid_o, m_axil_wready_i, {m_axil_wdata_o, m_axil_wstrb_o})
  `SPIKE_ASSERT_STABLE(ArStable, m_axil_arvalid_o, m_axil_arready_i, m_axil_araddr_o)

endmodule
