// Group coding: of four neighbouring inputs one fires a step. A beam of states walks through the steps, a group in each lane
// of a vector; docs/numerics.md has the rules, portable.cpp the same one group after the other.
#ifndef SPIKE_GROUPS_H
#define SPIKE_GROUPS_H
#include "level.h"
#include "panels.h"

namespace spike {
namespace {

// The states of `Lanes` groups, the best first.
template <int Lanes, int Beam>
struct States {
  Ints<Lanes> residual[Beam][kQuad];
  Ints<Lanes> change[Beam];  // of the sum of squares, since the first step
};

// One step of weight w for `count` states; `kept` of what follows from them stay.
template <int Lanes, int Beam>
SPIKE_INLINE void take_step(const States<Lanes, Beam> &from, int count, int32_t w, int kept, States<Lanes, Beam> &to) {
  using V = Ints<Lanes>;
  V change[Beam], place[Beam];  // place: the state, plus 8 for input 0, 16 for input 1, …
  // nobody fires: the states as they stand
  for (int s = 0; s < kept; ++s) {
    change[s] = s < count ? from.change[s] : V{} + INT32_MAX;
    place[s] = V{} + s;
  }
  for (int j = 0; j < kQuad; ++j)
    for (int s = 0; s < count; ++s) {
      const V r = from.residual[s][j];
      const V magnitude = r < 0 ? -r : r;
      const V next = from.change[s] + w * (w - 2 * magnitude);
      const V here = V{} + (s + 8 * (j + 1));
      V ahead = next < change[kept - 1];
      SPIKE_UNROLL for (int p = Beam - 1; p > 0; --p) {
        if (p >= kept) continue;
        const V further = next < change[p - 1];
        change[p] = further ? change[p - 1] : (ahead ? next : change[p]);
        place[p] = further ? place[p - 1] : (ahead ? here : place[p]);
        ahead = further;
      }
      change[0] = ahead ? next : change[0];
      place[0] = ahead ? here : place[0];
    }
  for (int p = 0; p < kept; ++p) {
    const V state = place[p] & 7, fires = place[p] >> 3;
    to.change[p] = change[p];
    for (int j = 0; j < kQuad; ++j) {
      V r = from.residual[0][j];
      for (int s = 1; s < count; ++s) r = state == s ? from.residual[s][j] : r;
      const V spike = r < 0 ? V{} - w : V{} + w;
      to.residual[p][j] = r - (spike & (fires == j + 1));
    }
  }
}

template <int Lanes, int Beam>
void fire_with_beam(const int32_t *membranes, int64_t groups, int32_t steps, int16_t *codes) {
  using V = Ints<Lanes>;
  for (int64_t g = 0; g < groups; g += Lanes) {
    const int64_t few = least(Lanes, groups - g);
    alignas(64) int32_t rows[kQuad][Lanes] = {};
    for (int64_t lane = 0; lane < few; ++lane)
      for (int j = 0; j < kQuad; ++j) rows[j][lane] = membranes[(g + lane) * kQuad + j];
    States<Lanes, Beam> states[2];
    V first[kQuad];
    for (int j = 0; j < kQuad; ++j) {
      __builtin_memcpy(&first[j], rows[j], sizeof first[j]);
      states[0].residual[0][j] = first[j];
    }
    states[0].change[0] = V{};
    int count = 1, now = 0;
    for (int32_t left = steps - 1; left >= 0; --left, now ^= 1) {
      const int kept = left == 0 ? 1 : static_cast<int>(least(Beam, count * (kQuad + 1)));
      take_step<Lanes, Beam>(states[now], count, step_units(left), kept, states[now ^ 1]);
      count = kept;
    }
    for (int j = 0; j < kQuad; ++j) {
      const V code = (first[j] - states[now].residual[0][j]) >> (kGroupSteps - steps);
      for (int64_t lane = 0; lane < few; ++lane) codes[(g + lane) * kQuad + j] = static_cast<int16_t>(code[lane]);
    }
  }
}

// `Level::groups` with vectors of so many lanes.
template <int Lanes>
void fire_groups(const int32_t *membranes, int64_t groups, int32_t steps, int32_t beam, int16_t *codes) {
  if (beam == 4)
    fire_with_beam<Lanes, 4>(membranes, groups, steps, codes);
  else
    fire_with_beam<Lanes, 8>(membranes, groups, steps, codes);
}

}  // namespace
}  // namespace spike
#endif
