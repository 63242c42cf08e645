// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The board: a Verilated core at its ports. Ports are copied as bytes, so any width will do (on a little-endian host).

#include "board.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "Vcore.h"
#include "verilated.h"

namespace {

struct Transfer {
  const uint8_t *from;
  uint8_t *to;
  size_t bytes, packet, done;
};

VerilatedContext *context;
Vcore *core;
std::deque<Transfer> queues[BOARD_STREAMS];
unsigned pause_every, noise = 1;

bool pauses() {
  noise = noise * 1664525u + 1013904223u;
  return pause_every != 0 && (noise >> 16) % pause_every == 0;
}

// What the engine of an input offers; an offer stays until it is taken.
template <typename Valid, typename Data, typename Last>
void offer(board_stream stream, Valid &valid, Data &data, Last &last, size_t beat) {
  std::deque<Transfer> &queue = queues[stream];
  if (valid || queue.empty() || pauses()) return;
  Transfer &now = queue.front();
  size_t rest = now.packet - now.done % now.packet;
  std::memset(&data, 0xa5, beat);
  std::memcpy(&data, now.from + now.done, std::min(beat, rest));
  last = rest <= beat;
  valid = 1;
}

// A beat has gone from memory, or some bytes of one have come.
void taken(board_stream stream, size_t beat) {
  std::deque<Transfer> &queue = queues[stream];
  if (queue.empty()) return;
  Transfer &now = queue.front();
  now.done += std::min(beat, now.packet - now.done % now.packet);
  if (now.done >= now.bytes) queue.pop_front();
}

// Bytes of a beat that TKEEP counts: the lowest ones.
size_t kept() {
  uint8_t keep[ACC_BYTES / 8 + 1] = {};
  std::memcpy(keep, &core->m_axis_acc_tkeep_o, (ACC_BYTES + 7) / 8);
  size_t bytes = 0;
  while (bytes < ACC_BYTES && (keep[bytes / 8] >> bytes % 8 & 1)) bytes++;
  for (size_t i = bytes; i < ACC_BYTES; i++) {
    if (keep[i / 8] >> i % 8 & 1) std::exit((std::fprintf(stderr, "TKEEP has a hole\n"), 3));
  }
  if (bytes != ACC_BYTES && !core->m_axis_acc_tlast_o) {
    std::exit((std::fprintf(stderr, "a beat within a packet is not full\n"), 3));
  }
  return bytes;
}

void tick() {
  core->clk_i = 0;
  offer(BOARD_MEMBRANES, core->s_axis_membrane_tvalid_i, core->s_axis_membrane_tdata_i, core->s_axis_membrane_tlast_i,
        MEMBRANE_BYTES);
  offer(BOARD_WEIGHTS, core->s_axis_weight_tvalid_i, core->s_axis_weight_tdata_i, core->s_axis_weight_tlast_i,
        WEIGHT_BYTES);
  core->m_axis_acc_tready_i = !queues[BOARD_SUMS].empty() && !pauses();
  core->eval();
  bool membranes = core->s_axis_membrane_tvalid_i && core->s_axis_membrane_tready_o;
  bool weights = core->s_axis_weight_tvalid_i && core->s_axis_weight_tready_o;
  if (core->m_axis_acc_tvalid_o && core->m_axis_acc_tready_i) {
    Transfer &now = queues[BOARD_SUMS].front();
    size_t bytes = std::min(kept(), now.bytes - now.done);
    std::memcpy(now.to + now.done, &core->m_axis_acc_tdata_o, bytes);
    taken(BOARD_SUMS, bytes);
  }
  core->clk_i = 1;
  core->eval();
  context->timeInc(1);
  if (membranes) {
    core->s_axis_membrane_tvalid_i = 0;
    taken(BOARD_MEMBRANES, MEMBRANE_BYTES);
  }
  if (weights) {
    core->s_axis_weight_tvalid_i = 0;
    taken(BOARD_WEIGHTS, WEIGHT_BYTES);
  }
}

[[noreturn]] void die(const char *what, uint32_t offset) {
  std::fprintf(stderr, "register 0x%02x: %s\n", offset, what);
  std::exit(3);
}

}  // namespace

extern "C" void board_reset(unsigned pause) {
  if (core == nullptr) {
    context = new VerilatedContext;
    context->randReset(2);
    core = new Vcore{context};
  }
  for (auto &queue : queues) queue.clear();
  pause_every = pause;
  core->s_axil_awvalid_i = core->s_axil_wvalid_i = core->s_axil_arvalid_i = 0;
  core->s_axil_bready_i = core->s_axil_rready_i = 0;
  core->s_axis_membrane_tvalid_i = core->s_axis_weight_tvalid_i = 0;
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

extern "C" void board_send(board_stream stream, const uint8_t *data, size_t bytes, size_t packet) {
  queues[stream].push_back(Transfer{data, nullptr, bytes, packet, 0});
}

extern "C" void board_receive(uint8_t *data, size_t bytes) {
  queues[BOARD_SUMS].push_back(Transfer{nullptr, data, bytes, bytes, 0});
}

extern "C" size_t board_left(board_stream stream) {
  size_t left = 0;
  for (const Transfer &one : queues[stream]) left += one.bytes - one.done;
  return left;
}

extern "C" void board_stop(board_stream stream) { queues[stream].clear(); }
