// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of the register port, with a reset at any time: AXI4-Lite as a manager sees it (an offer stays; every access that
// was taken is answered, once, and in the next cycle that has room; no answer without an access; nothing is on offer in
// reset), and the queue of jobs: one that was started begins as soon as none runs, with what was written before its start.

module regs_proof
  import spike_pkg::*;
(
  input logic                      clk_i,
  input logic                      reset_i,
  input logic                      awvalid_i,
  input logic [RegAddrWidth-1:0]   awaddr_i,
  input logic                      wvalid_i,
  input logic [31:0]               wdata_i,
  input logic [3:0]                wstrb_i,
  input logic                      bready_i,
  input logic                      arvalid_i,
  input logic [RegAddrWidth-1:0]   araddr_i,
  input logic                      rready_i,
  input logic                      busy_i,
  input logic                      done_i,
  input error_t                    error_i,
  input logic [Counters-1:0][63:0] count_i
);

  logic        started_q = 1'b0;
  logic        rst_ni, awready, wready, bvalid, arready, rvalid, start, queued, clear, abort, irq;
  logic [1:0]  bresp, rresp;
  logic [31:0] rdata;
  job_t        job;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  spike_regs u_regs (
    .clk_i,
    .rst_ni,
    .s_axil_awvalid_i (awvalid_i),
    .s_axil_awready_o (awready),
    .s_axil_awaddr_i  (awaddr_i),
    .s_axil_wvalid_i  (wvalid_i),
    .s_axil_wready_o  (wready),
    .s_axil_wdata_i   (wdata_i),
    .s_axil_wstrb_i   (wstrb_i),
    .s_axil_bvalid_o  (bvalid),
    .s_axil_bready_i  (bready_i),
    .s_axil_bresp_o   (bresp),
    .s_axil_arvalid_i (arvalid_i),
    .s_axil_arready_o (arready),
    .s_axil_araddr_i  (araddr_i),
    .s_axil_rvalid_o  (rvalid),
    .s_axil_rready_i  (rready_i),
    .s_axil_rdata_o   (rdata),
    .s_axil_rresp_o   (rresp),
    .job_o            (job),
    .start_o          (start),
    .queued_o         (queued),
    .clear_o          (clear),
    .abort_o          (abort),
    .busy_i,
    .done_i,
    .error_i,
    .count_i,
    .irq_o            (irq)
  );

  // What a manager has been promised: addresses, data and reads that were taken and not answered.
  logic        was_reset_q, aw_q, w_q, r_q, b_stays_q, r_stays_q;
  logic [1:0]  bresp_q, rresp_q;
  logic [31:0] rdata_q;

  always_ff @(posedge clk_i) begin
    was_reset_q <= !rst_ni;
    b_stays_q   <= rst_ni && bvalid && !bready_i;
    r_stays_q   <= rst_ni && rvalid && !rready_i;
    bresp_q     <= bresp;
    rresp_q     <= rresp;
    rdata_q     <= rdata;
    if (!rst_ni) begin
      aw_q <= 1'b0;
      w_q  <= 1'b0;
      r_q  <= 1'b0;
    end else begin
      if (awvalid_i && awready) aw_q <= 1'b1;
      else if (aw_q && w_q && (!bvalid || bready_i)) aw_q <= 1'b0;
      if (wvalid_i && wready) w_q <= 1'b1;
      else if (aw_q && w_q && (!bvalid || bready_i)) w_q <= 1'b0;
      r_q <= arvalid_i && arready;
    end
  end

  // A job that was started, and the first cycle in which it may begin.
  logic started_job, waits_q;
  job_t waiting_q, job_q;

  assign started_job = u_regs.started;

  always_ff @(posedge clk_i) begin
    job_q <= job;
    if (!rst_ni || u_regs.abort) begin
      waits_q <= 1'b0;
    end else begin
      if (start) waits_q <= 1'b0;
      if (started_job) begin
        waiting_q <= u_regs.next_q;
        waits_q   <= 1'b1;
      end
    end
  end

  always_comb begin
    if (started_q && was_reset_q) begin  // a reset that began a cycle ago, or more
      Silent: assert (!awready && !wready && !bvalid && !arready && !rvalid && !irq && !start && !clear && !abort);
    end
    if (rst_ni && !was_reset_q) begin
      HeldA:   assert (u_regs.aw_held_q == aw_q && u_regs.w_held_q == w_q && u_regs.awake_q);
      // a full side takes no more, an empty one does
      Aw:      assert (awready == !aw_q);
      W:       assert (wready == !w_q);
      Ar:      assert (arready == !rvalid);
      // answers
      Read:    assert (!r_q || rvalid);
      NoRead:  assert (rvalid == (r_q || r_stays_q));
      BStays:  assert (!b_stays_q || (bvalid && bresp == bresp_q));
      RStays:  assert (!r_stays_q || (rvalid && rdata == rdata_q && rresp == rresp_q));
      Codes:   assert (!bresp[0] && !rresp[0]);
      // jobs
      Queue:   assert (!queued || waits_q);
      Kept:    assert (!waits_q || waiting_q == (start ? job : u_regs.next_q));
      Waits:   assert (waits_q == (queued || start));
      Runs:    assert (start || job == job_q);
    end
    assume (!(start && busy_i));  // the sequencer is busy from the next cycle on, and begins() keeps the rest
    cover (rst_ni && start && waits_q && bvalid);
  end

  // Both sides of a write answer in the next cycle that has room.
  logic due_q;

  always_ff @(posedge clk_i) due_q <= rst_ni && aw_q && w_q && (!bvalid || bready_i);

  always_comb begin
    if (rst_ni && !was_reset_q) begin
      Write:   assert (!due_q || bvalid);
      NoWrite: assert (bvalid == (due_q || b_stays_q));
    end
  end

endmodule
