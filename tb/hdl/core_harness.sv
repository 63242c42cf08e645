// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. The spike core between stream sources and sinks that work from files. Python touches the
// registers and the few controls below, and sleeps while a job runs.

module core_harness
  import spike_pkg::*;
#(
  parameter int unsigned Rows         = 8,
  parameter int unsigned Columns      = 16,
  parameter int unsigned Lanes        = 16,
  parameter int unsigned Slots        = 16,
  parameter int unsigned WeightInputs = Lanes,
  parameter int unsigned WeightBits   = 8,
  parameter int unsigned Tmax         = 7,
  parameter int unsigned MaxInputs    = 8192,
  parameter int unsigned MaxGroups    = MaxInputs / Lanes,  // of the dense baseline
  parameter bit          Csd          = 1'b1,
  parameter bit          Capped       = 1'b0,  // of the spike core
  parameter bit          OneBlock     = 1'b0,  // of the spike core
  parameter int unsigned MembraneBits   = 32,
  parameter bit          NibbleWeights  = 1'b0,
  parameter bit          UserTimesteps  = 1'b0,
  parameter int unsigned MembraneStream = 0,
  parameter int unsigned WeightStream   = 0,
  parameter int unsigned SpikeStream    = 0,    // of the spike core
  parameter int unsigned AccStream      = 0,
  parameter bit          LateCounters = 1'b0,  // of the spike core: counters come out of reset just below a carry
  parameter bit          Dense        = 1'b0,  // the dense baseline instead of the spike core
  parameter int unsigned Planes       = Tmax,  // its bits of a magnitude in a pass
  parameter bit          Multiply     = 1'b0,  // its products with `*`
  parameter int unsigned Units        = 0      // encoders of a group core, which takes the spike core's place; 0: none
);

  // ---------------------------------------------------------------------------------------- seen by the bench
  logic        clk                /* verilator public_flat_rw */ = 1'b0;
  logic        rst_n              /* verilator public_flat_rw */ = 1'b0;
  logic        go                 /* verilator public_flat_rw */ = 1'b0;
  logic        flush              /* verilator public_flat_rw */ = 1'b0;
  logic [31:0] job                /* verilator public_flat_rw */ = '0;
  logic [31:0] seed               /* verilator public_flat_rw */ = '0;
  logic [31:0] weight_repeats     /* verilator public_flat_rw */ = '0;
  logic [31:0] membrane_packet    /* verilator public_flat_rw */ = '0;
  logic [31:0] weight_packet      /* verilator public_flat_rw */ = '0;
  logic [7:0]  membrane_stall     /* verilator public_flat_rw */ = '0;
  logic [7:0]  weight_stall       /* verilator public_flat_rw */ = '0;
  logic [7:0]  spike_stall        /* verilator public_flat_rw */ = '0;
  logic [7:0]  acc_stall          /* verilator public_flat_rw */ = '0;
  logic        irq                /* verilator public_flat_rw */;
  logic        sending            /* verilator public_flat_rw */;  // a source has something on offer
  logic [31:0] max_groups         /* verilator public_flat_rw */ = MaxGroups;
  logic [31:0] planes             /* verilator public_flat_rw */ = Planes;
  logic [31:0] encoders           /* verilator public_flat_rw */ = Units;

  logic        s_axil_awvalid     /* verilator public_flat_rw */ = 1'b0;
  logic        s_axil_awready     /* verilator public_flat_rw */;
  logic [7:0]  s_axil_awaddr      /* verilator public_flat_rw */ = '0;
  logic        s_axil_wvalid      /* verilator public_flat_rw */ = 1'b0;
  logic        s_axil_wready      /* verilator public_flat_rw */;
  logic [31:0] s_axil_wdata       /* verilator public_flat_rw */ = '0;
  logic [3:0]  s_axil_wstrb       /* verilator public_flat_rw */ = '0;
  logic        s_axil_bvalid      /* verilator public_flat_rw */;
  logic        s_axil_bready      /* verilator public_flat_rw */ = 1'b0;
  logic [1:0]  s_axil_bresp       /* verilator public_flat_rw */;
  logic        s_axil_arvalid     /* verilator public_flat_rw */ = 1'b0;
  logic        s_axil_arready     /* verilator public_flat_rw */;
  logic [7:0]  s_axil_araddr      /* verilator public_flat_rw */ = '0;
  logic        s_axil_rvalid      /* verilator public_flat_rw */;
  logic        s_axil_rready      /* verilator public_flat_rw */ = 1'b0;
  logic [31:0] s_axil_rdata       /* verilator public_flat_rw */;
  logic [1:0]  s_axil_rresp       /* verilator public_flat_rw */;

  // --------------------------------------------------------------------------------------------------- streams
  localparam int unsigned FireLanes    = (Units != 0) ? 4 * Units : Lanes;  // membranes of a unit
  localparam int unsigned SpikeUnit    = (Units != 0) ? 32 * Units : 2 * Lanes;
  localparam int unsigned MembraneBeat = (MembraneStream != 0) ? MembraneStream : FireLanes * MembraneBits;
  localparam int unsigned WeightUnit   = WeightInputs * Columns * (NibbleWeights ? 4 : 8);
  localparam int unsigned WeightBeat   = (WeightStream != 0) ? WeightStream : WeightUnit;
  localparam int unsigned SpikeBeat    = (SpikeStream != 0) ? SpikeStream : SpikeUnit;
  localparam int unsigned AccBeat      = (AccStream != 0) ? AccStream : Columns * AccWidth;
  localparam int unsigned KeepSpike    = SpikeBeat / 8;
  localparam int unsigned KeepAcc      = AccBeat / 8;

  logic                      membrane_more, weight_more;
  logic                      membrane_valid, membrane_ready, membrane_last;
  logic [MembraneBeat-1:0]   membrane_data;
  logic [7:0]                membrane_user;
  logic                      weight_valid, weight_ready, weight_last;
  logic [WeightBeat-1:0]     weight_data;
  logic                      spike_valid, spike_ready, spike_last;
  logic [SpikeBeat-1:0]      spike_data;
  logic                      acc_valid, acc_ready, acc_last;
  logic [AccBeat-1:0]        acc_data;
  logic [KeepAcc-1:0]        acc_keep;
  logic [KeepSpike-1:0]      spike_keep;

  // With UserTimesteps the image has T behind each beat.
  localparam int unsigned MembraneImage = MembraneBeat + (UserTimesteps ? 8 : 0);

  logic [MembraneImage-1:0] membrane_image;

  assign {membrane_user, membrane_data} = UserTimesteps ? (MembraneBeat + 8)'(membrane_image)
                                                        : {8'd0, membrane_image[MembraneBeat-1:0]};

  stream_source #(
    .Width (MembraneImage),
    .Name  ("membrane")
  ) u_membrane_source (
    .clk_i     (clk),
    .rst_ni    (rst_n),
    .go_i      (go),
    .job_i     (job),
    .repeats_i (32'd1),
    .packet_i  (membrane_packet),
    .stall_i   (membrane_stall),
    .seed_i    (seed ^ 32'h1357_9bdf),
    .more_o    (membrane_more),
    .tvalid_o  (membrane_valid),
    .tready_i  (membrane_ready),
    .tdata_o   (membrane_image),
    .tlast_o   (membrane_last)
  );

  stream_source #(
    .Width (WeightBeat),
    .Name  ("weight")
  ) u_weight_source (
    .clk_i     (clk),
    .rst_ni    (rst_n),
    .go_i      (go),
    .job_i     (job),
    .repeats_i (weight_repeats),
    .packet_i  (weight_packet),
    .stall_i   (weight_stall),
    .seed_i    (seed ^ 32'h0f1e_2d3c),
    .more_o    (weight_more),
    .tvalid_o  (weight_valid),
    .tready_i  (weight_ready),
    .tdata_o   (weight_data),
    .tlast_o   (weight_last)
  );

  stream_sink #(
    .Width (SpikeBeat),
    .Name  ("spike")
  ) u_spike_sink (
    .clk_i    (clk),
    .rst_ni   (rst_n),
    .go_i     (go),
    .flush_i  (flush),
    .job_i    (job),
    .stall_i  (spike_stall),
    .seed_i   (seed ^ 32'h2468_ace0),
    .tvalid_i (spike_valid),
    .tready_o (spike_ready),
    .tdata_i  (spike_data),
    .tkeep_i  (spike_keep),
    .tlast_i  (spike_last)
  );

  stream_sink #(
    .Width (AccBeat),
    .Name  ("acc")
  ) u_acc_sink (
    .clk_i    (clk),
    .rst_ni   (rst_n),
    .go_i     (go),
    .flush_i  (flush),
    .job_i    (job),
    .stall_i  (acc_stall),
    .seed_i   (seed ^ 32'h7b5d_3c1a),
    .tvalid_i (acc_valid),
    .tready_o (acc_ready),
    .tdata_i  (acc_data),
    .tkeep_i  (acc_keep),
    .tlast_i  (acc_last)
  );

  assign sending = membrane_valid || weight_valid || membrane_more || weight_more;

  // ------------------------------------------------------------------------------------------------------ core
  if (Dense) begin : gen_dense
    dense_core #(
      .Rows         (Rows),
      .Columns      (Columns),
      .Lanes        (Lanes),
      .WeightInputs (WeightInputs),
      .WeightBits   (WeightBits),
      .Tmax         (Tmax),
      .Planes       (Planes),
      .MaxInputs    (MaxInputs),
      .MaxGroups    (MaxGroups),
      .MembraneBits   (MembraneBits),
      .NibbleWeights  (NibbleWeights),
      .UserTimesteps  (UserTimesteps),
      .MembraneStream (MembraneStream),
      .WeightStream   (WeightStream),
      .AccStream      (AccStream),
      .Multiply     (Multiply)
    ) u_core (
      .clk_i                    (clk),
      .rst_ni                   (rst_n),
      .s_axil_awvalid_i         (s_axil_awvalid),
      .s_axil_awready_o         (s_axil_awready),
      .s_axil_awaddr_i          (s_axil_awaddr),
      .s_axil_wvalid_i          (s_axil_wvalid),
      .s_axil_wready_o          (s_axil_wready),
      .s_axil_wdata_i           (s_axil_wdata),
      .s_axil_wstrb_i           (s_axil_wstrb),
      .s_axil_bvalid_o          (s_axil_bvalid),
      .s_axil_bready_i          (s_axil_bready),
      .s_axil_bresp_o           (s_axil_bresp),
      .s_axil_arvalid_i         (s_axil_arvalid),
      .s_axil_arready_o         (s_axil_arready),
      .s_axil_araddr_i          (s_axil_araddr),
      .s_axil_rvalid_o          (s_axil_rvalid),
      .s_axil_rready_i          (s_axil_rready),
      .s_axil_rdata_o           (s_axil_rdata),
      .s_axil_rresp_o           (s_axil_rresp),
      .irq_o                    (irq),
      .s_axis_membrane_tvalid_i (membrane_valid),
      .s_axis_membrane_tready_o (membrane_ready),
      .s_axis_membrane_tdata_i  (membrane_data),
      .s_axis_membrane_tlast_i  (membrane_last),
      .s_axis_membrane_tuser_i  (membrane_user),
      .s_axis_weight_tvalid_i   (weight_valid),
      .s_axis_weight_tready_o   (weight_ready),
      .s_axis_weight_tdata_i    (weight_data),
      .s_axis_weight_tlast_i    (weight_last),
      .m_axis_acc_tvalid_o      (acc_valid),
      .m_axis_acc_tready_i      (acc_ready),
      .m_axis_acc_tdata_o       (acc_data),
      .m_axis_acc_tkeep_o       (acc_keep),
      .m_axis_acc_tlast_o       (acc_last)
    );

    assign spike_valid = 1'b0;
    assign spike_data  = '0;
    assign spike_keep  = '0;
    assign spike_last  = 1'b0;
  end else if (Units != 0) begin : gen_group
    group_core #(
      .Rows           (Rows),
      .Columns        (Columns),
      .Groups         (Lanes / 4),
      .Units          (Units),
      .WeightInputs   (WeightInputs),
      .WeightBits     (WeightBits),
      .Steps          (Tmax),
      .MaxInputs      (MaxInputs),
      .MembraneBits   (MembraneBits),
      .NibbleWeights  (NibbleWeights),
      .UserTimesteps  (UserTimesteps),
      .MembraneStream (MembraneStream),
      .WeightStream   (WeightStream),
      .SpikeStream    (SpikeStream),
      .AccStream      (AccStream)
    ) u_core (
      .clk_i                    (clk),
      .rst_ni                   (rst_n),
      .s_axil_awvalid_i         (s_axil_awvalid),
      .s_axil_awready_o         (s_axil_awready),
      .s_axil_awaddr_i          (s_axil_awaddr),
      .s_axil_wvalid_i          (s_axil_wvalid),
      .s_axil_wready_o          (s_axil_wready),
      .s_axil_wdata_i           (s_axil_wdata),
      .s_axil_wstrb_i           (s_axil_wstrb),
      .s_axil_bvalid_o          (s_axil_bvalid),
      .s_axil_bready_i          (s_axil_bready),
      .s_axil_bresp_o           (s_axil_bresp),
      .s_axil_arvalid_i         (s_axil_arvalid),
      .s_axil_arready_o         (s_axil_arready),
      .s_axil_araddr_i          (s_axil_araddr),
      .s_axil_rvalid_o          (s_axil_rvalid),
      .s_axil_rready_i          (s_axil_rready),
      .s_axil_rdata_o           (s_axil_rdata),
      .s_axil_rresp_o           (s_axil_rresp),
      .irq_o                    (irq),
      .s_axis_membrane_tvalid_i (membrane_valid),
      .s_axis_membrane_tready_o (membrane_ready),
      .s_axis_membrane_tdata_i  (membrane_data),
      .s_axis_membrane_tlast_i  (membrane_last),
      .s_axis_membrane_tuser_i  (membrane_user),
      .s_axis_weight_tvalid_i   (weight_valid),
      .s_axis_weight_tready_o   (weight_ready),
      .s_axis_weight_tdata_i    (weight_data),
      .s_axis_weight_tlast_i    (weight_last),
      .m_axis_spike_tvalid_o    (spike_valid),
      .m_axis_spike_tready_i    (spike_ready),
      .m_axis_spike_tdata_o     (spike_data),
      .m_axis_spike_tkeep_o     (spike_keep),
      .m_axis_spike_tlast_o     (spike_last),
      .m_axis_acc_tvalid_o      (acc_valid),
      .m_axis_acc_tready_i      (acc_ready),
      .m_axis_acc_tdata_o       (acc_data),
      .m_axis_acc_tkeep_o       (acc_keep),
      .m_axis_acc_tlast_o       (acc_last)
    );
  end else begin : gen_spike
    spike_core #(
      .Rows         (Rows),
      .Columns      (Columns),
      .Lanes        (Lanes),
      .Slots        (Slots),
      .WeightInputs (WeightInputs),
      .WeightBits   (WeightBits),
      .Tmax         (Tmax),
      .MaxInputs    (MaxInputs),
      .MembraneBits   (MembraneBits),
      .NibbleWeights  (NibbleWeights),
      .UserTimesteps  (UserTimesteps),
      .MembraneStream (MembraneStream),
      .WeightStream   (WeightStream),
      .SpikeStream    (SpikeStream),
      .AccStream      (AccStream),
      .Csd          (Csd),
      .Capped       (Capped),
      .OneBlock     (OneBlock),
      .LateCounters (LateCounters)
    ) u_core (
      .clk_i                    (clk),
      .rst_ni                   (rst_n),
      .s_axil_awvalid_i         (s_axil_awvalid),
      .s_axil_awready_o         (s_axil_awready),
      .s_axil_awaddr_i          (s_axil_awaddr),
      .s_axil_wvalid_i          (s_axil_wvalid),
      .s_axil_wready_o          (s_axil_wready),
      .s_axil_wdata_i           (s_axil_wdata),
      .s_axil_wstrb_i           (s_axil_wstrb),
      .s_axil_bvalid_o          (s_axil_bvalid),
      .s_axil_bready_i          (s_axil_bready),
      .s_axil_bresp_o           (s_axil_bresp),
      .s_axil_arvalid_i         (s_axil_arvalid),
      .s_axil_arready_o         (s_axil_arready),
      .s_axil_araddr_i          (s_axil_araddr),
      .s_axil_rvalid_o          (s_axil_rvalid),
      .s_axil_rready_i          (s_axil_rready),
      .s_axil_rdata_o           (s_axil_rdata),
      .s_axil_rresp_o           (s_axil_rresp),
      .irq_o                    (irq),
      .s_axis_membrane_tvalid_i (membrane_valid),
      .s_axis_membrane_tready_o (membrane_ready),
      .s_axis_membrane_tdata_i  (membrane_data),
      .s_axis_membrane_tlast_i  (membrane_last),
      .s_axis_membrane_tuser_i  (membrane_user),
      .s_axis_weight_tvalid_i   (weight_valid),
      .s_axis_weight_tready_o   (weight_ready),
      .s_axis_weight_tdata_i    (weight_data),
      .s_axis_weight_tlast_i    (weight_last),
      .m_axis_spike_tvalid_o    (spike_valid),
      .m_axis_spike_tready_i    (spike_ready),
      .m_axis_spike_tdata_o     (spike_data),
      .m_axis_spike_tkeep_o     (spike_keep),
      .m_axis_spike_tlast_o     (spike_last),
      .m_axis_acc_tvalid_o      (acc_valid),
      .m_axis_acc_tready_i      (acc_ready),
      .m_axis_acc_tdata_o       (acc_data),
      .m_axis_acc_tkeep_o       (acc_keep),
      .m_axis_acc_tlast_o       (acc_last)
    );
  end

  // ------------------------------------------------------------------------------------------------- recording
  // All ports of the core in their order of declaration, lowest bits first: inputs but for the clock, then outputs.
  localparam int unsigned InBits = 1 + 1 + 8 + 1 + 32 + 4 + 1 + 1 + 8 + 1 + MembraneBeat + 2 + 8 + WeightBeat + 2;
  localparam int unsigned OutBits = 3 + 2 + 1 + 1 + 32 + 2 + 1 + 2 + AccBeat + KeepAcc + 2;

  logic [InBits-1:0]  record_in;
  logic [OutBits-1:0] record_out;
  logic               job_q;

  assign record_in = {
    weight_last, weight_data, weight_valid,
    membrane_user, membrane_last, membrane_data, membrane_valid,
    s_axil_rready, s_axil_araddr, s_axil_arvalid, s_axil_bready, s_axil_wstrb, s_axil_wdata, s_axil_wvalid,
    s_axil_awaddr, s_axil_awvalid, rst_n
  };
  assign record_out = {
    acc_last, acc_keep, acc_data, acc_valid, weight_ready, membrane_ready,
    irq, s_axil_rresp, s_axil_rdata, s_axil_rvalid, s_axil_arready, s_axil_bresp, s_axil_bvalid, s_axil_wready,
    s_axil_awready
  };

  // From the start of the streams to the interrupt
  always_ff @(posedge clk) begin
    if (!rst_n || irq) job_q <= 1'b0;
    else if (go) job_q <= 1'b1;
  end

  if (Dense) begin : gen_record_dense
    port_recorder #(
      .Width (InBits + 1 + OutBits)
    ) u_recorder (
      .clk_i   (clk),
      .count_i (job_q),
      .ports_i ({record_out, acc_ready, record_in})
    );
  end else begin : gen_record_spike
    port_recorder #(
      .Width (InBits + 2 + OutBits + SpikeBeat + KeepSpike + 2)
    ) u_recorder (
      .clk_i   (clk),
      .count_i (job_q),
      .ports_i ({acc_last, acc_keep, acc_data, acc_valid, spike_last, spike_keep, spike_data, spike_valid,
                 record_out[OutBits-AccBeat-KeepAcc-3:0], acc_ready, spike_ready, record_in})
    );
  end

endmodule
