// NEON with products of int8 matrices (usmmla): two outputs by eight inputs of unsigned weights, times eight signed codes
// of two rows. A row alone takes the dot product of unsigned weights and signed codes (usdot).
#include "level.h"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
#include <arm_neon.h>

#include "arm.h"
#include "groups.h"
#include "neon.h"

namespace spike {
namespace {

bool supported() { return has_i8mm(); }

uint32_t largest(const float *x, int64_t count) { return neon_level()->largest(x, count); }

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return neon_level()->encode(x, count, scale, limit, rounding, codes);
}

struct Matrix {
  using Code = int8_t;
  static constexpr int lanes = 4, rows = 6, direct_rows = 6;
  static constexpr int64_t direct_bytes = 32, quad_bytes = 64;

  static int64_t chunk(int32_t, int32_t) { return kQuadBlock; }
  static int32_t start(const int8_t *codes, int64_t quads, int32_t offset) { return -offset * sum_codes(codes, quads); }
  static void unpack(const uint8_t *panel, int64_t quads, int64_t, uint8_t *to) { unpack_quads(panel, quads, to); }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<4> (&result)[Rows][4]) {
    if constexpr (Rows == 1)
      multiply_row<Packed>(weights, codes, quads, starts[0], result[0]);
    else
      multiply_pairs<Rows, Packed>(weights, codes, stride, quads, starts, starts_stride, result);
  }

  template <bool Packed>
  static SPIKE_INLINE void multiply_row(const uint8_t *weights, const int8_t *codes, int64_t quads, int32_t start,
                                        Ints<4> (&result)[4]) {
    constexpr int64_t bytes = Packed ? 32 : 64;
    int32x4_t sums[4];
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) sums[h] = vdupq_n_s32(start);
    for (int64_t j = 0; j < quads; ++j, weights += bytes) {
      __builtin_prefetch(weights + 1024);
      uint8x16_t own[4];
      weights_of<Packed>(weights, own);
      const int8x16_t four = broadcast(codes + j * kQuad);
      SPIKE_UNROLL for (int h = 0; h < 4; ++h) sums[h] = vusdotq_s32(sums[h], own[h], four);
    }
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) result[h] = (Ints<4>)sums[h];
  }

  // Sums of two rows (the last of an odd number: of that one and a row of zeros), as [2 outputs][2 rows].
  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply_pairs(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                          const int32_t *starts, int64_t starts_stride, Ints<4> (&result)[Rows][4]) {
    constexpr int64_t bytes = Packed ? 32 : 64;
    constexpr int pairs = (Rows + 1) / 2;
    int32x4_t sums[pairs][8];
    SPIKE_UNROLL for (int p = 0; p < pairs; ++p) {
      const int32_t both[2] = {starts[2 * p * starts_stride], 2 * p + 1 < Rows ? starts[(2 * p + 1) * starts_stride] : 0};
      const int32x2_t once = vld1_s32(both);
      SPIKE_UNROLL for (int i = 0; i < 8; ++i) sums[p][i] = vcombine_s32(once, once);
    }
    int64_t j = 0;
    for (; j + 2 <= quads; j += 2, weights += 2 * bytes) {
      int8x16_t eight[pairs];
      SPIKE_UNROLL for (int p = 0; p < pairs; ++p) {
        const int8_t *first = codes + 2 * p * stride + j * kQuad;
        eight[p] = vcombine_s8(vld1_s8(first), 2 * p + 1 < Rows ? vld1_s8(first + stride) : vdup_n_s8(0));
      }
      add<pairs, Packed>(weights, weights + bytes, eight, sums);
    }
    if (j < quads) {  // codes of the second quad are 0, whatever its weights
      int8x16_t four[pairs];
      SPIKE_UNROLL for (int p = 0; p < pairs; ++p) {
        int8_t both[16] = {};
        __builtin_memcpy(both, codes + 2 * p * stride + j * kQuad, kQuad);
        if (2 * p + 1 < Rows) __builtin_memcpy(both + 8, codes + (2 * p + 1) * stride + j * kQuad, kQuad);
        four[p] = vld1q_s8(both);
      }
      add<pairs, Packed>(weights, weights, four, sums);
    }
    SPIKE_UNROLL for (int p = 0; p < pairs; ++p)
      SPIKE_UNROLL for (int h = 0; h < 4; ++h) {
        result[2 * p][h] = (Ints<4>)vuzp1q_s32(sums[p][2 * h], sums[p][2 * h + 1]);
        if (2 * p + 1 < Rows) result[2 * p + 1 < Rows ? 2 * p + 1 : 0][h] = (Ints<4>)vuzp2q_s32(sums[p][2 * h], sums[p][2 * h + 1]);
      }
  }

  // The products of two quads.
  template <int Pairs, bool Packed>
  static SPIKE_INLINE void add(const uint8_t *first, const uint8_t *second, const int8x16_t (&codes)[Pairs],
                               int32x4_t (&sums)[Pairs][8]) {
    uint8x16_t a[4], b[4];
    weights_of<Packed>(first, a);
    weights_of<Packed>(second, b);
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) {
      const uint32x4_t even = vreinterpretq_u32_u8(a[h]), odd = vreinterpretq_u32_u8(b[h]);
      const uint8x16_t low = vreinterpretq_u8_u32(vzip1q_u32(even, odd)), high = vreinterpretq_u8_u32(vzip2q_u32(even, odd));
      SPIKE_UNROLL for (int p = 0; p < Pairs; ++p) {
        sums[p][2 * h] = vusmmlaq_s32(sums[p][2 * h], low, codes[p]);
        sums[p][2 * h + 1] = vusmmlaq_s32(sums[p][2 * h + 1], high, codes[p]);
      }
    }
  }
};

bool multiply(const Product &product, const Part &part) { return multiply_with<Matrix>(product, part); }

const Level kLevel = {"neon_i8mm", supported, largest, encode, multiply, fire_groups<4>};

}  // namespace

const Level *neon_i8mm_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *neon_i8mm_level() { return nullptr; }
}  // namespace spike

#endif
