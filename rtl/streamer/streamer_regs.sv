// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Registers of the streamer: descriptors of the next run, start, status, sticky errors.
//
// A start hands the descriptors to the three engines; each takes its own when it has ended the one before. Until all have,
// the descriptors are locked.

`include "spike_assert.svh"

module streamer_regs
  import streamer_pkg::*;
#(
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 128,
  parameter int unsigned MaxBurst  = 16
) (
  input  logic                         clk_i,
  input  logic                         rst_ni,

  input  logic                         write_i,
  input  logic [StreamerAddrWidth-1:0] write_addr_i,
  input  logic [31:0]                  write_data_i,
  input  logic [3:0]                   write_strb_i,
  output logic                         write_ok_o,
  input  logic [StreamerAddrWidth-1:0] read_addr_i,
  output logic [31:0]                  read_data_o,
  output logic                         read_ok_o,

  output descriptors_t                 descriptors_o,
  output logic [2:0]                   waits_o,        // sums, weights, membranes: a descriptor to take
  input  logic [2:0]                   take_i,
  output logic                         abort_o,        // a level
  input  logic                         busy_i,
  input  logic                         done_i,         // a pulse
  input  streamer_error_t              error_i,
  output logic                         irq_o
);

  localparam int unsigned IndexWidth = $clog2(DescriptorWords);
  localparam logic [31:0] Bus = {11'd0, 9'(MaxBurst), 8'(AddrWidth), 4'($clog2(DataWidth))};

  logic [DescriptorWords-1:0][31:0] words_q;
  logic                             irq_done_q, irq_error_q, done_q, legal_q;
  logic [15:0]                      runs_q;
  logic                             locked, start, started, descriptor_write, abort;
  logic [31:0]                      old, value;
  streamer_error_t                  error_q, error_set, error_clear;

  function automatic logic is_descriptor(input logic [StreamerAddrWidth-1:0] address);
    return address >= StrDescriptors
           && 32'(address) < 32'(StrDescriptors) + 32'(4 * DescriptorWords);
  endfunction

  function automatic logic [IndexWidth-1:0] index_of(input logic [StreamerAddrWidth-1:0] address);
    return IndexWidth'((address - StrDescriptors) >> 2);
  endfunction

  assign descriptors_o = words_q;

  // ----------------------------------------------------------------------------------------------------- writes
  always_comb begin
    unique case (write_addr_i)
      StrIrqEnable: old = {30'd0, irq_error_q, irq_done_q};
      StrAbort:     old = {31'd0, abort_o};
      default:      old = descriptor_write ? words_q[index_of(write_addr_i)] : '0;
    endcase
    for (int unsigned b = 0; b < 4; b++) value[8*b +: 8] = write_strb_i[b] ? write_data_i[8*b +: 8] : old[8*b +: 8];
  end

  assign descriptor_write = is_descriptor(write_addr_i);
  assign start            = write_addr_i == StrCtrl && value[0];
  assign locked           = (waits_o != '0 && (descriptor_write || start)) || (abort_o && start);
  assign write_ok_o       = !locked && (descriptor_write
                                        || write_addr_i inside {StrCtrl, StrStatus, StrError, StrIrqEnable, StrAbort});
  assign started          = write_i && write_ok_o && start && legal_q;
  assign abort            = write_i && write_addr_i == StrAbort && value[0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      words_q     <= '0;
      irq_done_q  <= 1'b0;
      irq_error_q <= 1'b0;
      abort_o     <= 1'b0;
    end else if (write_i && write_ok_o) begin
      if (descriptor_write) words_q[index_of(write_addr_i)] <= value;
      if (write_addr_i == StrIrqEnable) {irq_error_q, irq_done_q} <= value[1:0];
      if (write_addr_i == StrAbort) abort_o <= value[0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || abort) waits_o <= '0;
    else if (started) waits_o <= '1;
    else waits_o <= waits_o & ~take_i;
  end

  // ------------------------------------------------------------------------------------------------- legality
  function automatic logic on_beats(input logic [31:0] number);
    return (number & 32'(DataWidth / 8 - 1)) == '0;
  endfunction

  function automatic logic reachable(input logic [63:0] address);
    return on_beats(address[31:0]) && (AddrWidth == 64 || (address >> (AddrWidth - 1) >> 1) == '0);
  endfunction

  function automatic logic legal_read(input read_t read);
    return reachable(read.address) && on_beats(read.stride) && read.bytes != '0 && read.packets != '0
           && read.passes != '0;
  endfunction

  function automatic logic legal_write(input write_t sums);
    return reachable(sums.address) && on_beats(sums.row_stride) && on_beats(sums.group_stride)
           && on_beats(sums.tile_stride) && on_beats(sums.row_tile_stride)
           && sums.bytes != '0 && sums.groups != '0 && sums.tiles != '0 && sums.row_tiles != '0;
  endfunction

  // a start comes later than the last word
  always_ff @(posedge clk_i) begin
    legal_q <= legal_read(descriptors_o.membranes) && legal_read(descriptors_o.weights)
               && legal_write(descriptors_o.sums);
  end

  // ---------------------------------------------------------------------------------------- status and errors
  always_comb begin
    error_set            = error_i;
    error_set.write_busy = write_i && locked;
    error_set.descriptor = write_i && write_ok_o && start && !legal_q;
    error_clear          = '0;
    if (write_i && write_addr_i == StrError) error_clear = value[StreamerErrorBits-1:0];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_q  <= 1'b0;
      error_q <= '0;
      runs_q  <= '0;
    end else begin
      error_q <= (error_q & ~error_clear) | error_set;
      runs_q  <= runs_q + 16'(done_i);
      if (done_i) done_q <= 1'b1;
      else if (write_i && write_addr_i == StrStatus && value[1]) done_q <= 1'b0;
    end
  end

  assign irq_o = (irq_done_q && done_q) || (irq_error_q && error_q != '0);

  // ------------------------------------------------------------------------------------------------------ reads
  always_comb begin
    read_ok_o = 1'b1;
    unique case (read_addr_i)
      StrId:        read_data_o = StreamerIdValue;
      StrBus:       read_data_o = Bus;
      StrCtrl:      read_data_o = '0;
      StrStatus:    read_data_o = {28'd0, waits_o != '0, error_q != '0, done_q, busy_i || waits_o != '0};
      StrError:     read_data_o = 32'(error_q);
      StrIrqEnable: read_data_o = {30'd0, irq_error_q, irq_done_q};
      StrAbort:     read_data_o = {31'd0, abort_o};
      StrRuns:      read_data_o = 32'(runs_q);
      default: begin
        read_ok_o   = is_descriptor(read_addr_i);
        read_data_o = read_ok_o ? words_q[index_of(read_addr_i)] : '0;
      end
    endcase
  end

endmodule
