// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The board: a Verilated core, its clock and its registers. What else is at its ports is a device: see device.h.

#include "board.h"

#include <cstdio>
#include <cstdlib>

#include "axil.h"
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

void require(axil::Answer answer, uint32_t offset) {
  if (answer == axil::Answer::Okay) return;
  const char *what = answer == axil::Answer::Refused ? "refused" : "not answered";
  std::exit((std::fprintf(stderr, "register 0x%02x: an access was %s\n", offset, what), 3));
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
  require(axil::write(*core, tick, offset, value), offset);
}

extern "C" uint32_t board_read(void *, uint32_t offset) {
  uint32_t value = 0;
  require(axil::read(*core, tick, offset, value), offset);
  return value;
}

extern "C" int board_interrupt(void) { return core->irq_o; }
