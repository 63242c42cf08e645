# Copyright spike-compressor contributors.
# SPDX-License-Identifier: Apache-2.0
#
# spike_core and dense_core for synthesis and timing: one clock, everything synchronous to it, no exceptions. Set before reading:
#
#   period   ns; 6.667, that is 150 MHz, without
#   io       ns of each cycle that belong to what is outside, at every input and output; without it only paths inside are timed

if {![info exists period]} { set period 6.667 }
if {![info exists io]} { set io 0 }

create_clock -name clk -period $period [get_ports clk_i]
if {$io > 0} {
  set_input_delay $io -clock clk [get_ports {rst_ni s_axi*_i* m_axis_*_tready_i}]
  set_output_delay $io -clock clk [get_ports {s_axi*_o* m_axis_*_o* irq_o}]
}
