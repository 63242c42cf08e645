/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program for a board with memory: computes a layer from memory to memory, as two runs of which the second is submitted
 * while the first one goes on, after a run that was aborted half way and one whose sums have no memory. Writes the sums.
 *
 *     streamed_layer M N K G F csd pause membranes timesteps weights sums
 */
#include <string.h>

#include "board.h"
#include "program.h"
#include "spike_streamer.h"

static uint64_t used = 3; /* beats, so that nothing begins with a page */

/* Room in the board's memory, a whole number of beats from its start. */
static uint64_t room(const spike_streamer *streamer, size_t bytes) {
  uint64_t at = used * streamer->beat;

  used += bytes / streamer->beat + 5;
  require(used * streamer->beat <= BOARD_MEMORY_BYTES, "memory is full");
  return BOARD_MEMORY_BASE + at;
}

static uint8_t *here(uint64_t address) { return board_memory() + (address - BOARD_MEMORY_BASE); }

static spike_streamer_places prepare(const spike_streamer *streamer, const spike_core_layer *layer,
                                     const int32_t *membranes, const uint8_t *timesteps, const int8_t *weights) {
  spike_streamer_places at;
  size_t sums = spike_streamer_sum_bytes(streamer, layer);

  at.membranes = room(streamer, spike_streamer_membrane_bytes(streamer, layer));
  at.weights = room(streamer, spike_streamer_weight_bytes(streamer, layer));
  at.sums = room(streamer, sums);
  memset(here(at.sums), 0x5a, sums);
  require(spike_streamer_pack_membranes(streamer, layer, membranes, timesteps, here(at.membranes)) == SPIKE_CORE_OK,
          "membranes");
  require(spike_streamer_pack_weights(streamer, layer, weights, here(at.weights)) == SPIKE_CORE_OK, "weights");
  return at;
}

int main(int count, char **words) {
  spike_core core;
  spike_streamer streamer;
  spike_core_layer layer = {0}, upper, lower;
  spike_streamer_places first, second, wrong;
  size_t M, N, K, G;
  uint32_t wait;
  int32_t *membranes, *sums;
  uint8_t *timesteps;
  int8_t *weights;

  require(count == 12, "usage: streamed_layer M N K G F csd pause membranes timesteps weights sums");
  M = layer.rows = (uint32_t)atoi(words[1]);
  N = layer.outputs = (uint32_t)atoi(words[2]);
  K = layer.inputs = (uint32_t)atoi(words[3]);
  G = layer.groups = (uint32_t)atoi(words[4]);
  layer.frac_bits = (uint32_t)atoi(words[5]);
  layer.csd = atoi(words[6]);
  membranes = load(words[8], M * K * 4);
  timesteps = load(words[9], M);
  weights = load(words[10], N * K);
  sums = malloc(M * N * G * 4);
  require(sums != NULL, "no memory");

  board_reset((unsigned)atoi(words[7]));
  require(spike_core_open(&core, board_read, board_write, NULL) == SPIKE_CORE_OK, "open the core");
  require(spike_streamer_open(&streamer, &core) == SPIKE_CORE_OK, "open the streamer");
  spike_streamer_interrupts(&streamer, 1, 1);
  upper = lower = layer;
  upper.rows = (uint32_t)(M - M / 2);
  lower.rows = (uint32_t)(M / 2);
  first = prepare(&streamer, &upper, membranes, timesteps, weights);
  second = prepare(&streamer, &lower, membranes + upper.rows * K, timesteps + upper.rows, weights);

  /* what cannot work is refused before the core sees it */
  wrong = first;
  wrong.weights++;
  require(spike_streamer_submit(&streamer, &upper, &wrong) == SPIKE_CORE_IMPOSSIBLE, "an address within a beat");

  /* a run half way, and out */
  require(spike_streamer_submit(&streamer, &upper, &first) == SPIKE_CORE_OK, "submit");
  for (wait = 0; wait < 40; wait++) (void)spike_core_counter(&core, 0);
  spike_streamer_abort(&streamer);
  while (spike_streamer_resume(&streamer) == SPIKE_CORE_BUSY) {}
  require(spike_core_errors(&core) == 0 && spike_streamer_errors(&streamer) == 0 && !board_interrupt(),
          "an abort is no error");

  /* sums that nobody takes are reported, and the run ends */
  wrong = first;
  wrong.sums = BOARD_MEMORY_BASE + BOARD_MEMORY_BYTES;
  require(spike_streamer_run(&streamer, &upper, &wrong, POLLS) == SPIKE_CORE_REPORTED, "sums beyond memory");
  require(board_interrupt(), "its interrupt");
  require(spike_streamer_errors(&streamer) == SPIKE_STREAMER_ERROR(SUM_DECODE) && spike_core_errors(&core) == 0,
          "its reason");
  require(!board_interrupt(), "its end");

  /* the layer, in two runs */
  spike_core_clear_counters(&core);
  require(spike_streamer_submit(&streamer, &upper, &first) == SPIKE_CORE_OK, "the first half");
  require(spike_streamer_submit(&streamer, &lower, &second) == SPIKE_CORE_OK, "the second half");
  require(spike_streamer_submit(&streamer, &lower, &second) == SPIKE_CORE_BUSY, "two runs are what there is room for");
  require(spike_streamer_wait(&streamer, 2, POLLS) == SPIKE_CORE_OK, "wait");
  spike_streamer_unpack_sums(&streamer, &upper, here(first.sums), sums);
  spike_streamer_unpack_sums(&streamer, &lower, here(second.sums), sums + upper.rows * N * G);
  printf("%lu rows, %lu spikes, %lu cycles\n", (unsigned long)spike_core_counter(&core, 1),
         (unsigned long)spike_core_counter(&core, 2), (unsigned long)spike_core_counter(&core, 0));
  store(words[11], sums, M * N * G);
  return 0;
}
