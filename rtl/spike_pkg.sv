// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Everything the spike core's modules agree on: codings, spikes, jobs, registers and error bits.
//
// A token row has a number of timesteps T of its own. Step t of the row carries the weight 2^exponent, with
//
//   tc_lif:  exponent = T-1-t,  t = 0 .. T-1          csd:  exponent = T-t,  t = 0 .. T
//
// so a spike plane is addressed by its exponent inside the core: rows of different T then line up, and the
// accumulators need not know any T.
//
// Inputs are numbered k. A *chunk* is one beat of membranes: Lanes consecutive inputs, one a lane. A *block* is Slots
// chunks: what the weight banks hold at a time. The last chunk of a group may have fewer inputs, its last block fewer
// chunks.

package spike_pkg;

  // ------------------------------------------------------------------------------------------------ sizes
  parameter int unsigned MembraneWidth = 32;  // signed fixed point, FracBits fractional bits
  parameter int unsigned AccWidth = 32;       // accumulators, exact
  parameter int unsigned TmaxLimit = 7;       // largest T any core may be built for
  parameter int unsigned TWidth = 3;          // holds 1 .. TmaxLimit
  parameter int unsigned StepWidth = 4;       // holds the steps of a row, 1 .. TmaxLimit + 1
  parameter int unsigned CountWidth = 32;     // rows, columns, inputs of a job

  // ----------------------------------------------------------------------------------------------- spikes
  // A spike is a two-bit two's complement number: 00 = 0, 01 = +1, 11 = -1. (10 never occurs.)
  typedef struct packed {
    logic neg;
    logic fire;
  } spike_t;

  typedef enum logic {
    CodingTcLif = 1'b0,
    CodingCsd   = 1'b1
  } coding_e;

  // -------------------------------------------------------------------------------------------------- job
  // What software sets before a start. K = groups * group_inputs; group_inputs = K without group scales.
  typedef struct packed {
    coding_e                 coding;
    logic                    spike_stream;  // copy fired spikes to the spike stream
    logic                    capped;        // full lanes of a block drop spikes of the last step
    logic [4:0]              frac_bits;     // F of the membranes; 0 = codes come in
    logic [CountWidth-1:0]   rows;          // M
    logic [CountWidth-1:0]   outputs;       // N
    logic [CountWidth-1:0]   groups;        // G
    logic [CountWidth-1:0]   group_inputs;  // K / G
  } job_t;

  parameter int unsigned MaxFracBits = 30;
  parameter int unsigned MinCappedFracBits = 2;  // losses are told apart in quarters

  // Bits of a membrane that a code of T steps has no room for.
  function automatic logic [MembraneWidth-1:0] bits_beyond(input logic [4:0] frac_bits,
                                                           input logic [TWidth-1:0] timesteps);
    return ({MembraneWidth{1'b1}} << frac_bits) << timesteps;
  endfunction

  // Bits of a membrane below the one that decides how it is rounded.
  function automatic logic [MembraneWidth-1:0] bits_below(input logic [4:0] frac_bits);
    return ~MembraneWidth'(({(MembraneWidth + 1){1'b1}} << frac_bits) >> 1);
  endfunction

  // ---------------------------------------------------------------------------------------- stream headers
  // First unit of a row on the membrane stream: T in the low bits, all other bits are ignored. With UserTimesteps there is
  // none.
  parameter int unsigned HeaderTLsb = 0;

  // ---------------------------------------------------------------------------------------------- registers
  parameter int unsigned RegAddrWidth = 8;

  parameter logic [31:0] RegIdValue = 32'h5350_4b31;  // "SPK1"
  parameter logic [31:0] RegVersionValue = 32'h0002_0000;

  typedef enum logic [RegAddrWidth-1:0] {
    RegId          = 8'h00,
    RegVersion     = 8'h04,
    RegShape       = 8'h08,  // {weight_inputs, lanes, columns, rows}, 8 bits each
    RegLimits      = 8'h0c,  // {0, capped, one_block, csd, slots[7:0], tmax[3:0], weight_bits[3:0]}
    RegBlocks      = 8'h10,  // capacity of the spike store, in blocks of lanes x slots inputs
    RegCtrl        = 8'h14,  // W1: [0] start, [1] clear counters
    RegStatus      = 8'h18,  // [0] busy, [1] done (W1C), [2] error, [3] queued
    RegError       = 8'h1c,  // sticky, W1C: error_e
    RegMode        = 8'h20,  // [0] coding, [1] spike stream, [2] capped, [12:8] frac bits
    RegRows        = 8'h24,  // M
    RegOutputs     = 8'h28,  // N
    RegGroups      = 8'h2c,  // G
    RegGroupInputs = 8'h30,  // K / G
    RegIrqEnable   = 8'h34,  // interrupt on [0] done, [1] error
    RegAbort       = 8'h38,  // [0] drop all jobs and all input
    RegJobs        = 8'h3c,  // jobs done, modulo 2^16
    RegStreams     = 8'he0   // widths and fields of the streams
  } reg_e;

  parameter logic [RegAddrWidth-1:0] RegCounterBase = 8'h40;  // 64 bits each: low word, high word

  // ------------------------------------------------------------------------------------------------- errors
  typedef struct packed {
    logic left_over;     // [12] input was left when a job was done and none waited; its packet was dropped
    logic coding;        // [11] csd or capped firing where it cannot be: MODE, docs/registers.md
    logic write_busy;    // [10] a job register was written, or a start given, while locked
    logic weight_range;  // [9]  a weight does not fit the core's weight bits
    logic weight_last;   // [8]  TLAST of the weight stream not where the job has it
    logic membrane_last; // [7]  TLAST of the membrane stream not where the job has it
    logic timesteps;     // [6]  a row's T is 0 or above Tmax (it was clamped)
    logic capacity;      // [5]  K does not fit the spike store
    logic frac_bits;     // [4]  more than MaxFracBits, or too few for capped firing
    logic group_inputs;  // [3]  0
    logic groups;        // [2]  0
    logic outputs;       // [1]  0
    logic rows;          // [0]  0
  } error_t;

  parameter int unsigned ErrorBits = $bits(error_t);

  // ----------------------------------------------------------------------------------------------- counters
  typedef enum logic [4:0] {
    CntCycles        = 5'd0,   // cycles with a job running
    CntRows          = 5'd1,   // token rows fired
    CntSpikes        = 5'd2,   // spikes fired by the neurons
    CntSaturated     = 5'd3,   // membranes beyond the code range
    CntAdditions     = 5'd4,   // spikes that reached the array: each is one addition per column
    CntWords         = 5'd5,   // cycles the array worked: each has a slot for one addition per lane and column
    CntSkipped       = 5'd6,   // positions (input, step) without a spike, which the array never visits
    CntStallMembrane = 5'd7,   // cycles the front end waited for membranes
    CntStallStore    = 5'd8,   // cycles the front end waited for room in the spike store
    CntStallSpike    = 5'd9,   // cycles the front end was blocked by the spike stream
    CntStallFire     = 5'd10,  // cycles the array waited for fired rows
    CntStallWeight   = 5'd11,  // cycles the array waited for weights
    CntStallAcc      = 5'd12,  // cycles the array was blocked by the accumulator stream
    CntRowsT1        = 5'd13   // rows with T = 1; those with T = 2 .. TmaxLimit follow
  } counter_e;

  parameter int unsigned Counters = int'(CntRowsT1) + TmaxLimit;
  parameter int unsigned IncWidth = 16;  // increment of a counter in one cycle: at most steps x lanes

  // -------------------------------------------------------------------------------------------------- passes
  // Where a plane or a word of additions stands in its job; travels with it through the pipeline.
  typedef struct packed {
    logic acc_first;   // first block of a group: forget the old sum
    logic acc_last;    // last block of a group: hand the sum over
    logic tile_last;   // last row of its tile
  } place_t;

endpackage
