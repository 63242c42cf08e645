// The tile instructions that kernels/amx.cpp has, in plain C++, for machines without them: what Intel publishes of
// LDTILECFG, TILELOADD, TDPBSUD and the others. What would fault on a machine ends the program.
#ifndef SPIKE_EMULATED_AMX_H
#define SPIKE_EMULATED_AMX_H
#include <cstdint>
#include <cstring>

namespace spike {
namespace {

constexpr int kTiles = 8, kMostRows = 16, kMostBytes = 64;

struct Tiles {
  bool configured;
  int rows[kTiles], bytes[kTiles];
  uint8_t data[kTiles][kMostRows][kMostBytes];
};
thread_local Tiles tiles;

inline void must(bool holds) {
  if (!holds) __builtin_trap();
}

inline void configure_tiles(const void *how) {
  const uint8_t *from = static_cast<const uint8_t *>(how);
  must(from[0] == 1);  // the palette
  memset(&tiles, 0, sizeof tiles);
  for (int i = 0; i < 16; ++i) {
    uint16_t bytes;
    memcpy(&bytes, from + 16 + 2 * i, sizeof bytes);
    const uint8_t rows = from[48 + i];
    must(i < kTiles ? bytes <= kMostBytes && rows <= kMostRows && (bytes == 0) == (rows == 0) : bytes == 0 && rows == 0);
    if (i < kTiles) {
      tiles.bytes[i] = bytes;
      tiles.rows[i] = rows;
    }
  }
  for (int i = 2; i < 16; ++i) must(from[i] == 0);  // reserved
  tiles.configured = true;
}

inline void release_tiles() { memset(&tiles, 0, sizeof tiles); }

inline void must_have(int tile) { must(tiles.configured && tile < kTiles && tiles.rows[tile] > 0); }

template <int Tile>
__attribute__((noinline)) void clear_tile() {
  must_have(Tile);
  memset(tiles.data[Tile], 0, sizeof tiles.data[Tile]);
}

template <int Tile>
__attribute__((noinline)) void load_tile(const void *from, int64_t stride) {
  clear_tile<Tile>();
  for (int r = 0; r < tiles.rows[Tile]; ++r)
    memcpy(tiles.data[Tile][r], static_cast<const char *>(from) + r * stride, static_cast<size_t>(tiles.bytes[Tile]));
}

template <int Tile>
__attribute__((noinline)) void store_tile(void *to, int64_t stride) {
  must_have(Tile);
  for (int r = 0; r < tiles.rows[Tile]; ++r)
    memcpy(static_cast<char *>(to) + r * stride, tiles.data[Tile][r], static_cast<size_t>(tiles.bytes[Tile]));
}

// TDPBSUD: bytes of the first source are signed, those of the second unsigned.
template <int Sums, int First, int Second>
__attribute__((noinline)) void multiply_tiles() {
  static_assert(Sums != First && Sums != Second && First != Second, "tiles of one product differ");
  must_have(Sums);
  must_have(First);
  must_have(Second);
  must(tiles.rows[Sums] == tiles.rows[First] && tiles.bytes[Sums] == tiles.bytes[Second] &&
       tiles.bytes[First] == 4 * tiles.rows[Second]);
  for (int m = 0; m < tiles.rows[Sums]; ++m)
    for (int k = 0; k < tiles.bytes[First] / 4; ++k)
      for (int n = 0; n < tiles.bytes[Sums] / 4; ++n) {
        uint32_t sum;
        memcpy(&sum, &tiles.data[Sums][m][4 * n], sizeof sum);
        for (int byte = 0; byte < 4; ++byte) {
          const int32_t a = static_cast<int8_t>(tiles.data[First][m][4 * k + byte]);
          const int32_t b = tiles.data[Second][k][4 * n + byte];
          sum += static_cast<uint32_t>(a * b);
        }
        memcpy(&tiles.data[Sums][m][4 * n], &sum, sizeof sum);
      }
}

}  // namespace
}  // namespace spike
#endif
