/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A Verilated spike core as a library: one call computes a layer. The library lays out the streams (rtl/driver), clocks the
 * core, drives its ports, and hands back what came out.
 *
 * A core belongs to one caller at a time. Nothing here prints, exits or throws. What a job says of its arrays is believed.
 */
#ifndef SPIKE_RTL_H
#define SPIKE_RTL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* of all that is linked, this alone is seen */

#define SPIKE_RTL_ABI 1

/* 64-bit counters of the core, in the order of docs/registers.md. */
#define SPIKE_RTL_COUNTERS 20

typedef struct spike_rtl spike_rtl;

/* What a core was built for; what its registers say. */
typedef struct {
  int32_t rows, columns, lanes, slots, weight_bits, tmax, csd;
  int64_t blocks; /* of lanes x slots inputs: what a row may have, each group rounded up */
} spike_rtl_shape;

/* One layer, or as many of one size as `batch` says, one behind the other. */
typedef struct {
  int64_t batch;
  int64_t rows;                /* M */
  int64_t outputs;             /* N */
  int64_t inputs;              /* K */
  int64_t groups;              /* G: K / G consecutive inputs are summed apart */
  int32_t frac_bits;           /* F of the membranes; 0: they are integer codes */
  int32_t csd;                 /* coding: csd, not tc_lif */
  int32_t steps;               /* of `spikes` */
  int32_t reserved;
  const int32_t *membranes;    /* [batch][M][K] */
  const uint8_t *timesteps;    /* [batch][M] */
  const int8_t *weights;       /* [batch][N][K] */
  int32_t *sums;               /* out: [batch][M][N][G] */
  int8_t *spikes;              /* out: [batch][steps][M][K], zeroed by the caller; null: they are not asked for */
} spike_rtl_job;

/* What a call returns: 0, a number of spike_core.h, or one of these. */
enum spike_rtl_result {
  SPIKE_RTL_NO_MEMORY = -100,
  SPIKE_RTL_STUCK = -101,      /* nothing moved at any port for very long */
  SPIKE_RTL_REFUSED = -102,    /* a register access was answered with an error, or not at all */
  SPIKE_RTL_INCOMPLETE = -103  /* the job ended before all that it owes had come */
};

int32_t spike_rtl_abi(void);

/* A core out of reset; null when there is no memory for it, or it is no spike core that the driver knows. */
spike_rtl *spike_rtl_open(void);
void spike_rtl_close(spike_rtl *rtl);
void spike_rtl_get_shape(const spike_rtl *rtl, spike_rtl_shape *shape);

/* Compute a job. `counters` is null, or what the core counted in it. After a failure the core has been reset; `errors` has the
 * error bits that it reported. */
int32_t spike_rtl_compute(spike_rtl *rtl, const spike_rtl_job *job, uint64_t *counters, uint32_t *errors);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
