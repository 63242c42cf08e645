// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Assertions that stand beside the logic they guard. They vanish in synthesis.

`ifndef SPIKE_ASSERT_SVH
`define SPIKE_ASSERT_SVH

// Holds in every cycle out of reset. (At time 0 nothing has been reset yet.)
`ifdef SYNTHESIS
`define SPIKE_ASSERT(name, expr)
`else
`define SPIKE_ASSERT(name, expr) \
  name : assert property (@(posedge clk_i) disable iff (!rst_ni || $time == 0) (expr)) \
  else $error("%m: %s", `"expr`");
`endif

// A stream keeps its offer until it is taken.
`define SPIKE_ASSERT_STABLE(name, valid, ready, payload) \
  `SPIKE_ASSERT(name, ((valid) && !(ready)) |=> ((valid) && $stable(payload)))

// A condition on parameters, checked when the design is elaborated.
`define SPIKE_REQUIRE(name, expr) \
  if (!(expr)) begin : name \
    $error("%m: parameter out of range: %s", `"expr`"); \
  end

`endif
