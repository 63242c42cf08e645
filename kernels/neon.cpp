// NEON with the dot product (sdot): four products of signed weights and codes go into an int32 at once, without
// saturation, so sums are exact in chunks of any length.
#include "level.h"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#include "arm.h"
#include "groups.h"
#include "neon.h"
#include "rounding.h"

namespace spike {
namespace {

bool supported() { return has_dotprod(); }

uint32_t largest(const float *x, int64_t count) {
  const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
  uint32x4_t high[2] = {vdupq_n_u32(0), vdupq_n_u32(0)};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8)
    for (int h = 0; h < 2; ++h)
      high[h] = vmaxq_u32(high[h], vandq_u32(magnitude, vreinterpretq_u32_f32(vld1q_f32(x + k + 4 * h))));
  uint32_t result = vmaxvq_u32(vmaxq_u32(high[0], high[1]));
  for (; k < count; ++k) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + k, sizeof bits);
    bits &= 0x7fffffff;
    result = bits > result ? bits : result;
  }
  return result;
}

// Four codes as int32; `clipped` goes down by one in each lane whose code clips.
template <int32_t Rounding>
SPIKE_INLINE int32x4_t encode_four(float32x4_t x, float32x4_t scale, float32x4_t limit, int32x4_t *clipped) {
  const float32x4_t y = vdivq_f32(x, scale), one = vdupq_n_f32(1.0f);
  const float32x4_t rounded = vaddq_f32(y, vbslq_f32(vdupq_n_u32(0x80000000), y, vdupq_n_f32(0x1.fffffep-2f)));
  const uint32x4_t beyond = vcgeq_f32(vabsq_f32(rounded), vaddq_f32(limit, one));
  *clipped = vaddq_s32(*clipped, vreinterpretq_s32_u32(beyond));
  if (Rounding == SPIKE_NEAREST) return vcvtq_s32_f32(vmaxq_f32(vnegq_f32(limit), vminq_f32(limit, rounded)));
  const float32x4_t four = vdupq_n_f32(4.0f), last = vsubq_f32(vmulq_f32(limit, four), one);
  const Ints<4> code = code_of_quarters((Ints<4>)vcvtq_s32_f32(vminq_f32(last, vmulq_f32(vabsq_f32(y), four))));
  return vbslq_s32(vcltzq_f32(y), vnegq_s32((int32x4_t)code), (int32x4_t)code);
}

template <int32_t Rounding>
SPIKE_INLINE void encode_sixteen(const float *x, float32x4_t scale, float32x4_t limit, int8_t *codes, int32x4_t *clipped) {
  int32x4_t q[4];
  SPIKE_UNROLL for (int i = 0; i < 4; ++i) q[i] = encode_four<Rounding>(vld1q_f32(x + 4 * i), scale, limit, clipped);
  const int16x8_t low = vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]));
  vst1q_s8(codes, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

template <int32_t Rounding>
int64_t encode_by(const float *x, int64_t count, float scale, float limit, int8_t *codes) {
  const float32x4_t scales = vdupq_n_f32(scale), limits = vdupq_n_f32(limit);
  int32x4_t clipped = vdupq_n_s32(0);
  int64_t k = 0;
  for (; k + 16 <= count; k += 16) encode_sixteen<Rounding>(x + k, scales, limits, codes + k, &clipped);
  if (k < count) {
    const size_t few = static_cast<size_t>(count - k);
    float in[16] = {};
    int8_t out[16];
    __builtin_memcpy(in, x + k, few * sizeof *in);
    encode_sixteen<Rounding>(in, scales, limits, out, &clipped);
    __builtin_memcpy(codes + k, out, few);
  }
  return -vaddlvq_s32(clipped);
}

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return rounding == SPIKE_NEAREST ? encode_by<SPIKE_NEAREST>(x, count, scale, limit, codes)
                                   : encode_by<SPIKE_RATE_DISTORTION>(x, count, scale, limit, codes);
}

// Bits: of the panels. 4-bit weights stay unsigned, which they are as signed bytes, too; 8-bit ones lose their offset.
template <int Bits>
struct Dot {
  using Code = int8_t;
  static constexpr int lanes = 4, rows = 4, direct_rows = Bits == 4 ? 4 : 0;
  static constexpr int64_t direct_bytes = 32, quad_bytes = 64;

  static int64_t chunk(int32_t, int32_t) { return kQuadBlock; }

  static int32_t start(const int8_t *codes, int64_t quads, int32_t offset) {
    return Bits == 4 ? -offset * sum_codes(codes, quads) : 0;
  }

  static void unpack(const uint8_t *panel, int64_t quads, int64_t, uint8_t *to) { unpack_quads(panel, quads, to); }

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<4> (&result)[Rows][4]) {
    constexpr int64_t bytes = Packed ? 32 : 64;
    int32x4_t sums[Rows][4];
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
      SPIKE_UNROLL for (int h = 0; h < 4; ++h) sums[r][h] = vdupq_n_s32(starts[r * starts_stride]);
    int64_t j = 0;
    for (; j + 4 <= quads; j += 4, weights += 4 * bytes) {
      if (Rows == 1) __builtin_prefetch(weights + 1024);
      int8x16_t four[Rows];
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r) four[r] = vld1q_s8(codes + r * stride + j * kQuad);
      add<0, Rows, Packed>(weights, four, sums);
      add<1, Rows, Packed>(weights + bytes, four, sums);
      add<2, Rows, Packed>(weights + 2 * bytes, four, sums);
      add<3, Rows, Packed>(weights + 3 * bytes, four, sums);
    }
    for (; j < quads; ++j, weights += bytes) {
      int8x16_t one[Rows];
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r) one[r] = broadcast(codes + r * stride + j * kQuad);
      add<0, Rows, Packed>(weights, one, sums);
    }
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
      SPIKE_UNROLL for (int h = 0; h < 4; ++h) result[r][h] = (Ints<4>)sums[r][h];
  }

  // The products of one quad, whose codes are lane `Lane` of each row's.
  template <int Lane, int Rows, bool Packed>
  static SPIKE_INLINE void add(const uint8_t *quad, const int8x16_t (&codes)[Rows], int32x4_t (&sums)[Rows][4]) {
    uint8x16_t own[4];
    weights_of<Packed>(quad, own);
    SPIKE_UNROLL for (int h = 0; h < 4; ++h) {
      if (Bits == 8) own[h] = veorq_u8(own[h], vdupq_n_u8(128));
      const int8x16_t weights = vreinterpretq_s8_u8(own[h]);
      SPIKE_UNROLL for (int r = 0; r < Rows; ++r) sums[r][h] = vdotq_laneq_s32(sums[r][h], weights, codes[r], Lane);
    }
  }
};

bool multiply(const Product &product, const Part &part) {
  return product.layer->bits == 4 ? multiply_with<Dot<4>>(product, part) : multiply_with<Dot<8>>(product, part);
}

const Level kLevel = {"neon", supported, largest, encode, multiply, fire_groups<4>};

}  // namespace

const Level *neon_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *neon_level() { return nullptr; }
}  // namespace spike

#endif
