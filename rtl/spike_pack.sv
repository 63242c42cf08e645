// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Between an engine that gives units of `Unit` bits and an output stream of any width.
//
//   a unit is wider than a beat    it leaves in as many beats as it needs, lowest first; the rest of the last is 0
//   a beat holds several units     each takes the next power of two of its width; a packet's last beat may be part full, and
//                                  TKEEP says how far
//
// Nothing but registers decides what is on offer.

`include "spike_assert.svh"

module spike_pack #(
  parameter int unsigned Width = 32,
  parameter int unsigned Unit  = 32,
  localparam int unsigned KeepWidth = (Width + 7) / 8
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  // engine
  input  logic                 valid_i,
  output logic                 ready_o,
  input  logic [Unit-1:0]      data_i,
  input  logic                 last_i,

  // stream
  output logic                 valid_o,
  input  logic                 ready_i,
  output logic [Width-1:0]     data_o,
  output logic [KeepWidth-1:0] keep_o,
  output logic                 last_o
);

  `SPIKE_REQUIRE(gen_bad_width, Width >= 8, "a stream has at least 8 bits")

  localparam int unsigned Slot  = 1 << $clog2(Unit);
  localparam int unsigned Units = (Width >= 2 * Slot) ? Width / Slot : 1;  // of a beat
  localparam int unsigned Beats = (Unit + Width - 1) / Width;              // of a unit

  if (Units > 1) begin : gen_several
    localparam int unsigned IndexWidth = $clog2(Units);
    localparam int unsigned Bytes      = Slot / 8;

    logic [IndexWidth-1:0]       index_q;
    logic [Units-2:0][Slot-1:0]  part_q;
    logic [Units-1:0][Slot-1:0]  beat;
    logic                        complete, push;

    assign complete = last_i || index_q == IndexWidth'(Units - 1);
    assign valid_o  = valid_i && complete;
    assign ready_o  = !complete || ready_i;
    assign push     = valid_i && ready_o;
    assign last_o   = last_i;
    assign data_o   = beat;

    always_comb begin
      for (int unsigned i = 0; i < Units; i++) begin
        beat[i] = '0;
        if (i + 1 < Units && IndexWidth'(i) < index_q) beat[i] = part_q[(i + 1 < Units) ? i : 0];
        if (IndexWidth'(i) == index_q) beat[i] = Slot'(data_i);
        keep_o[Bytes*i +: Bytes] = (IndexWidth'(i) <= index_q) ? '1 : '0;
      end
    end

    always_ff @(posedge clk_i) begin
      if (!rst_ni) index_q <= '0;
      else if (push) index_q <= complete ? '0 : index_q + 1'b1;
    end

    always_ff @(posedge clk_i) begin
      for (int unsigned i = 0; i < Units - 1; i++) begin
        if (push && index_q == IndexWidth'(i)) part_q[i] <= Slot'(data_i);
      end
    end
  end else if (Beats > 1) begin : gen_parts
    localparam int unsigned CountWidth = $clog2(Beats);

    logic [CountWidth-1:0]       count_q;
    logic [Beats-1:0][Width-1:0] beats;
    logic                        last_beat;

    assign beats     = (Beats * Width)'(data_i);
    assign last_beat = count_q == CountWidth'(Beats - 1);
    assign valid_o   = valid_i;
    assign ready_o   = ready_i && last_beat;
    assign data_o    = beats[count_q];
    assign keep_o    = '1;
    assign last_o    = last_i && last_beat;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (valid_i && ready_i) count_q <= last_beat ? '0 : count_q + 1'b1;
    end
  end else begin : gen_one
    logic unused;

    assign unused  = ^{clk_i, rst_ni};
    assign valid_o = valid_i;
    assign ready_o = ready_i;
    assign data_o  = Width'(data_i);
    assign keep_o  = '1;
    assign last_o  = last_i;
  end

endmodule
