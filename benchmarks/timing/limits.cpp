// How fast this machine can read, multiply floats and multiply bytes: peaks of loops that do nothing else.
// Built by limits.py on the machine that it measures, with -march=native.
#include <cstdint>
#include <cstring>
#include <ctime>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {
// seconds of processor time of this thread
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// iterations a second of `body(count)`, which does `count` iterations
template <typename Body>
double rate(double seconds, int64_t count, Body body) {
  double best = 0;
  const double begin = now();
  do {
    const double from = now();
    body(count);
    const double found = static_cast<double>(count) / (now() - from);
    best = found > best ? found : best;
  } while (now() - begin < seconds);
  return best;
}
constexpr int kChains = 12;  // enough independent sums to hide every latency
}  // namespace

// What `STEP` makes of so many sums a second. Sums and operands are copied in, so that they lie in registers.
#define RUN                                                        \
  return kChains * lanes * rate(seconds, 200000, [=](int64_t count) { \
           auto s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3], s4 = sums[4], s5 = sums[5]; \
           auto s6 = sums[6], s7 = sums[7], s8 = sums[8], s9 = sums[9], s10 = sums[10], s11 = sums[11]; \
           auto left = a, right = b;                               \
           for (int64_t i = 0; i < count; ++i) {                   \
             HOLD(left);                                           \
             STEP(s0); STEP(s1); STEP(s2); STEP(s3); STEP(s4); STEP(s5); \
             STEP(s6); STEP(s7); STEP(s8); STEP(s9); STEP(s10); STEP(s11); \
             HOLD(s0); HOLD(s1); HOLD(s2); HOLD(s3); HOLD(s4); HOLD(s5); \
             HOLD(s6); HOLD(s7); HOLD(s8); HOLD(s9); HOLD(s10); HOLD(s11); \
           }                                                       \
         })

#if defined(__AVX2__)
#define HOLD(v) asm volatile("" : "+x"(v))
#elif defined(__ARM_NEON)
#define HOLD(v) asm volatile("" : "+w"(v))
#endif

extern "C" {

// float32 multiply-adds a second
double peak_fma(double seconds) {
#if defined(__AVX512F__)
  __m512 sums[kChains], a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
  constexpr int lanes = 16;
  for (auto &sum : sums) sum = a;
#define STEP(sum) sum = _mm512_fmadd_ps(left, right, sum)
#elif defined(__AVX2__)
  __m256 sums[kChains], a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
  constexpr int lanes = 8;
  for (auto &sum : sums) sum = a;
#define STEP(sum) sum = _mm256_fmadd_ps(left, right, sum)
#elif defined(__ARM_NEON)
  float32x4_t sums[kChains], a = vdupq_n_f32(1.0f), b = vdupq_n_f32(1e-9f);
  constexpr int lanes = 4;
  for (auto &sum : sums) sum = a;
#define STEP(sum) sum = vfmaq_f32(sum, left, right)
#endif
#ifdef STEP
  RUN;
#undef STEP
#else
  return 0;
#endif
}

// what peak_bytes uses
const char *bytes_instruction() {
#if defined(__AVX512VNNI__)
  return "vpdpbusd, 512 bits";
#elif defined(__AVXVNNI__)
  return "vpdpbusd, 256 bits";
#elif defined(__AVX2__)
  return "vpmaddubsw and vpaddw, 256 bits";
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  return "usmmla";
#elif defined(__ARM_FEATURE_DOTPROD)
  return "sdot";
#else
  return "";
#endif
}

// multiply-adds of bytes a second, by the best instructions that this is built with
double peak_bytes(double seconds) {
#if defined(__AVX512VNNI__)
  __m512i sums[kChains], a = _mm512_set1_epi8(1), b = a;
  constexpr int lanes = 64;
  for (auto &sum : sums) sum = _mm512_setzero_si512();
#define STEP(sum) sum = _mm512_dpbusd_epi32(sum, left, right)
#elif defined(__AVXVNNI__)
  __m256i sums[kChains], a = _mm256_set1_epi8(1), b = a;
  constexpr int lanes = 32;
  for (auto &sum : sums) sum = _mm256_setzero_si256();
#define STEP(sum) sum = _mm256_dpbusd_avx_epi32(sum, left, right)
#elif defined(__AVX2__)
  __m256i sums[kChains], a = _mm256_set1_epi8(1), b = a;
  constexpr int lanes = 32;
  for (auto &sum : sums) sum = _mm256_setzero_si256();
#define STEP(sum)                                                    \
  {                                                                  \
    HOLD(right);                                                     \
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(left, right));  \
  }
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  int32x4_t sums[kChains];
  uint8x16_t a = vdupq_n_u8(1);
  int8x16_t b = vdupq_n_s8(1);
  constexpr int lanes = 32;
  for (auto &sum : sums) sum = vdupq_n_s32(0);
#define STEP(sum) sum = vusmmlaq_s32(sum, left, right)
#elif defined(__ARM_FEATURE_DOTPROD)
  int32x4_t sums[kChains];
  int8x16_t a = vdupq_n_s8(1), b = a;
  constexpr int lanes = 16;
  for (auto &sum : sums) sum = vdupq_n_s32(0);
#define STEP(sum) sum = vdotq_s32(sum, left, right)
#endif
#ifdef STEP
  RUN;
#undef STEP
#else
  return 0;
#endif
}

// bytes a second of reading `size` bytes (a multiple of 256) again and again
double read_rate(const uint8_t *data, int64_t size, double seconds) {
#if defined(__AVX2__)
  __m256i sums[8];
  std::memset(sums, 0, sizeof sums);
  const double found = rate(seconds, size, [&](int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 256) {
      _mm_prefetch(reinterpret_cast<const char *>(data + at + 4096), _MM_HINT_T0);
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c)
        sums[c] = _mm256_xor_si256(sums[c], _mm256_loadu_si256(reinterpret_cast<const __m256i *>(data + at + 32 * c)));
    }
    for (auto &sum : sums) HOLD(sum);
  });
  return found;
#else
  volatile uint64_t kept = 0;
  return rate(seconds, size, [&](int64_t bytes) {
    uint64_t sums[8] = {};
    for (int64_t at = 0; at < bytes; at += 64) {
      uint64_t words[8];
      std::memcpy(words, data + at, sizeof words);
      for (int c = 0; c < 8; ++c) sums[c] ^= words[c];
    }
    for (auto sum : sums) kept = kept ^ sum;
  });
#endif
}
}
