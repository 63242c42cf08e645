// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Accesses of a Verilated core's registers. `tick` lets a clock cycle pass.
#ifndef AXIL_H
#define AXIL_H

#include <cstdint>

namespace axil {

enum class Answer { Okay, Refused, None };

constexpr int Patience = 100;  // cycles until there has to be an answer

template <typename Core, typename Tick>
Answer write(Core &core, Tick tick, uint32_t offset, uint32_t value) {
  core.s_axil_awaddr_i = offset;
  core.s_axil_wdata_i = value;
  core.s_axil_wstrb_i = 15;
  core.s_axil_awvalid_i = core.s_axil_wvalid_i = core.s_axil_bready_i = 1;
  for (int cycle = 0; cycle < Patience; cycle++) {
    bool aw = core.s_axil_awvalid_i && core.s_axil_awready_o;
    bool w = core.s_axil_wvalid_i && core.s_axil_wready_o;
    bool b = core.s_axil_bvalid_o;
    int response = core.s_axil_bresp_o;
    tick();
    if (aw) core.s_axil_awvalid_i = 0;
    if (w) core.s_axil_wvalid_i = 0;
    if (b) {
      core.s_axil_bready_i = 0;
      return response == 0 ? Answer::Okay : Answer::Refused;
    }
  }
  return Answer::None;
}

template <typename Core, typename Tick>
Answer read(Core &core, Tick tick, uint32_t offset, uint32_t &value) {
  core.s_axil_araddr_i = offset;
  core.s_axil_arvalid_i = core.s_axil_rready_i = 1;
  for (int cycle = 0; cycle < Patience; cycle++) {
    bool ar = core.s_axil_arvalid_i && core.s_axil_arready_o;
    bool r = core.s_axil_rvalid_o;
    int response = core.s_axil_rresp_o;
    value = core.s_axil_rdata_o;
    tick();
    if (ar) core.s_axil_arvalid_i = 0;
    if (r) {
      core.s_axil_rready_i = 0;
      return response == 0 ? Answer::Okay : Answer::Refused;
    }
  }
  return Answer::None;
}

}  // namespace axil

#endif
