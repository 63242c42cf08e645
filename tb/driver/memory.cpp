// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What is around a streamed core: memory behind its AXI4 port. Bursts of different IDs overtake each other beat by beat;
// answers take their time. What no manager may do stops the program.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "board.h"
#include "device.h"

namespace {

constexpr size_t Beat = DATA_BYTES;
constexpr size_t Latency = 20;  // cycles until data come
constexpr int DecErr = 3;

struct Burst {
  uint64_t address;
  unsigned beats, done;
  size_t due;
};

uint8_t memory[BOARD_MEMORY_BYTES];
std::deque<Burst> reads[2], writes;
std::deque<std::pair<size_t, int>> answers;  // when, and what
size_t now;
int response;          // of the write that goes on
bool reading, answering;
unsigned source;       // ID of the data on offer

void require(bool holds, const char *what) {
  if (!holds) std::exit((std::fprintf(stderr, "AXI4: %s\n", what), 3));
}

// Where a beat is, or none.
uint8_t *at(uint64_t address) {
  bool there = address >= BOARD_MEMORY_BASE && address - BOARD_MEMORY_BASE + Beat <= BOARD_MEMORY_BYTES;
  return there ? memory + (address - BOARD_MEMORY_BASE) : nullptr;
}

Burst burst(uint64_t address, unsigned length, unsigned size, unsigned kind) {
  require((size_t)1 << size == Beat && kind == 1, "a burst is no row of whole beats");
  require(address % Beat == 0, "an address is within a beat");
  require(address / 4096 == (address + (length + 1) * Beat - 1) / 4096, "a burst crosses 4 KiB");
  return Burst{address, length + 1, 0, now + Latency};
}

}  // namespace

extern "C" uint8_t *board_memory(void) { return memory; }

void device_reset(Vcore *core) {
  for (auto &queue : reads) queue.clear();
  writes.clear();
  answers.clear();
  core->m_axi_rvalid_i = core->m_axi_bvalid_i = 0;
  core->m_axi_arready_i = core->m_axi_awready_i = core->m_axi_wready_i = 0;
  core->m_axis_spike_tready_i = 1;
  reading = answering = false;
}

void device_offer(Vcore *core) {
  now++;
  if (!core->m_axi_rvalid_i && !device_pauses()) {
    source = device_random() % 2;
    if (reads[source].empty() || reads[source].front().due > now) source = !source;
    if (!reads[source].empty() && reads[source].front().due <= now) {
      const Burst &one = reads[source].front();
      const uint8_t *data = at(one.address + one.done * Beat);
      std::memset(&core->m_axi_rdata_i, 0xa5, Beat);
      if (data != nullptr) std::memcpy(&core->m_axi_rdata_i, data, Beat);
      core->m_axi_rresp_i = data != nullptr ? 0 : DecErr;
      core->m_axi_rid_i = source;
      core->m_axi_rlast_i = one.done + 1 == one.beats;
      core->m_axi_rvalid_i = 1;
    }
  }
  if (!core->m_axi_bvalid_i && !answers.empty() && answers.front().first <= now && !device_pauses()) {
    core->m_axi_bresp_i = answers.front().second;
    core->m_axi_bid_i = 0;
    core->m_axi_bvalid_i = 1;
  }
  core->m_axi_arready_i = !device_pauses();
  core->m_axi_awready_i = !device_pauses();
  core->m_axi_wready_i = !writes.empty() && !device_pauses();
}

void device_sample(Vcore *core) {
  if (!core->rst_ni) return;  // before its first edge a register holds anything
  reading = core->m_axi_rvalid_i && core->m_axi_rready_o;
  answering = core->m_axi_bvalid_i && core->m_axi_bready_o;
  if (core->m_axi_arvalid_o && core->m_axi_arready_i) {
    reads[core->m_axi_arid_o].push_back(
        burst(core->m_axi_araddr_o, core->m_axi_arlen_o, core->m_axi_arsize_o, core->m_axi_arburst_o));
  }
  if (core->m_axi_wvalid_o && core->m_axi_wready_i) {
    Burst &one = writes.front();
    uint8_t *data = at(one.address + one.done * Beat);
    uint8_t beat[Beat], strobes[Beat / 8 + 1] = {};
    std::memcpy(beat, &core->m_axi_wdata_o, Beat);
    std::memcpy(strobes, &core->m_axi_wstrb_o, (Beat + 7) / 8);
    for (size_t i = 0; i < Beat; i++) {
      if (data != nullptr && (strobes[i / 8] >> i % 8 & 1)) data[i] = beat[i];
    }
    if (one.done == 0) response = 0;
    if (data == nullptr) response = DecErr;
    one.done++;
    require(core->m_axi_wlast_o == (one.done == one.beats), "WLAST is not at the end of a burst");
    if (one.done == one.beats) {
      answers.emplace_back(now + Latency, response);
      writes.pop_front();
    }
  }
  if (core->m_axi_awvalid_o && core->m_axi_awready_i) {
    writes.push_back(burst(core->m_axi_awaddr_o, core->m_axi_awlen_o, core->m_axi_awsize_o, core->m_axi_awburst_o));
  }
}

void device_edge(Vcore *core) {
  if (reading) {
    core->m_axi_rvalid_i = 0;
    Burst &one = reads[source].front();
    if (++one.done == one.beats) reads[source].pop_front();
  }
  if (answering) {
    core->m_axi_bvalid_i = 0;
    answers.pop_front();
  }
}
