// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Proof: of each lane of a block leave as many spikes of plane 0 as came, less those that are too many, or none if all are;
// only spikes that came, in their order; none that leaves is easier to lose than one that went, and of equal ones the first
// go. With each chunk what its block's last one brought. For two lanes, blocks of up to two chunks, and one plane above.

module capper_proof #(
  parameter int unsigned Slots = 2,
  localparam int unsigned SlotWidth = $clog2(Slots + 1)
) (
  input logic            clk_i,
  input logic            reset_i,
  input logic            valid_i,
  input logic [1:0][1:0] fire_i,
  input logic [1:0][1:0] loss_i,
  input logic            last_i,
  input logic            data_i
);

  logic                 started_q = 1'b0;
  logic                 rst_ni, ready, valid, last, data, idle;
  logic [SlotWidth-1:0] slot;
  logic [1:0]           fire;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q && !reset_i;

  spike_capper #(
    .Lanes (2),
    .Slots (Slots),
    .Tmax  (2),
    .Width (1)
  ) u_capper (
    .clk_i,
    .rst_ni,
    .idle_o  (idle),
    .valid_i,
    .ready_o (ready),
    .fire_i,
    .loss_i,
    .last_i,
    .data_i,
    .valid_o (valid),
    .slot_o  (slot),
    .fire_o  (fire),
    .last_o  (last),
    .data_o  (data)
  );

  // Blocks as they came: the one that comes in, one that is complete, one that leaves. Of a chunk plane 0 and what lies above.
  typedef struct packed {
    logic [Slots-1:0][1:0]      low;   // [chunk][lane]
    logic [Slots-1:0][1:0]      high;
    logic [Slots-1:0][1:0][1:0] loss;
    logic [SlotWidth-1:0]       last;  // its number
    logic                       data;
  } block_t;

  block_t                in_q, in, full_q, out_q;
  logic [SlotWidth-1:0]  chunk_q, leave_q;
  logic                  full_valid_q, out_valid_q, fill, done, gone;
  logic [Slots-1:0][1:0] kept_q, kept;  // what left so far

  assign fill = valid_i && ready;
  assign done = fill && last_i;
  assign gone = valid && last;

  always_comb begin
    in   = (chunk_q != '0) ? in_q : '0;
    kept = (leave_q != '0) ? kept_q : '0;
    for (int s = 0; s < Slots; s++) begin
      if (chunk_q == SlotWidth'(s)) begin
        in.low[s]  = fire_i[0];
        in.high[s] = fire_i[1];
        in.loss[s] = loss_i;
      end
      if (leave_q == SlotWidth'(s)) kept[s] = fire;
    end
    in.last = chunk_q;
    in.data = data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      chunk_q      <= '0;
      full_valid_q <= 1'b0;
      out_valid_q  <= 1'b0;
      leave_q      <= '0;
    end else begin
      if (fill) begin
        in_q    <= in;
        chunk_q <= last_i ? '0 : chunk_q + 1'b1;
      end
      if (done) begin
        full_q       <= in;
        full_valid_q <= 1'b1;
      end else if (full_valid_q && (!out_valid_q || gone)) begin
        full_valid_q <= 1'b0;
      end
      if (full_valid_q && (!out_valid_q || gone)) begin
        out_q       <= full_q;
        out_valid_q <= 1'b1;
      end else if (gone) begin
        out_valid_q <= 1'b0;
      end
      if (valid) begin
        leave_q <= last ? '0 : leave_q + 1'b1;
        kept_q  <= kept;
      end
    end
  end

  // ------------------------------------------------------------------------------------- what has to be left of a block
  logic [1:0][4:0] ones, odd, over, left, want;
  logic [4:0]      cap;
  logic [1:0]      few, unfair, foreign;  // lanes of which another number left, the wrong ones, or what never came

  always_comb begin
    for (int l = 0; l < 2; l++) begin
      ones[l] = '0;
      odd[l]  = '0;
      left[l] = '0;
      for (int s = 0; s < Slots; s++) begin
        odd[l]  += 5'(out_q.low[s][l]);
        ones[l] += 5'(out_q.low[s][l]) + 5'(out_q.high[s][l]);
        left[l] += 5'(kept[s][l]);
      end
    end
  end

  assign cap = (ones[0] + ones[1] + 5'd1) >> 1;

  always_comb begin
    unfair  = '0;
    foreign = '0;
    for (int l = 0; l < 2; l++) begin
      over[l] = (ones[l] > cap) ? ones[l] - cap : '0;
      want[l] = (odd[l] > over[l]) ? odd[l] - over[l] : '0;
      few[l]  = left[l] != want[l];
      for (int s = 0; s < Slots; s++) begin
        foreign[l] |= kept[s][l] && !out_q.low[s][l];
        for (int r = 0; r < Slots; r++) begin  // s stayed, r went
          unfair[l] |= kept[s][l] && out_q.low[r][l] && !kept[r][l]
                       && (out_q.loss[s][l] < out_q.loss[r][l] || (out_q.loss[s][l] == out_q.loss[r][l] && s < r));
        end
      end
    end
  end

  always_comb begin
    if (fill && chunk_q == SlotWidth'(Slots - 1)) assume (last_i);  // a block has no more chunks
    if (rst_ni) begin
      Valid: assert (valid == out_valid_q);
      Idle:  assert (idle == (!full_valid_q && !out_valid_q && chunk_q == '0));
      Ready: assert (ready == !full_valid_q);
      if (valid) begin
        Slot: assert (slot == leave_q);
        Last: assert (last == (leave_q == out_q.last));
        Data: assert (data == out_q.data);
      end
      if (gone) begin
        Came:  assert (foreign == '0);
        Count: assert (few == '0);
        Fair:  assert (unfair == '0);
      end
    end
    cover (rst_ni && gone && leave_q == SlotWidth'(Slots - 1) && kept[1][0] && !kept[0][0] && out_q.low[0][0]);
  end

endmodule
