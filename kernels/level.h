// A level: one instruction set's way to code a row and to multiply rows by panels.
//
// To add one: a file that defines a Level and is compiled with the flags of its instructions (build.py), and a line in
// levels.cpp. Compiled for a machine without them, its function returns nullptr.
//
// Files of levels call no inline function that others share, templates of the standard library among them: of the
// copies that compilers make, the linker keeps one, and it might be the one with instructions that a machine lacks.
#ifndef SPIKE_LEVEL_H
#define SPIKE_LEVEL_H
#include <cstdint>

#include "layout.h"

namespace spike {

// Rows of codes, or planes of spikes, that meet one layer's weights.
struct Product {
  const spike_layer *layer;
  Layout layout;
  int32_t max_code;        // largest |code| among `codes`
  const int8_t *codes;     // [steps][rows][layout.width]
  int64_t rows, steps;
  const int32_t *weights;  // of the steps: [steps], or [steps][rows] where weights_step is 1; NULL: one step of weight 1
  int64_t weights_step;
  const float *scales;     // of the rows, where outputs are wanted
  int32_t *sums;           // [groups][rows][outputs], or NULL
  float *outputs;          // [rows][outputs], or NULL
};

// A part of the work on a Product.
struct Part {
  int64_t row, row_end, panel, panel_end;
};

struct Level {
  const char *name;
  bool (*supported)();
  // Bits of the largest |x|: above those of the largest finite float32 where one is infinite or NaN.
  uint32_t (*largest)(const float *x, int64_t count);
  // Codes of x / scale by a spike_rounding, at most `limit`; returns how many clipped.
  int64_t (*encode)(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes);
  // Sums or outputs of a part; false if there is no memory for it.
  bool (*multiply)(const Product &product, const Part &part);
  // Codes of groups of four inputs, [groups][4] like their membranes, found by a beam of 4 or 8 states.
  void (*groups)(const int32_t *membranes, int64_t groups, int32_t steps, int32_t beam, int16_t *codes);
};

// The levels that were compiled in, from the lowest up.
int level_count();
const Level &level_at(int index);

// One for each file of a level; nullptr where it was compiled for a machine that cannot have it.
const Level *portable_level();
const Level *avx2_level();
const Level *avxvnni_level();
const Level *avx512vnni_level();
const Level *amx_level();
const Level *neon_level();
const Level *neon_i8mm_level();

}  // namespace spike
#endif
