// Integer weights to panels, and back.
#include <cstring>

#include "layout.h"
#include "sharing.h"

using namespace spike;

namespace {

// Inputs of a quad that lie within its group; the others are padding.
int64_t live_inputs(const Layout &l, int64_t quad_in_group) { return least(kQuad, l.group_inputs - quad_in_group * kQuad); }

void pack_panel(const int8_t *weights, const Layout &l, int64_t panel, uint8_t *out) {
  const int64_t inputs = l.groups * l.group_inputs;
  const int64_t live_outputs = least(kPanel, l.outputs - panel * kPanel);
  for (int64_t group = 0; group < l.groups; ++group)
    for (int64_t j = 0; j < l.group_quads; ++j, out += l.quad_bytes) {
      const int8_t *from = weights + panel * kPanel * inputs + group * l.group_inputs + j * kQuad;
      const int64_t live = live_inputs(l, j);
      uint8_t quad[kPanel * kQuad];
      std::memset(quad, l.offset, sizeof quad);
      for (int64_t n = 0; n < live_outputs; ++n)
        for (int64_t k = 0; k < live; ++k) quad[n * kQuad + k] = static_cast<uint8_t>(from[n * inputs + k] + l.offset);
      if (l.quad_bytes == 64)
        std::memcpy(out, quad, sizeof quad);
      else
        for (int64_t i = 0; i < 32; ++i) out[i] = static_cast<uint8_t>(quad[i] | quad[i + 32] << 4);
    }
}

void unpack_panel(const uint8_t *panels, const Layout &l, int64_t panel, int8_t *weights) {
  const int64_t inputs = l.groups * l.group_inputs;
  const int64_t live_outputs = least(kPanel, l.outputs - panel * kPanel);
  const uint8_t *from = panels + panel * l.quads * l.quad_bytes;
  for (int64_t group = 0; group < l.groups; ++group)
    for (int64_t j = 0; j < l.group_quads; ++j, from += l.quad_bytes) {
      int8_t *to = weights + panel * kPanel * inputs + group * l.group_inputs + j * kQuad;
      const int64_t live = live_inputs(l, j);
      uint8_t quad[kPanel * kQuad];
      if (l.quad_bytes == 64)
        std::memcpy(quad, from, sizeof quad);
      else
        for (int64_t i = 0; i < 32; ++i) {
          quad[i] = from[i] & 15;
          quad[i + 32] = from[i] >> 4;
        }
      for (int64_t n = 0; n < live_outputs; ++n)
        for (int64_t k = 0; k < live; ++k) to[n * inputs + k] = static_cast<int8_t>(quad[n * kQuad + k] - l.offset);
    }
}

// Panels that are worth a thread: about a million weights.
int64_t grain_of(const Layout &l) { return most(1, (1 << 20) / most(1, l.width * kPanel)); }

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int64_t spike_panels_size(int64_t outputs, int64_t inputs, int32_t groups,
                                                                 int32_t bits) {
  const Layout l = layout_of(outputs, inputs, groups, bits);
  return l.panels * l.quads * l.quad_bytes;
}

__attribute__((visibility("default"))) int64_t spike_codes_width(int64_t inputs, int32_t groups) {
  return layout_of(0, inputs, groups, 4).width;
}

__attribute__((visibility("default"))) void spike_pack(const int8_t *weights, int64_t outputs, int64_t inputs,
                                                       int32_t groups, int32_t bits, uint8_t *panels) {
  const Layout l = layout_of(outputs, inputs, groups, bits);
  auto pack = [&](int64_t panel) { pack_panel(weights, l, panel, panels + panel * l.quads * l.quad_bytes); };
  share(l.panels, grain_of(l), pack);
}

__attribute__((visibility("default"))) void spike_unpack(const uint8_t *panels, int64_t outputs, int64_t inputs,
                                                         int32_t groups, int32_t bits, int8_t *weights) {
  const Layout l = layout_of(outputs, inputs, groups, bits);
  auto unpack = [&](int64_t panel) { unpack_panel(panels, l, panel, weights); };
  share(l.panels, grain_of(l), unpack);
}
}
