/* The kernels of a spiking Linear, as a C library without a dependency: rows are coded, integer weights summed, outputs
 * scaled. Every level (instruction set) gives the same integers, and the same floats to the bit.
 *
 * A panel holds the weights of 16 outputs. For each 4 inputs (a quad) it has the 64 values w[output 0..15][input 0..3],
 * unsigned: w + 8 in 4 bits, or w + 128 in 8. 4-bit quads take 32 bytes: outputs 0..7 in the low nibbles of bytes
 * 4 * output + input, outputs 8..15 in the high ones. 8-bit quads take 64 bytes. Panels follow each other, quads within a
 * panel, and the quads of a group lie together: a group whose inputs are no multiple of 4 is padded with w = 0, and so is
 * a last panel with fewer than 16 outputs.
 *
 * Codes are int8, a row after the other, laid out like the quads: each group padded with zeros to a multiple of 4.
 */
#ifndef SPIKE_KERNELS_H
#define SPIKE_KERNELS_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define SPIKE_ABI 4

enum spike_status { SPIKE_OK = 0, SPIKE_NOT_FINITE = 1, SPIKE_NO_MEMORY = 2, SPIKE_BAD_ARGUMENT = 3 };
enum spike_statistic { SPIKE_ABSMAX = 0, SPIKE_RMS = 1, SPIKE_MEAN_ABS = 2 };
/* How |x / scale| becomes a code: to the nearest integer; or with the spikes of the code as a cost, see rounding.h. */
enum spike_rounding { SPIKE_NEAREST = 0, SPIKE_RATE_DISTORTION = 1 };
enum spike_dtype { SPIKE_FLOAT32 = 0, SPIKE_BFLOAT16 = 1, SPIKE_FLOAT16 = 2, SPIKE_FLOAT64 = 3 };

/* The integer weights of one layer. */
typedef struct {
  int64_t inputs, outputs; /* K, N */
  int32_t groups;          /* G; a group is K / G consecutive inputs */
  int32_t bits;            /* of the panels: 4 or 8 */
  int32_t max_code;        /* largest |code| a row can have, 1 .. 127: bounds what 16-bit sums hold */
  const uint8_t *panels;
  const float *scales; /* [G][N padded to 16] */
  const float *bias;   /* [N], or NULL */
} spike_layer;

/* Rows of inputs and how each is coded. A pointer with a step of 0 holds one value for all rows, with 1 one for each. */
typedef struct {
  const void *x;   /* [count][stride] elements of `dtype`, K of each row used; taken as float32 */
  int64_t count;   /* M */
  int64_t stride;
  int32_t dtype;
  int32_t timesteps_step;
  const int32_t *timesteps; /* T, 1 .. 7: codes are at most 2^T - 1 */
  const float *ratio;       /* dynamic: ratio * absmax / (2^T - 1), ratio * rms or ratio * mean |x|: coding/statistics */
  const float *scale;       /* static: scales of the rows; NULL where they are dynamic */
  int32_t ratio_step, scale_step;
  const uint8_t *silenced; /* [K], nonzero where a neuron must not fire; NULL if all may */
  int32_t statistic;       /* dynamic: what a row's scale is proportional to */
  int32_t rounding;        /* spike_rounding; of no account in group coding */
} spike_rows;

/* Levels, from the lowest (0, portable C++) up. */
int32_t spike_abi(void);
int32_t spike_level_count(void);
const char *spike_level_name(int32_t level);
int32_t spike_level_supported(int32_t level); /* whether this machine has its instructions */
int32_t spike_self_test(int32_t level);       /* 0, or the number of the first case whose bits differ from level 0 */

/* Work is shared out by `parallel_for` (libtorch's torch_parallel_for); without one, or before, calls run in one thread. */
typedef void (*spike_body)(int64_t begin, int64_t end, void *context);
typedef int32_t (*spike_parallel_for)(int64_t begin, int64_t end, int64_t grain, spike_body body, void *context);
void spike_set_parallel_for(spike_parallel_for function);

/* Bytes of the panels, and bytes of a row of codes. */
int64_t spike_panels_size(int64_t outputs, int64_t inputs, int32_t groups, int32_t bits);
int64_t spike_codes_width(int64_t inputs, int32_t groups);

/* Integers int8 [N][K] to panels and back. */
void spike_pack(const int8_t *weights, int64_t outputs, int64_t inputs, int32_t groups, int32_t bits, uint8_t *panels);
void spike_unpack(const uint8_t *panels, int64_t outputs, int64_t inputs, int32_t groups, int32_t bits, int8_t *weights);

/* Rows to codes [M][codes_width], scales [M], and how many codes were clipped (silenced ones count: they clip first).
 * `layer` gives inputs and groups alone. */
int32_t spike_encode(int32_t level, const spike_layer *layer, const spike_rows *rows, int8_t *codes, float *scales,
                     int64_t *clipped);

/* Codes [rows][width] to the spikes of each step, planes [steps][rows][width], by a table [steps][8][256] of what code
 * c fires with T timesteps: entry [step][T][c + 128]. T is one for all rows, or with a step of 1 one for each. */
void spike_planes(const int8_t *codes, int64_t rows, int64_t width, const int8_t *table, int64_t steps,
                  const int32_t *timesteps, int32_t timesteps_step, int8_t *planes);

/* Accumulators int32 [G][M][N] of codes. */
int32_t spike_accumulate(int32_t level, const spike_layer *layer, const int8_t *codes, int64_t rows, int32_t *sums);

/* The same step by step: planes [steps][M][codes_width] of spikes, whose sums are weighted by temporal weights
 * [steps] (weights_step 0) or [steps][M] (1) and added up in int32. */
int32_t spike_accumulate_steps(int32_t level, const spike_layer *layer, const int8_t *planes, int64_t rows, int64_t steps,
                               const int32_t *weights, int32_t weights_step, int32_t *sums);

/* Outputs float32 [M][N] of codes and the scales of their rows: (float(sum) * scale) * weight scale, groups added in their
 * order from 0, then the bias; every operation rounded once. */
int32_t spike_outputs(int32_t level, const spike_layer *layer, const int8_t *codes, const float *scales, int64_t rows,
                      float *outputs);

/* The same of planes, as spike_accumulate_steps sums them. */
int32_t spike_outputs_steps(int32_t level, const spike_layer *layer, const int8_t *planes, const float *scales,
                            int64_t rows, int64_t steps, const int32_t *weights, int32_t weights_step, float *outputs);

/* Rows to outputs in one call, codes staying inside. */
int32_t spike_linear(int32_t level, const spike_layer *layer, const spike_rows *rows, float *outputs, int64_t *clipped);

/* Group coding: codes int16 [M][K] of rows whose inputs are coded four by four, of 1 .. 8 steps, by a beam of 4 or 8 states;
 * scales and clipped as spike_encode gives them. Silenced neurons leave their steps to the others of their group. */
int32_t spike_encode_groups(int32_t level, const spike_layer *layer, const spike_rows *rows, int32_t beam, int16_t *codes,
                            float *scales, int64_t *clipped);

/* Accumulators and outputs, as spike_accumulate and spike_outputs give them, of codes int16 [M][K] of up to 8,127. */
int32_t spike_accumulate_wide(int32_t level, const spike_layer *layer, const int16_t *codes, int64_t rows, int32_t *sums);
int32_t spike_outputs_wide(int32_t level, const spike_layer *layer, const int16_t *codes, const float *scales, int64_t rows,
                           float *outputs);

/* Calibration: scales [candidates][M], each with its T, tried on rows x [M][K] of finite inputs, whose codes a spike_rounding
 * makes. For each candidate the sum of ((|x| - code * scale) * weights)^2 over all of [M][K], squares in float32 and their
 * sum in double, and how often each |code| occurs, [128]. */
int32_t spike_try_scales(const float *x, const float *weights, int64_t rows, int64_t inputs, int64_t candidates,
                         const float *scales, const int32_t *timesteps, int32_t rounding, double *errors, int64_t *counts);

#ifdef __cplusplus
}
#endif
#endif
