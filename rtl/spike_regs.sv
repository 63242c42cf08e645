// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Registers behind an AXI4-Lite port: jobs, start, status, sticky errors, counters. One access at a time.
//
// There are two jobs: the one that runs, and the one that is written in the job registers. A start queues what they hold;
// it begins when the one before has ended, at once if there is none. Until then the job registers are locked.
//
// SLVERR answers an unmapped address, a write to a read-only register, and, while they are locked, a write to a job
// register or a start (which changes nothing). The low word of a counter takes a copy of its high word, so that reading
// low then high gives one consistent value, whatever is read in between.
//
// Every ready and valid comes out of a register that a reset clears: no access is taken in reset, and each one that was
// taken out of it is answered. No input reaches an output within a cycle.

`include "spike_assert.svh"

module spike_regs
  import spike_pkg::*;
#(
  parameter logic [31:0] Id      = RegIdValue,
  parameter logic [31:0] Shape   = '0,
  parameter logic [31:0] Limits  = '0,
  parameter logic [31:0] Blocks  = '0,
  parameter logic [31:0] Streams = '0
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,

  // AXI4-Lite
  input  logic                       s_axil_awvalid_i,
  output logic                       s_axil_awready_o,
  input  logic [RegAddrWidth-1:0]    s_axil_awaddr_i,
  input  logic                       s_axil_wvalid_i,
  output logic                       s_axil_wready_o,
  input  logic [31:0]                s_axil_wdata_i,
  input  logic [3:0]                 s_axil_wstrb_i,
  output logic                       s_axil_bvalid_o,
  input  logic                       s_axil_bready_i,
  output logic [1:0]                 s_axil_bresp_o,
  input  logic                       s_axil_arvalid_i,
  output logic                       s_axil_arready_o,
  input  logic [RegAddrWidth-1:0]    s_axil_araddr_i,
  output logic                       s_axil_rvalid_o,
  input  logic                       s_axil_rready_i,
  output logic [31:0]                s_axil_rdata_o,
  output logic [1:0]                 s_axil_rresp_o,

  // core
  output job_t                       job_o,      // runs
  output logic                       start_o,    // with a new job_o
  output logic                       queued_o,   // another job waits
  output logic                       clear_o,
  output logic                       abort_o,    // a level
  input  logic                       busy_i,
  input  logic                       done_i,
  input  error_t                     error_i,
  input  logic [Counters-1:0][63:0]  count_i,
  output logic                       irq_o
);

  localparam logic [1:0] RespOkay = 2'b00;
  localparam logic [1:0] RespSlvErr = 2'b10;
  localparam int unsigned CounterIndexWidth = $clog2(Counters);
  localparam int unsigned JobsWidth = 16;

  // What a write is for; its address is decoded as it comes in
  typedef struct packed {
    logic ctrl;
    logic status;
    logic error;
    logic mode;
    logic rows;
    logic outputs;
    logic groups;
    logic group_inputs;
    logic irq_enable;
    logic aborting;
  } writes_t;

  job_t                 next_q;       // in the job registers
  logic                 irq_done_q, irq_error_q, done_q;
  error_t               error_q;
  logic [JobsWidth-1:0] jobs_q;
  logic [Counters-1:0]  is_counter;
  logic                 awake_q;      // out of reset

  always_ff @(posedge clk_i) awake_q <= rst_ni;

  // ------------------------------------------------------------------------------------------- write channel
  logic                    aw_held_q, w_held_q, write, write_ok, job_write, locked, start, abort;
  logic [RegAddrWidth-1:0] aw;
  writes_t                 to, to_q;
  logic [31:0]             w_q, mode, old, value;
  logic [3:0]              strb_q;

  assign aw               = {s_axil_awaddr_i[RegAddrWidth-1:2], 2'b00};
  assign s_axil_awready_o = awake_q && !aw_held_q;
  assign s_axil_wready_o  = awake_q && !w_held_q;
  assign write            = aw_held_q && w_held_q && (!s_axil_bvalid_o || s_axil_bready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_held_q       <= 1'b0;
      w_held_q        <= 1'b0;
      s_axil_bvalid_o <= 1'b0;
      s_axil_bresp_o  <= RespOkay;
    end else begin
      if (s_axil_awvalid_i && s_axil_awready_o) aw_held_q <= 1'b1;
      else if (write) aw_held_q <= 1'b0;
      if (s_axil_wvalid_i && s_axil_wready_o) w_held_q <= 1'b1;
      else if (write) w_held_q <= 1'b0;
      if (write) begin
        s_axil_bvalid_o <= 1'b1;
        s_axil_bresp_o  <= write_ok ? RespOkay : RespSlvErr;
      end else if (s_axil_bready_i) begin
        s_axil_bvalid_o <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_axil_awvalid_i && s_axil_awready_o) to_q <= to;
    if (s_axil_wvalid_i && s_axil_wready_o) begin
      w_q    <= s_axil_wdata_i;
      strb_q <= s_axil_wstrb_i;
    end
  end

  // ---------------------------------------------------------------------------------------------- registers
  assign mode = {19'd0, next_q.frac_bits, 5'd0, next_q.capped, next_q.spike_stream, next_q.coding};

  assign to = '{
    ctrl:         aw == RegCtrl,
    status:       aw == RegStatus,
    error:        aw == RegError,
    mode:         aw == RegMode,
    rows:         aw == RegRows,
    outputs:      aw == RegOutputs,
    groups:       aw == RegGroups,
    group_inputs: aw == RegGroupInputs,
    irq_enable:   aw == RegIrqEnable,
    aborting:     aw == RegAbort
  };

  always_comb begin
    old = '0;  // of write-one registers
    if (to_q.mode) old |= mode;
    if (to_q.rows) old |= next_q.rows;
    if (to_q.outputs) old |= next_q.outputs;
    if (to_q.groups) old |= next_q.groups;
    if (to_q.group_inputs) old |= next_q.group_inputs;
    if (to_q.irq_enable) old |= {30'd0, irq_error_q, irq_done_q};
    if (to_q.aborting) old |= {31'd0, abort_o};
    for (int unsigned b = 0; b < 4; b++) value[8*b +: 8] = strb_q[b] ? w_q[8*b +: 8] : old[8*b +: 8];
  end

  assign job_write = to_q.mode || to_q.rows || to_q.outputs || to_q.groups || to_q.group_inputs;
  assign start     = to_q.ctrl && strb_q[0] && w_q[0];
  assign locked    = (queued_o && (job_write || start)) || (abort_o && start);
  assign write_ok  = to_q != '0 && !locked;
  assign abort     = write && to_q.aborting && value[0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_q      <= '0;
      irq_done_q  <= 1'b0;
      irq_error_q <= 1'b0;
      abort_o     <= 1'b0;
      clear_o     <= 1'b0;
    end else begin
      clear_o <= write && write_ok && to_q.ctrl && value[1];
      if (write && write_ok) begin
        if (to_q.mode) begin
          next_q.coding       <= coding_e'(value[0]);
          next_q.spike_stream <= value[1];
          next_q.capped       <= value[2];
          next_q.frac_bits    <= value[12:8];
        end
        if (to_q.rows) next_q.rows <= value;
        if (to_q.outputs) next_q.outputs <= value;
        if (to_q.groups) next_q.groups <= value;
        if (to_q.group_inputs) next_q.group_inputs <= value;
        if (to_q.irq_enable) {irq_error_q, irq_done_q} <= value[1:0];
        if (to_q.aborting) abort_o <= value[0];
      end
    end
  end

  // ---------------------------------------------------------------------------------------------------- queue
  logic started, begins;

  assign started = write && start && !queued_o && !abort_o;
  assign begins  = (started || queued_o) && !busy_i && !start_o && !abort;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || abort) begin
      queued_o <= 1'b0;
      start_o  <= 1'b0;
    end else begin
      start_o  <= begins;
      queued_o <= (started || queued_o) && !begins;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) job_o <= '0;
    else if (begins) job_o <= next_q;
  end

  // -------------------------------------------------------------------------------------- status and errors
  error_t error_set, error_clear;

  always_comb begin
    error_set            = error_i;
    error_set.write_busy = write && locked;
    error_clear          = '0;
    if (write && to_q.error) error_clear = value[ErrorBits-1:0];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_q  <= 1'b0;
      error_q <= '0;
      jobs_q  <= '0;
    end else begin
      error_q <= (error_q & ~error_clear) | error_set;
      jobs_q  <= jobs_q + JobsWidth'(done_i);
      if (done_i) done_q <= 1'b1;
      else if (write && to_q.status && value[1]) done_q <= 1'b0;
    end
  end

  assign irq_o = (irq_done_q && done_q) || (irq_error_q && error_q != '0);

  // -------------------------------------------------------------------------------------------- read channel
  logic                         read, read_ok;
  logic [RegAddrWidth-1:0]      ar;
  logic [31:0]                  read_data, high_q;
  logic [CounterIndexWidth-1:0] index;

  assign ar               = {s_axil_araddr_i[RegAddrWidth-1:2], 2'b00};
  assign s_axil_arready_o = awake_q && !s_axil_rvalid_o;
  assign read             = s_axil_arvalid_i && s_axil_arready_o;

  always_comb begin
    index = '0;
    for (int unsigned i = 0; i < Counters; i++) begin
      is_counter[i] = ar[RegAddrWidth-1:3] == (RegCounterBase[RegAddrWidth-1:3] + (RegAddrWidth - 3)'(i));
      if (is_counter[i]) index = CounterIndexWidth'(i);
    end
  end

  always_comb begin
    read_ok = 1'b1;
    unique case (ar)
      RegId:          read_data = Id;
      RegVersion:     read_data = RegVersionValue;
      RegShape:       read_data = Shape;
      RegLimits:      read_data = Limits;
      RegBlocks:      read_data = Blocks;
      RegCtrl:        read_data = '0;
      RegStatus:      read_data = {28'd0, queued_o, error_q != '0, done_q, busy_i || start_o || queued_o};
      RegError:       read_data = 32'(error_q);
      RegMode:        read_data = mode;
      RegRows:        read_data = next_q.rows;
      RegOutputs:     read_data = next_q.outputs;
      RegGroups:      read_data = next_q.groups;
      RegGroupInputs: read_data = next_q.group_inputs;
      RegIrqEnable:   read_data = {30'd0, irq_error_q, irq_done_q};
      RegAbort:       read_data = {31'd0, abort_o};
      RegJobs:        read_data = 32'(jobs_q);
      RegStreams:     read_data = Streams;
      default: begin
        read_ok   = is_counter != '0;
        read_data = ar[2] ? high_q : count_i[index][31:0];
        if (!read_ok) read_data = '0;
      end
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_rvalid_o <= 1'b0;
      s_axil_rresp_o  <= RespOkay;
    end else if (read) begin
      s_axil_rvalid_o <= 1'b1;
      s_axil_rresp_o  <= read_ok ? RespOkay : RespSlvErr;
    end else if (s_axil_rready_i) begin
      s_axil_rvalid_o <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (read) begin
      s_axil_rdata_o <= read_data;
      if (is_counter != '0 && !ar[2]) high_q <= count_i[index][63:32];
    end
  end

  // Registers are words: the byte within the word does not matter.
  logic unused_addr;
  assign unused_addr = ^{s_axil_awaddr_i[1:0], s_axil_araddr_i[1:0]};

  `SPIKE_ASSERT_STABLE(BStable, s_axil_bvalid_o, s_axil_bready_i, s_axil_bresp_o)
  `SPIKE_ASSERT_STABLE(RStable, s_axil_rvalid_o, s_axil_rready_i, {s_axil_rdata_o, s_axil_rresp_o})
  `SPIKE_ASSERT(StartIdle, !start_o || !busy_i)

endmodule
