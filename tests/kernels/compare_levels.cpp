// Compares levels with level 0 through the C functions, byte for byte, over random shapes and the worst ones; and scales by
// means, which all levels have in common, with means that are summed up here, number by number. Linked with
// the kernels into a program of its own, so that it runs where Python does not: under an emulator.
//
//   compare_levels CASES [LEVEL...]    the levels named, which must be there; else all that this machine supports
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "spike_kernels.h"

namespace {

struct Random {
  uint64_t state;
  uint32_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state >> 33);
  }
  int64_t within(int64_t low, int64_t high) { return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1)); }
  bool coin() { return next() % 2 != 0; }
};

uint16_t half_of(float value) {  // rounding is of no concern: both levels are given the same
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000;
  const int32_t exponent = static_cast<int32_t>(bits >> 23 & 0xff) - 112;
  if (exponent <= 0) return static_cast<uint16_t>(sign | (bits >> 13 & 0x3ff));  // a subnormal
  if (exponent >= 31) return static_cast<uint16_t>(sign | 0x7bff);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent) << 10 | (bits >> 13 & 0x3ff));
}

enum class Kind { any, worst };

struct Case {
  int64_t inputs, outputs, rows, stride, steps;
  int32_t groups, bits, dtype, most_timesteps, statistic, rounding;
  bool timesteps_vary, fixed, silenced, bias, broken;
  Kind kind;

  std::vector<uint8_t> panels, x;
  std::vector<uint8_t> dead;
  std::vector<float> weight_scales, biases, scales, ratios;
  std::vector<int32_t> timesteps, step_weights;
  std::vector<int8_t> planes;
  int64_t width;
  spike_layer layer;
  spike_rows given;
};

int64_t up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// What one level makes of a case.
struct Results {
  std::vector<int32_t> statuses;
  std::vector<int64_t> clipped;
  std::vector<int8_t> codes;
  std::vector<float> scales, outputs, outputs_steps, linear;
  std::vector<int32_t> sums, sums_steps;
};

void choose_sizes(Case &c, Random &random, int index) {
  // odd sizes; each number of rows up to some blocks of each level; groups of every remainder to tiles and vectors
  const int64_t groups_of[] = {1, 2, 4, 7, 12, 31, 32, 64, 96, 100, 128, 130, 257};
  c.groups = static_cast<int32_t>(index % 3 == 0 ? 1 : random.within(1, 5));
  const int64_t own = c.groups == 1 ? random.within(1, random.within(0, 6) == 0 ? 2600 : 400)
                                    : groups_of[random.within(0, sizeof groups_of / sizeof *groups_of - 1)];
  c.inputs = c.groups * own;
  c.outputs = random.within(1, random.coin() ? 16 : 70);
  c.rows = index % 40 == 0 ? 0 : index % 9 == 0 ? random.within(90, 130) : random.within(1, 34);
  c.bits = random.coin() ? 4 : 8;
  c.kind = index % 4 == 1 ? Kind::worst : Kind::any;
  c.steps = random.within(0, 5);
}

void fill(Case &c, Random &random) {
  const bool worst = c.kind == Kind::worst;
  c.dtype = static_cast<int32_t>(random.within(SPIKE_FLOAT32, SPIKE_FLOAT64));
  c.most_timesteps = static_cast<int32_t>(worst && random.coin() ? 7 : random.within(1, 7));
  c.timesteps_vary = random.coin();
  c.fixed = worst || random.within(0, 2) == 0;
  c.silenced = random.within(0, 3) == 0;
  c.bias = random.coin();
  c.broken = random.within(0, 15) == 0;
  c.stride = c.inputs + random.within(0, 3);
  c.statistic = static_cast<int32_t>(random.within(SPIKE_ABSMAX, SPIKE_MEAN_ABS));
  c.rounding = random.coin() ? SPIKE_RATE_DISTORTION : SPIKE_NEAREST;

  const int high = c.bits == 4 ? 7 : 127;
  std::vector<int8_t> weights(static_cast<size_t>(c.outputs * c.inputs));
  for (int64_t n = 0; n < c.outputs; ++n)
    for (int64_t k = 0; k < c.inputs; ++k) {
      const int64_t piled = n % 3 == 0 ? -high - 1 : n % 3 == 1 ? high : k % 2 != 0 ? high : -high - 1;
      weights[static_cast<size_t>(n * c.inputs + k)] = static_cast<int8_t>(worst ? piled : random.within(-high - 1, high));
    }
  c.panels.assign(static_cast<size_t>(spike_panels_size(c.outputs, c.inputs, c.groups, c.bits)), 0xaa);
  spike_pack(weights.data(), c.outputs, c.inputs, c.groups, c.bits, c.panels.data());
  std::vector<int8_t> back(weights.size(), 99);
  spike_unpack(c.panels.data(), c.outputs, c.inputs, c.groups, c.bits, back.data());
  if (back != weights) {
    printf("panels do not give the weights back\n");
    exit(1);
  }

  for (int64_t i = 0; i < c.groups * up(c.outputs, 16); ++i)
    c.weight_scales.push_back(static_cast<float>(random.within(1, 1 << 24)) * 0x1p-27f);
  for (int64_t n = 0; n < c.outputs; ++n) c.biases.push_back(static_cast<float>(random.within(-(1 << 20), 1 << 20)) * 0x1p-16f);
  for (int64_t k = 0; k < c.inputs; ++k) c.dead.push_back(random.within(0, 3) == 0);

  const size_t size = c.dtype == SPIKE_FLOAT64 ? 8 : c.dtype == SPIKE_FLOAT32 ? 4 : 2;
  c.x.assign(static_cast<size_t>(c.rows * c.stride + 1) * size, 0xff);  // what is not of the rows is NaN
  for (int64_t r = 0; r < c.rows; ++r) {
    const int32_t T = static_cast<int32_t>(c.timesteps_vary ? random.within(1, c.most_timesteps) : c.most_timesteps);
    const float limit = static_cast<float>((1 << T) - 1);
    const float scale = worst || random.coin() ? 1.0f : static_cast<float>(random.within(1, 1 << 20)) * 0x1p-20f;
    c.timesteps.push_back(T);
    c.scales.push_back(scale);
    c.ratios.push_back(static_cast<float>(random.within(1, 32)) / 16);
    const int64_t sort = random.within(0, 7);
    for (int64_t k = 0; k < c.inputs; ++k) {
      float value = static_cast<float>(random.within(-(1 << 23), 1 << 23)) * 0x1p-23f * scale * limit * 1.5f;
      if (sort == 0) value = static_cast<float>(random.within(-8 * (1 << T), 8 * (1 << T))) / 4 * scale;  // ties
      if (sort == 1) value = r % 2 != 0 ? 0.0f : -0.0f;
      if (sort == 2) value = static_cast<float>(random.within(-9, 9)) * 0x1p-149f;  // subnormal
      if (sort == 3) value *= 0x1p125f;                                             // near the largest
      if (sort == 4) value = random.within(0, 9) == 0 ? value : 0.49999997f * scale;
      if (worst) value = (r % 3 == 0 ? 1.0f : r % 3 == 1 ? -1.0f : k % 2 != 0 ? 1.0f : -1.0f) * limit;
      if (c.broken && random.within(0, 4 * c.inputs) == 0) value = random.coin() ? __builtin_inff() : __builtin_nanf("");
      uint8_t *to = c.x.data() + static_cast<size_t>(r * c.stride + k) * size;
      uint32_t bits;
      memcpy(&bits, &value, sizeof bits);
      const double wide = static_cast<double>(value) * (1 + 0x1p-30);
      const uint16_t half = half_of(value), brain = static_cast<uint16_t>(bits >> 16);
      if (c.dtype == SPIKE_FLOAT32) memcpy(to, &value, size);
      if (c.dtype == SPIKE_FLOAT64) memcpy(to, &wide, size);
      if (c.dtype == SPIKE_FLOAT16) memcpy(to, &half, size);
      if (c.dtype == SPIKE_BFLOAT16) memcpy(to, &brain, size);
    }
  }

  c.layer = {c.inputs, c.outputs, c.groups, c.bits, (1 << c.most_timesteps) - 1, c.panels.data(), c.weight_scales.data(),
             c.bias ? c.biases.data() : nullptr};
  c.given = {c.x.data(), c.rows, c.stride, c.dtype, 1, c.timesteps.data(), c.ratios.data(),
             c.fixed ? c.scales.data() : nullptr, 1, 1, c.silenced ? c.dead.data() : nullptr, c.statistic, c.rounding};
  c.width = spike_codes_width(c.inputs, c.groups);

  // planes as the rows' codes are laid out: what pads a group is zero
  const int64_t own = c.inputs / c.groups, padded = up(own, 4);
  c.planes.assign(static_cast<size_t>(c.steps * c.rows * c.width), 0);
  for (int64_t row = 0; row < c.steps * c.rows; ++row)
    for (int64_t k = 0; k < c.inputs; ++k)
      c.planes[static_cast<size_t>(row * c.width + k / own * padded + k % own)] =
          static_cast<int8_t>(worst ? (row % 2 != 0 ? 1 : -1) : random.within(-1, 1));
  for (int64_t i = 0; i < c.steps * c.rows; ++i) c.step_weights.push_back(static_cast<int32_t>(random.next() << 1));
}

Results run(int32_t level, const Case &c, bool weights_vary) {
  Results r;
  const size_t outputs = static_cast<size_t>(c.rows * c.outputs);
  r.codes.assign(static_cast<size_t>(c.rows * c.width), 99);
  r.scales.assign(static_cast<size_t>(c.rows), -1);
  r.outputs.assign(outputs, 99);
  r.outputs_steps = r.linear = r.outputs;
  r.sums.assign(outputs * static_cast<size_t>(c.groups), 99);
  r.sums_steps = r.sums;
  r.clipped.assign(2, -1);
  const int32_t encoded = spike_encode(level, &c.layer, &c.given, r.codes.data(), r.scales.data(), &r.clipped[0]);
  r.statuses.push_back(encoded);
  r.statuses.push_back(spike_linear(level, &c.layer, &c.given, r.linear.data(), &r.clipped[1]));
  if (encoded != SPIKE_OK) {  // what was written before that is of no account, and may differ
    r = {r.statuses, {}, {}, {}, {}, {}, {}, {}, {}};
    return r;
  }
  r.statuses.push_back(spike_accumulate(level, &c.layer, r.codes.data(), c.rows, r.sums.data()));
  r.statuses.push_back(spike_outputs(level, &c.layer, r.codes.data(), r.scales.data(), c.rows, r.outputs.data()));
  r.statuses.push_back(spike_accumulate_steps(level, &c.layer, c.planes.data(), c.rows, c.steps, c.step_weights.data(),
                                              weights_vary, r.sums_steps.data()));
  r.statuses.push_back(spike_outputs_steps(level, &c.layer, c.planes.data(), r.scales.data(), c.rows, c.steps,
                                           c.step_weights.data(), weights_vary, r.outputs_steps.data()));
  return r;
}

// The scale of a row of float32 by a mean, as coding/statistics defines it.
float scale_by_mean(const Case &c, int64_t row) {
  const auto at = [&](int64_t k) {
    float value;
    memcpy(&value, c.x.data() + static_cast<size_t>(row * c.stride + k) * sizeof value, sizeof value);
    return std::fabs(static_cast<double>(value));
  };
  double most = 0;
  for (int64_t k = 0; k < c.inputs; ++k) most = at(k) > most ? at(k) : most;
  int exponent;
  std::frexp(most, &exponent);
  int64_t sum = 0;
  for (int64_t k = 0; k < c.inputs; ++k) {
    const int64_t units = static_cast<int64_t>(std::floor(std::ldexp(at(k), 18 - exponent)));
    sum += c.statistic == SPIKE_RMS ? units * units : units;
  }
  const double mean = static_cast<double>(sum) / static_cast<double>(c.inputs);
  const double value = std::ldexp(c.statistic == SPIKE_RMS ? std::sqrt(mean) : mean, exponent - 18);
  const float scale = c.ratios[static_cast<size_t>(row)] * static_cast<float>(value);
  return scale == 0 ? 1.0f : scale > 0x1.fffffep127f ? 0x1.fffffep127f : scale;
}

bool right_means(const Case &c, const Results &r) {
  if (c.fixed || c.statistic == SPIKE_ABSMAX || c.dtype != SPIKE_FLOAT32) return true;
  for (size_t row = 0; row < r.scales.size(); ++row)
    if (r.scales[row] != scale_by_mean(c, static_cast<int64_t>(row))) {
      printf("  scales by means are wrong\n");
      return false;
    }
  return true;
}

template <class T>
bool same(const char *what, const std::vector<T> &expected, const std::vector<T> &got) {
  if (expected.size() == got.size() &&
      (expected.empty() || memcmp(expected.data(), got.data(), expected.size() * sizeof(T)) == 0))
    return true;
  printf("  %s differ\n", what);
  return false;
}

bool same(const Results &a, const Results &b) {
  return same("statuses", a.statuses, b.statuses) & same("clipped", a.clipped, b.clipped) & same("codes", a.codes, b.codes) &
         same("scales", a.scales, b.scales) & same("sums", a.sums, b.sums) & same("outputs", a.outputs, b.outputs) &
         same("sums of steps", a.sums_steps, b.sums_steps) &
         same("outputs of steps", a.outputs_steps, b.outputs_steps) & same("linear", a.linear, b.linear);
}

int64_t compare(int32_t level, int64_t cases) {
  int64_t failed = 0;
  for (int64_t i = 0; i < cases; ++i) {
    Random random{static_cast<uint64_t>(i) * 2654435761u + 1};
    random.next();
    Case c{};
    choose_sizes(c, random, static_cast<int>(i));
    fill(c, random);
    const bool vary = random.coin();
    const Results got = run(level, c, vary);
    if (same(run(0, c, vary), got) & right_means(c, got)) continue;
    ++failed;
    printf("  case %d: K=%d N=%d M=%d groups=%d bits=%d T<=%d dtype=%d steps=%d statistic=%d rounding=%d %s\n", static_cast<int>(i),
           static_cast<int>(c.inputs), static_cast<int>(c.outputs), static_cast<int>(c.rows), c.groups, c.bits,
           c.most_timesteps, c.dtype, static_cast<int>(c.steps), c.statistic, c.rounding, c.kind == Kind::worst ? "worst" : "");
    if (failed == 10) break;
  }
  return failed;
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: compare_levels CASES [LEVEL...]\n");
    return 2;
  }
  const int64_t cases = strtoll(arguments[1], nullptr, 10);
  std::vector<int32_t> levels;
  for (int i = 2; i < count; ++i) {
    int32_t level = 0;
    while (level < spike_level_count() && strcmp(spike_level_name(level), arguments[i]) != 0) ++level;
    if (level == spike_level_count() || !spike_level_supported(level)) {
      printf("%s: %s\n", arguments[i], level == spike_level_count() ? "not compiled in" : "not supported by this machine");
      return 1;
    }
    levels.push_back(level);
  }
  for (int32_t level = 1; count == 2 && level < spike_level_count(); ++level)
    if (spike_level_supported(level)) levels.push_back(level);

  int64_t failed = 0;
  for (const int32_t level : levels) {
    const int32_t self = spike_self_test(level);
    const int64_t own = compare(level, cases);
    printf("%s: self-test %d, %d of %d cases differ\n", spike_level_name(level), static_cast<int>(self),
           static_cast<int>(own), static_cast<int>(cases));
    fflush(stdout);
    failed += own + (self != 0);
  }
  return failed == 0 ? 0 : 1;
}
