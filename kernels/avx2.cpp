// AVX2: products of unsigned weights and signed codes in pairs (vpmaddubsw), summed up in 16 bits; where pairs of them
// do not fit 16 bits, of 16-bit weights and codes (vpmaddwd).
#include "level.h"

#ifdef __AVX2__
#include <immintrin.h>

#include "groups.h"
#include "panels.h"
#include "rounding.h"

namespace spike {
namespace {

bool supported() { return __builtin_cpu_supports("avx2"); }

SPIKE_INLINE __m256i broadcast(const void *quad) {
  int32_t bits;
  __builtin_memcpy(&bits, quad, sizeof bits);
  return _mm256_set1_epi32(bits);
}

SPIKE_INLINE __m256i load(const void *from) { return _mm256_loadu_si256(static_cast<const __m256i *>(from)); }
SPIKE_INLINE void store(void *to, __m256i value) { _mm256_storeu_si256(static_cast<__m256i *>(to), value); }

uint32_t largest(const float *x, int64_t count) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i high[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  int64_t k = 0;
  for (; k + 16 <= count; k += 16)
    for (int h = 0; h < 2; ++h) high[h] = _mm256_max_epi32(high[h], _mm256_and_si256(magnitude, load(x + k + 8 * h)));
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i *>(lanes), _mm256_max_epi32(high[0], high[1]));
  int32_t result = 0;
  for (int32_t lane : lanes) result = lane > result ? lane : result;
  for (; k < count; ++k) {
    int32_t bits;
    __builtin_memcpy(&bits, x + k, sizeof bits);
    bits &= 0x7fffffff;
    result = bits > result ? bits : result;
  }
  return static_cast<uint32_t>(result);
}

// Eight codes as int32; `clipped` goes down by one in each lane whose code clips.
template <int32_t Rounding>
SPIKE_INLINE __m256i encode_eight(__m256 x, __m256 scale, __m256 limit, __m256i *clipped) {
  const __m256 sign = _mm256_set1_ps(-0.0f), below_half = _mm256_set1_ps(0x1.fffffep-2f), one = _mm256_set1_ps(1.0f);
  const __m256 y = _mm256_div_ps(x, scale);
  const __m256 rounded = _mm256_add_ps(y, _mm256_or_ps(_mm256_and_ps(y, sign), below_half));
  const __m256 beyond = _mm256_cmp_ps(_mm256_andnot_ps(sign, rounded), _mm256_add_ps(limit, one), _CMP_GE_OQ);
  *clipped = _mm256_add_epi32(*clipped, _mm256_castps_si256(beyond));
  if (Rounding == SPIKE_NEAREST)
    return _mm256_cvttps_epi32(_mm256_max_ps(_mm256_xor_ps(limit, sign), _mm256_min_ps(limit, rounded)));
  const __m256 four = _mm256_set1_ps(4.0f), last = _mm256_sub_ps(_mm256_mul_ps(limit, four), one);
  const __m256 quarters = _mm256_min_ps(_mm256_mul_ps(_mm256_andnot_ps(sign, y), four), last);
  const Ints<8> code = code_of_quarters((Ints<8>)_mm256_cvttps_epi32(quarters));
  return _mm256_sign_epi32((__m256i)code, _mm256_castps_si256(y));  // a y of 0 has the code 0
}

SPIKE_INLINE int64_t sum_lanes(__m256i value) {
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i *>(lanes), value);
  int64_t sum = 0;
  for (int32_t lane : lanes) sum += lane;
  return sum;
}

template <int32_t Rounding>
int64_t encode_by(const float *x, int64_t count, float scale, float limit, int8_t *codes) {
  const __m256 scales = _mm256_set1_ps(scale), limits = _mm256_set1_ps(limit);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works within halves
  __m256i clipped = _mm256_setzero_si256();
  int64_t k = 0;
  for (; k + 32 <= count; k += 32) {
    __m256i q[4];
    SPIKE_UNROLL for (int i = 0; i < 4; ++i)
      q[i] = encode_eight<Rounding>(_mm256_loadu_ps(x + k + 8 * i), scales, limits, &clipped);
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    store(codes + k, _mm256_permutevar8x32_epi32(packed, order));
  }
  for (; k < count; k += 8) {
    const int64_t few = least(8, count - k);
    alignas(32) float in[8] = {};
    alignas(32) int32_t out[8];
    for (int64_t i = 0; i < few; ++i) in[i] = x[k + i];
    const __m256i last = encode_eight<Rounding>(_mm256_load_ps(in), scales, limits, &clipped);
    _mm256_store_si256(reinterpret_cast<__m256i *>(out), last);
    for (int64_t i = 0; i < few; ++i) codes[k + i] = static_cast<int8_t>(out[i]);
  }
  return -sum_lanes(clipped);
}

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return rounding == SPIKE_NEAREST ? encode_by<SPIKE_NEAREST>(x, count, scale, limit, codes)
                                   : encode_by<SPIKE_RATE_DISTORTION>(x, count, scale, limit, codes);
}

// a0 += products of w0, a1 += products of w1, with the codes. The compiler would rather hold all products of a quad at
// once, and spill.
SPIKE_INLINE void add_pairs(__m256i &a0, __m256i &a1, __m256i w0, __m256i w1, __m256i codes) {
  __m256i product;
  asm("vpmaddubsw %[codes], %[w0], %[product]\n\t"
      "vpmaddubsw %[codes], %[w1], %[codes]\n\t"
      "vpaddw %[product], %[a0], %[a0]\n\t"
      "vpaddw %[codes], %[a1], %[a1]"
      : [a0] "+x"(a0), [a1] "+x"(a1), [product] "=&x"(product), [codes] "+x"(codes)
      : [w0] "x"(w0), [w1] "x"(w1));
}

SPIKE_INLINE void unpack_quad(const uint8_t *packed, __m256i *low, __m256i *high) {
  const __m256i nibble = _mm256_set1_epi8(15), both = load(packed);
  *low = _mm256_and_si256(both, nibble);
  *high = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
}

// Sums of pairs in 16 bits, starting from what undoes the offset: they may wrap on the way, not at the end.
struct Narrow {
  using Code = int8_t;
  static constexpr int lanes = 8, rows = 6, direct_rows = 3;
  static constexpr int64_t direct_bytes = 32, quad_bytes = 64;

  // A lane takes two products of a quad, each at most max_code * largest |weight|.
  static int64_t chunk(int32_t bits, int32_t max_code) { return 32767 / (2 * max_code * (bits == 4 ? 8 : 128)); }

  static int32_t start(const int8_t *codes, int64_t quads, int32_t offset) {
    const __m256i one = _mm256_set1_epi8(1);
    __m256i sums = _mm256_setzero_si256();  // of inputs 0, 1 in even lanes, of 2, 3 in odd ones
    int64_t j = 0;
    for (; j + 8 <= quads; j += 8) sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(one, load(codes + 4 * j)));
    __m128i half = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    half = _mm_add_epi16(half, _mm_unpackhi_epi64(half, half));
    half = _mm_add_epi16(half, _mm_shuffle_epi32(half, 1));
    for (; j < quads; ++j) {
      int32_t quad;
      __builtin_memcpy(&quad, codes + 4 * j, sizeof quad);
      half = _mm_add_epi16(half, _mm_maddubs_epi16(_mm256_castsi256_si128(one), _mm_cvtsi32_si128(quad)));
    }
    return _mm_cvtsi128_si32(_mm_mullo_epi16(half, _mm_set1_epi16(static_cast<int16_t>(-offset))));
  }

  static void unpack(const uint8_t *panel, int64_t quads, int64_t, uint8_t *to) {
    for (int64_t j = 0; j < quads; ++j, panel += 32, to += 64) {
      __m256i low, high;
      unpack_quad(panel, &low, &high);
      store(to, low);
      store(to + 32, high);
    }
  }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<8> (&result)[Rows][2]) {
    __m256i sums[Rows][2];
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) sums[r][0] = sums[r][1] = broadcast(starts + r * starts_stride);
    constexpr int64_t step = Packed ? 32 : quad_bytes;
    const auto add_quad = [&]() __attribute__((always_inline)) {
      __m256i low, high;
      if (Packed) {
        unpack_quad(weights, &low, &high);
      } else {
        low = load(weights);
        high = load(weights + 32);
      }
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
        add_pairs(sums[r][0], sums[r][1], low, high, broadcast(codes + r * stride));
      weights += step;
      codes += kQuad;
    };
    const uint8_t *end = weights + quads * step;
    if (Rows == 1)  // little is done with each weight: they come from memory, and are asked for ahead
      for (const uint8_t *even = weights + quads / 2 * 2 * step; weights != even;) {
        _mm_prefetch(reinterpret_cast<const char *>(weights) + 2048, _MM_HINT_T0);
        if (!Packed) _mm_prefetch(reinterpret_cast<const char *>(weights) + 2048 + 64, _MM_HINT_T0);
        add_quad();
        add_quad();
      }
    while (weights != end) add_quad();
    const __m256i one = _mm256_set1_epi16(1);
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
      SPIKE_UNROLL for (int h = 0; h < 2; ++h) result[r][h] = (Ints<8>)_mm256_madd_epi16(sums[r][h], one);
  }
};

// a0 += products of w0, a1 += products of w1, with the codes; in this order for the same reason.
SPIKE_INLINE void add_wide_pairs(__m256i &a0, __m256i &a1, __m256i w0, __m256i w1, __m256i codes) {
  __m256i product;
  asm("vpmaddwd %[codes], %[w0], %[product]\n\t"
      "vpmaddwd %[codes], %[w1], %[codes]\n\t"
      "vpaddd %[product], %[a0], %[a0]\n\t"
      "vpaddd %[codes], %[a1], %[a1]"
      : [a0] "+x"(a0), [a1] "+x"(a1), [product] "=&x"(product), [codes] "+x"(codes)
      : [w0] "x"(w0), [w1] "x"(w1));
}

// Inputs 0 and 1 of 8 outputs, each in 16 bits.
SPIKE_INLINE __m256i first_pair(__m256i quad) {
  return _mm256_shuffle_epi8(quad, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1,
                                                                             12, -1, 13, -1)));
}

// Sums of pairs in 32 bits, of weights and codes in 16.
struct Wide {
  using Code = int16_t;
  static constexpr int lanes = 8, rows = 6, direct_rows = 3;
  static constexpr int64_t direct_bytes = 64;
  static constexpr int64_t quad_bytes = 128;  // outputs 0..7 and 8..15 of inputs 0, 1, then of inputs 2, 3

  static int64_t chunk(int32_t, int32_t) { return kQuadBlock; }

  static int32_t start(const int16_t *codes, int64_t quads, int32_t offset) {
    int32_t sum = 0;
    for (int64_t k = 0; k < quads * kQuad; ++k) sum += codes[k];
    return -offset * sum;
  }

  static void unpack(const uint8_t *panel, int64_t quads, int64_t from_bytes, uint8_t *to) {
    for (int64_t j = 0; j < quads; ++j, panel += from_bytes, to += quad_bytes) {
      __m256i low, high;
      if (from_bytes == 32) {
        unpack_quad(panel, &low, &high);
      } else {
        low = load(panel);
        high = load(panel + 32);
      }
      store(to, first_pair(low));
      store(to + 32, first_pair(high));
      store(to + 64, first_pair(_mm256_srli_epi32(low, 16)));
      store(to + 96, first_pair(_mm256_srli_epi32(high, 16)));
    }
  }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int16_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<8> (&result)[Rows][2]) {
    __m256i sums[Rows][2];
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) sums[r][0] = sums[r][1] = broadcast(starts + r * starts_stride);
    const uint8_t *end = weights + quads * (Packed ? direct_bytes : quad_bytes);
    if (Packed)
      for (; weights != end; weights += direct_bytes, codes += kQuad) {
        _mm_prefetch(reinterpret_cast<const char *>(weights) + 2048, _MM_HINT_T0);
        const __m256i low = load(weights), high = load(weights + 32);
        const __m256i later_low = _mm256_srli_epi32(low, 16), later_high = _mm256_srli_epi32(high, 16);
        SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
          const int16_t *row = codes + r * stride;
          add_wide_pairs(sums[r][0], sums[r][1], first_pair(low), first_pair(high), broadcast(row));
          add_wide_pairs(sums[r][0], sums[r][1], first_pair(later_low), first_pair(later_high), broadcast(row + 2));
        }
      }
    for (; weights != end; weights += quad_bytes / 2, codes += 2) {
      const __m256i low = load(weights), high = load(weights + 32);
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
        add_wide_pairs(sums[r][0], sums[r][1], low, high, broadcast(codes + r * stride));
    }
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
      SPIKE_UNROLL for (int h = 0; h < 2; ++h) result[r][h] = (Ints<8>)sums[r][h];
  }
};

bool multiply(const Product &product, const Part &part) {
  // 8-bit weights go up to 255 in their panels: two products of them exceed 16 bits from codes of 65 on, and saturate.
  // From 32 on so few quads fit that summing up in 32 bits is as fast.
  if (product.layer->bits == 8 && product.max_code > 31) return multiply_with<Wide>(product, part);
  return multiply_with<Narrow>(product, part);
}

const Level kLevel = {"avx2", supported, largest, encode, multiply, fire_groups<8>};

}  // namespace

const Level *avx2_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *avx2_level() { return nullptr; }
}  // namespace spike

#endif
