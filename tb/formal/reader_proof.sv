// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof of the streamer's reader on AXI4, with an abort or a reset at any time: addresses stay on offer until they are taken;
// data of every burst that was asked for find room, however late the stream takes them; no burst crosses 4 KiB; TLAST comes
// only with the last beat of a burst; an engine that is not busy has nothing on its way.

module reader_proof
  import streamer_pkg::*;
#(
  parameter int unsigned DataWidth = 32,
  parameter int unsigned AddrWidth = 14,
  parameter int unsigned MaxBurst  = 2,
  parameter int unsigned Bursts    = 2
) (
  input logic                 clk_i,
  input logic                 reset_i,
  input logic                 start_i,
  input read_t                descriptor_i,
  input logic                 abort_i,
  input logic                 ar_ready_i,
  input logic                 r_valid_i,
  input logic [DataWidth-1:0] r_data_i,
  input logic                 ready_i
);

  logic                 started_q = 1'b0;
  logic                 rst_ni, take, busy, ar_valid, r_last, valid, last;
  logic [AddrWidth-1:0] ar_addr;
  logic [7:0]           ar_len;
  logic [DataWidth-1:0] data;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  stream_reader #(
    .AddrWidth (AddrWidth),
    .DataWidth (DataWidth),
    .MaxBurst  (MaxBurst),
    .Bursts    (Bursts)
  ) u_reader (
    .clk_i,
    .rst_ni,
    .start_i,
    .take_o       (take),
    .descriptor_i,
    .abort_i,
    .busy_o       (busy),
    .ar_valid_o   (ar_valid),
    .ar_ready_i,
    .ar_addr_o    (ar_addr),
    .ar_len_o     (ar_len),
    .r_valid_i,
    .r_data_i,
    .r_last_i     (r_last),
    .valid_o      (valid),
    .ready_i,
    .data_o       (data),
    .last_o       (last)
  );

  // Memory: bursts in their order, each with as many beats as it was asked for.
  logic [Bursts-1:0][7:0]      asked_q, asked;
  logic [$clog2(Bursts+1)-1:0] count_q, count;
  logic [7:0]                  beats_q;
  logic                        ends;

  // Beats that were asked for and have not come; each has its place.
  logic [7:0] owed_q, asked_beats, places;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) owed_q <= '0;
    else owed_q <= owed_q + ((ar_valid && ar_ready_i) ? ar_len + 8'd1 : 8'd0) - 8'(r_valid_i);
  end

  assign asked_beats = (count_q == '0 ? 8'd0 : asked_q[0] + 8'd1 - beats_q) + (count_q > 1 ? asked_q[1] + 8'd1 : 8'd0);
  assign places      = 8'(u_reader.free_q) + 8'(u_reader.u_data.count_q) + owed_q + (ar_valid ? ar_len + 8'd1 : 8'd0);

  assign r_last = beats_q == asked_q[0];
  assign ends   = r_valid_i && r_last;

  always_comb begin
    asked = ends ? {8'd0, asked_q[Bursts-1:1]} : asked_q;
    count = count_q - $bits(count_q)'(ends);
    if (ar_valid && ar_ready_i) asked[count[0]] = ar_len;
    if (ar_valid && ar_ready_i) count = count + 1'b1;
  end

  always_ff @(posedge clk_i) begin
    asked_q <= asked;
    if (!rst_ni) begin
      count_q <= '0;
      beats_q <= '0;
    end else begin
      count_q <= count;
      if (r_valid_i) beats_q <= r_last ? '0 : beats_q + 1'b1;
    end
  end

  // states of the engine
  localparam logic [2:0] IsIdle = 3'd0;
  localparam logic [2:0] IsNext = 3'd1;
  localparam logic [2:0] IsPlan = 3'd2;
  localparam logic [2:0] IsRoom = 3'd3;
  localparam logic [2:0] IsAsk = 3'd4;

  // What the engine is about: the rest of the promises follows from it in one step.
  logic asks, works, pointers;

  assign asks     = u_reader.state_q == IsAsk || u_reader.state_q == IsRoom;
  assign works    = asks || u_reader.state_q == IsPlan || u_reader.state_q == IsNext;
  assign pointers = u_reader.u_data.wr_q - u_reader.u_data.rd_q == u_reader.u_data.count_q[1:0]
                    && u_reader.u_ends.wr_q - u_reader.u_ends.rd_q == u_reader.u_ends.count_q[0]
                    && 32'(u_reader.u_data.count_q) <= 2 * MaxBurst && 32'(u_reader.u_ends.count_q) <= Bursts;

  always_comb begin
    assume (!r_valid_i || count_q != '0);
    if (rst_ni) begin
      State: assert (works || u_reader.state_q == IsIdle);
      Ptrs:  assert (pointers);
      Beats: assert (!works || (u_reader.beats_q != '0 && (u_reader.state_q == IsNext
                                                           || u_reader.beats_left_q != '0)));
      Len:   assert (!asks || (u_reader.len_q != '0 && 32'(u_reader.len_q) <= MaxBurst
                               && 32'(u_reader.len_q) <= 32'(u_reader.to_page)
                               && 32'(u_reader.len_q) <= u_reader.beats_left_q
                               && u_reader.ends_q == (32'(u_reader.len_q) == u_reader.beats_left_q)));
      Held:  assert (!ar_valid || 32'(count_q) < Bursts);
      Bound: assert ((count_q == '0 || 32'(asked_q[0]) < MaxBurst) && (count_q < 2 || 32'(asked_q[1]) < MaxBurst));
      Few:   assert (32'(count_q) <= Bursts);
      Owed:  assert (owed_q == asked_beats && (count_q == '0 ? beats_q == '0 : beats_q <= asked_q[0]));
      Place: assert (32'(places) == 2 * MaxBurst);
      Ends:  assert (32'(count_q) == 32'(u_reader.u_ends.count_q));
      Short: assert (!ar_valid || 32'(ar_len) < MaxBurst);
      Idle:  assert (busy || (!ar_valid && count_q == '0 && !valid));
    end
    cover (rst_ni && valid && last);
  end

  logic unused;
  assign unused = ^{ar_addr, data, take};

endmodule
