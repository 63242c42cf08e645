// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// `Lanes` weight banks and `Columns` adder columns. Each lane reads the word of its own bank that its spike has picked: the
// weights of one input for all columns.
//
//   cycle 0   a word is at the input
//   cycle 1   the banks are read
//   cycle 2   weights meet signs, are added to four numbers
//   cycle 3   these, and what the offset of the weights adds too much, are added to one
//   cycle 4   sums are added to the row's sum of this block; a complete one asks for the row's sum so far (done_soon_o)
//   cycle 5   the complete sum is there (done_o)

`include "spike_assert.svh"

module spike_array
  import spike_pkg::*;
#(
  parameter int unsigned Rows       = 8,
  parameter int unsigned Columns    = 16,
  parameter int unsigned Lanes      = 16,
  parameter int unsigned Slots      = 16,
  parameter int unsigned WeightBits = 8,
  parameter int unsigned Tmax       = TmaxLimit,
  parameter bit          Csd        = 1'b1,
  localparam int unsigned RowWidth  = $clog2(Rows + 1),
  localparam int unsigned ColWidth  = $clog2(Columns + 1),
  localparam int unsigned AddrWidth = (Slots > 1) ? $clog2(Slots) : 1,
  localparam int unsigned BankWidth = $clog2(Slots) + 1,
  // a block's sum in halves: Lanes x Slots inputs of less than 2^Planes, weights of WeightBits
  localparam int unsigned HalfWidth = WeightBits + $clog2(Lanes) + $clog2(Slots) + Tmax + int'(Csd) + 1
) (
  input  logic                                           clk_i,
  input  logic                                           rst_ni,
  input  logic                                           enable_i,  // go on; else everything stays

  // word
  input  logic                                           word_valid_i,
  input  logic [Lanes-1:0]                               word_lanes_i,
  input  logic [Lanes-1:0]                               word_next_i,
  input  logic [Lanes-1:0]                               word_neg_i,
  input  logic [Lanes-1:0][AddrWidth-1:0]                word_slot_i,
  input  logic                                           word_bank_i,
  input  logic                                           word_first_i,
  input  logic                                           word_shift_i,
  input  logic                                           word_last_i,
  input  logic                                           word_release_i,
  input  logic [RowWidth-1:0]                            word_row_i,
  input  logic [ColWidth-1:0]                            word_columns_i,
  input  place_t                                         word_place_i,

  // banks
  input  logic [Lanes-1:0]                               bank_we_i,
  input  logic [BankWidth-1:0]                           bank_addr_i,
  input  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0]  bank_data_i,
  output logic                                           bank_release_o,

  // complete sums of a row's block
  output logic                                           done_soon_o,
  output logic [RowWidth-1:0]                            soon_row_o,
  output logic                                           soon_first_o,
  output logic                                           soon_last_o,
  output logic                                           done_o,
  output logic [Columns-1:0][HalfWidth-1:0]              sums_o,
  output logic [RowWidth-1:0]                            row_o,
  output logic [ColWidth-1:0]                            columns_o,
  output place_t                                         place_o,
  output logic                                           idle_o,

  // events
  output logic [Lanes-1:0]                               added_o  // lanes that make an addition
);

  // D * 2^WeightBits is reached: a spike of -1 turns the most negative weight positive.
  localparam int unsigned SumWidth = WeightBits + $clog2(Lanes) + 2;

  typedef struct packed {
    logic                first;
    logic                shift;
    logic                last;
    logic [RowWidth-1:0] row;
    logic [ColWidth-1:0] columns;
    place_t              place;
  } flags_t;

  // ------------------------------------------------------------------------------------------- flags of a word
  logic [5:1]                      valid_q;
  flags_t                          flags_q [1:5];
  logic                            bank_q;
  logic [2:1]                      release_q;
  logic [Lanes-1:0]                lanes_q, next_q, neg_q, whole_q, half_q, neg2_q;
  logic [Lanes-1:0][AddrWidth-1:0] slot_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q   <= '0;
      release_q <= '0;
      lanes_q   <= '0;
      whole_q   <= '0;
      half_q    <= '0;
    end else if (enable_i) begin
      valid_q   <= {valid_q[4] && flags_q[4].last, valid_q[3:1], word_valid_i};
      release_q <= {release_q[1], word_valid_i && word_release_i};
      lanes_q   <= word_valid_i ? word_lanes_i : '0;
      whole_q   <= lanes_q & ~next_q;
      half_q    <= lanes_q & next_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      if (word_valid_i) begin
        next_q <= word_next_i;
        neg_q  <= word_neg_i;
        slot_q <= word_slot_i;
        bank_q <= word_bank_i;
        flags_q[1] <= '{
          first:   word_first_i,
          shift:   word_shift_i,
          last:    word_last_i,
          row:     word_row_i,
          columns: word_columns_i,
          place:   word_place_i
        };
      end
      if (valid_q[1]) neg2_q <= neg_q;
      for (int unsigned i = 1; i < 5; i++) begin
        if (valid_q[i]) flags_q[i+1] <= flags_q[i];
      end
    end
  end

  // Not before the last word that the banks have read was taken: a macro may lose its output when it is written.
  assign bank_release_o = release_q[2] && enable_i;

  // -------------------------------------------------------------------------------------------------- banks
  logic [Lanes-1:0][Columns-1:0][WeightBits-1:0] weights;

  for (genvar l = 0; l < Lanes; l++) begin : gen_bank
    logic [BankWidth-1:0] raddr;

    if (Slots > 1) begin : gen_slots
      assign raddr = {bank_q, slot_q[l]};
    end else begin : gen_slot
      assign raddr = bank_q;

      logic unused_slot;
      assign unused_slot = ^slot_q[l];
    end

    spike_ram #(
      .Width  (Columns * WeightBits),
      .Depth  (1 << BankWidth),
      .Halves (1'b1)
    ) u_bank (
      .clk_i,
      .we_i    (bank_we_i[l]),
      .waddr_i (bank_addr_i),
      .wdata_i (bank_data_i[l]),
      .re_i    (lanes_q[l] && enable_i),
      .raddr_i (raddr),
      .rdata_o (weights[l])
    );
  end

  // What the offset of the weights adds too much, the same for all columns: see spike_column.
  logic [SumWidth-1:0] all, negative, all_q, negative_q, bias_q;  // in halves: spikes of all lanes, negative ones

  // Sums of single bits, which synthesis turns into a tree.
  always_comb begin
    all      = '0;
    negative = '0;
    for (int unsigned l = 0; l < Lanes; l++) begin
      all      += SumWidth'({lanes_q[l] & ~next_q[l], lanes_q[l] & next_q[l]});
      negative += SumWidth'({lanes_q[l] & ~next_q[l] & neg_q[l], lanes_q[l] & next_q[l] & neg_q[l]});
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_q[1] && enable_i) begin
      all_q      <= all;
      negative_q <= negative;
    end
    if (valid_q[2] && enable_i) bias_q <= negative_q - (all_q << (WeightBits - 1));
  end

  // ------------------------------------------------------------------------------------------------ columns
  for (genvar c = 0; c < Columns; c++) begin : gen_column
    logic [Lanes-1:0][WeightBits-1:0] column_weights;

    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      assign column_weights[l] = weights[l][c];
    end

    spike_column #(
      .Lanes      (Lanes),
      .WeightBits (WeightBits),
      .SumWidth   (SumWidth),
      .AccWidth   (HalfWidth)
    ) u_column (
      .clk_i,
      .tree_en_i (valid_q[2] && enable_i),
      .whole_i   (whole_q),
      .half_i    (half_q),
      .neg_i     (neg2_q),
      .weights_i (column_weights),
      .sum_en_i  (valid_q[3] && enable_i),
      .bias_i    (bias_q),
      .acc_en_i  (valid_q[4] && enable_i),
      .first_i   (flags_q[4].first),
      .shift_i   (flags_q[4].shift),
      .acc_o     (sums_o[c])
    );
  end

  assign done_soon_o  = valid_q[4] && flags_q[4].last;
  assign soon_row_o   = flags_q[4].row;
  assign soon_first_o = flags_q[4].place.acc_first;
  assign soon_last_o  = flags_q[4].place.acc_last;
  assign done_o       = valid_q[5];
  assign row_o        = flags_q[5].row;
  assign columns_o    = flags_q[5].columns;
  assign place_o      = flags_q[5].place;
  assign added_o      = enable_i ? lanes_q : '0;
  assign idle_o       = valid_q == '0;

  logic unused_flags;
  assign unused_flags = ^{flags_q[5].first, flags_q[5].shift, flags_q[5].last};

endmodule
