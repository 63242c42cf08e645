// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Reads packets from memory in bursts and sends them as a stream. A burst is asked for when there is room for all of it,
// so its data never wait on the bus, whatever the stream does. A burst ends with its packet, and before a multiple of 4 KiB.
//
// Data that come with an error are sent on as they are: the core counts beats, so the job runs to its end.

`include "spike_assert.svh"

module stream_reader
  import streamer_pkg::*;
#(
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 128,
  parameter int unsigned MaxBurst  = 16,  // beats; a power of two
  parameter int unsigned Bursts    = 8    // on their way at most
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  input  logic                 start_i,       // a level: descriptor_i waits
  output logic                 take_o,        // it was taken
  input  read_t                descriptor_i,
  input  logic                 abort_i,       // a level: no more bursts
  output logic                 busy_o,

  // read address
  output logic                 ar_valid_o,
  input  logic                 ar_ready_i,
  output logic [AddrWidth-1:0] ar_addr_o,
  output logic [7:0]           ar_len_o,      // beats - 1

  // read data, always taken
  input  logic                 r_valid_i,
  input  logic [DataWidth-1:0] r_data_i,
  input  logic                 r_last_i,

  // stream
  output logic                 valid_o,
  input  logic                 ready_i,
  output logic [DataWidth-1:0] data_o,
  output logic                 last_o
);

  localparam int unsigned BeatShift = $clog2(DataWidth / 8);
  localparam int unsigned PageBeats = PageBytes >> BeatShift;
  localparam int unsigned PageWidth = $clog2(PageBeats);
  localparam int unsigned LenWidth  = $clog2(MaxBurst + 1);
  localparam int unsigned Depth     = 2 * MaxBurst;
  localparam int unsigned FreeWidth = $clog2(Depth + 1);

  typedef enum logic [2:0] {
    Idle, Next, Plan, Room, Ask
  } state_e;

  state_e               state_q;
  logic [AddrWidth-1:0] base_q, packet_q, addr_q;
  logic [31:0]          stride_q, beats_q, packets_q;           // of the descriptor
  logic [31:0]          beats_left_q, packets_left_q, passes_left_q;
  logic [LenWidth-1:0]  len_d, len_q;
  logic                 ends_q;                                 // the burst ends its packet
  logic [PageWidth:0]   to_page;
  logic [FreeWidth-1:0] free_q;
  logic                 enough, pop, data_ready, end_ready, end_valid, packet_end;

  // ------------------------------------------------------------------------------------------------- addresses
  // beats of the last of which some bytes may not be wanted
  function automatic logic [31:0] beats_of(input logic [31:0] bytes);
    return (bytes >> BeatShift) + 32'(bytes[BeatShift-1:0] != '0);
  endfunction

  assign to_page = (PageWidth + 1)'(PageBeats) - {1'b0, addr_q[BeatShift +: PageWidth]};

  always_comb begin
    len_d = LenWidth'(MaxBurst);
    if (32'(to_page) < 32'(MaxBurst)) len_d = LenWidth'(to_page);
    if (beats_left_q < 32'(len_d)) len_d = LenWidth'(beats_left_q);
  end

  assign enough = 32'(free_q) >= 32'(len_q) && end_ready;
  assign take_o = start_i && state_q == Idle && !abort_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= Idle;
    end else begin
      unique case (state_q)
        Idle: if (take_o) state_q <= Plan;
        Next: state_q <= (packets_left_q == 32'd1 && passes_left_q == 32'd1) ? Idle : Plan;
        Plan: state_q <= Room;
        Room: if (enough) state_q <= Ask;
        Ask:  if (ar_ready_i) state_q <= ends_q ? Next : Plan;
        default: state_q <= Idle;
      endcase
      // a burst that was offered stays on offer
      if (abort_i && state_q != Ask) state_q <= Idle;
      if (abort_i && state_q == Ask && ar_ready_i) state_q <= Idle;
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Idle: begin
        base_q         <= descriptor_i.address[AddrWidth-1:0];
        packet_q       <= descriptor_i.address[AddrWidth-1:0];
        addr_q         <= descriptor_i.address[AddrWidth-1:0];
        stride_q       <= descriptor_i.stride;
        beats_q        <= beats_of(descriptor_i.bytes);
        beats_left_q   <= beats_of(descriptor_i.bytes);
        packets_q      <= descriptor_i.packets;
        packets_left_q <= descriptor_i.packets;
        passes_left_q  <= descriptor_i.passes;
      end
      Next: begin
        beats_left_q <= beats_q;
        if (packets_left_q == 32'd1) begin
          packets_left_q <= packets_q;
          passes_left_q  <= passes_left_q - 32'd1;
          packet_q       <= base_q;
          addr_q         <= base_q;
        end else begin
          packets_left_q <= packets_left_q - 32'd1;
          packet_q       <= packet_q + AddrWidth'(signed'(stride_q));
          addr_q         <= packet_q + AddrWidth'(signed'(stride_q));
        end
      end
      Plan: begin
        len_q  <= len_d;
        ends_q <= beats_left_q == 32'(len_d);
      end
      Ask: begin
        if (ar_ready_i) begin
          addr_q       <= addr_q + (AddrWidth'(len_q) << BeatShift);
          beats_left_q <= beats_left_q - 32'(len_q);
        end
      end
      Room: ;
      default: ;
    endcase
  end

  assign ar_valid_o = state_q == Ask;
  assign ar_addr_o  = addr_q;
  assign ar_len_o   = 8'(len_q - 1'b1);

  // ------------------------------------------------------------------------------------------------------ data
  assign pop = valid_o && ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) free_q <= FreeWidth'(Depth);
    else free_q <= free_q - ((state_q == Room && enough && !abort_i) ? FreeWidth'(len_q) : '0) + FreeWidth'(pop);
  end

  // whether the packet ends with the burst
  logic unused_ends;

  spike_fifo #(
    .Width (1),
    .Depth (Bursts)
  ) u_ends (
    .clk_i,
    .rst_ni,
    .valid_i (ar_valid_o && ar_ready_i),
    .ready_o (end_ready),
    .room_o  (unused_ends),
    .data_i  (ends_q),
    .valid_o (end_valid),
    .ready_i (r_valid_i && r_last_i),
    .data_o  (packet_end)
  );

  logic unused_data;

  spike_fifo #(
    .Width (DataWidth + 1),
    .Depth (Depth)
  ) u_data (
    .clk_i,
    .rst_ni,
    .valid_i (r_valid_i),
    .ready_o (data_ready),
    .room_o  (unused_data),
    .data_i  ({packet_end && r_last_i, r_data_i}),
    .valid_o (valid_o),
    .ready_i (ready_i),
    .data_o  ({last_o, data_o})
  );

  logic unused_address;
  assign unused_address = ^descriptor_i.address;  // all of it where AddrWidth is 64

  assign busy_o = state_q != Idle || end_valid || valid_o;

  `SPIKE_EXPECT(Legal, !start_i || (descriptor_i.address[BeatShift-1:0] == '0
                                    && descriptor_i.stride[BeatShift-1:0] == '0
                                    && descriptor_i.bytes != '0 && descriptor_i.packets != '0
                                    && descriptor_i.passes != '0))
  `SPIKE_EXPECT(Asked, !r_valid_i || end_valid)
  `SPIKE_ASSERT(Held, !r_valid_i || !end_valid || data_ready)
  `SPIKE_ASSERT(WithinPage, !ar_valid_o || 32'(len_q) <= 32'(to_page))
  `SPIKE_ASSERT_STABLE(ArStable, ar_valid_o, ar_ready_i, {ar_addr_o, ar_len_o})

endmodule
