// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of the streamer's writer on AXI4, with an abort or a reset at any time: addresses and data stay on offer until they are
// taken; no burst crosses 4 KiB; an engine that is not busy has nothing on offer, and every burst has been answered. (That
// WLAST comes where the address said is what the memories of the simulations demand.)

module writer_proof
  import streamer_pkg::*;
#(
  parameter int unsigned DataWidth = 32,
  parameter int unsigned AddrWidth = 14,
  parameter int unsigned MaxBurst  = 2,
  parameter int unsigned Bursts    = 2
) (
  input logic                   clk_i,
  input logic                   reset_i,
  input logic                   start_i,
  input write_t                 descriptor_i,
  input logic                   abort_i,
  input logic                   valid_i,
  input logic [DataWidth-1:0]   data_i,
  input logic [DataWidth/8-1:0] keep_i,
  input logic                   last_i,
  input logic                   aw_ready_i,
  input logic                   w_ready_i,
  input logic                   b_valid_i
);

  logic                   started_q = 1'b0;
  logic                   rst_ni, take, busy, done, ready, aw_valid, w_valid, w_last;
  logic [AddrWidth-1:0]   aw_addr;
  logic [7:0]             aw_len;
  logic [DataWidth-1:0]   w_data;
  logic [DataWidth/8-1:0] w_strb;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  stream_writer #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth),
    .MaxBurst  (MaxBurst),
    .Bursts    (Bursts)
  ) u_writer (
    .clk_i,
    .rst_ni,
    .start_i,
    .take_o       (take),
    .descriptor_i,
    .abort_i,
    .busy_o       (busy),
    .done_o       (done),
    .valid_i,
    .ready_o      (ready),
    .data_i,
    .keep_i,
    .last_i,
    .aw_valid_o   (aw_valid),
    .aw_ready_i,
    .aw_addr_o    (aw_addr),
    .aw_len_o     (aw_len),
    .w_valid_o    (w_valid),
    .w_ready_i,
    .w_data_o     (w_data),
    .w_strb_o     (w_strb),
    .w_last_o     (w_last),
    .b_valid_i
  );

  // Bursts whose address was taken before their data, whose data went before their address, and those that are whole.
  localparam int unsigned Count = $clog2(Bursts + 1);

  logic [Count-1:0] announced_count_q, announced_count, sent_count_q, sent_count, whole_q;
  logic [7:0]       beats_q;
  logic             pair;

  assign announced_count = announced_count_q + Count'(aw_valid && aw_ready_i);
  assign sent_count      = sent_count_q + Count'(w_valid && w_ready_i && w_last);
  assign pair            = announced_count != '0 && sent_count != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      announced_count_q <= '0;
      sent_count_q      <= '0;
      whole_q           <= '0;
      beats_q           <= '0;
    end else begin
      announced_count_q <= announced_count - Count'(pair);
      sent_count_q      <= sent_count - Count'(pair);
      whole_q           <= whole_q + Count'(pair) - Count'(b_valid_i);
      if (w_valid && w_ready_i) beats_q <= w_last ? '0 : beats_q + 1'b1;
    end
  end

  localparam int unsigned BeatShift = $clog2(DataWidth / 8);
  localparam int unsigned PageWidth = 12 - BeatShift;

  // states of the engine
  localparam logic [2:0] IsIdle = 3'd0;
  localparam logic [2:0] IsCollect = 3'd1;
  localparam logic [2:0] IsStep = 3'd2;
  localparam logic [2:0] IsDrain = 3'd3;
  localparam logic [2:0] IsDrop = 3'd4;

  // Bursts that wait in the queue of addresses lie within a page.
  function automatic logic fits(input logic [AddrWidth+7:0] entry);
    return 32'(entry[8 + BeatShift +: PageWidth]) + 32'(entry[7:0]) < (1 << PageWidth);
  endfunction

  logic [1:0] waiting;
  logic       pages, pointers, rests;

  assign waiting  = u_writer.u_addresses.count_q;
  assign pages    = (waiting == 2'd0 || fits(u_writer.u_addresses.mem_q[u_writer.u_addresses.rd_q]))
                    && (waiting != 2'd2 || fits(u_writer.u_addresses.mem_q[!u_writer.u_addresses.rd_q]));
  assign pointers = u_writer.u_data.wr_q - u_writer.u_data.rd_q == u_writer.u_data.count_q[1:0]
                    && u_writer.u_addresses.wr_q - u_writer.u_addresses.rd_q == waiting[0]
                    && 32'(u_writer.u_data.count_q) <= 2 * MaxBurst && waiting <= 2'd2;
  assign rests    = u_writer.state_q == IsIdle || u_writer.state_q == IsDrop;

  always_comb begin
    assume (!b_valid_i || whole_q != '0);  // an answer comes for a burst that is complete
    if (rst_ni) begin
      State:  assert (rests || u_writer.state_q == IsCollect || u_writer.state_q == IsStep
                      || u_writer.state_q == IsDrain);
      Ptrs:   assert (pointers);
      Pages:  assert (pages);
      Inside: assert ((u_writer.state_q != IsCollect && u_writer.count_q == '0)
                      || 32'(u_writer.burst_q[BeatShift +: PageWidth]) + 32'(u_writer.count_q)
                         == 32'(u_writer.place_q));
      Fresh:  assert (u_writer.count_q == '0 || !(rests || u_writer.state_q == IsStep));
      Few:    assert (32'(u_writer.flight_q) <= Bursts);
      AwSide: assert (32'(u_writer.flight_q) == 32'(waiting) + 32'(announced_count_q) + 32'(whole_q));
      WSide:  assert (32'(u_writer.flight_q) == 32'(u_writer.complete_q) + 32'(sent_count_q) + 32'(whole_q));
      One:    assert (announced_count_q == '0 || sent_count_q == '0);
      Rests:  assert (!rests || u_writer.flight_q == '0);
      Inner:  assert (beats_q == '0 || u_writer.complete_q != '0);
      Idle:   assert (busy || (!aw_valid && !w_valid && beats_q == '0 && announced_count_q == '0 && sent_count_q == '0
                               && whole_q == '0));
      Done:   assert (!done || (!aw_valid && !w_valid && whole_q == '0));
    end
    cover (rst_ni && done);
    cover (rst_ni && abort_i && w_valid && w_last && w_strb == '0);
  end

  logic unused;
  assign unused = ^{aw_addr, aw_len, w_data, ready, take};

endmodule
