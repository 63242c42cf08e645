// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// `Rows` x `Columns` accumulators of picked weights: all rows share a chunk's weights, all columns its spikes. A chunk takes a
// cycle for each step, and keeps its weights for all of them.
//
//   cycle 0   a step's spikes are taken from the store: which input of each group fires, one hot (load_i)
//   cycle 1   they meet the weights (op_valid_i): carry-save trees
//   cycle 2   sums;  cycle 3   Horner's rule;  cycle 4, behind the last step of a chunk: accumulators (see group_column)
//
// What weights without a sign add too much is the same in all columns of a row: the row has a column more, which has no
// weights. Whoever takes accumulators out takes that one away from them.

module group_array
  import group_pkg::*;
#(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Columns    = 16,
  parameter int unsigned Groups     = 32,
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Steps      = 7,
  parameter int unsigned AccBits    = 24,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                                                clk_i,
  input  logic                                                rst_ni,
  input  logic                                                enable_i,

  // a step's spikes
  input  logic                                                load_i,
  input  logic [Rows-1:0]                                     load_works_i,   // rows that have this step
  input  logic [Groups-1:0]                                   load_filled_i,  // groups that have inputs
  input  logic [Rows-1:0][Groups-1:0][SpikeBits-1:0]          spikes_i,

  // operation
  input  logic                                                op_valid_i,
  input  step_t                                               op_i,
  input  logic [RowWidth-1:0]                                 op_rows_i,
  input  logic [ColWidth-1:0]                                 op_columns_i,
  input  logic [Groups-1:0][3:0][Columns-1:0][WeightBits-1:0] weights_i,

  // complete sums; they stay until the cycle in which soon_o was seen Steps cycles before
  output logic                                                soon_o,    // with the next cycle that is enabled
  output logic                                                valid_o,
  output logic [Rows-1:0][Columns-1:0][AccBits-1:0]           acc_o,
  output logic [Rows-1:0][AccBits-1:0]                        excess_o,
  output logic [RowWidth-1:0]                                 rows_o,
  output logic [ColWidth-1:0]                                 columns_o,
  output logic                                                tile_end_o,
  output logic                                                idle_o
);

  typedef struct packed {
    step_t               step;
    logic [RowWidth-1:0] rows;
    logic [ColWidth-1:0] columns;
  } flags_t;

  logic [Rows-1:0][Groups-1:0][3:0] pick, pick_q;
  logic [Rows-1:0][Groups-1:0]      neg, neg_q;
  logic [5:2]                       valid_q;
  logic                             flush_q;  // valid_q[4] && flags_q[4].step.last: it goes to all columns
  flags_t                           flags_q [2:5];

  for (genvar r = 0; r < Rows; r++) begin : gen_spikes
    for (genvar g = 0; g < Groups; g++) begin : gen_group
      spike_of_group_t spike;
      logic            fire;

      assign spike      = spikes_i[r][g];
      assign fire       = spike.fire && load_works_i[r] && load_filled_i[g];
      assign pick[r][g] = {3'b0, fire} << spike.index;
      assign neg[r][g]  = fire && spike.neg;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      pick_q <= pick;
      neg_q  <= neg;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      flush_q <= 1'b0;
    end else if (enable_i) begin
      valid_q <= {valid_q[4:2], op_valid_i};
      flush_q <= valid_q[3] && flags_q[3].step.last;
    end
  end

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      if (op_valid_i) flags_q[2] <= '{step: op_i, rows: op_rows_i, columns: op_columns_i};
      for (int unsigned i = 2; i < 5; i++) begin
        if (valid_q[i]) flags_q[i+1] <= flags_q[i];
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    for (genvar c = 0; c <= Columns; c++) begin : gen_column
      logic [Groups-1:0][3:0][WeightBits-1:0] weights;
      logic [AccBits-1:0]                     acc;

      for (genvar g = 0; g < Groups; g++) begin : gen_group
        for (genvar j = 0; j < 4; j++) begin : gen_input
          if (c < Columns) begin : gen_weight
            assign weights[g][j] = weights_i[g][j][c];
          end else begin : gen_zero
            assign weights[g][j] = '0;
          end
        end
      end

      group_column #(
        .Groups     (Groups),
        .WeightBits (WeightBits),
        .Steps      (Steps),
        .AccWidth   (AccBits),
        .Excess     (c == Columns)
      ) u_column (
        .clk_i,
        .enable_i,
        .tree_en_i (op_valid_i),
        .pick_i    (pick_q[r]),
        .neg_i     (neg_q[r]),
        .weights_i (weights),
        .sum_en_i  (valid_q[2]),
        .step_en_i (valid_q[3]),
        .first_i   (flags_q[3].step.first),
        .flush_i   (flush_q),
        .fresh_i   (flags_q[4].step.group_first),
        .acc_o     (acc)
      );

      if (c < Columns) begin : gen_acc
        assign acc_o[r][c] = acc;
      end else begin : gen_excess
        assign excess_o[r] = acc;
      end
    end
  end

  assign soon_o     = flush_q && flags_q[4].step.group_last;
  assign valid_o    = valid_q[5] && flags_q[5].step.last && flags_q[5].step.group_last;
  assign rows_o     = flags_q[5].rows;
  assign columns_o  = flags_q[5].columns;
  assign tile_end_o = flags_q[5].step.tile_end;
  assign idle_o     = valid_q == '0;

  logic unused_flags;
  assign unused_flags = ^{flags_q[4].step, flags_q[5].step};

endmodule
