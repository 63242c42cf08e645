// AVX-512 with VNNI: a quad of a panel is one vector.
#include "level.h"

#if (defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)) || (defined(SPIKE_EMULATE) && defined(__x86_64__))
#include "avx512vnni.h"
#include "groups.h"
#include "rounding.h"
#include "x86.h"

namespace spike {
namespace {

#ifdef SPIKE_EMULATE
bool supported() { return true; }
#else
bool supported() { return once<has_avx512vnni>(); }
#endif

// The lanes that are there, of 16 from `index` on.
SPIKE_INLINE __mmask16 lanes_from(int64_t index, int64_t count) {
  return static_cast<__mmask16>(count - index >= 16 ? 0xffff : (1 << (count - index)) - 1);
}

uint32_t largest(const float *x, int64_t count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i high = _mm512_setzero_si512();
  for (int64_t k = 0; k < count; k += 16)
    high = _mm512_max_epi32(high, _mm512_and_si512(magnitude, _mm512_maskz_loadu_epi32(lanes_from(k, count), x + k)));
  alignas(64) int32_t lanes[16];
  _mm512_storeu_si512(lanes, high);
  int32_t result = 0;
  for (int32_t lane : lanes) result = lane > result ? lane : result;
  return static_cast<uint32_t>(result);
}

template <int32_t Rounding>
int64_t encode_by(const float *x, int64_t count, float scale, float limit, int8_t *codes) {
  const __m512 scales = _mm512_set1_ps(scale), high = _mm512_set1_ps(limit), low = _mm512_set1_ps(-limit);
  const __m512 beyond = _mm512_set1_ps(limit + 1), last = _mm512_set1_ps(4 * limit - 1);
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512i below_half = _mm512_castps_si512(_mm512_set1_ps(0x1.fffffep-2f));
  int64_t clipped = 0;
  for (int64_t k = 0; k < count; k += 16) {
    const __mmask16 there = lanes_from(k, count);  // the others hold 0, whose code is 0
    const __m512 y = _mm512_div_ps(_mm512_maskz_loadu_ps(there, x + k), scales);
    const __m512i bits = _mm512_castps_si512(y), sign = _mm512_andnot_si512(magnitude, bits);
    const __m512 rounded = _mm512_add_ps(y, _mm512_castsi512_ps(_mm512_or_si512(sign, below_half)));
    const __m512 size = _mm512_castsi512_ps(_mm512_and_si512(magnitude, _mm512_castps_si512(rounded)));
    clipped += __builtin_popcount(_mm512_cmp_ps_mask(size, beyond, _CMP_GE_OQ));
    __m512i q;
    if (Rounding == SPIKE_NEAREST) {
      q = _mm512_cvttps_epi32(_mm512_max_ps(low, _mm512_min_ps(high, rounded)));
    } else {
      const __m512 own = _mm512_castsi512_ps(_mm512_and_si512(magnitude, bits));
      const __m512 two = _mm512_add_ps(own, own), quarters = _mm512_min_ps(last, _mm512_add_ps(two, two));
      const Ints<16> code = code_of_quarters((Ints<16>)_mm512_cvttps_epi32(quarters)), negative = (Ints<16>)bits >> 31;
      q = (__m512i)((code ^ negative) - negative);
    }
    _mm512_mask_cvtepi32_storeu_epi8(codes + k, there, q);
  }
  return clipped;
}

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return rounding == SPIKE_NEAREST ? encode_by<SPIKE_NEAREST>(x, count, scale, limit, codes)
                                   : encode_by<SPIKE_RATE_DISTORTION>(x, count, scale, limit, codes);
}

bool multiply(const Product &product, const Part &part) { return multiply_with<Vnni512>(product, part); }

const Level kLevel = {"avx512vnni", supported, largest, encode, multiply, fire_groups<16>};

}  // namespace

const Level *avx512vnni_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *avx512vnni_level() { return nullptr; }
}  // namespace spike

#endif
