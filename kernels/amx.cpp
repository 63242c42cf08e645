// AMX: tiles of 16 rows by 64 codes times tiles of 16 quads, which are 64 inputs by 16 outputs as panels have them. Fewer
// rows, and quads beyond the last 16 of a chunk, take AVX512-VNNI, which every machine with AMX has.
#include "level.h"

#if (defined(__AMX_INT8__) && defined(__AVX512VNNI__) && defined(__linux__)) || (defined(SPIKE_EMULATE) && defined(__x86_64__))
#include <sys/syscall.h>
#include <unistd.h>

#include "avx512vnni.h"
#include "x86.h"

namespace spike {
namespace {

// Tile registers 0 .. 3 hold sums, 4 and 5 codes, 6 and 7 weights; all have 16 rows of 64 bytes.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};  // of a row
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == 64, "as ldtilecfg reads it");

#ifdef SPIKE_EMULATE
}  // namespace
}  // namespace spike
#include "emulated_amx.h"
namespace spike {
namespace {

bool supported() { return true; }
#else
// Compilers' own functions for tiles do not all say that these read and write memory.
SPIKE_INLINE void configure_tiles(const Configuration *how) {
  asm volatile("ldtilecfg (%0)" : : "r"(how) : "memory");
}
SPIKE_INLINE void release_tiles() { asm volatile("tilerelease" : : : "memory"); }
template <int Tile>
SPIKE_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
template <int Tile>
SPIKE_INLINE void load_tile(const void *from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
SPIKE_INLINE void store_tile(void *to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(Tile) : "memory");
}
// Signed codes times unsigned weights.
template <int Sums, int Codes, int Weights>
SPIKE_INLINE void multiply_tiles() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Codes), "i"(Weights));
}

// Linux asks each process to ask for tiles, whose 8 KiB it then saves for each of its threads.
bool tiles_are_granted() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  const Features f = features();
  return bit(f.edx, 24) && bit(f.edx, 25) && saves(kSavesTiles) && has_avx512vnni() &&
         syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

bool supported() { return once<tiles_are_granted>(); }
#endif

uint32_t largest(const float *x, int64_t count) { return avx512vnni_level()->largest(x, count); }

void fire_groups(const int32_t *membranes, int64_t groups, int32_t steps, int32_t beam, int16_t *codes) {
  avx512vnni_level()->groups(membranes, groups, steps, beam, codes);
}

int64_t encode(const float *x, int64_t count, float scale, float limit, int32_t rounding, int8_t *codes) {
  return avx512vnni_level()->encode(x, count, scale, limit, rounding, codes);
}

constexpr int64_t kBlock = 16;  // quads of a tile

struct Amx : Vnni512 {
  static constexpr int rows = 16;

  template <int Rows, bool Packed>
  static SPIKE_INLINE void multiply(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t quads,
                                    const int32_t *starts, int64_t starts_stride, Ints<16> (&result)[Rows][1]) {
    const int64_t blocks = Rows == rows && !Packed ? quads / kBlock : 0;
    Vnni512::multiply<Rows, Packed>(weights + blocks * kBlock * 64, codes + blocks * kBlock * kQuad, stride,
                                    quads - blocks * kBlock, starts, starts_stride, result);
    if constexpr (Rows == rows && !Packed)
      if (blocks > 0) add_tiles(weights, codes, stride, blocks, result);
  }

  // Four tiles of sums in turn: a product takes some 50 cycles, and one can begin every 16.
  static SPIKE_INLINE void add_tiles(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t blocks,
                                     Ints<16> (&result)[16][1]) {
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
    for (int64_t b = 0; b < blocks; b += 4) {
      add_block<0, 4, 6>(weights, codes, stride, b);
      if (b + 1 < blocks) add_block<1, 5, 7>(weights, codes, stride, b + 1);
      if (b + 2 < blocks) add_block<2, 4, 6>(weights, codes, stride, b + 2);
      if (b + 3 < blocks) add_block<3, 5, 7>(weights, codes, stride, b + 3);
    }
    add_sums<0>(result);
    if (blocks > 1) add_sums<1>(result);
    if (blocks > 2) add_sums<2>(result);
    if (blocks > 3) add_sums<3>(result);
  }

  template <int Sums, int Codes, int Weights>
  static SPIKE_INLINE void add_block(const uint8_t *weights, const int8_t *codes, int64_t stride, int64_t block) {
    load_tile<Codes>(codes + block * kBlock * kQuad, stride);
    load_tile<Weights>(weights + block * kBlock * 64, 64);
    multiply_tiles<Sums, Codes, Weights>();
  }

  template <int Tile>
  static SPIKE_INLINE void add_sums(Ints<16> (&result)[16][1]) {
    Ints<16> sums[16];
    store_tile<Tile>(sums, 64);
    SPIKE_UNROLL for (int r = 0; r < 16; ++r) result[r][0] += sums[r];
  }
};

bool multiply(const Product &product, const Part &part) {
  static const Configuration how;
  configure_tiles(&how);
  const bool enough = multiply_with<Amx>(product, part);
  release_tiles();
  return enough;
}

const Level kLevel = {"amx", supported, largest, encode, multiply, fire_groups};

}  // namespace

const Level *amx_level() { return &kLevel; }

}  // namespace spike

#else

namespace spike {
const Level *amx_level() { return nullptr; }
}  // namespace spike

#endif
