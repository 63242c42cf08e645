// Compares a level with level 0 where something could go wrong: largest sums, ties, odd sizes, rows of different T.
#include <cstring>

#include "level.h"
#include "memory.h"
#include "rows.h"

using namespace spike;

namespace {

// Numbers that look random and are the same everywhere.
struct Random {
  uint32_t state;
  uint32_t next() {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
  }
  int32_t within(int32_t low, int32_t high) { return low + static_cast<int32_t>(next() % static_cast<uint32_t>(high - low + 1)); }
};

// A layer and rows for it. What varies: sizes, bits, T (0: another one for each row), and how far codes and weights go.
struct Case {
  int64_t rows, inputs, outputs;
  int32_t groups, bits, timesteps;
  bool extreme;  // largest codes and weights, with signs that pile up; else whatever comes
};

const Case kCases[] = {
    {1, 576, 24, 1, 4, 4, true},   {7, 600, 17, 1, 4, 7, true},   {13, 1100, 16, 1, 4, 4, false},
    {3, 256, 40, 4, 4, 4, false},  {8, 256, 33, 4, 4, 7, true},   {5, 102, 20, 3, 4, 0, false},
    {1, 130, 16, 1, 8, 7, true},   {6, 130, 31, 1, 8, 6, true},   {9, 136, 16, 2, 8, 5, true},
    {4, 96, 18, 3, 8, 4, true},    {2, 66, 16, 1, 8, 0, false},   {4, 1, 1, 1, 8, 7, true},
    {14, 68, 16, 1, 4, 3, false},  {98, 36, 16, 1, 8, 0, false},
};
constexpr int kCount = sizeof kCases / sizeof *kCases;

// All that one level makes of a case; compared byte for byte.
struct Results {
  Scratch<int8_t> codes;
  Scratch<float> scales, outputs, outputs_steps;
  Scratch<int32_t> sums, sums_steps;
  int64_t clipped;

  Results(int64_t rows, const Layout &l)
      : codes(rows * l.width), scales(rows), outputs(rows * l.outputs), outputs_steps(rows * l.outputs),
        sums(l.groups * rows * l.outputs), sums_steps(l.groups * rows * l.outputs), clipped(0) {}

  bool complete() const {
    return codes.data && scales.data && outputs.data && outputs_steps.data && sums.data && sums_steps.data;
  }

  bool same_as(const Results &other, int64_t rows, const Layout &l) const {
    const auto same = [](const auto &a, const auto &b, int64_t count) {
      return std::memcmp(a.data, b.data, static_cast<size_t>(count) * sizeof *a.data) == 0;
    };
    return clipped == other.clipped && same(codes, other.codes, rows * l.width) && same(scales, other.scales, rows) &&
           same(outputs, other.outputs, rows * l.outputs) &&
           same(outputs_steps, other.outputs_steps, rows * l.outputs) &&
           same(sums, other.sums, l.groups * rows * l.outputs) &&
           same(sums_steps, other.sums_steps, l.groups * rows * l.outputs);
  }
};

constexpr int64_t kSteps = 3;

struct Inputs {
  Scratch<int8_t> weights, planes;
  Scratch<uint8_t> panels;
  Scratch<float> weight_scales, bias, x, scales;
  Scratch<int32_t> timesteps;

  Inputs(const Case &c, const Layout &l)
      : weights(c.outputs * c.inputs), planes(kSteps * c.rows * l.width), panels(l.panels * l.quads * l.quad_bytes),
        weight_scales(l.groups * l.panels * kPanel), bias(c.outputs), x(c.rows * c.inputs), scales(c.rows),
        timesteps(c.rows) {}

  bool complete() const {
    return weights.data && planes.data && panels.data && weight_scales.data && bias.data && x.data && scales.data &&
           timesteps.data;
  }

  void fill(const Case &c, const Layout &l, Random &random) {
    const int32_t high = c.bits == 4 ? 7 : 127;
    for (int64_t n = 0; n < c.outputs; ++n)
      for (int64_t k = 0; k < c.inputs; ++k) {
        // output 0 has the lowest weight everywhere, 1 the highest, 2 both in turn, the others what comes
        const int32_t piled = n % 4 == 0 ? -high - 1 : n % 4 == 1 ? high : k % 2 != 0 ? high : -high - 1;
        weights.data[n * c.inputs + k] =
            static_cast<int8_t>(c.extreme && n % 4 != 3 ? piled : random.within(-high - 1, high));
      }
    spike_pack(weights.data, c.outputs, c.inputs, c.groups, c.bits, panels.data);
    for (int64_t i = 0; i < l.groups * l.panels * kPanel; ++i)
      weight_scales.data[i] = static_cast<float>(random.within(1, 1 << 20)) * 0x1p-24f;
    for (int64_t n = 0; n < c.outputs; ++n) bias.data[n] = static_cast<float>(random.within(-1000, 1000)) / 256;
    for (int64_t r = 0; r < c.rows; ++r) {
      const int32_t T = c.timesteps != 0 ? c.timesteps : random.within(1, 7);
      timesteps.data[r] = T;
      scales.data[r] = r % 3 == 0 ? 1.0f : static_cast<float>(random.within(1, 1 << 20)) * 0x1p-20f;
      for (int64_t k = 0; k < c.inputs; ++k) {
        const int32_t largest = (1 << T) - 1;
        const int32_t sign = r % 4 == 0 ? 1 : r % 4 == 1 ? -1 : k % 2 != 0 ? 1 : -1;
        float value = static_cast<float>(sign * largest);
        if (!c.extreme || r % 4 == 3)  // steps of a quarter: ties, and values beyond the limit
          value = r == 2 ? 0.0f : static_cast<float>(random.within(-4 * largest - 8, 4 * largest + 8)) / 4;
        x.data[r * c.inputs + k] = value * scales.data[r];
      }
    }
    for (int64_t i = 0; i < kSteps * c.rows * l.width; ++i)
      planes.data[i] = static_cast<int8_t>(c.extreme ? 1 - i / l.width % 2 * 2 : random.within(-1, 1));
  }
};

bool run(const Level &level, const Case &c, const spike_layer &layer, const Layout &l, const Inputs &in, bool fixed,
         int32_t rounding, Results *out) {
  const float ratio = 0.75f;
  const int32_t weights[kSteps] = {1 << 20, -3, 1};
  const spike_rows rows = {in.x.data, c.rows, c.inputs, SPIKE_FLOAT32, 1, in.timesteps.data, &ratio,
                           fixed ? in.scales.data : nullptr, 0, 1, nullptr, SPIKE_ABSMAX, rounding};
  out->clipped = 0;
  if (encode_rows(level, l, rows, 127, 0, c.rows, nullptr, out->codes.data, out->scales.data, &out->clipped) != SPIKE_OK)
    return false;
  const Part all = {0, c.rows, 0, l.panels};
  const int8_t *codes = out->codes.data;
  const float *scales = out->scales.data;
  return level.multiply({&layer, l, layer.max_code, codes, c.rows, 1, nullptr, 0, nullptr, out->sums.data, nullptr}, all) &&
         level.multiply({&layer, l, layer.max_code, codes, c.rows, 1, nullptr, 0, scales, nullptr, out->outputs.data}, all) &&
         level.multiply({&layer, l, 1, in.planes.data, c.rows, kSteps, weights, 0, nullptr, out->sums_steps.data, nullptr}, all) &&
         level.multiply({&layer, l, 1, in.planes.data, c.rows, kSteps, weights, 0, scales, nullptr, out->outputs_steps.data}, all);
}

bool passes(const Level &level, const Case &c, bool fixed, int32_t rounding, Random &random) {
  const Layout l = layout_of(c.outputs, c.inputs, c.groups, c.bits);
  Inputs in(c, l);
  Results expected(c.rows, l), got(c.rows, l);
  if (!in.complete() || !expected.complete() || !got.complete()) return false;
  in.fill(c, l, random);
  const int32_t max_code = c.timesteps != 0 ? (1 << c.timesteps) - 1 : 127;
  const spike_layer layer = {c.inputs, c.outputs, c.groups, c.bits, max_code,
                             in.panels.data, in.weight_scales.data, in.bias.data};
  return run(level_at(0), c, layer, l, in, fixed, rounding, &expected) &&
         run(level, c, layer, l, in, fixed, rounding, &got) && got.same_as(expected, c.rows, l);
}

// Groups of all sizes of drives, ties among them, coded by all numbers of steps.
bool codes_groups(const Level &level, Random &random) {
  constexpr int64_t kGroups = 37;
  int32_t membranes[kGroups * kQuad];
  int16_t expected[kGroups * kQuad], got[kGroups * kQuad];
  for (int32_t steps = 1; steps <= kGroupSteps; ++steps) {
    const int32_t limit = 3 * step_units(steps - 1) - (1 << kGroupSteps);
    for (int32_t beam = 4; beam <= 8; beam += 4) {
      for (int64_t g = 0; g < kGroups; ++g)
        for (int64_t j = 0; j < kQuad; ++j)
          membranes[g * kQuad + j] = g % 4 == 0   ? random.within(-limit, limit)
                                     : g % 4 == 1 ? random.within(-1, 1) * 64
                                     : g % 4 == 2 ? random.within(-limit / 8, limit / 8)
                                                  : random.within(-1, 1) * limit;
      level_at(0).groups(membranes, kGroups, steps, beam, expected);
      level.groups(membranes, kGroups, steps, beam, got);
      if (std::memcmp(expected, got, sizeof expected) != 0) return false;
    }
  }
  return true;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int32_t spike_self_test(int32_t level) {
  if (level < 0 || level >= level_count() || !level_at(level).supported()) return -1;
  Random random{1};
  for (int i = 0; i < 3 * kCount; ++i) {
    const int way = i % 3;  // scales that are given, scales of rows, and given ones with the other rounding
    const int32_t rounding = way == 2 ? SPIKE_RATE_DISTORTION : SPIKE_NEAREST;
    if (!passes(level_at(level), kCases[i / 3], way != 1, rounding, random)) return i + 1;
  }
  return codes_groups(level_at(level), random) ? 0 : 3 * kCount + 1;
}
