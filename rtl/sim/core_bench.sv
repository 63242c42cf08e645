// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. A bench that needs nothing but a SystemVerilog simulator: random jobs with pauses on all streams, for
// spike_core and dense_core alike. What neurons and accumulators have to give is computed here as the documentation says it,
// in integers; spikes are checked by what they sum up to.
//
//   +jobs=N   jobs to run (default: 20)      +seed=N   of sizes, values and pauses (default: 1)

module core_bench
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 3,
  parameter int unsigned Columns      = 4,
  parameter int unsigned Lanes        = 8,
  parameter int unsigned Slots        = 4,     // 1 for the dense baseline
  parameter int unsigned WeightInputs = Lanes,
  parameter int unsigned WeightBits   = 4,
  parameter int unsigned Tmax         = 4,
  parameter int unsigned MaxInputs    = 128,
  parameter bit          Csd          = 1'b1,  // jobs in csd, too
  parameter bit          SpikeStream  = 1'b1,  // jobs that copy their spikes, too
  localparam int unsigned MembraneBeat = Lanes * MembraneWidth,
  localparam int unsigned WeightBeat   = WeightInputs * Columns * 8,
  localparam int unsigned SpikeBeat    = 2 * Lanes,
  localparam int unsigned AccBeat      = Columns * AccWidth
) (
  output logic                    clk_o,
  output logic                    rst_no,

  output logic                    axil_awvalid_o,
  input  logic                    axil_awready_i,
  output logic [RegAddrWidth-1:0] axil_awaddr_o,
  output logic                    axil_wvalid_o,
  input  logic                    axil_wready_i,
  output logic [31:0]             axil_wdata_o,
  output logic [3:0]              axil_wstrb_o,
  input  logic                    axil_bvalid_i,
  output logic                    axil_bready_o,
  input  logic [1:0]              axil_bresp_i,
  output logic                    axil_arvalid_o,
  input  logic                    axil_arready_i,
  output logic [RegAddrWidth-1:0] axil_araddr_o,
  input  logic                    axil_rvalid_i,
  output logic                    axil_rready_o,
  input  logic [31:0]             axil_rdata_i,
  input  logic [1:0]              axil_rresp_i,

  output logic                    membrane_tvalid_o,
  input  logic                    membrane_tready_i,
  output logic [MembraneBeat-1:0] membrane_tdata_o,
  output logic                    membrane_tlast_o,

  output logic                    weight_tvalid_o,
  input  logic                    weight_tready_i,
  output logic [WeightBeat-1:0]   weight_tdata_o,
  output logic                    weight_tlast_o,

  input  logic                    spike_tvalid_i,
  output logic                    spike_tready_o,
  input  logic [SpikeBeat-1:0]    spike_tdata_i,
  input  logic                    spike_tlast_i,

  input  logic                    acc_tvalid_i,
  output logic                    acc_tready_o,
  input  logic [AccBeat-1:0]      acc_tdata_i,
  input  logic                    acc_tlast_i
);

  localparam int unsigned Blocks     = MaxInputs / (Lanes * Slots);
  localparam int unsigned MostRows   = 2 * Rows + 1;
  localparam int unsigned MostOutputs = 2 * Columns + 1;
  localparam int unsigned Patience   = 1_000_000;  // cycles without an end of a job

  initial clk_o = 1'b0;
  always #5ns clk_o = !clk_o;

  // ------------------------------------------------------------------------------------------------- numbers
  logic [31:0] state;

  // xorshift: the same numbers in every simulator
  function automatic int unsigned random(input int unsigned below);
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
  endfunction

  int unsigned rows, outputs, inputs, groups, group_inputs, chunks, frac_bits, pauses;  // pauses: in 4 cycles
  bit          csd, copies;
  int          membrane [MostRows][MaxInputs];
  int          code     [MostRows][MaxInputs];
  int          weight   [MostOutputs][MaxInputs];
  int unsigned timesteps[MostRows];

  // A neuron's code: the nearest integer, halves away from zero, within 2^T - 1.
  function automatic int code_of(input int value, input int unsigned steps);
    longint size, limit;
    size  = (value < 0) ? -longint'(value) : longint'(value);
    size  = (size + ((64'd1 << frac_bits) >> 1)) >> frac_bits;
    limit = (64'd1 << steps) - 1;
    if (size > limit) size = limit;
    return (value < 0) ? -int'(size) : int'(size);
  endfunction

  task automatic choose_job();
    int unsigned blocks, span;
    csd       = Csd && random(2) == 0;
    copies    = SpikeStream && random(2) == 0;
    frac_bits = (random(4) == 0) ? 0 : random(17);
    pauses    = random(4);
    rows      = 1 + random(MostRows);
    outputs   = 1 + random(MostOutputs);
    groups    = (Blocks > 1 && random(2) == 0) ? 2 : 1;
    blocks    = Blocks / groups;
    group_inputs = 1 + random(blocks * Lanes * Slots);
    inputs    = groups * group_inputs;
    chunks    = (group_inputs + Lanes - 1) / Lanes;
    for (int unsigned m = 0; m < rows; m++) begin
      timesteps[m] = 1 + random(Tmax);
      span         = timesteps[m] + frac_bits + 1;
      for (int unsigned k = 0; k < inputs; k++) begin
        membrane[m][k] = int'(random(32'hffff_ffff));
        if (random(16) != 0) membrane[m][k] = membrane[m][k] >>> (31 - span + random(3));
        if (random(4) == 0) membrane[m][k] = 0;
        code[m][k] = code_of(membrane[m][k], timesteps[m]);
      end
    end
    for (int unsigned n = 0; n < outputs; n++) begin
      for (int unsigned k = 0; k < inputs; k++) begin
        weight[n][k] = int'(random(1 << WeightBits)) - (1 << (WeightBits - 1));
      end
    end
  endtask

  function automatic int sum_of(input int unsigned m, input int unsigned n, input int unsigned g);
    int sum = 0;
    for (int unsigned k = g * group_inputs; k < (g + 1) * group_inputs; k++) sum += code[m][k] * weight[n][k];
    return sum;
  endfunction

  // ------------------------------------------------------------------------------------------------ registers
  task automatic write_register(input reg_e address, input logic [31:0] data);
    bit address_open = 1'b1, data_open = 1'b1;
    axil_awaddr_o = address;
    axil_wdata_o  = data;
    while (address_open || data_open) begin
      axil_awvalid_o = address_open;
      axil_wvalid_o  = data_open;
      @(posedge clk_o);
      if (axil_awready_i) address_open = 1'b0;
      if (axil_wready_i) data_open = 1'b0;
      @(negedge clk_o);
    end
    {axil_awvalid_o, axil_wvalid_o} = '0;
    do @(posedge clk_o); while (!axil_bvalid_i);
    @(negedge clk_o);
    if (axil_bresp_i != 2'b00) $fatal(1, "the write to %s was refused", address.name());
  endtask

  task automatic read_register(input logic [RegAddrWidth-1:0] address, output logic [31:0] data);
    axil_araddr_o  = address;
    axil_arvalid_o = 1'b1;
    do @(posedge clk_o); while (!axil_arready_i);
    @(negedge clk_o);
    axil_arvalid_o = 1'b0;
    do @(posedge clk_o); while (!axil_rvalid_i);
    if (axil_rresp_i != 2'b00) $fatal(1, "the read from 0x%02x was refused", address);
    data = axil_rdata_i;
    @(negedge clk_o);
  endtask

  // -------------------------------------------------------------------------------------------------- streams
  // Inputs of the core change at the falling edge of the clock, and its outputs are looked at at the rising one: so it
  // does not matter in what order a simulator runs its processes.
  task automatic pause();
    while (random(4) < pauses) @(negedge clk_o);
  endtask

  task automatic send_membranes();
    logic [MembraneBeat-1:0] beat;
    for (int unsigned m = 0; m < rows; m++) begin
      for (int unsigned c = 0; c <= groups * chunks; c++) begin
        for (int unsigned l = 0; l < Lanes; l++) begin
          beat[32*l+:32] = random(32'hffff_ffff);  // what is ignored holds noise
          if (c != 0) begin
            automatic int unsigned place = (c - 1) % chunks * Lanes + l;
            if (place < group_inputs) beat[32*l+:32] = membrane[m][(c-1)/chunks*group_inputs+place];
          end
        end
        if (c == 0) beat[7:0] = 8'(timesteps[m]);
        pause();
        membrane_tdata_o  = beat;
        membrane_tlast_o  = c == groups * chunks;
        membrane_tvalid_o = 1'b1;
        do @(posedge clk_o); while (!membrane_tready_i);
        @(negedge clk_o);
        membrane_tvalid_o = 1'b0;
      end
    end
  endtask

  task automatic send_weights();
    logic [WeightBeat-1:0] beat;
    for (int unsigned m = 0; m < rows; m += Rows) begin
      for (int unsigned n = 0; n < outputs; n += Columns) begin
        for (int unsigned b = 0; b < groups * chunks * (Lanes / WeightInputs); b++) begin
          for (int unsigned i = 0; i < WeightInputs; i++) begin
            automatic int unsigned place = b * WeightInputs + i;  // among the lanes of all chunks
            automatic int unsigned k = place % (chunks * Lanes);
            for (int unsigned c = 0; c < Columns; c++) begin
              beat[8*(i*Columns+c)+:8] = 8'(random(256));
              if (k < group_inputs && n + c < outputs) begin
                beat[8*(i*Columns+c)+:8] = 8'(weight[n+c][place/(chunks*Lanes)*group_inputs+k]);
              end
            end
          end
          pause();
          weight_tdata_o  = beat;
          weight_tlast_o  = b == groups * chunks * (Lanes / WeightInputs) - 1;
          weight_tvalid_o = 1'b1;
          do @(posedge clk_o); while (!weight_tready_i);
          @(negedge clk_o);
          weight_tvalid_o = 1'b0;
        end
      end
    end
  endtask

  // An output is taken in three of four cycles, or fewer.
  always @(negedge clk_o) begin
    spike_tready_o = random(4) >= pauses;
    acc_tready_o   = random(4) >= pauses;
  end

  // Spikes of an input: weighted by their steps they are its code. In tc_lif they have one sign; in csd no two steps that
  // follow each other have both a spike. Either way there is only one such row.
  task automatic take_spikes();
    int sum [Lanes];
    bit fired [Lanes];
    for (int unsigned m = 0; m < rows; m++) begin
      for (int unsigned c = 0; c < groups * chunks; c++) begin
        automatic int unsigned steps = timesteps[m] + 32'(csd);
        for (int unsigned t = 0; t < steps; t++) begin
          do @(posedge clk_o); while (!(spike_tvalid_i && spike_tready_o));
          if (spike_tlast_i != (c == groups * chunks - 1 && t == steps - 1)) $fatal(1, "TLAST of a spike, row %0d", m);
          for (int unsigned l = 0; l < Lanes; l++) begin
            automatic logic signed [1:0] spike = spike_tdata_i[2*l+:2];
            automatic int unsigned place = c % chunks * Lanes + l;
            automatic int unsigned k = c / chunks * group_inputs + place;
            if (place < group_inputs) begin
              if (t == 0) sum[l] = 0;
              if (spike == -2'sd2) $fatal(1, "spike of row %0d, input %0d is none", m, k);
              if (spike != 0 && !csd && (spike < 0) != (code[m][k] < 0)) $fatal(1, "sign, row %0d, input %0d", m, k);
              if (spike != 0 && csd && t != 0 && fired[l]) $fatal(1, "neighbours, row %0d, input %0d", m, k);
              fired[l] = spike != 0;
              sum[l] = 2 * sum[l] + int'(spike);
              if (t == steps - 1 && sum[l] != code[m][k]) begin
                $fatal(1, "row %0d, input %0d: spikes of %0d, not of %0d", m, k, sum[l], code[m][k]);
              end
            end
          end
        end
      end
    end
  endtask

  task automatic take_sums();
    for (int unsigned m0 = 0; m0 < rows; m0 += Rows) begin
      for (int unsigned n0 = 0; n0 < outputs; n0 += Columns) begin
        for (int unsigned g = 0; g < groups; g++) begin
          for (int unsigned m = m0; m < m0 + Rows && m < rows; m++) begin
            do @(posedge clk_o); while (!(acc_tvalid_i && acc_tready_o));
            if (acc_tlast_i != (m == m0 + Rows - 1 || m == rows - 1)) $fatal(1, "TLAST of a sum, row %0d", m);
            for (int unsigned c = 0; c < Columns; c++) begin
              automatic int got = acc_tdata_i[32*c+:32];
              automatic int want = (n0 + c < outputs) ? sum_of(m, n0 + c, g) : 0;
              if (got != want) $fatal(1, "row %0d, output %0d, group %0d: %0d, not %0d", m, n0 + c, g, got, want);
            end
          end
        end
      end
    end
  endtask

  // ----------------------------------------------------------------------------------------------------- jobs
  int unsigned jobs, seed, all_rows;
  logic [31:0] found;

  task automatic run_job();
    write_register(RegMode, {19'd0, 5'(frac_bits), 6'd0, copies, csd});
    write_register(RegRows, rows);
    write_register(RegOutputs, outputs);
    write_register(RegGroups, groups);
    write_register(RegGroupInputs, group_inputs);
    write_register(RegCtrl, 32'd1);
    fork
      send_membranes();
      send_weights();
      if (copies) take_spikes();
      take_sums();
    join
    @(negedge clk_o);
    do read_register(RegStatus, found); while (found[0]);
    if (found[3:0] != 4'b0010) $fatal(1, "status 0x%0x, not done", found);
    read_register(RegError, found);
    if (found != '0) $fatal(1, "error 0x%0x", found);
    write_register(RegStatus, 32'd2);
    all_rows += rows;
    read_register(RegCounterBase + 8 * CntRows, found);
    if (found != all_rows) $fatal(1, "%0d rows were counted, not %0d", found, all_rows);
  endtask

  initial begin
    if (!$value$plusargs("jobs=%d", jobs)) jobs = 20;
    if (!$value$plusargs("seed=%d", seed)) seed = 1;
    state = seed ^ 32'h9e37_79b9;
    if (state == 0) state = 32'd1;
    {axil_awvalid_o, axil_wvalid_o, axil_arvalid_o, membrane_tvalid_o, weight_tvalid_o} = '0;
    axil_wstrb_o  = '1;
    axil_bready_o = 1'b1;
    axil_rready_o = 1'b1;
    pauses   = 0;
    all_rows = 0;
    rst_no   = 1'b0;
    repeat (4) @(negedge clk_o);
    rst_no = 1'b1;
    @(negedge clk_o);
    for (int unsigned j = 0; j < jobs; j++) begin
      choose_job();
      run_job();
    end
    $display("%0d jobs, %0d rows: every spike and every sum is right", jobs, all_rows);
    $finish;
  end

  int unsigned waited;
  always_ff @(posedge clk_o) begin
    waited <= (acc_tvalid_i && acc_tready_o) ? 0 : waited + 1;
    if (waited == Patience) $fatal(1, "no sum came for %0d cycles", Patience);
  end

endmodule
