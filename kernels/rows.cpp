// From a row as it comes to its codes: the part that is the same for all levels.
#include "rows.h"

#include <cfloat>
#include <cmath>
#include <cstring>

namespace spike {
namespace {

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Bits of a float16 as a float32's: exact, also of subnormal numbers, infinities and NaN. All three are computed, so that the
// compiler can take many at once.
uint32_t half_to_bits(uint16_t half) {
  const uint32_t rest = half & 0x7fffu;
  const uint32_t special = 0x7f800000u | rest << 13;
  const uint32_t normal = (rest + 0x1c000u) << 13;  // exponents of 15 become exponents of 127
  const float subnormal = static_cast<float>(static_cast<int32_t>(rest)) * 0x1p-24f;
  uint32_t small;
  std::memcpy(&small, &subnormal, sizeof small);
  const uint32_t magnitude = rest >= 0x7c00u ? special : rest >= 0x0400u ? normal : small;
  return magnitude | static_cast<uint32_t>(half & 0x8000u) << 16;
}

// The row as float32: where it lies, or converted into `buffer`.
const float *as_floats(const spike_rows &rows, int64_t row, int64_t inputs, float *buffer) {
  const int64_t first = row * rows.stride;
  switch (rows.dtype) {
    case SPIKE_BFLOAT16: {
      const uint16_t *from = static_cast<const uint16_t *>(rows.x) + first;
      for (int64_t k = 0; k < inputs; ++k) buffer[k] = from_bits(static_cast<uint32_t>(from[k]) << 16);
      return buffer;
    }
    case SPIKE_FLOAT16: {
      const uint16_t *from = static_cast<const uint16_t *>(rows.x) + first;
      for (int64_t k = 0; k < inputs; ++k) buffer[k] = from_bits(half_to_bits(from[k]));
      return buffer;
    }
    case SPIKE_FLOAT64: {
      const double *from = static_cast<const double *>(rows.x) + first;
      for (int64_t k = 0; k < inputs; ++k) buffer[k] = static_cast<float>(from[k]);
      return buffer;
    }
    default:
      return static_cast<const float *>(rows.x) + first;
  }
}

// Sum of the magnitudes of a row, or of their squares, in units of 2^(exponent - 18): see coding/statistics. The largest
// lies below 2^exponent, so units have 18 bits. Powers of two scale exactly; what is lost where a product is subnormal
// lies far below one unit. Integers need no order, so the compiler may take as many lanes as it likes.
template <bool Squared>
uint64_t sum_units(const float *x, int64_t inputs, int exponent) {
  constexpr int64_t kLanes = 16;
  const int shift = 18 - exponent, least_shift = shift < 100 ? shift : 100;  // 2^shift alone may be infinite
  const float first = std::ldexp(1.0f, least_shift), second = std::ldexp(1.0f, shift - least_shift);
  uint64_t sums[kLanes] = {};
  const auto add = [&](const float *from, int64_t lane) {
    const uint32_t units = static_cast<uint32_t>(static_cast<int32_t>(std::fabs(*from) * first * second));
    sums[lane] += Squared ? static_cast<uint64_t>(units) * units : units;
  };
  int64_t k = 0;
  for (; k + kLanes <= inputs; k += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) add(x + k + lane, lane);
  for (; k < inputs; ++k) add(x + k, 0);
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

// The mean magnitude of a row, or the root of the mean of its squares: rounded once as a quotient, once as a root, once as a
// float.
float mean_of(const float *x, int64_t inputs, float absmax, bool squared) {
  if (absmax == 0.0f) return 0.0f;
  int exponent;
  std::frexp(absmax, &exponent);
  const uint64_t total = squared ? sum_units<true>(x, inputs, exponent) : sum_units<false>(x, inputs, exponent);
  const double mean = static_cast<double>(total) / static_cast<double>(inputs);
  return static_cast<float>(std::ldexp(squared ? std::sqrt(mean) : mean, exponent - 18));
}

// (ratio * value) / divisor, each operation rounded once; 1 where that is 0.
float dynamic_scale(float ratio, float value, float divisor) {
  float scale = value * ratio;
  if (scale > FLT_MAX) scale = FLT_MAX;
  scale /= divisor;
  return scale == 0.0f ? 1.0f : scale;
}

// The scale of a row: as it is given, or from its statistic, which is divided by `limit` for the largest magnitude and by
// `unit` for a mean.
float scale_of(const spike_rows &rows, int64_t row, const float *x, int64_t inputs, float absmax, float limit, float unit) {
  if (rows.scale != nullptr) return rows.scale[row * rows.scale_step];
  const float ratio = rows.ratio[row * rows.ratio_step];
  return rows.statistic == SPIKE_ABSMAX ? dynamic_scale(ratio, absmax, limit)
                                        : dynamic_scale(ratio, mean_of(x, inputs, absmax, rows.statistic == SPIKE_RMS), unit);
}

// Moves groups that lie one after the other apart, to where their quads begin, and pads them with zeros.
void spread(const Layout &l, int8_t *codes) {
  const int64_t padded = l.group_quads * kQuad;
  for (int64_t group = l.groups - 1; group >= 0; --group) {
    std::memmove(codes + group * padded, codes + group * l.group_inputs, static_cast<size_t>(l.group_inputs));
    std::memset(codes + group * padded + l.group_inputs, 0, static_cast<size_t>(padded - l.group_inputs));
  }
}

}  // namespace

spike_status encode_rows(const Level &level, const Layout &l, const spike_rows &rows, int32_t max_code, int64_t begin,
                         int64_t end, float *buffer, int8_t *codes, float *scales, int64_t *clipped) {
  const int64_t inputs = l.groups * l.group_inputs;
  if (rows.statistic < SPIKE_ABSMAX || rows.statistic > SPIKE_MEAN_ABS) return SPIKE_BAD_ARGUMENT;
  if (rows.rounding < SPIKE_NEAREST || rows.rounding > SPIKE_RATE_DISTORTION) return SPIKE_BAD_ARGUMENT;
  for (int64_t row = begin; row < end; ++row, codes += l.width, ++scales) {
    const int32_t timesteps = rows.timesteps[row * rows.timesteps_step];
    if (timesteps < 1 || timesteps > 7 || (1 << timesteps) - 1 > max_code) return SPIKE_BAD_ARGUMENT;
    const float limit = static_cast<float>((1 << timesteps) - 1);
    const float *x = as_floats(rows, row, inputs, buffer);
    const uint32_t largest = level.largest(x, inputs);
    if (largest > 0x7f7fffff) return SPIKE_NOT_FINITE;
    *scales = scale_of(rows, row, x, inputs, from_bits(largest), limit, 1.0f);
    *clipped += level.encode(x, inputs, *scales, limit, rows.rounding, codes);
    if (rows.silenced != nullptr)
      for (int64_t k = 0; k < inputs; ++k) codes[k] = rows.silenced[k] != 0 ? 0 : codes[k];
    if (l.width != inputs) spread(l, codes);
  }
  return SPIKE_OK;
}

spike_status encode_grouped_rows(const Level &level, int64_t inputs, const spike_rows &rows, int32_t beam, int64_t begin,
                                 int64_t end, float *buffer, int32_t *membranes, int16_t *grouped, int16_t *codes,
                                 float *scales, int64_t *clipped) {
  const int64_t groups = ceil_div(inputs, kQuad);
  if (rows.statistic < SPIKE_ABSMAX || rows.statistic > SPIKE_MEAN_ABS) return SPIKE_BAD_ARGUMENT;
  for (int64_t row = begin; row < end; ++row, codes += inputs, ++scales) {
    const int32_t steps = rows.timesteps[row * rows.timesteps_step];
    if (steps < 1 || steps > kGroupSteps) return SPIKE_BAD_ARGUMENT;
    const float unit = static_cast<float>(1 << (steps - 1)), fraction = static_cast<float>(1 << (kGroupSteps - steps));
    // 3^S - 2^S: the first step's weight, 3^(S-1), three times
    const float limit = static_cast<float>(3 * (step_units(steps - 1) >> (kGroupSteps - steps)) - (1 << steps));
    const float *x = as_floats(rows, row, inputs, buffer);
    const uint32_t largest = level.largest(x, inputs);
    if (largest > 0x7f7fffff) return SPIKE_NOT_FINITE;
    *scales = scale_of(rows, row, x, inputs, from_bits(largest), limit, unit);
    const float scale = *scales;
    int32_t beyond = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      float y = x[k] / scale;
      beyond += std::fabs(y) + 0x1.fffffep-2f >= limit + 1;  // rounded as elsewhere, it is no code
      y = y > limit ? limit : y;
      y = y < -limit ? -limit : y;
      membranes[k] = static_cast<int32_t>(y * fraction);
    }
    *clipped += beyond;
    for (int64_t k = inputs; k < groups * kQuad; ++k) membranes[k] = 0;
    if (rows.silenced != nullptr)
      for (int64_t k = 0; k < inputs; ++k) membranes[k] = rows.silenced[k] != 0 ? 0 : membranes[k];
    level.groups(membranes, groups, steps, beam, grouped);
    std::memcpy(codes, grouped, static_cast<size_t>(inputs) * sizeof *codes);
  }
  return SPIKE_OK;
}

}  // namespace spike
