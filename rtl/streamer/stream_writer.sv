// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Writes sums to memory in bursts. A burst is announced when all its data are there, so they never wait for the core, and
// an abort can close every burst. It ends with a piece, with TLAST, and before a multiple of 4 KiB.
//
// Where pieces go: `bytes` each, `row_stride` apart until TLAST; then the next group, column tile, row tile.

`include "spike_assert.svh"

module stream_writer
  import streamer_pkg::*;
#(
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 128,
  parameter int unsigned MaxBurst  = 16,  // beats; a power of two
  parameter int unsigned Bursts    = 8    // on their way at most
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   start_i,       // a level: descriptor_i waits
  output logic                   take_o,        // it was taken
  input  write_t                 descriptor_i,
  input  logic                   abort_i,       // a level: no more bursts, sums are taken and dropped
  output logic                   busy_o,
  output logic                   done_o,        // a pulse: everything was written, and answered

  // stream
  input  logic                   valid_i,
  output logic                   ready_o,
  input  logic [DataWidth-1:0]   data_i,
  input  logic [DataWidth/8-1:0] keep_i,
  input  logic                   last_i,

  // write address
  output logic                   aw_valid_o,
  input  logic                   aw_ready_i,
  output logic [AddrWidth-1:0]   aw_addr_o,
  output logic [7:0]             aw_len_o,      // beats - 1

  // write data
  output logic                   w_valid_o,
  input  logic                   w_ready_i,
  output logic [DataWidth-1:0]   w_data_o,
  output logic [DataWidth/8-1:0] w_strb_o,
  output logic                   w_last_o,

  // write response, always taken
  input  logic                   b_valid_i
);

  localparam int unsigned BeatShift   = $clog2(DataWidth / 8);
  localparam int unsigned PageBeats   = PageBytes >> BeatShift;
  localparam int unsigned PageWidth   = $clog2(PageBeats);
  localparam int unsigned LenWidth    = (MaxBurst > 1) ? $clog2(MaxBurst) : 1;
  localparam int unsigned Depth       = 2 * MaxBurst;
  localparam int unsigned FlightWidth = $clog2(Bursts + 1);

  typedef enum logic [2:0] {
    Idle, Collect, Step, Drain, Drop
  } state_e;

  // What comes behind a piece
  typedef enum logic [1:0] {
    Row, Group, Tile, RowTile
  } level_e;

  state_e                 state_q;
  level_e                 level_q;
  logic [AddrWidth-1:0]   row_q, group_q, tile_q, row_tile_q;  // where the present one of each begins
  logic [AddrWidth-1:0]   burst_q, from, to;
  logic [PageWidth-1:0]   place_q;                             // of the next beat in its page
  logic [31:0]            beats_q, beats_left_q, stride;
  logic [31:0]            row_stride_q, group_stride_q, tile_stride_q, row_tile_stride_q, groups_q, tiles_q;
  logic [31:0]            groups_left_q, tiles_left_q, row_tiles_left_q;
  logic [LenWidth-1:0]    count_q;                             // beats of the burst so far
  logic                   open, push, filler, piece_end, burst_end, all_end;
  logic                   data_ready, aw_push_ready, data_valid, w_pop;
  logic [FlightWidth-1:0] complete_q, flight_q;
  logic                   announced, cut_q;

  // ------------------------------------------------------------------------------------------------- collecting
  // beats of the last of which some bytes may not be wanted
  function automatic logic [31:0] beats_of(input logic [31:0] bytes);
    return (bytes >> BeatShift) + 32'(bytes[BeatShift-1:0] != '0);
  endfunction

  assign open      = data_ready && aw_push_ready && 32'(flight_q) < 32'(Bursts);
  assign filler    = state_q == Drain && count_q != '0 && open;  // closes a burst that an abort has cut off
  assign push      = filler || (state_q == Collect && valid_i && open && !abort_i);
  assign ready_o   = (state_q == Collect && open && !abort_i) || state_q == Drop;
  assign piece_end = last_i || beats_left_q == 32'd1;
  assign burst_end = filler || piece_end || count_q == LenWidth'(MaxBurst - 1) || place_q == '1;
  assign announced = push && burst_end;
  assign take_o    = start_i && state_q == Idle && !abort_i;

  // after TLAST
  assign all_end = groups_left_q == 32'd1 && tiles_left_q == 32'd1 && row_tiles_left_q == 32'd1;

  always_comb begin
    unique case (level_q)
      Row:     {from, stride} = {row_q, row_stride_q};
      Group:   {from, stride} = {group_q, group_stride_q};
      Tile:    {from, stride} = {tile_q, tile_stride_q};
      RowTile: {from, stride} = {row_tile_q, row_tile_stride_q};
      default: {from, stride} = '0;
    endcase
    to = from + AddrWidth'(signed'(stride));
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= Idle;
    end else begin
      unique case (state_q)
        Idle:    if (abort_i) state_q <= Drop;
                 else if (take_o) state_q <= Collect;
        Collect: if (abort_i) state_q <= Drain;
                 else if (push && last_i && all_end) state_q <= Drain;
                 else if (push && piece_end) state_q <= Step;
        Step:    state_q <= abort_i ? Drain : Collect;
        Drain:   if (flight_q == '0 && count_q == '0) state_q <= abort_i ? Drop : Idle;
        Drop:    if (!abort_i) state_q <= Idle;
        default: state_q <= Idle;
      endcase
    end
  end

  // an abort ends no run
  assign done_o = state_q == Drain && flight_q == '0 && count_q == '0 && !abort_i && !cut_q;

  always_ff @(posedge clk_i) begin
    if (take_o) cut_q <= 1'b0;
    else if (abort_i) cut_q <= 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) count_q <= '0;
    else if (push) count_q <= burst_end ? '0 : count_q + 1'b1;
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Idle: begin
        row_q         <= descriptor_i.address[AddrWidth-1:0];
        group_q       <= descriptor_i.address[AddrWidth-1:0];
        tile_q        <= descriptor_i.address[AddrWidth-1:0];
        row_tile_q    <= descriptor_i.address[AddrWidth-1:0];
        burst_q       <= descriptor_i.address[AddrWidth-1:0];
        place_q       <= descriptor_i.address[BeatShift +: PageWidth];
        beats_q       <= beats_of(descriptor_i.bytes);
        beats_left_q  <= beats_of(descriptor_i.bytes);
        groups_left_q <= descriptor_i.groups;
        tiles_left_q  <= descriptor_i.tiles;
        groups_q      <= descriptor_i.groups;
        tiles_q       <= descriptor_i.tiles;
        row_stride_q      <= descriptor_i.row_stride;
        group_stride_q    <= descriptor_i.group_stride;
        tile_stride_q     <= descriptor_i.tile_stride;
        row_tile_stride_q <= descriptor_i.row_tile_stride;
        row_tiles_left_q  <= descriptor_i.row_tiles;
      end
      Collect: begin
        if (push) begin
          place_q      <= place_q + 1'b1;
          beats_left_q <= beats_left_q - 32'd1;
          if (burst_end) burst_q <= burst_q + ((AddrWidth'(count_q) + 1'b1) << BeatShift);
          level_q      <= Row;
          if (last_i) begin
            level_q       <= Group;
            groups_left_q <= groups_left_q - 32'd1;
            if (groups_left_q == 32'd1) begin
              level_q       <= Tile;
              groups_left_q <= groups_q;
              tiles_left_q  <= tiles_left_q - 32'd1;
              if (tiles_left_q == 32'd1) begin
                level_q          <= RowTile;
                tiles_left_q     <= tiles_q;
                row_tiles_left_q <= row_tiles_left_q - 32'd1;
              end
            end
          end
        end
      end
      Step: begin
        row_q        <= to;
        burst_q      <= to;
        place_q      <= to[BeatShift +: PageWidth];
        beats_left_q <= beats_q;
        if (level_q != Row) group_q <= to;
        if (level_q inside {Tile, RowTile}) tile_q <= to;
        if (level_q == RowTile) row_tile_q <= to;
      end
      Drain, Drop: ;
      default: ;
    endcase
  end

  // ------------------------------------------------------------------------------------------------------- bus
  logic unused_addresses;

  spike_fifo #(
    .Width (AddrWidth + 8),
    .Depth (2)
  ) u_addresses (
    .clk_i,
    .rst_ni,
    .valid_i (announced),
    .ready_o (aw_push_ready),
    .room_o  (unused_addresses),
    .data_i  ({burst_q, 8'(count_q)}),
    .valid_o (aw_valid_o),
    .ready_i (aw_ready_i),
    .data_o  ({aw_addr_o, aw_len_o})
  );

  logic unused_data;

  spike_fifo #(
    .Width (DataWidth + DataWidth / 8 + 1),
    .Depth (Depth)
  ) u_data (
    .clk_i,
    .rst_ni,
    .valid_i (push),
    .ready_o (data_ready),
    .room_o  (unused_data),
    .data_i  ({burst_end, filler ? (DataWidth / 8)'(0) : keep_i, data_i}),
    .valid_o (data_valid),
    .ready_i (w_ready_i && complete_q != '0),
    .data_o  ({w_last_o, w_strb_o, w_data_o})
  );

  assign w_valid_o = data_valid && complete_q != '0;
  assign w_pop     = w_valid_o && w_ready_i && w_last_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      complete_q <= '0;
      flight_q   <= '0;
    end else begin
      complete_q <= complete_q + FlightWidth'(announced) - FlightWidth'(w_pop);
      flight_q   <= flight_q + FlightWidth'(announced) - FlightWidth'(b_valid_i);
    end
  end

  logic unused_address;
  assign unused_address = ^descriptor_i.address;  // all of it where AddrWidth is 64

  assign busy_o = state_q inside {Collect, Step, Drain};

  `SPIKE_EXPECT(Legal, !start_i || (descriptor_i.address[BeatShift-1:0] == '0
                                    && (BeatShift)'(descriptor_i.row_stride | descriptor_i.group_stride
                                                    | descriptor_i.tile_stride | descriptor_i.row_tile_stride) == '0
                                    && descriptor_i.bytes != '0 && descriptor_i.groups != '0
                                    && descriptor_i.tiles != '0 && descriptor_i.row_tiles != '0))
  `SPIKE_EXPECT(Answered, !b_valid_i || flight_q != '0)
  `SPIKE_ASSERT(WithinPage, !aw_valid_o || 32'(aw_addr_o[BeatShift +: PageWidth]) + 32'(aw_len_o) < PageBeats)
  `SPIKE_ASSERT(Place, (state_q != Collect && count_q == '0)
                       || place_q == burst_q[BeatShift +: PageWidth] + PageWidth'(count_q))
  `SPIKE_ASSERT(Announced, complete_q <= flight_q)
  `SPIKE_ASSERT_STABLE(AwStable, aw_valid_o, aw_ready_i, {aw_addr_o, aw_len_o})
  `SPIKE_ASSERT_STABLE(WStable, w_valid_o, w_ready_i, {w_data_o, w_strb_o, w_last_o})

endmodule
