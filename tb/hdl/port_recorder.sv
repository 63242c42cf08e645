// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Simulation only. With `+record=FILE`, writes what a core's ports hold at each clock edge, a line a cycle:
// 1 while a job is counted or 0, a space, and the ports as one hexadecimal number.

module port_recorder #(
  parameter int unsigned Width = 8
) (
  input logic             clk_i,
  input logic             count_i,
  input logic [Width-1:0] ports_i
);

  string path;
  int    file;
  bit    on;

  initial begin
    on = $value$plusargs("record=%s", path) != 0;
    if (on) begin
      file = $fopen(path, "w");
      if (file == 0) $fatal(1, "cannot write %s", path);
    end
  end

  always_ff @(posedge clk_i) begin
    if (on) $fwrite(file, "%b %h\n", count_i, ports_i);
  end

  final begin
    if (on) $fclose(file);
  end

endmodule
