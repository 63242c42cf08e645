// Many scales tried on the same rows: what calibration wants to know of each. Compiled for any machine: what takes its
// time are divisions and a histogram, which wider instructions hardly speed up.
#include <atomic>
#include <cmath>
#include <cstring>

#include "layout.h"
#include "memory.h"
#include "rounding.h"
#include "sharing.h"

using namespace spike;

namespace {

constexpr float kBelowHalf = 0x1.fffffep-2f;  // the largest float below 1/2: see coding/quantize.py
constexpr int64_t kCodes = 128;

template <int32_t Rounding>
int32_t code_of(float units, float limit) {
  if (Rounding == SPIKE_NEAREST) {
    units += kBelowHalf;
    return static_cast<int32_t>(units > limit ? limit : units);
  }
  const float quarters = units * 4, last = limit * 4 - 1;
  return code_of_quarters(static_cast<int32_t>(quarters > last ? last : quarters));
}

// |codes| of a row, and the squares of (|x| - code * scale) * weight.
template <int32_t Rounding>
void try_row(const float *x, const float *weights, int64_t inputs, float scale, float limit, uint8_t *codes,
             float *squares) {
  for (int64_t k = 0; k < inputs; ++k) {
    const float magnitude = std::fabs(x[k]);
    const int32_t code = code_of<Rounding>(magnitude / scale, limit);
    const float lost = (magnitude - static_cast<float>(code) * scale) * weights[k];
    codes[k] = static_cast<uint8_t>(code);
    squares[k] = lost * lost;
  }
}

double sum(const float *values, int64_t count) {
  double lanes[8] = {};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int64_t lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(values[k + lane]);
  for (; k < count; ++k) lanes[k % 8] += static_cast<double>(values[k]);
  double total = 0;
  for (double lane : lanes) total += lane;
  return total;
}

// Several tables: an increment does not wait for the one before it, of the same code as likely as not.
void count_codes(const uint8_t *codes, int64_t count, uint32_t (&tables)[4][kCodes]) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4)
    for (int64_t lane = 0; lane < 4; ++lane) ++tables[lane][codes[k + lane]];
  for (; k < count; ++k) ++tables[0][codes[k]];
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int32_t spike_try_scales(const float *x, const float *weights,
                                                                           int64_t rows, int64_t inputs,
                                                                           int64_t candidates, const float *scales,
                                                                           const int32_t *timesteps, int32_t rounding,
                                                                           double *errors, int64_t *counts) {
  if (rounding < SPIKE_NEAREST || rounding > SPIKE_RATE_DISTORTION) return SPIKE_BAD_ARGUMENT;
  const auto try_one = rounding == SPIKE_NEAREST ? try_row<SPIKE_NEAREST> : try_row<SPIKE_RATE_DISTORTION>;
  if (rows < 0 || inputs < 0 || candidates < 0 || rows * inputs > INT32_MAX) return SPIKE_BAD_ARGUMENT;
  for (int64_t c = 0; c < candidates; ++c)
    if (timesteps[c] < 1 || timesteps[c] > 7) return SPIKE_BAD_ARGUMENT;
  std::atomic<bool> enough{true};
  auto body = [&](int64_t c) {
    const Scratch<float> squares(inputs);
    const Scratch<uint8_t> codes(inputs);
    if (squares.data == nullptr || codes.data == nullptr) {
      enough.store(false, std::memory_order_relaxed);
      return;
    }
    const float limit = static_cast<float>((1 << timesteps[c]) - 1);
    uint32_t tables[4][kCodes];
    std::memset(tables, 0, sizeof tables);
    double error = 0;
    for (int64_t row = 0; row < rows; ++row) {
      try_one(x + row * inputs, weights + row * inputs, inputs, scales[c * rows + row], limit, codes.data, squares.data);
      error += sum(squares.data, inputs);
      count_codes(codes.data, inputs, tables);
    }
    errors[c] = error;
    for (int64_t code = 0; code < kCodes; ++code) {
      int64_t total = 0;
      for (const auto &table : tables) total += table[code];
      counts[c * kCodes + code] = total;
    }
  };
  share(candidates, 1, body);
  return enough.load() ? SPIKE_OK : SPIKE_NO_MEMORY;
}
