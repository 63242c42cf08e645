// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Assertions that stand beside the logic they guard: checked in every simulation (but at time 0, when nothing has been
// reset yet), proven by tb/formal, gone in synthesis.
// They are boolean, with $past and $stable, and no sequences: that is what provers and simulators both read.

`ifndef SPIKE_ASSERT_SVH
`define SPIKE_ASSERT_SVH

`ifdef FORMAL
`define SPIKE_PROPERTY(name, expr) name : assert property (@(posedge clk_i) disable iff (!rst_ni) (expr));
`elsif SYNTHESIS
`define SPIKE_PROPERTY(name, expr)
`else
`define SPIKE_PROPERTY(name, expr) \
  name : assert property (@(posedge clk_i) disable iff (!rst_ni || $time == 0) (expr)) \
  else $error("%m: %s", `"expr`");
`endif

// Holds in every cycle out of reset.
`define SPIKE_ASSERT(name, expr) `SPIKE_PROPERTY(name, expr)

// What a module asks of its surroundings. A proof of the module alone takes it for granted (FORMAL_LEAF); simulations, and
// proofs of modules together, check it.
`ifdef FORMAL_LEAF
`define SPIKE_EXPECT(name, expr) name : assume property (@(posedge clk_i) disable iff (!rst_ni) (expr));
`else
`define SPIKE_EXPECT(name, expr) `SPIKE_PROPERTY(name, expr)
`endif

// A stream keeps its offer until it is taken.
`define SPIKE_STABLE(valid, ready, payload) \
  (!$past(rst_ni && (valid) && !(ready)) || ((valid) && $stable(payload)))
`define SPIKE_ASSERT_STABLE(name, valid, ready, payload) \
  `SPIKE_ASSERT(name, `SPIKE_STABLE(valid, ready, payload))

// A condition on parameters, and what to say where it does not hold: no tool elaborates such a design. To Verilator this is a
// warning that stops it; a simulation that was built in spite of it stops at once. The text is plain, without formats.
`define SPIKE_REQUIRE(name, expr, text) \
  if (!(expr)) begin : name \
    $fatal(1, text); \
    initial $fatal(1, text); \
  end

`endif
