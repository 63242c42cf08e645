// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Between an input stream of any width and an engine that takes units of `Unit` bits (a chunk of membranes, the weights of
// some inputs).
//
//   a unit is wider than a beat    it comes in as many beats as it needs, lowest first; what is left of the last is ignored
//   a beat holds several units     each takes the next power of two of its width; a packet's last beat may be part full
//
// A packet begins with a beat. Where it ends the engine says, `end_i`, as it counts by itself; TLAST is checked, not needed.

`include "spike_assert.svh"

module spike_unpack #(
  parameter int unsigned Width = 32,
  parameter int unsigned Unit  = 32
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  // stream
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,
  input  logic             last_i,

  // engine
  input  logic             open_i,   // it wants another unit, though maybe not yet
  input  logic             end_i,    // and that unit ends a packet
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Unit-1:0]  data_o,
  output logic             last_o,
  output logic             error_o   // TLAST within a unit
);

  `SPIKE_REQUIRE(gen_bad_width, Width >= 8, "a stream has at least 8 bits")

  if (Width >= Unit) begin : gen_several
    localparam int unsigned Slot       = 1 << $clog2(Unit);
    // a beat of just one unit need not be rounded
    localparam int unsigned Units      = (Width >= Slot) ? Width / Slot : 1;
    localparam int unsigned IndexWidth = (Units > 1) ? $clog2(Units) : 1;

    logic beat_last;

    assign valid_o = valid_i;
    assign ready_o = ready_i && beat_last;
    assign last_o  = last_i && beat_last;
    assign error_o = 1'b0;

    if (Units > 1) begin : gen_index
      logic [IndexWidth-1:0] index_q;

      assign beat_last = end_i || index_q == IndexWidth'(Units - 1);

      always_ff @(posedge clk_i) begin
        if (!rst_ni) index_q <= '0;
        else if (valid_i && ready_i) index_q <= beat_last ? '0 : index_q + 1'b1;
      end

      always_comb begin
        data_o = '0;
        for (int unsigned i = 0; i < Units; i++) begin
          if (index_q == IndexWidth'(i)) data_o = data_i[Slot*i +: Unit];
        end
      end
    end else begin : gen_one
      logic unused;

      assign unused    = ^{clk_i, rst_ni, end_i};
      assign beat_last = 1'b1;
      assign data_o    = data_i[Unit-1:0];
    end

    logic unused_bits;
    assign unused_bits = ^{data_i, open_i};
  end else begin : gen_parts
    localparam int unsigned Beats      = (Unit + Width - 1) / Width;
    localparam int unsigned CountWidth = $clog2(Beats);

    logic [CountWidth-1:0]           count_q;
    logic [Beats-2:0][Width-1:0]     part_q;
    logic [Beats*Width-1:0]          whole;
    logic                            last_beat, take;

    assign last_beat = count_q == CountWidth'(Beats - 1);
    assign ready_o   = last_beat ? ready_i : open_i;
    assign take      = valid_i && ready_o;
    assign valid_o   = valid_i && last_beat;
    assign whole     = {data_i, part_q};
    assign data_o    = whole[Unit-1:0];
    assign last_o    = last_i;
    assign error_o   = take && last_i && !last_beat;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (take) count_q <= last_beat ? '0 : count_q + 1'b1;
    end

    always_ff @(posedge clk_i) begin
      for (int unsigned b = 0; b < Beats - 1; b++) begin
        if (take && count_q == CountWidth'(b)) part_q[b] <= data_i;
      end
    end

    logic unused;
    assign unused = ^{whole, end_i};
  end

endmodule
