// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// `Rows` x `Columns` dense accumulators: all rows share a chunk's weights, all columns its activations.
//
//   cycle 0   a chunk of activations is taken from the store
//   cycle 1   it meets its weights (op_valid_i): carry-save trees
//   cycle 2   sums;  cycle 3   low halves;  cycle 4   high halves of the accumulators
//
// What the accumulators are to be taken away from (see dense_column) is not counted here, but in dense_offsets.

module dense_array #(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Columns    = 16,
  parameter int unsigned Lanes      = 16,
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Planes     = 4,
  parameter int unsigned AccWidth   = 20,
  parameter bit          Multiply   = 1'b0,
  localparam int unsigned RowWidth = $clog2(Rows + 1),
  localparam int unsigned ColWidth = $clog2(Columns + 1)
) (
  input  logic                                           clk_i,
  input  logic                                           rst_ni,
  input  logic                                           enable_i,

  // chunk
  input  logic                                           load_i,
  input  logic [Rows-1:0][Planes-1:0][Lanes-1:0]         magnitudes_i,
  input  logic [Rows-1:0][Lanes-1:0]                     neg_i,

  // operation
  input  logic                                           op_valid_i,
  input  logic                                           op_first_i,
  input  logic                                           op_last_i,
  input  logic                                           op_pass_end_i, // the last of a row
  input  logic                                           op_tile_end_i, // and of the row tile
  input  logic [RowWidth-1:0]                            op_rows_i,
  input  logic [ColWidth-1:0]                            op_columns_i,
  input  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]  weights_i,

  // complete sums: the low halves of the accumulators, then the high halves
  output logic                                           low_soon_o,   // with the next cycle that is enabled
  output logic                                           low_valid_o,
  output logic                                           low_pass_end_o,
  output logic                                           low_tile_end_o,
  output logic                                           high_valid_o,
  output logic [Rows-1:0][Columns-1:0][AccWidth-1:0]     acc_o,
  output logic [RowWidth-1:0]                            rows_o,
  output logic [ColWidth-1:0]                            columns_o,
  output logic                                           tile_end_o,
  output logic                                           idle_o
);

  typedef struct packed {
    logic                first;
    logic                last;
    logic                pass_end;
    logic                tile_end;
    logic [RowWidth-1:0] rows;
    logic [ColWidth-1:0] columns;
  } flags_t;

  logic [Rows-1:0][Planes-1:0][Lanes-1:0] magnitudes_q;
  logic [Rows-1:0][Lanes-1:0]             neg_q;
  logic [5:2]                             valid_q;
  flags_t                                 flags_q [2:5];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (enable_i) valid_q <= {valid_q[4:2], op_valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      magnitudes_q <= magnitudes_i;
      neg_q        <= neg_i;
    end
    if (enable_i) begin
      if (op_valid_i) begin
        flags_q[2] <= '{
          first:    op_first_i,
          last:     op_last_i,
          pass_end: op_pass_end_i,
          tile_end: op_tile_end_i,
          rows:     op_rows_i,
          columns:  op_columns_i
        };
      end
      for (int unsigned i = 2; i < 5; i++) begin
        if (valid_q[i]) flags_q[i+1] <= flags_q[i];
      end
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    for (genvar c = 0; c < Columns; c++) begin : gen_column
      logic [Lanes-1:0][WeightBits-1:0] weights;

      for (genvar l = 0; l < Lanes; l++) begin : gen_lane
        assign weights[l] = weights_i[l][c];
      end

      dense_column #(
        .Lanes      (Lanes),
        .WeightBits (WeightBits),
        .Planes     (Planes),
        .AccWidth   (AccWidth),
        .Multiply   (Multiply)
      ) u_column (
        .clk_i,
        .enable_i,
        .product_en_i (op_valid_i),
        .magnitudes_i (magnitudes_q[r]),
        .neg_i        (neg_q[r]),
        .weights_i    (weights),
        .sum_en_i     (valid_q[2]),
        .low_en_i     (valid_q[3]),
        .low_first_i  (flags_q[3].first),
        .high_en_i    (valid_q[4]),
        .high_first_i (flags_q[4].first),
        .acc_o        (acc_o[r][c])
      );
    end
  end

  assign low_soon_o     = valid_q[3] && flags_q[3].last;
  assign low_valid_o    = valid_q[4] && flags_q[4].last;
  assign low_pass_end_o = flags_q[4].pass_end;
  assign low_tile_end_o = flags_q[4].tile_end;
  assign high_valid_o   = valid_q[5] && flags_q[5].last;
  assign rows_o         = flags_q[5].rows;
  assign columns_o      = flags_q[5].columns;
  assign tile_end_o     = flags_q[5].tile_end;
  assign idle_o         = valid_q == '0;

  logic unused_flags;
  assign unused_flags = ^{flags_q[5].first, flags_q[5].pass_end};

endmodule
