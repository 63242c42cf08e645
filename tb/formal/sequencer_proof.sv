// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof, for every setting of the job registers: a job runs exactly if its settings are legal and its row fits the store;
// each reason against it is reported, and only those; the shape of a row is what division gives; busy ends, done comes
// once and only when everything is idle; checking takes no more cycles than the store has blocks, and a few. Input that is
// left when no job waits is reported, once, and dropped up to the end of its packet, no further.

module sequencer_proof
  import spike_pkg::*;
#(
  parameter int unsigned Lanes  = 4,
  parameter int unsigned Slots  = 2,
  parameter int unsigned Blocks = 5,
  parameter bit          Csd    = 1'b0,
  parameter bit          Capped = 1'b0,
  parameter int unsigned Groups = Blocks
) (
  input logic clk_i,
  input logic reset_i,
  input job_t job_i,
  input logic start_i,
  input logic idle_i,
  input logic queued_i,
  input logic [1:0] valid_i,
  input logic [1:0] last_i
);

  localparam int unsigned LaneWidth  = $clog2(Lanes + 1);
  localparam int unsigned SlotWidth  = $clog2(Slots + 1);
  localparam int unsigned BlockWidth = $clog2(Blocks + 1);
  localparam int unsigned Block      = Lanes * Slots;
  localparam int unsigned Wide       = CountWidth + 2;

  logic                  started_q = 1'b0;
  logic                  rst_ni, busy, done, run;
  logic [1:0]            drop;
  error_t                error;
  logic [BlockWidth-1:0] group_blocks, row_blocks;
  logic [SlotWidth-1:0]  tail_chunks;
  logic [LaneWidth-1:0]  tail_lanes;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  spike_sequencer #(
    .Lanes  (Lanes),
    .Slots  (Slots),
    .Blocks (Blocks),
    .Csd    (Csd),
    .Capped (Capped),
    .Groups (Groups)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .job_i,
    .start_i,
    .queued_i,
    .busy_o         (busy),
    .done_o         (done),
    .error_o        (error),
    .group_blocks_o (group_blocks),
    .row_blocks_o   (row_blocks),
    .tail_chunks_o  (tail_chunks),
    .tail_lanes_o   (tail_lanes),
    .run_o          (run),
    .idle_i,
    .valid_i,
    .last_i,
    .drop_o         (drop)
  );

  // -------------------------------------------------------------------------------------------- what is legal
  logic [Wide-1:0] inputs, blocks;
  logic            zero, legal, fits, fraction, coding;

  assign inputs = Wide'(job_i.group_inputs);
  assign blocks = Wide'(group_blocks);
  assign zero   = job_i.rows == '0 || job_i.outputs == '0 || job_i.groups == '0 || job_i.group_inputs == '0;
  // one group in the store, and no more groups than are kept apart
  assign fits   = inputs <= Wide'(Blocks * Block) && (Groups >= Blocks || job_i.groups <= 32'(Groups));
  assign fraction = job_i.frac_bits <= 5'd30 && (!job_i.capped || job_i.frac_bits >= 5'd2);
  assign coding   = job_i.capped ? Capped && job_i.coding == CodingTcLif && !job_i.spike_stream
                                 : Csd || job_i.coding == CodingTcLif;
  assign legal  = !zero && fits && fraction && coding;

  logic [32:0] kept;
  assign kept = (33'(u_sequencer.chunks_q) + 33'(Slots - 1)) / 33'(Slots);

  // ------------------------------------------------------------------------------------------- course of a job
  typedef enum logic [2:0] {Idle, Shape, Check, Running, Waiting, Dropping} phase_e;

  phase_e          phase_q;
  job_t            job_q;
  logic [3:0]      checked_q;  // groups that were counted
  logic [1:0]      left_q;     // streams with a packet left over that goes on

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      phase_q <= Idle;
    end else begin
      job_q <= job_i;
      unique case (phase_q)
        Idle:    if (start_i) phase_q <= Shape;
        Shape:   phase_q <= Check;
        Check:   if (error != '0) phase_q <= Idle;
                 else if (Wide'(checked_q) + 1'b1 == Wide'(job_i.groups)) phase_q <= Running;
        Running: phase_q <= Waiting;
        Waiting: if (idle_i) begin
          phase_q <= (valid_i == '0 || queued_i) ? Idle : Dropping;
          left_q  <= valid_i;
        end
        default: begin
          for (int unsigned i = 0; i < 2; i++) if (valid_i[i] && last_i[i]) left_q[i] <= 1'b0;
          if (left_q == '0) phase_q <= Idle;
        end
      endcase
      checked_q <= (phase_q == Check) ? checked_q + 1'b1 : '0;
    end
  end

  always_comb begin
    if (phase_q != Idle && started_q) assume (job_i == job_q);  // registers are locked while busy
    if (rst_ni) begin
      Known:  assert (phase_q <= Dropping);
      State:  assert (3'(u_sequencer.state_q) == phase_q);
      Legal:  assert (phase_q <= Check || legal);
      Busy:   assert (busy == (phase_q != Idle));
      Run:    assert (run == (phase_q == Running));
      Done:   assert (done == ((phase_q == Waiting && idle_i && (valid_i == '0 || queued_i))
                                || (phase_q == Dropping && left_q == '0)));
      Drop:   assert (drop == ((phase_q == Dropping) ? left_q : '0));
      Left:   assert (error.left_over == (phase_q == Waiting && idle_i && valid_i != '0 && !queued_i));
      // errors: of the settings and of the row's size while checking
      if (phase_q == Idle || phase_q == Shape) Quiet: assert (error == '0);
      if (phase_q == Check) begin
        Rows:     assert (error.rows == (job_i.rows == '0));
        Outputs:  assert (error.outputs == (job_i.outputs == '0));
        NoGroups: assert (error.groups == (job_i.groups == '0));
        Inputs:   assert (error.group_inputs == (job_i.group_inputs == '0));
        FracBits: assert (error.frac_bits == !fraction);
        Coding:   assert (error.coding == !coding);
        Capacity: assert (fits || error.capacity);
        Sound:    assert (legal || error != '0);
      end
      Nothing: assert (!error.timesteps && !error.membrane_last && !error.weight_last && !error.weight_range
                       && !error.write_busy);
      // what is kept of a job, one and two cycles later
      if (phase_q != Idle) begin
        Chunks:   assert (33'(u_sequencer.chunks_q) == (33'(job_i.group_inputs) + 33'(Lanes - 1)) / 33'(Lanes));
        LastLane: assert (32'(tail_lanes) == (job_i.group_inputs - 1'b1) % 32'(Lanes) + 1);
        Settings: assert (u_sequencer.settings_q.rows == (job_i.rows == '0)
                          && u_sequencer.settings_q.outputs == (job_i.outputs == '0)
                          && u_sequencer.settings_q.groups == (job_i.groups == '0)
                          && u_sequencer.settings_q.group_inputs == (job_i.group_inputs == '0)
                          && u_sequencer.settings_q.frac_bits == !fraction
                          && u_sequencer.settings_q.coding == !coding);
        Others:   assert (!u_sequencer.settings_q.timesteps && !u_sequencer.settings_q.membrane_last
                          && !u_sequencer.settings_q.weight_last && !u_sequencer.settings_q.weight_range
                          && !u_sequencer.settings_q.write_busy && !u_sequencer.settings_q.left_over);
      end
      if (phase_q == Shape) begin
        Begun: assert (row_blocks == '0 && checked_q == '0 && u_sequencer.groups_left_q == job_i.groups);
      end
      if (phase_q > Shape) begin
        KeptFits:   assert (u_sequencer.fits_q == (kept <= 33'(Blocks)
                                                && (Groups >= Blocks || job_i.groups <= 32'(Groups))));
        KeptBlocks: assert (group_blocks == BlockWidth'(kept));
        KeptChunks: assert (32'(tail_chunks) == (32'(u_sequencer.chunks_q) - 1'b1) % 32'(Slots) + 1);
      end
      // shape: ceilings, and what is left in the last block and the last chunk
      if (phase_q > Check || (phase_q == Check && legal)) begin
        GroupBlocks: assert (blocks * Block >= inputs && (blocks - 1'b1) * Block < inputs && blocks != '0);
        TailChunks:  assert (tail_chunks >= 1 && 32'(tail_chunks) <= Slots
                             && (blocks - 1'b1) * Block + Wide'(tail_chunks) * Lanes >= inputs
                             && (blocks - 1'b1) * Block + (Wide'(tail_chunks) - 1'b1) * Lanes < inputs);
        TailLanes:   assert (tail_lanes >= 1 && 32'(tail_lanes) <= Lanes
                             && (blocks - 1'b1) * Block + (Wide'(tail_chunks) - 1'b1) * Lanes
                             + Wide'(tail_lanes) == inputs);
      end
      if (phase_q == Check && legal) begin
        Counted: assert (Wide'(row_blocks) == Wide'(checked_q) * blocks && Wide'(row_blocks) <= Blocks);
        ToCount: assert (Wide'(u_sequencer.groups_left_q) == Wide'(job_i.groups) - Wide'(checked_q));
        Enough:  assert (Wide'(checked_q) < Wide'(job_i.groups));
        TooMany: assert (error.capacity == ((Wide'(checked_q) + 1'b1) * blocks > Blocks));
        Ends:    assert (32'(checked_q) <= Blocks);
      end
      if (phase_q == Running || phase_q == Waiting || phase_q == Dropping) begin
        RowBlocks: assert (32'(job_i.groups) <= Blocks && Wide'(row_blocks) == Wide'(job_i.groups) * blocks);
        Fits:      assert (32'(row_blocks) <= Blocks);
      end
    end
    cover (rst_ni && done && job_i.groups == 32'd2);
    cover (rst_ni && done && phase_q == Dropping);
  end

endmodule
