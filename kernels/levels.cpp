// The table of levels.
#include "level.h"

namespace spike {
namespace {

using Factory = const Level *(*)();

// from the lowest up: the highest that a machine supports, and that passes its test, is used
const Factory kLevels[] = {portable_level, neon_level,       neon_i8mm_level, avx2_level,
                           avxvnni_level,  avx512vnni_level, amx_level};

}  // namespace

int level_count() {
  int count = 0;
  for (Factory factory : kLevels) count += factory() != nullptr;
  return count;
}

const Level &level_at(int index) {
  for (Factory factory : kLevels)
    if (factory() != nullptr && index-- == 0) return *factory();
  return *portable_level();
}

}  // namespace spike
