// Rows of any dtype: their thresholds, and their codes in the layout of the panels.
#ifndef SPIKE_ROWS_H
#define SPIKE_ROWS_H
#include "level.h"

namespace spike {

// Codes rows [begin, end) into codes [count][layout.width] and scales [count]; adds to `clipped` how many clip.
// `buffer` has room for a row in float32 where the rows are of another dtype.
spike_status encode_rows(const Level &level, const Layout &layout, const spike_rows &rows, int32_t max_code,
                         int64_t begin, int64_t end, float *buffer, int8_t *codes, float *scales, int64_t *clipped);

// Codes the inputs of rows [begin, end) in groups of four, into codes [end - begin][inputs]. `membranes` has room for a row
// whose last group is complete, and `grouped` for its codes.
spike_status encode_grouped_rows(const Level &level, int64_t inputs, const spike_rows &rows, int32_t beam, int64_t begin,
                                 int64_t end, float *buffer, int32_t *membranes, int16_t *grouped, int16_t *codes,
                                 float *scales, int64_t *clipped);

}  // namespace spike
#endif
