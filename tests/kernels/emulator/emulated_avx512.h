// The instructions of AVX-512 that kernels/avx512vnni.* have, in plain C++, for machines without them: what Intel's
// Intrinsics Guide publishes as their operations, lane by lane. Only what is used is here. Names are the intrinsics',
// which <immintrin.h> has, too: a file that includes this one must not include that.
#ifndef SPIKE_EMULATED_AVX512_H
#define SPIKE_EMULATED_AVX512_H
#include <cstdint>
#include <cstring>

typedef int64_t __m512i __attribute__((vector_size(64)));
typedef float __m512 __attribute__((vector_size(64)));
typedef int64_t __m256i __attribute__((vector_size(32)));
typedef int64_t __m128i __attribute__((vector_size(16)));
typedef uint16_t __mmask16;
#define _CMP_GE_OQ 0x1d
// As functions of their own: kernels unroll these a thousand times.
#define SPIKE_APART __attribute__((noinline, unused)) static

namespace {

// A register as lanes of a type.
template <class T, int Count = 64 / static_cast<int>(sizeof(T))>
struct Lanes {
  T lane[Count];

  Lanes() : lane() {}
  template <class Vector>
  explicit Lanes(Vector value) {
    static_assert(sizeof value == sizeof lane);
    memcpy(lane, &value, sizeof lane);
  }
  template <class Vector>
  Vector as() const {
    static_assert(sizeof(Vector) == sizeof lane);
    Vector value;
    memcpy(&value, lane, sizeof value);
    return value;
  }
};

inline __m512i _mm512_setzero_si512() { return __m512i{}; }

inline __m512i _mm512_set1_epi32(int32_t value) {
  Lanes<int32_t> to;
  for (int32_t &lane : to.lane) lane = value;
  return to.as<__m512i>();
}

inline __m512i _mm512_set1_epi8(int8_t value) {
  Lanes<int8_t> to;
  for (int8_t &lane : to.lane) lane = value;
  return to.as<__m512i>();
}

inline __m512 _mm512_set1_ps(float value) {
  Lanes<float> to;
  for (float &lane : to.lane) lane = value;
  return to.as<__m512>();
}

inline __m256i _mm256_set1_epi32(int32_t value) {
  Lanes<int32_t, 8> to;
  for (int32_t &lane : to.lane) lane = value;
  return to.as<__m256i>();
}

inline __m512i _mm512_castps_si512(__m512 a) { return (__m512i)a; }
inline __m512 _mm512_castsi512_ps(__m512i a) { return (__m512)a; }

inline __m512i _mm512_loadu_si512(const void *from) {
  __m512i value;
  memcpy(&value, from, sizeof value);
  return value;
}

inline void _mm512_storeu_si512(void *to, __m512i value) { memcpy(to, &value, sizeof value); }

inline __m256i _mm256_loadu_si256(const __m256i *from) {
  __m256i value;
  memcpy(&value, from, sizeof value);
  return value;
}

// Memory of lanes that the mask leaves out is not touched.
SPIKE_APART __m512i _mm512_maskz_loadu_epi32(__mmask16 mask, const void *from) {
  Lanes<int32_t> to;
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) memcpy(&to.lane[i], static_cast<const char *>(from) + 4 * i, 4);
  return to.as<__m512i>();
}

inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void *from) {
  return _mm512_castsi512_ps(_mm512_maskz_loadu_epi32(mask, from));
}

// int32 truncated to int8.
inline void _mm512_mask_cvtepi32_storeu_epi8(void *to, __mmask16 mask, __m512i a) {
  const Lanes<int32_t> from(a);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) static_cast<int8_t *>(to)[i] = static_cast<int8_t>(from.lane[i]);
}

inline __m512i _mm512_broadcast_i64x4(__m256i a) {
  Lanes<__m256i> to;
  to.lane[0] = to.lane[1] = a;
  return to.as<__m512i>();
}

inline __m512i _mm512_inserti64x4(__m512i a, __m256i b, int half) {
  Lanes<__m256i> to(a);
  to.lane[half] = b;
  return to.as<__m512i>();
}

inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
inline __m512i _mm512_andnot_si512(__m512i a, __m512i b) { return ~a & b; }

SPIKE_APART __m512i _mm512_srlv_epi32(__m512i a, __m512i count) {
  Lanes<uint32_t> to(a);
  const Lanes<uint32_t> by(count);
  for (int i = 0; i < 16; ++i) to.lane[i] = by.lane[i] < 32 ? to.lane[i] >> by.lane[i] : 0;
  return to.as<__m512i>();
}

SPIKE_APART __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  Lanes<uint32_t> to(a);
  const Lanes<uint32_t> other(b);
  for (int i = 0; i < 16; ++i) to.lane[i] += other.lane[i];
  return to.as<__m512i>();
}

inline __m512i _mm512_max_epi32(__m512i a, __m512i b) {
  Lanes<int32_t> to(a);
  const Lanes<int32_t> other(b);
  for (int i = 0; i < 16; ++i) to.lane[i] = to.lane[i] > other.lane[i] ? to.lane[i] : other.lane[i];
  return to.as<__m512i>();
}

// VPDPBUSD: bytes of the first source are unsigned, those of the second signed; nothing saturates.
SPIKE_APART __m512i _mm512_dpbusd_epi32(__m512i sums, __m512i first, __m512i second) {
  Lanes<uint32_t> to(sums);
  const Lanes<uint8_t> a(first);
  const Lanes<int8_t> b(second);
  for (int lane = 0; lane < 16; ++lane)
    for (int byte = 0; byte < 4; ++byte)
      to.lane[lane] += static_cast<uint32_t>(static_cast<int32_t>(a.lane[4 * lane + byte]) *
                                             static_cast<int32_t>(b.lane[4 * lane + byte]));
  return to.as<__m512i>();
}

inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }

// The second source where the comparison fails: of NaN, and of zeros of both signs.
inline __m512 _mm512_min_ps(__m512 a, __m512 b) {
  Lanes<float> to(a);
  const Lanes<float> other(b);
  for (int i = 0; i < 16; ++i) to.lane[i] = to.lane[i] < other.lane[i] ? to.lane[i] : other.lane[i];
  return to.as<__m512>();
}

inline __m512 _mm512_max_ps(__m512 a, __m512 b) {
  Lanes<float> to(a);
  const Lanes<float> other(b);
  for (int i = 0; i < 16; ++i) to.lane[i] = to.lane[i] > other.lane[i] ? to.lane[i] : other.lane[i];
  return to.as<__m512>();
}

// _CMP_GE_OQ alone: false where one is NaN.
inline __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how) {
  if (how != _CMP_GE_OQ) __builtin_trap();
  const Lanes<float> left(a), right(b);
  uint32_t mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(left.lane[i] >= right.lane[i]) << i;
  return static_cast<__mmask16>(mask);
}

// Truncates; what does not fit, and NaN, becomes the lowest integer.
inline __m512i _mm512_cvttps_epi32(__m512 a) {
  const Lanes<float> from(a);
  Lanes<int32_t> to;
  for (int i = 0; i < 16; ++i) {
    const bool fits = from.lane[i] >= -2147483648.0f && from.lane[i] < 2147483648.0f;
    to.lane[i] = fits ? static_cast<int32_t>(from.lane[i]) : INT32_MIN;
  }
  return to.as<__m512i>();
}

}  // namespace
#endif
