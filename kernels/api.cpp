// The entry points: they check arguments, choose the level and share the work out.
#include <atomic>

#include "level.h"
#include "memory.h"
#include "rows.h"
#include "sharing.h"

#define SPIKE_EXPORT extern "C" __attribute__((visibility("default")))

using namespace spike;

namespace {

// Products of a code and a weight that are worth a thread: some 30 microseconds.
constexpr int64_t kWorthAThread = 1 << 21;
// Codes that `spike_linear` holds at once; rows beyond them follow in a next round.
constexpr int64_t kCodesAtOnce = 4 << 20;

bool usable(int32_t level, const spike_layer *layer) {
  if (level < 0 || level >= level_count() || !level_at(level).supported()) return false;
  return layer->inputs >= 0 && layer->outputs >= 0 && layer->groups >= 1 && layer->inputs % layer->groups == 0 &&
         (layer->bits == 4 || layer->bits == 8) && layer->max_code >= 1 && layer->max_code <= 127;
}

bool usable(const spike_layer *layer, const spike_rows *rows) {
  if (rows->dtype < SPIKE_FLOAT32 || rows->dtype > SPIKE_FLOAT64 || rows->count < 0) return false;
  if (rows->count == 0) return true;  // nothing is read
  return rows->timesteps != nullptr && (rows->scale != nullptr || rows->ratio != nullptr) &&
         (rows->x != nullptr || layer->inputs == 0);
}

// Encodes rows [begin, end) in several threads; codes and scales are those of `begin`.
int32_t encode_shared(const Level &level, const Layout &layout, int32_t max_code, const spike_rows &rows, int64_t begin,
                      int64_t end, int8_t *codes, float *scales, int64_t *clipped) {
  const int64_t together = most(1, (1 << 15) / most(1, layout.width));  // rows that are coded by one thread in turn
  std::atomic<int32_t> status{SPIKE_OK};
  std::atomic<int64_t> total{0};
  auto body = [&](int64_t item) {
    const int64_t first = begin + item * together, last = least(end, first + together);
    const Scratch<float> buffer(rows.dtype == SPIKE_FLOAT32 ? 0 : layout.groups * layout.group_inputs);
    int64_t count = 0;
    const spike_status own = buffer.data == nullptr
                                 ? SPIKE_NO_MEMORY
                                 : encode_rows(level, layout, rows, max_code, first, last, buffer.data,
                                               codes + (first - begin) * layout.width, scales + (first - begin), &count);
    if (own != SPIKE_OK) status.store(own, std::memory_order_relaxed);
    total.fetch_add(count, std::memory_order_relaxed);
  };
  share(ceil_div(end - begin, together), 4, body);
  *clipped += total.load();
  return status.load();
}

int32_t multiply_shared(const Level &level, const Product &product) {
  const Layout &l = product.layout;
  if (product.rows == 0 || l.outputs == 0) return SPIKE_OK;
  // Parts of the rows, and of the panels: several for each thread, and long enough for what is done once a part.
  constexpr int64_t kRows = 96;
  const int64_t row_parts = ceil_div(product.rows, kRows);
  const int64_t panel_work = least(product.rows, kRows) * product.steps * most(1, l.width) * kPanel;
  const int64_t panels = most(most(24, ceil_div(l.panels, 32)), ceil_div(kWorthAThread / 2, panel_work));  // of a part
  const int64_t panel_parts = ceil_div(l.panels, panels);
  std::atomic<bool> enough{true};
  auto body = [&](int64_t item) {
    const int64_t row = item / panel_parts * kRows, panel = item % panel_parts * panels;
    const Part part{row, least(row + kRows, product.rows), panel, least(panel + panels, l.panels)};
    if (!level.multiply(product, part)) enough.store(false, std::memory_order_relaxed);
  };
  share(row_parts * panel_parts, ceil_div(kWorthAThread, panels * panel_work), body);
  return enough.load() ? SPIKE_OK : SPIKE_NO_MEMORY;
}

int32_t multiply_codes(int32_t level, const spike_layer *layer, const int8_t *codes, const float *scales, int64_t rows,
                       int32_t *sums, float *outputs) {
  if (!usable(level, layer) || rows < 0) return SPIKE_BAD_ARGUMENT;
  const Product product{layer, layout_of(*layer), layer->max_code, codes, rows, 1, nullptr, 0, scales, sums, outputs};
  return multiply_shared(level_at(level), product);
}

int32_t multiply_planes(int32_t level, const spike_layer *layer, const int8_t *planes, const float *scales, int64_t rows,
                        int64_t steps, const int32_t *weights, int32_t weights_step, int32_t *sums, float *outputs) {
  if (!usable(level, layer) || rows < 0 || steps < 0 || (weights == nullptr && rows > 0)) return SPIKE_BAD_ARGUMENT;
  const Product product{layer, layout_of(*layer), 1, planes, rows, steps, weights, weights_step, scales, sums, outputs};
  return multiply_shared(level_at(level), product);
}

// Codes that are no int8 as two that are, q = 128 h + l with -64 <= l < 64, laid out like the quads: [2][rows][width].
void split(const Layout &l, const int16_t *codes, int64_t rows, int8_t *planes) {
  const int64_t inputs = l.groups * l.group_inputs, padded = l.group_quads * kQuad;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t group = 0; group < l.groups; ++group) {
      const int16_t *from = codes + row * inputs + group * l.group_inputs;
      int8_t *high = planes + row * l.width + group * padded, *low = high + rows * l.width;
      for (int64_t k = 0; k < l.group_inputs; ++k) {
        high[k] = static_cast<int8_t>((from[k] + 64) >> 7);
        low[k] = static_cast<int8_t>(((from[k] + 64) & 127) - 64);
      }
      for (int64_t k = l.group_inputs; k < padded; ++k) high[k] = low[k] = 0;
    }
}

int32_t multiply_wide(int32_t level, const spike_layer *layer, const int16_t *codes, const float *scales, int64_t rows,
                      int32_t *sums, float *outputs) {
  if (!usable(level, layer) || rows < 0) return SPIKE_BAD_ARGUMENT;
  static const int32_t weights[2] = {128, 1};
  const Layout layout = layout_of(*layer);
  const int64_t at_once = sums != nullptr ? rows : least(rows, most(1, kCodesAtOnce / most(1, 2 * layout.width) / 96) * 96);
  const Scratch<int8_t> planes(2 * at_once * layout.width);
  if (planes.data == nullptr) return SPIKE_NO_MEMORY;
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = least(at_once, rows - row);
    split(layout, codes + row * layer->inputs, count, planes.data);
    const Product product{layer, layout, 64, planes.data, count, 2, weights, 0, scales == nullptr ? nullptr : scales + row,
                          sums, outputs == nullptr ? nullptr : outputs + row * layer->outputs};
    const int32_t status = multiply_shared(level_at(level), product);
    if (status != SPIKE_OK) return status;
  }
  return SPIKE_OK;
}

}  // namespace

SPIKE_EXPORT int32_t spike_abi(void) { return SPIKE_ABI; }

SPIKE_EXPORT int32_t spike_level_count(void) { return level_count(); }

SPIKE_EXPORT const char *spike_level_name(int32_t level) {
  return level >= 0 && level < level_count() ? level_at(level).name : nullptr;
}

SPIKE_EXPORT int32_t spike_level_supported(int32_t level) {
  return level >= 0 && level < level_count() && level_at(level).supported();
}

SPIKE_EXPORT int32_t spike_encode(int32_t level, const spike_layer *layer, const spike_rows *rows, int8_t *codes,
                                  float *scales, int64_t *clipped) {
  if (level < 0 || level >= level_count() || !level_at(level).supported()) return SPIKE_BAD_ARGUMENT;
  if (layer->inputs < 0 || layer->groups < 1 || layer->inputs % layer->groups != 0) return SPIKE_BAD_ARGUMENT;
  if (!usable(layer, rows)) return SPIKE_BAD_ARGUMENT;
  *clipped = 0;
  const Layout layout = layout_of(0, layer->inputs, layer->groups, 4);
  return encode_shared(level_at(level), layout, 127, *rows, 0, rows->count, codes, scales, clipped);
}

SPIKE_EXPORT int32_t spike_accumulate(int32_t level, const spike_layer *layer, const int8_t *codes, int64_t rows,
                                      int32_t *sums) {
  return multiply_codes(level, layer, codes, nullptr, rows, sums, nullptr);
}

SPIKE_EXPORT int32_t spike_accumulate_steps(int32_t level, const spike_layer *layer, const int8_t *planes, int64_t rows,
                                            int64_t steps, const int32_t *weights, int32_t weights_step, int32_t *sums) {
  return multiply_planes(level, layer, planes, nullptr, rows, steps, weights, weights_step, sums, nullptr);
}

SPIKE_EXPORT int32_t spike_outputs(int32_t level, const spike_layer *layer, const int8_t *codes, const float *scales,
                                   int64_t rows, float *outputs) {
  return multiply_codes(level, layer, codes, scales, rows, nullptr, outputs);
}

SPIKE_EXPORT int32_t spike_outputs_steps(int32_t level, const spike_layer *layer, const int8_t *planes,
                                         const float *scales, int64_t rows, int64_t steps, const int32_t *weights,
                                         int32_t weights_step, float *outputs) {
  return multiply_planes(level, layer, planes, scales, rows, steps, weights, weights_step, nullptr, outputs);
}

SPIKE_EXPORT int32_t spike_encode_groups(int32_t level, const spike_layer *layer, const spike_rows *rows, int32_t beam,
                                         int16_t *codes, float *scales, int64_t *clipped) {
  if (level < 0 || level >= level_count() || !level_at(level).supported()) return SPIKE_BAD_ARGUMENT;
  if (layer->inputs < 0 || (beam != 4 && beam != 8) || !usable(layer, rows)) return SPIKE_BAD_ARGUMENT;
  *clipped = 0;
  const int64_t inputs = layer->inputs, padded = ceil_div(inputs, kQuad) * kQuad;
  const int64_t together = most(1, (1 << 13) / most(1, inputs));  // rows that are coded by one thread in turn
  std::atomic<int32_t> status{SPIKE_OK};
  std::atomic<int64_t> total{0};
  auto body = [&](int64_t item) {
    const int64_t first = item * together, last = least(rows->count, first + together);
    const Scratch<float> buffer(rows->dtype == SPIKE_FLOAT32 ? 0 : inputs);
    const Scratch<int32_t> membranes(padded);
    const Scratch<int16_t> grouped(padded);
    int64_t count = 0;
    const spike_status own =
        !buffer.data || !membranes.data || !grouped.data
            ? SPIKE_NO_MEMORY
            : encode_grouped_rows(level_at(level), inputs, *rows, beam, first, last, buffer.data, membranes.data,
                                  grouped.data, codes + first * inputs, scales + first, &count);
    if (own != SPIKE_OK) status.store(own, std::memory_order_relaxed);
    total.fetch_add(count, std::memory_order_relaxed);
  };
  share(ceil_div(rows->count, together), 1, body);
  *clipped = total.load();
  return status.load();
}

SPIKE_EXPORT int32_t spike_accumulate_wide(int32_t level, const spike_layer *layer, const int16_t *codes, int64_t rows,
                                           int32_t *sums) {
  return multiply_wide(level, layer, codes, nullptr, rows, sums, nullptr);
}

SPIKE_EXPORT int32_t spike_outputs_wide(int32_t level, const spike_layer *layer, const int16_t *codes, const float *scales,
                                        int64_t rows, float *outputs) {
  return multiply_wide(level, layer, codes, scales, rows, nullptr, outputs);
}

SPIKE_EXPORT int32_t spike_linear(int32_t level, const spike_layer *layer, const spike_rows *rows, float *outputs,
                                  int64_t *clipped) {
  if (!usable(level, layer) || !usable(layer, rows)) return SPIKE_BAD_ARGUMENT;
  *clipped = 0;
  const Level &chosen = level_at(level);
  const Layout layout = layout_of(*layer);
  const int64_t at_once = least(rows->count, most(1, kCodesAtOnce / most(1, layout.width) / 96) * 96);
  const Scratch<int8_t> codes(at_once * layout.width);
  const Scratch<float> scales(at_once);
  if (codes.data == nullptr || scales.data == nullptr) return SPIKE_NO_MEMORY;
  for (int64_t row = 0; row < rows->count; row += at_once) {
    const int64_t count = least(at_once, rows->count - row);
    int32_t status = encode_shared(chosen, layout, layer->max_code, *rows, row, row + count, codes.data, scales.data, clipped);
    if (status != SPIKE_OK) return status;
    const Product product{layer,   layout, layer->max_code, codes.data, count, 1, nullptr, 0, scales.data,
                          nullptr, outputs + row * layer->outputs};
    status = multiply_shared(chosen, product);
    if (status != SPIKE_OK) return status;
  }
  return SPIKE_OK;
}
