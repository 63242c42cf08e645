/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program for the board: computes a layer with the driver, as two jobs of which the second is submitted while the first
 * one runs, after a job that was aborted half way. Writes the sums.
 *
 *     layer M N K G F coding pause membranes timesteps weights sums
 */
#include "board.h"
#include "program.h"
#include "spike_core.h"

/* Everything a part of the rows needs on its way through the core. */
typedef struct {
  spike_core_layer layer;
  uint8_t *membranes, *weights, *sums;
  const uint8_t *timesteps;
} part;

static part prepare(const spike_core *core, spike_core_layer layer, const int32_t *membranes,
                    const uint8_t *timesteps, const int8_t *weights) {
  part made;

  made.layer = layer;
  made.timesteps = timesteps;
  made.membranes = malloc(spike_core_membrane_bytes(core, &layer));
  made.weights = malloc(spike_core_weight_bytes(core, &layer));
  made.sums = malloc(spike_core_sum_bytes(core, &layer));
  require(made.membranes != NULL && made.weights != NULL && made.sums != NULL, "no memory");
  require(spike_core_pack_membranes(core, &layer, membranes, timesteps, made.membranes) == SPIKE_CORE_OK, "membranes");
  require(spike_core_pack_weights(core, &layer, weights, made.weights) == SPIKE_CORE_OK, "weights");
  return made;
}

static void submit(spike_core *core, const part *one) {
  const spike_core_layer *layer = &one->layer;
  uint32_t tile;

  require(spike_core_submit(core, layer) == SPIKE_CORE_OK, "submit");
  board_send(BOARD_MEMBRANES, one->membranes, spike_core_membrane_bytes(core, layer),
             spike_core_membrane_packet(core, layer), core->user_timesteps ? one->timesteps : NULL);
  for (tile = 0; tile < spike_core_row_tiles(core, layer); tile++) {
    board_send(BOARD_WEIGHTS, one->weights, spike_core_weight_bytes(core, layer),
               spike_core_weight_packet(core, layer), NULL);
  }
  board_receive(one->sums, spike_core_sum_bytes(core, layer));
}

int main(int count, char **words) {
  spike_core core;
  spike_core_layer layer = {0}, wrong;
  part first, second;
  size_t M, N, K, G;
  int32_t *membranes, *sums;
  uint8_t *timesteps;
  int8_t *weights;

  require(count == 12, "usage: layer M N K G F coding pause membranes timesteps weights sums");
  M = layer.rows = (uint32_t)atoi(words[1]);
  N = layer.outputs = (uint32_t)atoi(words[2]);
  K = layer.inputs = (uint32_t)atoi(words[3]);
  G = layer.groups = (uint32_t)atoi(words[4]);
  layer.frac_bits = (uint32_t)atoi(words[5]);
  layer.csd = atoi(words[6]) == 1;
  layer.capped = atoi(words[6]) == 2;
  membranes = load(words[8], M * K * 4);
  timesteps = load(words[9], M);
  weights = load(words[10], N * K);
  sums = malloc(M * N * G * 4);
  require(sums != NULL, "no memory");

  board_reset((unsigned)atoi(words[7]));
  require(spike_core_open(&core, board_read, board_write, NULL) == SPIKE_CORE_OK, "open");
  spike_core_interrupts(&core, 1, 1);

  /* what cannot work is refused before the core sees it */
  wrong = layer;
  wrong.groups = layer.inputs + 1;
  require(spike_core_submit(&core, &wrong) == SPIKE_CORE_IMPOSSIBLE, "groups that do not divide K");
  wrong = layer;
  wrong.capped = 1;
  wrong.csd = 1;
  require(spike_core_submit(&core, &wrong) == SPIKE_CORE_IMPOSSIBLE, "capped firing in csd");
  wrong.csd = 0;
  wrong.spike_stream = 1;
  require(spike_core_submit(&core, &wrong) == SPIKE_CORE_IMPOSSIBLE, "capped firing with the spike stream");
  wrong.spike_stream = 0;
  wrong.frac_bits = 1;
  require(spike_core_submit(&core, &wrong) == SPIKE_CORE_IMPOSSIBLE, "capped firing without quarters");
  wrong.frac_bits = 2;
  require(core.capped || spike_core_submit(&core, &wrong) == SPIKE_CORE_IMPOSSIBLE, "capped firing on a core without");
  wrong = layer;
  wrong.inputs = core.blocks * core.slots * core.lanes * layer.groups * 2;
  require(spike_core_submit(&core, &wrong) == SPIKE_CORE_TOO_LARGE, "K beyond the store");

  layer.rows = (uint32_t)(M - M / 2);
  first = prepare(&core, layer, membranes, timesteps, weights);
  layer.rows = (uint32_t)(M / 2);
  second = prepare(&core, layer, membranes + (M - M / 2) * K, timesteps + (M - M / 2), weights);

  /* a job half way, and out */
  submit(&core, &first);
  while (board_left(BOARD_MEMBRANES) > spike_core_membrane_bytes(&core, &first.layer) / 2) (void)spike_core_counter(&core, 0);
  spike_core_abort(&core);
  while (board_left(BOARD_MEMBRANES) + board_left(BOARD_WEIGHTS) != 0) (void)spike_core_counter(&core, 0);
  while (spike_core_resume(&core) == SPIKE_CORE_BUSY) {}
  board_stop(BOARD_SUMS);
  require(spike_core_errors(&core) == 0 && !board_interrupt(), "an abort is no error");

  /* the layer, in two jobs */
  spike_core_clear_counters(&core);
  submit(&core, &first);
  submit(&core, &second);
  require(spike_core_submit(&core, &second.layer) == SPIKE_CORE_BUSY, "two jobs are what there is room for");
  require(spike_core_wait(&core, 2, POLLS) == SPIKE_CORE_OK, "wait");
  require(board_left(BOARD_SUMS) == 0, "sums are missing");
  spike_core_unpack_sums(&core, &first.layer, first.sums, sums);
  spike_core_unpack_sums(&core, &second.layer, second.sums, sums + (M - M / 2) * N * G);
  printf("%lu rows, %lu spikes, %lu cycles\n", (unsigned long)spike_core_counter(&core, 1),
         (unsigned long)spike_core_counter(&core, 2), (unsigned long)spike_core_counter(&core, 0));

  store(words[11], sums, M * N * G);

  /* a job that the core refuses by itself is reported */
  board_write(NULL, offsetof(spike_core_t, ROWS), 0);
  board_write(NULL, offsetof(spike_core_t, CTRL), 1);
  require(spike_core_wait(&core, 1, POLLS) == SPIKE_CORE_REPORTED, "a refusal");
  require(board_interrupt(), "its interrupt");
  require(spike_core_errors(&core) == SPIKE_CORE_ERROR(ROWS), "its reason");
  require(!board_interrupt() && spike_core_errors(&core) == 0, "its end");
  return 0;
}
