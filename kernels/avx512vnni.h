// The products of AVX512-VNNI, which the level of AMX has, too, where tiles do not pay. Four products of unsigned weights
// and signed codes go into an int32 at once (vpdpbusd), without saturation, so sums are exact in chunks of any length.
#ifndef SPIKE_AVX512VNNI_H
#define SPIKE_AVX512VNNI_H
#ifdef SPIKE_EMULATE
#include "emulated_avx512.h"
#else
#include <immintrin.h>
#endif

#include "panels.h"

namespace spike {
namespace {

SPIKE_INLINE __m512i broadcast(const int8_t *quad) {
  int32_t bits;
  __builtin_memcpy(&bits, quad, sizeof bits);
  return _mm512_set1_epi32(bits);
}

SPIKE_INLINE int32_t sum_lanes(__m512i value) {
  alignas(64) int32_t lanes[16];
  _mm512_storeu_si512(lanes, value);
  int32_t sum = 0;
  for (int32_t lane : lanes) sum += lane;
  return sum;
}

struct Vnni512 {
  using Code = int8_t;
  static constexpr int lanes = 16, rows = 16, direct_rows = 8;
  static constexpr int64_t direct_bytes = 32, quad_bytes = 64;

  static int64_t chunk(int32_t, int32_t) { return kQuadBlock; }

  static int32_t start(const int8_t *codes, int64_t quads, int32_t offset) {
    const __m512i one = _mm512_set1_epi8(1);
    __m512i sums = _mm512_setzero_si512();
    for (int64_t j = 0; j < quads; j += 16) {
      const __mmask16 there = static_cast<__mmask16>(quads - j >= 16 ? 0xffff : (1 << (quads - j)) - 1);
      sums = _mm512_dpbusd_epi32(sums, one, _mm512_maskz_loadu_epi32(there, codes + j * kQuad));
    }
    return -offset * sum_lanes(sums);
  }

  template <bool Packed>
  static SPIKE_INLINE __m512i weights_of(const uint8_t *quad) {
    if (!Packed) return _mm512_loadu_si512(quad);
    const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(quad)));
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(4), 1);
    return _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi8(15));
  }

  static void unpack(const uint8_t *panel, int64_t quads, int64_t, uint8_t *to) {
    for (int64_t j = 0; j < quads; ++j) _mm512_storeu_si512(to + 64 * j, weights_of<true>(panel + 32 * j));
  }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<16> (&result)[Rows][1]) {
    constexpr int64_t bytes = Packed ? 32 : 64;
    constexpr int ways = Rows < 4 ? 4 : Rows < 8 ? 2 : 1;  // sums of their own, so that one need not wait for the last
    __m512i sums[ways][Rows];
    SPIKE_UNROLL for (int w = 0; w < ways; ++w)
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
        sums[w][r] = w == 0 ? _mm512_set1_epi32(starts[r * starts_stride]) : _mm512_setzero_si512();
    int64_t j = 0;
    for (; j + ways <= quads; j += ways) {
      if (Rows == 1) __builtin_prefetch(weights + j * bytes + 2048);
      SPIKE_UNROLL for (int w = 0; w < ways; ++w) add<Rows, Packed>(weights + (j + w) * bytes, codes + (j + w) * kQuad, stride, sums[w]);
    }
    if (ways > 1)
      for (; j < quads; ++j) add<Rows, Packed>(weights + j * bytes, codes + j * kQuad, stride, sums[0]);
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
      SPIKE_UNROLL for (int w = 1; w < ways; ++w) sums[0][r] = _mm512_add_epi32(sums[0][r], sums[w][r]);
      result[r][0] = (Ints<16>)sums[0][r];
    }
  }

  // The products of one quad.
  template <int Rows, bool Packed>
  static SPIKE_INLINE void add(const uint8_t *quad, const int8_t *codes, int64_t stride, __m512i (&sums)[Rows]) {
    const __m512i own = weights_of<Packed>(quad);
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) sums[r] = _mm512_dpbusd_epi32(sums[r], own, broadcast(codes + r * stride));
  }
};

}  // namespace
}  // namespace spike
#endif
