// Codes to spikes, step by step. What a code fires is the coding's affair: it comes as a table.
#include "layout.h"
#include "sharing.h"

using namespace spike;

extern "C" __attribute__((visibility("default"))) void spike_planes(const int8_t *codes, int64_t rows, int64_t width,
                                                                    const int8_t *table, int64_t steps,
                                                                    const int32_t *timesteps, int32_t timesteps_step,
                                                                    int8_t *planes) {
  auto one = [&](int64_t row) {
    const int8_t *from = codes + row * width;
    const int8_t *of_timesteps = table + 256 * timesteps[row * timesteps_step] + 128;
    for (int64_t step = 0; step < steps; ++step) {
      const int8_t *spike = of_timesteps + step * 8 * 256;
      int8_t *to = planes + (step * rows + row) * width;
      for (int64_t k = 0; k < width; ++k) to[k] = spike[from[k]];
    }
  };
  share(rows, most(1, (1 << 16) / most(1, width * steps)), one);
}
