// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Ends what runs, without a reset of the ports. While it is told to, all input is taken and forgotten; beats that the
// output streams have offered stay until they are taken, and no more come. Then the engines are reset.
//
//   abort_i      ______/-----------------\________
//   drop_o       _______/-----------------\_______    input is dropped
//   closed       _________/-----------------\_____    an output with nothing on offer
//   engines      running   | in reset         | idle

`include "spike_assert.svh"

module spike_abort #(
  parameter int unsigned Outputs = 1
) (
  input  logic               clk_i,
  input  logic               rst_ni,

  input  logic               abort_i,        // a level
  output logic               busy_o,         // offers are open, or the engines will be in reset in the next cycle
  output logic               drop_o,         // takes all input
  output logic               engine_rst_no,

  // output streams: engines, ports
  input  logic [Outputs-1:0] valid_i,
  output logic [Outputs-1:0] ready_o,
  output logic [Outputs-1:0] valid_o,
  input  logic [Outputs-1:0] ready_i
);

  logic               abort_q, reset_q;
  logic [Outputs-1:0] closed_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      abort_q  <= 1'b0;
      closed_q <= '0;
      reset_q  <= 1'b0;
    end else begin
      abort_q  <= abort_i || (abort_q && !reset_q);  // once begun it goes through
      closed_q <= abort_q ? (~valid_o | ready_i) : '0;  // a closed one is not valid
      reset_q  <= abort_q && closed_q == '1;
    end
  end

  assign drop_o        = abort_q;
  assign busy_o        = abort_q ? !(reset_q && abort_i) : reset_q;
  assign engine_rst_no = rst_ni && !reset_q;
  assign valid_o       = valid_i & ~closed_q;
  assign ready_o       = ready_i & ~closed_q;

endmodule
