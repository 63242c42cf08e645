// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// A small first-word-fall-through queue. Two entries break the ready path of a stream at full throughput.

`include "spike_assert.svh"

module spike_fifo #(
  parameter int unsigned Width = 8,
  parameter int unsigned Depth = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  // in
  input  logic             valid_i,
  output logic             ready_o,
  output logic             room_o,   // ready_o in the next cycle, unless that is one of a reset
  input  logic [Width-1:0] data_i,

  // out
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);

  `SPIKE_REQUIRE(gen_bad_depth, Depth >= 2, "Depth has to be at least 2")

  localparam int unsigned PtrWidth = $clog2(Depth);
  localparam int unsigned CntWidth = $clog2(Depth + 1);

  logic [Width-1:0]    mem_q [Depth];
  logic [PtrWidth-1:0] rd_q, wr_q;
  logic [CntWidth-1:0] count_q, count_d;
  logic                push, pop;

  assign ready_o = count_q != CntWidth'(Depth);
  assign room_o  = count_d != CntWidth'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = mem_q[rd_q];
  assign push    = valid_i & ready_o;
  assign pop     = valid_o & ready_i;

  function automatic logic [PtrWidth-1:0] next(input logic [PtrWidth-1:0] ptr);
    return (ptr == PtrWidth'(Depth - 1)) ? '0 : ptr + 1'b1;
  endfunction

  always_comb begin
    count_d = count_q;
    if (push && !pop) count_d = count_q + 1'b1;
    if (pop && !push) count_d = count_q - 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      rd_q    <= '0;
      wr_q    <= '0;
    end else begin
      count_q <= count_d;
      if (push) wr_q <= next(wr_q);
      if (pop) rd_q <= next(rd_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (push) mem_q[wr_q] <= data_i;
  end

  `SPIKE_ASSERT(NoOverflow, count_q <= CntWidth'(Depth))
  `SPIKE_ASSERT_STABLE(OutStable, valid_o, ready_i, data_o)

endmodule
