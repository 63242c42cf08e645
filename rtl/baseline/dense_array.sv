// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// `Rows` x `Columns` dense accumulators: all rows share a chunk's weights, all columns its activations.
//
//   cycle 0   a chunk of activations is taken from the store
//   cycle 1   it meets its weights (op_valid_i): carry-save trees
//   cycle 2   sums;  cycle 3   low halves;  cycle 4   high halves of the accumulators
//
// Where magnitudes have more bits than `Planes`, a chunk in which a row has a larger one takes a second pass, with the
// upper bits: the operation stays for another cycle (op_again_o). Rows without such a magnitude rest in it.
//
// What the accumulators are to be taken away from (see dense_column) is not counted here, but in dense_offsets.

module dense_array #(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Columns    = 16,
  parameter int unsigned Lanes      = 16,
  parameter int unsigned WeightBits = 4,
  parameter int unsigned Bits       = 4,  // of a magnitude
  parameter int unsigned Planes     = 4,  // of them in a pass: all, or at least half of them
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
  input  logic [RowWidth-1:0]                            load_rows_i,   // in the row tile
  input  logic [Rows-1:0][Bits-1:0][Lanes-1:0]           magnitudes_i,
  input  logic [Rows-1:0][Lanes-1:0]                     neg_i,

  // operation
  input  logic                                           op_valid_i,
  output logic                                           op_again_o,    // this one is not its last pass
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

  localparam int unsigned Passes = (Bits > Planes) ? 2 : 1;

  typedef struct packed {
    logic                first;
    logic                high;  // the second pass
    logic                last;
    logic                pass_end;
    logic                tile_end;
    logic [RowWidth-1:0] rows;
    logic [ColWidth-1:0] columns;
  } flags_t;

  logic [Rows-1:0][Planes-1:0][Lanes-1:0] magnitudes_q;
  logic [Rows-1:0]                        works;    // rows that the operation is for
  logic [Rows-1:0]                        works_q [2:4];
  logic                                   high;
  logic [Rows-1:0][Lanes-1:0]             neg_q;
  logic [5:2]                             valid_q;
  flags_t                                 flags_q [2:5];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (enable_i) valid_q <= {valid_q[4:2], op_valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (load_i) neg_q <= neg_i;
    if (enable_i) begin
      if (op_valid_i) begin
        flags_q[2] <= '{
          first:    op_first_i && !high,
          high:     high,
          last:     op_last_i && !op_again_o,
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

  if (Passes > 1) begin : gen_passes
    localparam int unsigned HighBits = Bits - Planes;

    logic [Rows-1:0][HighBits-1:0][Lanes-1:0] high_q;
    logic [Rows-1:0]                          larger_q;
    logic                                     some_q, again_q;

    logic [Rows-1:0] larger;

    for (genvar r = 0; r < Rows; r++) begin : gen_larger
      assign larger[r] = RowWidth'(r) < load_rows_i && |magnitudes_i[r][Bits-1:Planes];
    end

    // again_q: the chunk has a pass to come; some_q: it is in its second one
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        again_q <= 1'b0;
        some_q  <= 1'b0;
      end else if (load_i) begin
        again_q <= |larger;
        some_q  <= 1'b0;
      end else if (op_valid_i && enable_i) begin
        again_q <= 1'b0;
        some_q  <= again_q;
      end
    end

    always_ff @(posedge clk_i) begin
      for (int unsigned r = 0; r < Rows; r++) begin
        if (load_i) begin
          magnitudes_q[r] <= magnitudes_i[r][Planes-1:0];
          larger_q[r]     <= larger[r];
        end else if (op_valid_i && enable_i && again_q && larger_q[r]) begin
          magnitudes_q[r] <= (Planes*Lanes)'(high_q[r]);
        end
        if (load_i && larger[r]) high_q[r] <= magnitudes_i[r][Bits-1:Planes];
      end
      if (enable_i) begin
        if (op_valid_i) works_q[2] <= works;
        for (int unsigned i = 2; i < 4; i++) begin
          if (valid_q[i]) works_q[i+1] <= works_q[i];
        end
      end
    end

    assign op_again_o = again_q;
    assign high       = some_q;
    assign works      = some_q ? larger_q : '1;
  end else begin : gen_pass
    always_ff @(posedge clk_i) begin
      if (load_i) magnitudes_q <= magnitudes_i;
    end

    for (genvar i = 2; i < 5; i++) begin : gen_works
      assign works_q[i] = '1;
    end

    logic unused_rows;
    assign unused_rows = ^load_rows_i;

    assign op_again_o = 1'b0;
    assign high       = 1'b0;
    assign works      = '1;
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
        .Passes     (Passes),
        .AccWidth   (AccWidth),
        .Multiply   (Multiply)
      ) u_column (
        .clk_i,
        .enable_i,
        .product_en_i (op_valid_i && works[r]),
        .magnitudes_i (magnitudes_q[r]),
        .neg_i        (neg_q[r]),
        .weights_i    (weights),
        .sum_en_i     (valid_q[2] && works_q[2][r]),
        .low_en_i     (valid_q[3] && works_q[3][r]),
        .low_first_i  (flags_q[3].first),
        .low_high_i   (flags_q[3].high),
        .high_en_i    (valid_q[4] && works_q[4][r]),
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
  assign unused_flags = ^{flags_q[4].high, flags_q[5].first, flags_q[5].high, flags_q[5].pass_end};

endmodule
