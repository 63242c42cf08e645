/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Driver of the spike core, and of its dense baseline: C99, no allocation, no operating system. The user gives two functions
 * that reach the registers, and moves the streams with whatever DMA engine there is; the driver lays out what that sends
 * and reads what it received.
 *
 *     spike_core_open -> for each layer: spike_core_submit, send and receive the streams, spike_core_wait
 *
 * A second layer may be submitted while one runs. Layouts are those of docs/rtl.md; registers those of spike_core.rdl.
 */
#ifndef SPIKE_CORE_H
#define SPIKE_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "spike_core_regs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A bit of ERROR, as a mask. */
#define SPIKE_CORE_ERROR(name) ((uint32_t)SPIKE_CORE__ERROR__##name##_bm)

/* What a call returns: 0 or a negative number. */
enum spike_core_result {
  SPIKE_CORE_OK = 0,
  SPIKE_CORE_NOT_THERE = -1,    /* the ID is another one's */
  SPIKE_CORE_OTHER_MAP = -2,    /* the major version of the register map is not this driver's */
  SPIKE_CORE_TOO_LARGE = -3,    /* the layer's inputs do not fit the store */
  SPIKE_CORE_IMPOSSIBLE = -4,   /* a size of 0, groups that do not divide K, more fractional bits than there are,
                                   a number that the core has no bits for */
  SPIKE_CORE_BUSY = -5,         /* a job runs and another one waits: try again */
  SPIKE_CORE_REPORTED = -6,     /* the core has set error bits: spike_core_errors */
  SPIKE_CORE_NO_ANSWER = -7     /* not done after so many polls */
};

/* A core. Set by spike_core_open; the shape is what it was built for. */
typedef struct {
  uint32_t (*read)(void *context, uint32_t offset);
  void (*write)(void *context, uint32_t offset, uint32_t value);
  void *context;
  uint32_t rows, columns, lanes, slots, weight_inputs, weight_bits, tmax, blocks;
  uint32_t membrane_beat, weight_beat, acc_beat; /* bytes; 0: a beat is one unit, see docs/rtl.md */
  uint32_t membrane_bits, weight_field;          /* bits of a membrane, and of a weight, in the streams */
  int csd;
  int capped;
  int one_block;      /* a group has one block, lanes * slots inputs, at most */
  int user_timesteps; /* T of a row goes in TUSER with its membranes, not in a header before them */
  uint32_t jobs; /* done, when it was last looked at */
} spike_core;

/* A layer: output[M][N] of membranes [M][K] and weights [N][K], K cut into `groups` that are summed apart. */
typedef struct {
  uint32_t rows;      /* M */
  uint32_t outputs;   /* N */
  uint32_t inputs;    /* K */
  uint32_t groups;    /* G; 1 without group scales */
  uint32_t frac_bits; /* F of the membranes; 0: they are integer codes */
  int csd;            /* coding: csd, not tc_lif */
  int spike_stream;   /* send what was fired, too */
  int capped;         /* full lanes of a block drop spikes of the last step: tc_lif alone, without spike_stream */
} spike_core_layer;

/* Find a core: check what it is, read its shape, clear what an earlier user left in its error and done bits. */
int spike_core_open(spike_core *core, uint32_t (*read)(void *context, uint32_t offset),
                    void (*write)(void *context, uint32_t offset, uint32_t value), void *context);

/* Start a layer, or queue it behind the one that runs. Its streams may be sent from then on. */
int spike_core_submit(spike_core *core, const spike_core_layer *layer);

/* Poll until `jobs` more jobs are done, at most `polls` times. The interrupt, if it is on, says when to look. */
int spike_core_wait(spike_core *core, uint32_t jobs, uint32_t polls);

/* Error bits, SPIKE_CORE_ERROR(...); they are cleared. */
uint32_t spike_core_errors(spike_core *core);

/* Let done jobs, errors, or both interrupt; at any time. */
void spike_core_interrupts(spike_core *core, int done, int error);

/* A counter by its number, and all of them back to 0. */
uint64_t spike_core_counter(spike_core *core, uint32_t number);
void spike_core_clear_counters(spike_core *core);

/* Drop all jobs and all input. Stop the DMA engines that send, let those that receive go on; then spike_core_resume, which
 * returns SPIKE_CORE_BUSY as long as an output has not been taken. */
void spike_core_abort(spike_core *core);
int spike_core_resume(spike_core *core);

/* ------------------------------------------------------------------------------------------------------ streams */

/* Bytes of each stream of a layer. The weight stream is one row tile's: send it spike_core_row_tiles times. */
uint32_t spike_core_row_tiles(const spike_core *core, const spike_core_layer *layer);
size_t spike_core_membrane_bytes(const spike_core *core, const spike_core_layer *layer);
size_t spike_core_weight_bytes(const spike_core *core, const spike_core_layer *layer);
size_t spike_core_sum_bytes(const spike_core *core, const spike_core_layer *layer);

/* Bytes of a packet, which TLAST ends: a row of membranes, a column tile of weights. Where T goes in TUSER, hold the row's T
 * there with every beat of its packet. */
size_t spike_core_membrane_packet(const spike_core *core, const spike_core_layer *layer);
size_t spike_core_weight_packet(const spike_core *core, const spike_core_layer *layer);

/* membranes int32 [M][K], timesteps uint8 [M] -> the membrane stream. SPIKE_CORE_IMPOSSIBLE if a membrane does not fit the
 * core's bits (T + F has to be less than those) or a T is none of its. */
int spike_core_pack_membranes(const spike_core *core, const spike_core_layer *layer, const int32_t *membranes,
                               const uint8_t *timesteps, uint8_t *stream);

/* weights int8 [N][K] -> the weight stream of one row tile. SPIKE_CORE_IMPOSSIBLE if one does not fit the core's bits. */
int spike_core_pack_weights(const spike_core *core, const spike_core_layer *layer, const int8_t *weights,
                             uint8_t *stream);

/* the accumulator stream -> sums int32 [M][N][G] */
void spike_core_unpack_sums(const spike_core *core, const spike_core_layer *layer, const uint8_t *stream,
                            int32_t *sums);

#ifdef __cplusplus
}
#endif

#endif
