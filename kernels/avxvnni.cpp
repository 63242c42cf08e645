// AVX-VNNI: the 256-bit form of VNNI (vpdpbusd) that machines without AVX-512 have. Four products of unsigned weights and
// signed codes go into an int32 at once, without saturation, so sums are exact in chunks of any length.
#include "level.h"

#if defined(__AVXVNNI__) || (defined(SPIKE_EMULATE) && defined(__AVX2__))
#include <immintrin.h>

#include "groups.h"
#include "panels.h"
#include "x86.h"
#ifdef SPIKE_EMULATE
#include "emulated_avxvnni.h"
#endif

namespace spike {
namespace {

#ifdef SPIKE_EMULATE
bool supported() { return true; }
#else
bool supported() { return once<has_avxvnni>(); }
#endif

uint32_t largest(const float *x, int64_t count) { return avx2_level()->largest(x, count); }

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return avx2_level()->encode(x, count, scale, limit, rounding, codes);
}

SPIKE_INLINE __m256i load(const uint8_t *from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)); }
SPIKE_INLINE void store(uint8_t *to, __m256i value) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), value); }

SPIKE_INLINE __m256i broadcast(const int8_t *quad) {
  int32_t bits;
  __builtin_memcpy(&bits, quad, sizeof bits);
  return _mm256_set1_epi32(bits);
}

struct Vnni256 {
  using Code = int8_t;
  static constexpr int lanes = 8, rows = 6, direct_rows = 6;
  static constexpr int64_t direct_bytes = 32, quad_bytes = 64;

  static int64_t chunk(int32_t, int32_t) { return kQuadBlock; }

  static int32_t start(const int8_t *codes, int64_t quads, int32_t offset) {
    int32_t sum = 0;
    for (int64_t k = 0; k < quads * kQuad; ++k) sum += codes[k];
    return -offset * sum;
  }

  template <bool Packed>
  static SPIKE_INLINE void weights_of(const uint8_t *quad, __m256i *low, __m256i *high) {
    const __m256i nibble = _mm256_set1_epi8(15), first = load(quad);
    *low = Packed ? _mm256_and_si256(first, nibble) : first;
    *high = Packed ? _mm256_and_si256(_mm256_srli_epi16(first, 4), nibble) : load(quad + 32);
  }

  static void unpack(const uint8_t *panel, int64_t quads, int64_t, uint8_t *to) {
    for (int64_t j = 0; j < quads; ++j) {
      __m256i low, high;
      weights_of<true>(panel + 32 * j, &low, &high);
      store(to + 64 * j, low);
      store(to + 64 * j + 32, high);
    }
  }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<8> (&result)[Rows][2]) {
    constexpr int64_t bytes = Packed ? 32 : 64;
    constexpr int ways = Rows == 1 ? 4 : Rows < 4 ? 2 : 1;  // sums of their own, so that one need not wait for the last
    __m256i sums[ways][Rows][2];
    SPIKE_UNROLL for (int w = 0; w < ways; ++w)
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
        sums[w][r][0] = sums[w][r][1] = w == 0 ? _mm256_set1_epi32(starts[r * starts_stride]) : _mm256_setzero_si256();
    int64_t j = 0;
    for (; j + ways <= quads; j += ways) {
      if (Rows == 1) __builtin_prefetch(weights + j * bytes + 2048);
      SPIKE_UNROLL for (int w = 0; w < ways; ++w) add<Rows, Packed>(weights + (j + w) * bytes, codes + (j + w) * kQuad, stride, sums[w]);
    }
    if (ways > 1)
      for (; j < quads; ++j) add<Rows, Packed>(weights + j * bytes, codes + j * kQuad, stride, sums[0]);
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
      SPIKE_UNROLL for (int h = 0; h < 2; ++h) {
        SPIKE_UNROLL for (int w = 1; w < ways; ++w) sums[0][r][h] = _mm256_add_epi32(sums[0][r][h], sums[w][r][h]);
        result[r][h] = (Ints<8>)sums[0][r][h];
      }
  }

  // The products of one quad.
  template <int Rows, bool Packed>
  static SPIKE_INLINE void add(const uint8_t *quad, const int8_t *codes, int64_t stride, __m256i (&sums)[Rows][2]) {
    __m256i low, high;
    weights_of<Packed>(quad, &low, &high);
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
      const __m256i four = broadcast(codes + r * stride);
      sums[r][0] = _mm256_dpbusd_avx_epi32(sums[r][0], low, four);
      sums[r][1] = _mm256_dpbusd_avx_epi32(sums[r][1], high, four);
    }
  }
};

bool multiply(const Product &product, const Part &part) { return multiply_with<Vnni256>(product, part); }

const Level kLevel = {"avxvnni", supported, largest, encode, multiply, fire_groups<8>};

}  // namespace

const Level *avxvnni_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *avxvnni_level() { return nullptr; }
}  // namespace spike

#endif
