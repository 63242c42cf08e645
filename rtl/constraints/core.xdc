# Copyright spike-compressor contributors.
# SPDX-License-Identifier: Apache-2.0
#
# spike_core or dense_core by itself in Vivado (out of context): the clock. A design around it constrains its own clock instead.

create_clock -name clk -period 10.000 [get_ports clk_i]
