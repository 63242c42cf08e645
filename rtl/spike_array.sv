// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// `Rows` x `Columns` accumulators. All rows see the same weights, all columns the same spikes, and all
// accumulators the same exponent, because planes are addressed by exponent and not by step.
//
//   cycle 0   an operation (spikes and weights) is at the input
//   cycle 1   its sums are in the adders' registers
//   cycle 2   it is in the accumulators; capture_o, if it was the last of its group

module spike_array
  import spike_pkg::*;
#(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Columns    = 16,
  parameter int unsigned Lanes      = 8,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned Tmax       = TmaxLimit,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1),
  localparam int unsigned ExpWidth = $clog2(Tmax + 1)
) (
  input  logic                                           clk_i,
  input  logic                                           rst_ni,

  // operation
  input  logic                                           op_valid_i,
  input  logic                                           op_first_i,
  input  logic                                           op_last_i,
  input  logic [ExpWidth-1:0]                            op_exponent_i,
  input  spike_t [Rows-1:0][Lanes-1:0]                   op_spikes_i,
  input  logic [RowWidth-1:0]                            op_rows_i,
  input  logic [ColWidth-1:0]                            op_columns_i,
  input  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]  weights_i,

  // sums of a group
  output logic                                           capture_o,
  output logic [Rows-1:0][Columns-1:0][AccWidth-1:0]     acc_o,
  output logic [RowWidth-1:0]                            rows_o,
  output logic [ColWidth-1:0]                            columns_o
);

  typedef struct packed {
    logic                first;
    logic                last;
    logic [ExpWidth-1:0] exponent;
    logic [RowWidth-1:0] rows;
    logic [ColWidth-1:0] columns;
  } op_t;

  logic                sum_valid_q, capture_q;
  op_t                 sum_q;
  logic [RowWidth-1:0] rows_q;
  logic [ColWidth-1:0] columns_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      sum_valid_q <= 1'b0;
      capture_q   <= 1'b0;
    end else begin
      sum_valid_q <= op_valid_i;
      capture_q   <= sum_valid_q && sum_q.last;
    end
  end

  always_ff @(posedge clk_i) begin
    if (op_valid_i) begin
      sum_q <= '{
        first:    op_first_i,
        last:     op_last_i,
        exponent: op_exponent_i,
        rows:     op_rows_i,
        columns:  op_columns_i
      };
    end
    if (sum_valid_q) begin
      rows_q    <= sum_q.rows;
      columns_q <= sum_q.columns;
    end
  end

  assign capture_o = capture_q;
  assign rows_o    = rows_q;
  assign columns_o = columns_q;

  for (genvar c = 0; c < Columns; c++) begin : gen_column
    logic [Lanes-1:0][WeightBits-1:0] weights;

    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      assign weights[l] = weights_i[l][c];
    end

    for (genvar r = 0; r < Rows; r++) begin : gen_row
      spike_pe #(
        .Lanes      (Lanes),
        .WeightBits (WeightBits),
        .Tmax       (Tmax)
      ) u_pe (
        .clk_i,
        .sum_en_i   (op_valid_i),
        .spikes_i   (op_spikes_i[r]),
        .weights_i  (weights),
        .acc_en_i   (sum_valid_q),
        .first_i    (sum_q.first),
        .exponent_i (sum_q.exponent),
        .acc_o      (acc_o[r][c])
      );
    end
  end

endmodule
