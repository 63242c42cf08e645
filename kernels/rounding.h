// Rounding with the spikes of a code as a cost, by integers: docs/numerics.md derives the rule. All static: every level has
// its own copy, compiled for its instructions.
#ifndef SPIKE_ROUNDING_H
#define SPIKE_ROUNDING_H

namespace spike {

// Codes of magnitudes in whole quarters, floor(4 |y|); the caller limits these to 4 limit - 1, whose code is the limit. I is
// an int32_t, or a vector of them. A code that ends in n ones goes up from a fraction of (3 - n) / 4 on: what is above it
// has n ones less and one more, and as many spikes less and more.
template <class I>
static inline __attribute__((always_inline)) I code_of_quarters(I quarters) {
  const I whole = quarters >> 2;
  const I one = whole & 1, two = one & (whole >> 1), three = two & (whole >> 2);
  return (quarters + 1 + one + two + three) >> 2;
}

}  // namespace spike
#endif
