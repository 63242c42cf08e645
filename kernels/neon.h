// What the levels of NEON share: quads of panels as vectors of 16 bytes.
#ifndef SPIKE_NEON_H
#define SPIKE_NEON_H
#include <arm_neon.h>

#include "panels.h"

namespace spike {
namespace {

// Outputs 0..3, 4..7, 8..11 and 12..15 of a quad.
template <bool Packed>
SPIKE_INLINE void weights_of(const uint8_t *quad, uint8x16_t (&to)[4]) {
  if (Packed) {
    const uint8x16_t nibble = vdupq_n_u8(15), first = vld1q_u8(quad), second = vld1q_u8(quad + 16);
    to[0] = vandq_u8(first, nibble);
    to[1] = vandq_u8(second, nibble);
    to[2] = vshrq_n_u8(first, 4);
    to[3] = vshrq_n_u8(second, 4);
  } else {
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) to[h] = vld1q_u8(quad + 16 * h);
  }
}

inline void unpack_quads(const uint8_t *panel, int64_t quads, uint8_t *bytes) {
  for (int64_t j = 0; j < quads; ++j) {
    uint8x16_t own[4];
    weights_of<true>(panel + 32 * j, own);
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) vst1q_u8(bytes + 64 * j + 16 * h, own[h]);
  }
}

// Four codes, in each lane.
SPIKE_INLINE int8x16_t broadcast(const int8_t *quad) {
  int32_t bits;
  __builtin_memcpy(&bits, quad, sizeof bits);
  return vreinterpretq_s8_s32(vdupq_n_s32(bits));
}

inline int32_t sum_codes(const int8_t *codes, int64_t quads) {
  const int8x16_t one = vdupq_n_s8(1);
  int32x4_t sums = vdupq_n_s32(0);
  int64_t j = 0;
  for (; j + 4 <= quads; j += 4) sums = vdotq_s32(sums, vld1q_s8(codes + j * kQuad), one);
  int32_t sum = vaddvq_s32(sums);
  for (int64_t k = j * kQuad; k < quads * kQuad; ++k) sum += codes[k];
  return sum;
}

}  // namespace
}  // namespace spike
#endif
