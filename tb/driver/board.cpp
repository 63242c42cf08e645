// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The board: a Verilated core, its clock and its registers. What else is at its ports is a device: see device.h.

#include "board.h"

#include <cstdio>
#include <cstdlib>

#include "device.h"
#include "verilated.h"

namespace {

VerilatedContext *context;
Vcore *core;
unsigned pause_every, noise = 1;

void tick() {
  core->clk_i = 0;
  device_offer(core);
  core->eval();
  device_sample(core);
  core->clk_i = 1;
  core->eval();
  context->timeInc(1);
  device_edge(core);
}

[[noreturn]] void die(const char *what, uint32_t offset) {
  std::fprintf(stderr, "register 0x%02x: %s\n", offset, what);
  std::exit(3);
}

}  // namespace

unsigned device_random() {
  noise = noise * 1664525u + 1013904223u;
  return noise >> 16;
}

bool device_pauses() { return pause_every != 0 && device_random() % pause_every == 0; }

extern "C" void board_reset(unsigned pause) {
  if (core == nullptr) {
    context = new VerilatedContext;
    context->randReset(2);
    core = new Vcore{context};
  }
  device_reset(core);
  pause_every = pause;
  core->s_axil_awvalid_i = core->s_axil_wvalid_i = core->s_axil_arvalid_i = 0;
  core->s_axil_bready_i = core->s_axil_rready_i = 0;
  core->rst_ni = 0;
  for (int i = 0; i < 4; i++) tick();
  core->rst_ni = 1;
  tick();
}

extern "C" void board_write(void *, uint32_t offset, uint32_t value) {
  core->s_axil_awaddr_i = offset;
  core->s_axil_wdata_i = value;
  core->s_axil_wstrb_i = 15;
  core->s_axil_awvalid_i = core->s_axil_wvalid_i = core->s_axil_bready_i = 1;
  for (int cycle = 0; cycle < 100; cycle++) {
    core->eval();
    bool aw = core->s_axil_awvalid_i && core->s_axil_awready_o;
    bool w = core->s_axil_wvalid_i && core->s_axil_wready_o;
    bool b = core->s_axil_bvalid_o;
    int response = core->s_axil_bresp_o;
    tick();
    if (aw) core->s_axil_awvalid_i = 0;
    if (w) core->s_axil_wvalid_i = 0;
    if (b) {
      core->s_axil_bready_i = 0;
      if (response != 0) die("a write was refused", offset);
      return;
    }
  }
  die("a write was not answered", offset);
}

extern "C" uint32_t board_read(void *, uint32_t offset) {
  core->s_axil_araddr_i = offset;
  core->s_axil_arvalid_i = core->s_axil_rready_i = 1;
  for (int cycle = 0; cycle < 100; cycle++) {
    core->eval();
    bool ar = core->s_axil_arvalid_i && core->s_axil_arready_o;
    bool r = core->s_axil_rvalid_o;
    uint32_t data = core->s_axil_rdata_o;
    int response = core->s_axil_rresp_o;
    tick();
    if (ar) core->s_axil_arvalid_i = 0;
    if (r) {
      core->s_axil_rready_i = 0;
      if (response != 0) die("a read was refused", offset);
      return data;
    }
  }
  die("a read was not answered", offset);
}

extern "C" int board_interrupt(void) { return core->irq_o; }
