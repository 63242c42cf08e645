// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Everything the streamer's modules agree on: registers, descriptors, error bits. Addresses are those within the streamer;
// it begins at 0x100 of a streamed core.

package streamer_pkg;

  parameter int unsigned StreamerAddrWidth = 8;
  parameter logic [31:0] StreamerIdValue = 32'h5350_4d31;  // "SPM1"

  typedef enum logic [StreamerAddrWidth-1:0] {
    StrId         = 8'h00,
    StrBus        = 8'h04,  // {0, max burst[8:0], address width[7:0], log2 of a beat's bits[3:0]}
    StrCtrl       = 8'h08,  // W1: [0] start
    StrStatus     = 8'h0c,  // [0] busy, [1] done (W1C), [2] error, [3] queued
    StrError      = 8'h10,  // sticky, W1C: streamer_error_t
    StrIrqEnable  = 8'h14,  // interrupt on [0] done, [1] error
    StrAbort      = 8'h18,  // [0] no more bursts; what was read goes to the core, sums are dropped
    StrRuns       = 8'h1c   // runs done, modulo 2^16
  } streamer_reg_e;

  parameter logic [StreamerAddrWidth-1:0] StrDescriptors = 8'h40;  // words of descriptors_t, the first one lowest

  // ---------------------------------------------------------------------------------------------- descriptors
  // Reads `bytes` from `address`, as a packet with TLAST at its end; `packets` of them, `stride` from one to the next;
  // all of that `passes` times.
  typedef struct packed {
    logic [31:0] passes;
    logic [31:0] packets;
    logic [31:0] stride;
    logic [31:0] bytes;
    logic [63:0] address;
  } read_t;

  // Writes sums: pieces of `bytes`, `row_stride` from one to the next, until TLAST ends a group of a tile. Then the next
  // group, column tile, row tile, each `*_stride` from where the one before began.
  typedef struct packed {
    logic [31:0] row_tile_stride;
    logic [31:0] row_tiles;
    logic [31:0] tile_stride;
    logic [31:0] tiles;
    logic [31:0] group_stride;
    logic [31:0] groups;
    logic [31:0] row_stride;
    logic [31:0] bytes;
    logic [63:0] address;
  } write_t;

  typedef struct packed {
    write_t sums;
    read_t  weights;
    read_t  membranes;
  } descriptors_t;

  parameter int unsigned DescriptorWords = $bits(descriptors_t) / 32;

  // ------------------------------------------------------------------------------------------------- errors
  typedef struct packed {
    logic write_busy;        // [7] a descriptor was written, or a start given, while locked
    logic descriptor;        // [6] an address or stride is no multiple of a beat, or a size is 0
    logic sum_decode;        // [5] DECERR for sums
    logic sum_slave;         // [4] SLVERR for sums
    logic weight_decode;     // [3] DECERR for weights
    logic weight_slave;      // [2] SLVERR for weights
    logic membrane_decode;   // [1] DECERR for membranes
    logic membrane_slave;    // [0] SLVERR for membranes
  } streamer_error_t;

  parameter int unsigned StreamerErrorBits = $bits(streamer_error_t);

  // ----------------------------------------------------------------------------------------------------- bus
  parameter int unsigned PageBytes = 4096;  // no burst crosses a multiple of it

  parameter logic [1:0] RespSlvErr = 2'b10;
  parameter logic [1:0] RespDecErr = 2'b11;

endpackage
