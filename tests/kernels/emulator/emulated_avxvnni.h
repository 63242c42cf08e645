// The instruction of AVX-VNNI that kernels/avxvnni.cpp has, in plain C++, for machines without it. Written from what Intel
// publishes of VPDPBUSD (VEX): bytes of the first source are unsigned, those of the second signed, nothing saturates.
#ifndef SPIKE_EMULATED_AVXVNNI_H
#define SPIKE_EMULATED_AVXVNNI_H
#include <cstdint>

namespace {

// A function of its own: kernels unroll it a hundred times.
__attribute__((noinline)) __m256i emulated_dpbusd(__m256i sums, __m256i first, __m256i second) {
  uint8_t a[32];
  int8_t b[32];
  uint32_t to[8];
  __builtin_memcpy(a, &first, sizeof a);
  __builtin_memcpy(b, &second, sizeof b);
  __builtin_memcpy(to, &sums, sizeof to);
  for (int lane = 0; lane < 8; ++lane)
    for (int byte = 0; byte < 4; ++byte)
      to[lane] += static_cast<uint32_t>(static_cast<int32_t>(a[4 * lane + byte]) * static_cast<int32_t>(b[4 * lane + byte]));
  __builtin_memcpy(&sums, to, sizeof to);
  return sums;
}

}  // namespace

#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#endif
