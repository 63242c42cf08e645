/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Driver of the streamer that a streamed core has beside its core: layers go from memory to memory. C99, no allocation,
 * no operating system. The user lays input out in memory that the core reaches, and gives bus addresses.
 *
 *     spike_core_open, spike_streamer_open -> for each layer: spike_streamer_submit, spike_streamer_wait
 *
 * A second layer may be submitted while one runs. Registers are those of spike_core.rdl.
 */
#ifndef SPIKE_STREAMER_H
#define SPIKE_STREAMER_H

#include "spike_core.h"
#include "spike_streamer_regs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the streamer's registers begin, behind those of the core. */
#define SPIKE_STREAMER_BASE 0x100u

/* A bit of the streamer's ERROR, as a mask. */
#define SPIKE_STREAMER_ERROR(name) ((uint32_t)SPIKE_STREAMER__ERROR__##name##_bm)

/* A streamer. Set by spike_streamer_open. */
typedef struct {
  spike_core *core;
  uint32_t beat;         /* bytes; addresses have to be multiples of it */
  uint32_t address_bits; /* that the bus has */
  uint32_t runs;         /* done, when it was last looked at */
} spike_streamer;

/* Bus addresses of a layer's parts. */
typedef struct {
  uint64_t membranes, weights, sums;
} spike_streamer_places;

/* Find the streamer of a core that is open. SPIKE_CORE_NOT_THERE if it has none. */
int spike_streamer_open(spike_streamer *streamer, spike_core *core);

/* Run a layer, or queue it behind the one that runs. Its input has to be in memory. SPIKE_CORE_IMPOSSIBLE for an address that is
 * no multiple of a beat or beyond the bus, else as spike_core_submit. */
int spike_streamer_submit(spike_streamer *streamer, const spike_core_layer *layer, const spike_streamer_places *at);

/* Poll until `runs` more layers are done and their sums in memory, at most `polls` times. SPIKE_CORE_REPORTED if core or
 * streamer have set error bits: spike_core_errors, spike_streamer_errors. */
int spike_streamer_wait(spike_streamer *streamer, uint32_t runs, uint32_t polls);

/* Submit a layer and wait for it. */
int spike_streamer_run(spike_streamer *streamer, const spike_core_layer *layer, const spike_streamer_places *at,
                       uint32_t polls);

/* Error bits, SPIKE_STREAMER_ERROR(...); they are cleared. */
uint32_t spike_streamer_errors(spike_streamer *streamer);

/* Let done layers, errors, or both interrupt; at any time. Those of the core: spike_core_interrupts. */
void spike_streamer_interrupts(spike_streamer *streamer, int done, int error);

/* Drop all layers, in core and streamer; then spike_streamer_resume, which returns SPIKE_CORE_BUSY as long as the bus has not
 * answered every burst. */
void spike_streamer_abort(spike_streamer *streamer);
int spike_streamer_resume(spike_streamer *streamer);

/* ------------------------------------------------------------------------------------------------------- memory */

/* Bytes of each part of a layer. */
size_t spike_streamer_membrane_bytes(const spike_streamer *streamer, const spike_core_layer *layer);
size_t spike_streamer_weight_bytes(const spike_streamer *streamer, const spike_core_layer *layer);
size_t spike_streamer_sum_bytes(const spike_streamer *streamer, const spike_core_layer *layer);

/* membranes int32 [M][K], timesteps uint8 [M] -> memory; weights int8 [N][K] -> memory. Results as of spike_core_pack_*. */
int spike_streamer_pack_membranes(const spike_streamer *streamer, const spike_core_layer *layer,
                                  const int32_t *membranes, const uint8_t *timesteps, uint8_t *memory);
int spike_streamer_pack_weights(const spike_streamer *streamer, const spike_core_layer *layer, const int8_t *weights,
                                uint8_t *memory);

/* Where the sums of row m, group g, and of the `columns` outputs from tile * columns on are, in bytes. Where columns fill
 * beats, rows are whole: int32 [M][G][N], N rounded up to columns. */
size_t spike_streamer_sum_at(const spike_streamer *streamer, const spike_core_layer *layer, uint32_t m, uint32_t g,
                             uint32_t tile);

/* memory -> sums int32 [M][N][G] */
void spike_streamer_unpack_sums(const spike_streamer *streamer, const spike_core_layer *layer, const uint8_t *memory,
                                int32_t *sums);

#ifdef __cplusplus
}
#endif

#endif
