# Copyright spike-compressor contributors.
# SPDX-License-Identifier: Apache-2.0
#
# Synthesis for an ECP5 of what FuseSoC's `synth` target lists. Yosys' own reader is too weak for this SystemVerilog, so the
# commands in the procedures that Edalize has written are collected and become one of slang.

yosys -import
source edalize_yosys_procs.tcl

set arguments {}
proc read_verilog {args} {
  global arguments
  lappend arguments [lindex $args end]
}
proc verilog_defines {define} {
  global arguments
  lappend arguments -D [string range $define 2 end]
}
proc verilog_defaults {args} {
  global arguments
  foreach word $args {
    if {[string match -I* $word]} { lappend arguments -I [string range $word 2 end] }
  }
}
proc chparam {option name value module} {
  global arguments
  lappend arguments -G $name=$value
}

set_defines
set_incdirs
set_params
read_files
yosys read_slang --top $top {*}$arguments
yosys synth_ecp5 -top $top -json $name.json
yosys tee -o $name.stat stat
