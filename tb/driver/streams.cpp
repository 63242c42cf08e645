// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What is around the core: a DMA engine on each stream.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "board.h"
#include "device.h"

namespace {

struct Transfer {
  const uint8_t *from;
  uint8_t *to;
  size_t bytes, packet, done;
  const uint8_t *user;
};

std::deque<Transfer> queues[BOARD_STREAMS];
bool membranes, weights;  // are taken with the next edge

// What the engine of an input offers; an offer stays until it is taken.
template <typename Valid, typename Data, typename Last>
void offer(board_stream stream, Valid &valid, Data &data, Last &last, size_t beat) {
  std::deque<Transfer> &queue = queues[stream];
  if (valid || queue.empty() || device_pauses()) return;
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
size_t kept(Vcore *core) {
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

}  // namespace

void device_reset(Vcore *core) {
  for (auto &queue : queues) queue.clear();
  core->s_axis_membrane_tvalid_i = core->s_axis_weight_tvalid_i = 0;
}

void device_offer(Vcore *core) {
  if (!core->s_axis_membrane_tvalid_i && !queues[BOARD_MEMBRANES].empty()) {
    const Transfer &now = queues[BOARD_MEMBRANES].front();
    core->s_axis_membrane_tuser_i = now.user != nullptr ? now.user[now.done / now.packet] : device_random();
  }
  offer(BOARD_MEMBRANES, core->s_axis_membrane_tvalid_i, core->s_axis_membrane_tdata_i, core->s_axis_membrane_tlast_i,
        MEMBRANE_BYTES);
  offer(BOARD_WEIGHTS, core->s_axis_weight_tvalid_i, core->s_axis_weight_tdata_i, core->s_axis_weight_tlast_i,
        WEIGHT_BYTES);
  core->m_axis_acc_tready_i = !queues[BOARD_SUMS].empty() && !device_pauses();
}

void device_sample(Vcore *core) {
  membranes = core->s_axis_membrane_tvalid_i && core->s_axis_membrane_tready_o;
  weights = core->s_axis_weight_tvalid_i && core->s_axis_weight_tready_o;
  if (core->m_axis_acc_tvalid_o && core->m_axis_acc_tready_i) {
    Transfer &now = queues[BOARD_SUMS].front();
    size_t bytes = std::min(kept(core), now.bytes - now.done);
    std::memcpy(now.to + now.done, &core->m_axis_acc_tdata_o, bytes);
    taken(BOARD_SUMS, bytes);
  }
}

void device_edge(Vcore *core) {
  if (membranes) {
    core->s_axis_membrane_tvalid_i = 0;
    taken(BOARD_MEMBRANES, MEMBRANE_BYTES);
  }
  if (weights) {
    core->s_axis_weight_tvalid_i = 0;
    taken(BOARD_WEIGHTS, WEIGHT_BYTES);
  }
}

extern "C" void board_send(board_stream stream, const uint8_t *data, size_t bytes, size_t packet,
                           const uint8_t *user) {
  queues[stream].push_back(Transfer{data, nullptr, bytes, packet, 0, user});
}

extern "C" void board_receive(uint8_t *data, size_t bytes) {
  queues[BOARD_SUMS].push_back(Transfer{nullptr, data, bytes, bytes, 0, nullptr});
}

extern "C" size_t board_left(board_stream stream) {
  size_t left = 0;
  for (const Transfer &one : queues[stream]) left += one.bytes - one.done;
  return left;
}

extern "C" void board_stop(board_stream stream) { queues[stream].clear(); }
