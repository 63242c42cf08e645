// Where things lie: panels of weights, rows of codes, and chunks of the sums. All static: every level has its own copy,
// compiled for its instructions.
#ifndef SPIKE_LAYOUT_H
#define SPIKE_LAYOUT_H
#include <cstddef>
#include <cstdint>

#include "spike_kernels.h"

namespace spike {

constexpr int64_t kPanel = 16;  // outputs of a panel
constexpr int64_t kQuad = 4;    // inputs of a quad

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Group coding: the most steps, and the weight of one that `left` others follow, in units of membranes.
constexpr int32_t kGroupSteps = 8;
static inline int32_t step_units(int32_t left) {
  int32_t units = 128;
  for (; left > 0; --left) units = units / 2 * 3;
  return units;
}

// Sizes of one layer, in the units of its layout.
struct Layout {
  int64_t outputs, panels, groups;
  int64_t group_inputs;  // K / G
  int64_t group_quads;   // quads of a group, the last one padded
  int64_t quads;         // of a panel
  int64_t width;         // of a row of codes
  int64_t quad_bytes;    // of the panels: 32 or 64
  int32_t offset;        // what panels add to a weight: 8 or 128
};

static inline Layout layout_of(int64_t outputs, int64_t inputs, int64_t groups, int32_t bits) {
  Layout l;
  l.outputs = outputs;
  l.panels = ceil_div(outputs, kPanel);
  l.groups = groups;
  l.group_inputs = inputs / groups;
  l.group_quads = ceil_div(l.group_inputs, kQuad);
  l.quads = groups * l.group_quads;
  l.width = l.quads * kQuad;
  l.quad_bytes = bits == 4 ? 32 : 64;
  l.offset = bits == 4 ? 8 : 128;
  return l;
}

static inline Layout layout_of(const spike_layer &layer) {
  return layout_of(layer.outputs, layer.inputs, layer.groups, layer.bits);
}

}  // namespace spike
#endif
