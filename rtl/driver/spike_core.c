/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spike_core.h"

#define REGISTER(name) ((uint32_t)offsetof(spike_core_t, name))
#define FIELD(value, reg, field) \
  (((value) & SPIKE_CORE__##reg##__##field##_bm) >> SPIKE_CORE__##reg##__##field##_bp)
#define MAX_FRAC_BITS 30u
#define MIN_CAPPED_FRAC_BITS 2u

static uint32_t get(const spike_core *core, uint32_t offset) { return core->read(core->context, offset); }

static void set(const spike_core *core, uint32_t offset, uint32_t value) {
  core->write(core->context, offset, value);
}

static uint32_t parts(uint32_t whole, uint32_t part) { return whole / part + (whole % part != 0); }

static uint32_t beat_bytes(uint32_t log2_bits) { return log2_bits == 0 ? 0 : 1u << (log2_bits - 3); }

int spike_core_open(spike_core *core, uint32_t (*read)(void *context, uint32_t offset),
                    void (*write)(void *context, uint32_t offset, uint32_t value), void *context) {
  uint32_t shape, limits, streams;

  core->read = read;
  core->write = write;
  core->context = context;
  if (get(core, REGISTER(ID)) != SPIKE_CORE__ID__VALUE_reset) return SPIKE_CORE_NOT_THERE;
  if (FIELD(get(core, REGISTER(VERSION)), VERSION, MAJOR) != SPIKE_CORE__VERSION__MAJOR_reset) {
    return SPIKE_CORE_OTHER_MAP;
  }
  shape = get(core, REGISTER(SHAPE));
  limits = get(core, REGISTER(LIMITS));
  core->rows = FIELD(shape, SHAPE, ROWS);
  core->columns = FIELD(shape, SHAPE, COLUMNS);
  core->lanes = FIELD(shape, SHAPE, LANES);
  core->weight_inputs = FIELD(shape, SHAPE, WEIGHT_INPUTS);
  core->weight_bits = FIELD(limits, LIMITS, WEIGHT_BITS);
  core->tmax = FIELD(limits, LIMITS, TMAX);
  core->slots = FIELD(limits, LIMITS, SLOTS);
  core->csd = FIELD(limits, LIMITS, CSD) != 0;
  core->capped = FIELD(limits, LIMITS, CAPPED) != 0;
  core->one_block = FIELD(limits, LIMITS, ONE_BLOCK) != 0;
  core->blocks = get(core, REGISTER(BLOCKS));
  streams = get(core, REGISTER(STREAMS));
  core->membrane_beat = beat_bytes(FIELD(streams, STREAMS, MEMBRANE));
  core->weight_beat = beat_bytes(FIELD(streams, STREAMS, WEIGHT));
  core->acc_beat = beat_bytes(FIELD(streams, STREAMS, ACC));
  core->membrane_bits = FIELD(streams, STREAMS, MEMBRANE16) ? 16 : 32;
  core->weight_field = FIELD(streams, STREAMS, NIBBLES) ? 4 : 8;
  core->user_timesteps = FIELD(streams, STREAMS, USER) != 0;
  core->jobs = get(core, REGISTER(JOBS));
  set(core, REGISTER(STATUS), SPIKE_CORE__STATUS__DONE_bm);
  (void)spike_core_errors(core);
  return SPIKE_CORE_OK;
}

int spike_core_submit(spike_core *core, const spike_core_layer *layer) {
  uint32_t group, blocks, mode;

  if (layer->rows == 0 || layer->outputs == 0 || layer->inputs == 0 || layer->groups == 0 ||
      layer->inputs % layer->groups != 0 || layer->frac_bits > MAX_FRAC_BITS || (layer->csd && !core->csd)) {
    return SPIKE_CORE_IMPOSSIBLE;
  }
  if (layer->capped && (!core->capped || layer->csd || layer->spike_stream || layer->frac_bits < MIN_CAPPED_FRAC_BITS)) {
    return SPIKE_CORE_IMPOSSIBLE;
  }
  group = layer->inputs / layer->groups;
  blocks = parts(parts(group, core->lanes), core->slots);
  if (blocks > core->blocks / layer->groups || (core->one_block && blocks > 1)) return SPIKE_CORE_TOO_LARGE;
  if (get(core, REGISTER(STATUS)) & SPIKE_CORE__STATUS__QUEUED_bm) return SPIKE_CORE_BUSY;
  mode = layer->frac_bits << SPIKE_CORE__MODE__FRAC_BITS_bp;
  if (layer->csd) mode |= SPIKE_CORE__MODE__CODING_bm;
  if (layer->capped) mode |= SPIKE_CORE__MODE__CAPPED_bm;
  if (layer->spike_stream) mode |= SPIKE_CORE__MODE__SPIKE_STREAM_bm;
  set(core, REGISTER(MODE), mode);
  set(core, REGISTER(ROWS), layer->rows);
  set(core, REGISTER(OUTPUTS), layer->outputs);
  set(core, REGISTER(GROUPS), layer->groups);
  set(core, REGISTER(GROUP_INPUTS), group);
  set(core, REGISTER(CTRL), SPIKE_CORE__CTRL__START_bm);
  return SPIKE_CORE_OK;
}

int spike_core_wait(spike_core *core, uint32_t jobs, uint32_t polls) {
  while (polls-- != 0) {
    uint32_t done = (get(core, REGISTER(JOBS)) - core->jobs) & SPIKE_CORE__JOBS__VALUE_bm;

    if (done >= jobs) {
      core->jobs += jobs;
      set(core, REGISTER(STATUS), SPIKE_CORE__STATUS__DONE_bm);
      return get(core, REGISTER(ERROR)) ? SPIKE_CORE_REPORTED : SPIKE_CORE_OK;
    }
    if (!(get(core, REGISTER(STATUS)) & SPIKE_CORE__STATUS__BUSY_bm) && get(core, REGISTER(ERROR))) {
      return SPIKE_CORE_REPORTED; /* a job was refused */
    }
  }
  return SPIKE_CORE_NO_ANSWER;
}

uint32_t spike_core_errors(spike_core *core) {
  uint32_t bits = get(core, REGISTER(ERROR));

  set(core, REGISTER(ERROR), bits);
  return bits;
}

void spike_core_interrupts(spike_core *core, int done, int error) {
  set(core, REGISTER(IRQ_ENABLE),
      (done ? (uint32_t)SPIKE_CORE__IRQ_ENABLE__DONE_bm : 0) |
          (error ? (uint32_t)SPIKE_CORE__IRQ_ENABLE__ERROR_bm : 0));
}

uint64_t spike_core_counter(spike_core *core, uint32_t number) {
  uint32_t offset = REGISTER(COUNTER) + number * (uint32_t)sizeof(spike_core__COUNTER_t);
  uint32_t low = get(core, offset); /* first: it keeps the high word */

  return (uint64_t)get(core, offset + 4) << 32 | low;
}

void spike_core_clear_counters(spike_core *core) { set(core, REGISTER(CTRL), SPIKE_CORE__CTRL__CLEAR_bm); }

void spike_core_abort(spike_core *core) { set(core, REGISTER(ABORT), SPIKE_CORE__ABORT__ABORT_bm); }

int spike_core_resume(spike_core *core) {
  if (get(core, REGISTER(STATUS)) & SPIKE_CORE__STATUS__BUSY_bm) return SPIKE_CORE_BUSY;
  set(core, REGISTER(ABORT), 0);
  core->jobs = get(core, REGISTER(JOBS));
  set(core, REGISTER(STATUS), SPIKE_CORE__STATUS__DONE_bm);
  return SPIKE_CORE_OK;
}

/* ------------------------------------------------------------------------------------------------------ streams */

static uint32_t group_chunks(const spike_core *core, const spike_core_layer *layer) {
  return parts(layer->inputs / layer->groups, core->lanes);
}

static uint32_t row_chunks(const spike_core *core, const spike_core_layer *layer) {
  return layer->groups * group_chunks(core, layer);
}

/* Bytes from one unit of a stream to the next: a unit that shares a beat takes a power of two, one that needs several
 * takes all of the last. */
static size_t stride(uint32_t unit, uint32_t beat) {
  uint32_t slot = 1;

  if (beat == 0) return unit;
  if (unit > beat) return (size_t)parts(unit, beat) * beat;
  while (slot < unit) slot *= 2;
  return slot;
}

static size_t membrane_stride(const spike_core *core) {
  return stride(core->lanes * core->membrane_bits / 8, core->membrane_beat);
}

static size_t weight_stride(const spike_core *core) {
  return stride(core->weight_inputs * core->columns * core->weight_field / 8, core->weight_beat);
}

static size_t sum_stride(const spike_core *core) { return stride(core->columns * 4, core->acc_beat); }

uint32_t spike_core_row_tiles(const spike_core *core, const spike_core_layer *layer) {
  return parts(layer->rows, core->rows);
}

size_t spike_core_membrane_packet(const spike_core *core, const spike_core_layer *layer) {
  return ((core->user_timesteps ? (size_t)0 : 1) + row_chunks(core, layer)) * membrane_stride(core);
}

size_t spike_core_membrane_bytes(const spike_core *core, const spike_core_layer *layer) {
  return layer->rows * spike_core_membrane_packet(core, layer);
}

size_t spike_core_weight_packet(const spike_core *core, const spike_core_layer *layer) {
  return (size_t)row_chunks(core, layer) * (core->lanes / core->weight_inputs) * weight_stride(core);
}

size_t spike_core_weight_bytes(const spike_core *core, const spike_core_layer *layer) {
  return parts(layer->outputs, core->columns) * spike_core_weight_packet(core, layer);
}

size_t spike_core_sum_bytes(const spike_core *core, const spike_core_layer *layer) {
  return (size_t)layer->rows * parts(layer->outputs, core->columns) * layer->groups * sum_stride(core);
}

static void zero(uint8_t *at, size_t bytes) {
  while (bytes-- != 0) *at++ = 0;
}

static int fits(int32_t value, uint32_t bits) {
  int32_t end = (int32_t)(1u << (bits - 1));

  return value >= -end && value < end;
}

static void put(uint8_t *at, uint32_t value, uint32_t bytes) {
  for (; bytes != 0; bytes--, value >>= 8) *at++ = (uint8_t)value;
}

static int32_t get32(const uint8_t *at) {
  uint32_t value = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;

  return value & 0x80000000u ? -(int32_t)(~value) - 1 : (int32_t)value;
}

int spike_core_pack_membranes(const spike_core *core, const spike_core_layer *layer, const int32_t *membranes,
                              const uint8_t *timesteps, uint8_t *stream) {
  uint32_t group = layer->inputs / layer->groups, bytes = core->membrane_bits / 8, m, g, chunk, lane;
  size_t unit = membrane_stride(core);

  for (m = 0; m < layer->rows; m++) {
    if (timesteps[m] == 0 || timesteps[m] > core->tmax) return SPIKE_CORE_IMPOSSIBLE;
    if (!core->user_timesteps) {
      zero(stream, unit);
      *stream = timesteps[m];
      stream += unit;
    }
    for (g = 0; g < layer->groups; g++, membranes += group) {
      for (chunk = 0; chunk < group; chunk += core->lanes, stream += unit) {
        zero(stream, unit);
        for (lane = 0; lane < core->lanes && chunk + lane < group; lane++) {
          int32_t value = membranes[chunk + lane];

          if (bytes == 2 && !fits(value, 16)) return SPIKE_CORE_IMPOSSIBLE;
          put(stream + lane * bytes, (uint32_t)value, bytes);
        }
      }
    }
  }
  return SPIKE_CORE_OK;
}

/* The weights of one unit: inputs k and on of a group, outputs n and on. `weights` is where the group begins. */
static int pack_unit(const spike_core *core, const spike_core_layer *layer, const int8_t *weights, uint32_t n,
                     uint32_t k, uint8_t *unit) {
  uint32_t group = layer->inputs / layer->groups, i, c, field = 0;

  for (i = 0; i < core->weight_inputs; i++) {
    for (c = 0; c < core->columns; c++, field++) {
      int8_t value;

      if (k + i >= group || n + c >= layer->outputs) continue;
      value = weights[(size_t)(n + c) * layer->inputs + k + i];
      if (!fits(value, core->weight_bits)) return SPIKE_CORE_IMPOSSIBLE;
      if (core->weight_field == 8) {
        unit[field] = (uint8_t)value;
      } else {
        unit[field / 2] = (uint8_t)(unit[field / 2] | ((uint32_t)value & 15u) << (field % 2 * 4));
      }
    }
  }
  return SPIKE_CORE_OK;
}

int spike_core_pack_weights(const spike_core *core, const spike_core_layer *layer, const int8_t *weights,
                            uint8_t *stream) {
  uint32_t group = layer->inputs / layer->groups, padded = group_chunks(core, layer) * core->lanes, n, g, k;
  size_t unit = weight_stride(core);

  for (n = 0; n < layer->outputs; n += core->columns) {
    for (g = 0; g < layer->groups; g++) {
      for (k = 0; k < padded; k += core->weight_inputs, stream += unit) {
        int result;

        zero(stream, unit);
        result = pack_unit(core, layer, weights + (size_t)g * group, n, k, stream);
        if (result != SPIKE_CORE_OK) return result;
      }
    }
  }
  return SPIKE_CORE_OK;
}

void spike_core_unpack_sums(const spike_core *core, const spike_core_layer *layer, const uint8_t *stream,
                            int32_t *sums) {
  uint32_t first, n, g, m, c;
  size_t unit = sum_stride(core);

  for (first = 0; first < layer->rows; first += core->rows) {
    uint32_t end = layer->rows - first < core->rows ? layer->rows : first + core->rows;

    for (n = 0; n < layer->outputs; n += core->columns) {
      for (g = 0; g < layer->groups; g++) {
        for (m = first; m < end; m++, stream += unit) {
          for (c = 0; c < core->columns && n + c < layer->outputs; c++) {
            sums[((size_t)m * layer->outputs + n + c) * layer->groups + g] = get32(stream + c * 4);
          }
        }
      }
    }
  }
}
