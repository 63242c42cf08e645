// Level 0: plain C++ for any machine, and what the others are compared with.
#include <cmath>
#include <cstring>

#include "level.h"
#include "rounding.h"

namespace spike {
namespace {

bool supported() { return true; }

uint32_t largest(const float *x, int64_t count) {
  uint32_t result = 0;
  for (int64_t k = 0; k < count; ++k) {
    uint32_t bits;
    std::memcpy(&bits, x + k, sizeof bits);
    bits &= 0x7fffffff;
    result = bits > result ? bits : result;
  }
  return result;
}

template <int32_t Rounding>
int64_t encode_by(const float *x, int64_t count, float scale, float limit, int8_t *codes) {
  const float below_half = 0x1.fffffep-2f;  // the largest float32 below 1/2: rounds half away from zero by truncation
  int64_t clipped = 0;
  for (int64_t k = 0; k < count; ++k) {
    const float y = x[k] / scale, rounded = y + std::copysign(below_half, y);
    clipped += std::fabs(rounded) >= limit + 1;
    if (Rounding == SPIKE_NEAREST) {
      const float capped = rounded > limit ? limit : rounded;
      codes[k] = static_cast<int8_t>(capped < -limit ? -limit : capped);
    } else {
      const float quarters = std::fabs(y) * 4, last = limit * 4 - 1;
      const int32_t code = code_of_quarters(static_cast<int32_t>(quarters > last ? last : quarters));
      codes[k] = static_cast<int8_t>(y < 0 ? -code : code);
    }
  }
  return clipped;
}

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return rounding == SPIKE_NEAREST ? encode_by<SPIKE_NEAREST>(x, count, scale, limit, codes)
                                   : encode_by<SPIKE_RATE_DISTORTION>(x, count, scale, limit, codes);
}

constexpr int64_t kBlock = 128;  // quads of weights that are unpacked at once

// Weights of consecutive quads of a panel as [input][output].
void unpack(const uint8_t *panel, int64_t quads, const Layout &l, int16_t (*weights)[kPanel]) {
  for (int64_t j = 0; j < quads; ++j, panel += l.quad_bytes)
    for (int64_t n = 0; n < kPanel; ++n)
      for (int64_t k = 0; k < kQuad; ++k) {
        const int64_t at = n * kQuad + k;
        const int value = l.quad_bytes == 64 ? panel[at] : at < 32 ? panel[at] & 15 : panel[at - 32] >> 4;
        weights[j * kQuad + k][n] = static_cast<int16_t>(value - l.offset);
      }
}

// Sums of one group, [rows of the part][16], wrapping as int32 does.
void sum_group(const Product &p, const Part &part, int64_t panel, int64_t group, uint32_t (*sums)[kPanel]) {
  const Layout &l = p.layout;
  int16_t weights[kBlock * kQuad][kPanel];
  for (int64_t first = 0; first < l.group_quads; first += kBlock) {
    const int64_t quads = least(kBlock, l.group_quads - first);
    const int64_t quad = group * l.group_quads + first;
    unpack(p.layer->panels + (panel * l.quads + quad) * l.quad_bytes, quads, l, weights);
    for (int64_t row = part.row; row < part.row_end; ++row)
      for (int64_t step = 0; step < p.steps; ++step) {
        const int8_t *codes = p.codes + (step * p.rows + row) * l.width + quad * kQuad;
        int32_t own[kPanel] = {};
        for (int64_t k = 0; k < quads * kQuad; ++k)
          for (int64_t n = 0; n < kPanel; ++n) own[n] += codes[k] * weights[k][n];
        const int32_t weight = p.weights == nullptr ? 1
                               : p.weights_step ? p.weights[step * p.rows + row]
                                                : p.weights[step];
        for (int64_t n = 0; n < kPanel; ++n)
          sums[row - part.row][n] += static_cast<uint32_t>(own[n]) * static_cast<uint32_t>(weight);
      }
  }
}

constexpr int64_t kRows = 32;  // rows for which a panel is unpacked once

void multiply_rows(const Product &p, const Part &part, int64_t panel) {
  const Layout &l = p.layout;
  const int64_t first = panel * kPanel, live = least(kPanel, l.outputs - first);
  float outputs[kRows][kPanel] = {};
  for (int64_t group = 0; group < l.groups; ++group) {
    uint32_t sums[kRows][kPanel] = {};
    sum_group(p, part, panel, group, sums);
    for (int64_t row = part.row; row < part.row_end; ++row)
      for (int64_t n = 0; n < live; ++n) {
        const int32_t sum = static_cast<int32_t>(sums[row - part.row][n]);
        if (p.sums != nullptr) p.sums[(group * p.rows + row) * l.outputs + first + n] = sum;
        if (p.outputs == nullptr) continue;
        const float scaled = (static_cast<float>(sum) * p.scales[row]) * p.layer->scales[group * l.panels * kPanel + first + n];
        float &output = outputs[row - part.row][n];
        output = l.groups == 1 ? scaled : output + scaled;
      }
  }
  if (p.outputs == nullptr) return;
  for (int64_t row = part.row; row < part.row_end; ++row)
    for (int64_t n = 0; n < live; ++n) {
      const float output = outputs[row - part.row][n];
      p.outputs[row * l.outputs + first + n] = p.layer->bias == nullptr ? output : output + p.layer->bias[first + n];
    }
}

bool multiply(const Product &product, const Part &part) {
  for (int64_t row = part.row; row < part.row_end; row += kRows)
    for (int64_t panel = part.panel; panel < part.panel_end; ++panel)
      multiply_rows(product, {row, least(row + kRows, part.row_end), panel, panel + 1}, panel);
  return true;
}

// A state of a group: what is left of its membranes, and how their sum of squares has changed.
struct State {
  int32_t residual[kQuad];
  int32_t change;
};

void fire_groups(const int32_t *membranes, int64_t groups, int32_t steps, int32_t beam, int16_t *codes) {
  for (int64_t g = 0; g < groups; ++g, membranes += kQuad, codes += kQuad) {
    State states[8], next[8];
    std::memcpy(states[0].residual, membranes, sizeof states[0].residual);
    states[0].change = 0;
    int32_t count = 1;
    for (int32_t left = steps - 1; left >= 0; --left) {
      const int32_t w = step_units(left), kept = left == 0 ? 1 : beam;
      int32_t found = 0;
      // who fires, nobody first; then the states in their order: so equal ones are sorted
      for (int32_t who = 0; who <= kQuad; ++who)
        for (int32_t s = 0; s < count; ++s) {
          State state = states[s];
          if (who > 0) {
            int32_t &r = state.residual[who - 1];
            state.change += w * (w - 2 * (r < 0 ? -r : r));
            r -= r < 0 ? -w : w;
          }
          if (found == kept && state.change >= next[kept - 1].change) continue;
          int32_t place = found < kept ? found++ : kept - 1;
          for (; place > 0 && next[place - 1].change > state.change; --place) next[place] = next[place - 1];
          next[place] = state;
        }
      count = found;
      std::memcpy(states, next, sizeof states);
    }
    for (int64_t j = 0; j < kQuad; ++j)
      codes[j] = static_cast<int16_t>((membranes[j] - states[0].residual[j]) >> (kGroupSteps - steps));
  }
}

const Level kLevel = {"portable", supported, largest, encode, multiply, fire_groups};

}  // namespace

const Level *portable_level() { return &kLevel; }

}  // namespace spike
