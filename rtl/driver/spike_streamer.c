/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spike_streamer.h"

#define REGISTER(name) (SPIKE_STREAMER_BASE + (uint32_t)offsetof(spike_streamer_t, name))
#define FIELD(value, reg, field) \
  (((value) & SPIKE_STREAMER__##reg##__##field##_bm) >> SPIKE_STREAMER__##reg##__##field##_bp)
#define MAX_STRIDE 0x7fffffffu /* the registers' strides are signed */

static uint32_t get(const spike_streamer *streamer, uint32_t offset) {
  return streamer->core->read(streamer->core->context, offset);
}

static void set(const spike_streamer *streamer, uint32_t offset, uint32_t value) {
  streamer->core->write(streamer->core->context, offset, value);
}

static uint32_t parts(uint32_t whole, uint32_t part) { return whole / part + (whole % part != 0); }

static size_t whole_beats(const spike_streamer *streamer, size_t bytes) {
  return (bytes + streamer->beat - 1) / streamer->beat * streamer->beat;
}

int spike_streamer_open(spike_streamer *streamer, spike_core *core) {
  uint32_t bus;

  streamer->core = core;
  if (get(streamer, REGISTER(ID)) != SPIKE_STREAMER__ID__VALUE_reset) return SPIKE_CORE_NOT_THERE;
  bus = get(streamer, REGISTER(BUS));
  streamer->beat = 1u << (FIELD(bus, BUS, BEAT) - 3);
  streamer->address_bits = FIELD(bus, BUS, ADDRESS);
  streamer->runs = get(streamer, REGISTER(RUNS));
  set(streamer, REGISTER(STATUS), SPIKE_STREAMER__STATUS__DONE_bm);
  (void)spike_streamer_errors(streamer);
  return SPIKE_CORE_OK;
}

/* ------------------------------------------------------------------------------------------------------- memory */

/* Packets begin with a beat: rows of membranes, column tiles of weights. */
static size_t membrane_stride(const spike_streamer *streamer, const spike_core_layer *layer) {
  return whole_beats(streamer, spike_core_membrane_packet(streamer->core, layer));
}

static size_t weight_stride(const spike_streamer *streamer, const spike_core_layer *layer) {
  return whole_beats(streamer, spike_core_weight_packet(streamer->core, layer));
}

static uint32_t tiles(const spike_streamer *streamer, const spike_core_layer *layer) {
  return parts(layer->outputs, streamer->core->columns);
}

/* Sums of a row and a column tile. They are pieces of their own if they fill beats; else the rows of a tile share them. */
typedef struct {
  size_t unit, piece, row, group, tile, row_tile;
} sum_strides;

static sum_strides strides_of(const spike_streamer *streamer, const spike_core_layer *layer) {
  const spike_core *core = streamer->core;
  spike_core_layer one = {1, 1, 1, 1, 0, 0, 0, 0};
  sum_strides made;

  made.unit = spike_core_sum_bytes(core, &one);
  if (made.unit >= streamer->beat) {
    made.piece = made.unit;
    made.tile = made.unit;
    made.group = made.tile * tiles(streamer, layer);
    made.row = made.group * layer->groups;
    made.row_tile = made.row * core->rows;
  } else {
    made.piece = whole_beats(streamer, made.unit * core->rows);
    made.row = made.unit;
    made.tile = made.piece;
    made.group = made.tile * tiles(streamer, layer);
    made.row_tile = made.group * layer->groups;
  }
  return made;
}

size_t spike_streamer_membrane_bytes(const spike_streamer *streamer, const spike_core_layer *layer) {
  return layer->rows * membrane_stride(streamer, layer);
}

size_t spike_streamer_weight_bytes(const spike_streamer *streamer, const spike_core_layer *layer) {
  return tiles(streamer, layer) * weight_stride(streamer, layer);
}

size_t spike_streamer_sum_bytes(const spike_streamer *streamer, const spike_core_layer *layer) {
  return spike_core_row_tiles(streamer->core, layer) * strides_of(streamer, layer).row_tile;
}

/* What a packet leaves of its last beat is read, too. */
static void clear_rest(uint8_t *packet, size_t used, size_t stride) {
  for (; used < stride; used++) packet[used] = 0;
}

int spike_streamer_pack_membranes(const spike_streamer *streamer, const spike_core_layer *layer,
                                  const int32_t *membranes, const uint8_t *timesteps, uint8_t *memory) {
  spike_core_layer row = *layer;
  size_t stride = membrane_stride(streamer, layer), used = spike_core_membrane_packet(streamer->core, layer);
  uint32_t m;

  row.rows = 1;
  for (m = 0; m < layer->rows; m++, membranes += layer->inputs, memory += stride) {
    int result = spike_core_pack_membranes(streamer->core, &row, membranes, timesteps + m, memory);

    if (result != SPIKE_CORE_OK) return result;
    clear_rest(memory, used, stride);
  }
  return SPIKE_CORE_OK;
}

int spike_streamer_pack_weights(const spike_streamer *streamer, const spike_core_layer *layer, const int8_t *weights,
                                uint8_t *memory) {
  spike_core_layer tile = *layer;
  size_t stride = weight_stride(streamer, layer), used = spike_core_weight_packet(streamer->core, layer);
  uint32_t columns = streamer->core->columns, n;

  for (n = 0; n < layer->outputs; n += columns, memory += stride) {
    int result;

    tile.outputs = layer->outputs - n < columns ? layer->outputs - n : columns;
    result = spike_core_pack_weights(streamer->core, &tile, weights + (size_t)n * layer->inputs, memory);
    if (result != SPIKE_CORE_OK) return result;
    clear_rest(memory, used, stride);
  }
  return SPIKE_CORE_OK;
}

size_t spike_streamer_sum_at(const spike_streamer *streamer, const spike_core_layer *layer, uint32_t m, uint32_t g,
                             uint32_t tile) {
  sum_strides step = strides_of(streamer, layer);
  uint32_t rows = streamer->core->rows;

  return m / rows * step.row_tile + m % rows * step.row + g * step.group + tile * step.tile;
}

void spike_streamer_unpack_sums(const spike_streamer *streamer, const spike_core_layer *layer, const uint8_t *memory,
                                int32_t *sums) {
  spike_core_layer one = {1, 1, 1, 1, 0, 0, 0, 0};
  uint32_t columns = streamer->core->columns, m, n, g;

  for (m = 0; m < layer->rows; m++) {
    for (n = 0; n < layer->outputs; n++) {
      for (g = 0; g < layer->groups; g++) {
        const uint8_t *at = memory + spike_streamer_sum_at(streamer, layer, m, g, n / columns) + n % columns * 4;

        spike_core_unpack_sums(streamer->core, &one, at, sums++);
      }
    }
  }
}

/* --------------------------------------------------------------------------------------------------------- runs */

static int reachable(const spike_streamer *streamer, uint64_t address, size_t bytes) {
  uint64_t end = streamer->address_bits < 64 ? (uint64_t)1 << streamer->address_bits : 0;

  return address % streamer->beat == 0 && (end == 0 ? bytes <= UINT64_MAX - address : bytes <= end && address <= end - bytes);
}

static void set_address(const spike_streamer *streamer, uint32_t offset, uint64_t address) {
  set(streamer, offset, (uint32_t)address);
  set(streamer, offset + 4, (uint32_t)(address >> 32));
}

int spike_streamer_submit(spike_streamer *streamer, const spike_core_layer *layer, const spike_streamer_places *at) {
  sum_strides step;
  int result;

  if (layer->rows == 0 || layer->outputs == 0 || layer->inputs == 0 || layer->groups == 0) return SPIKE_CORE_IMPOSSIBLE;
  step = strides_of(streamer, layer);
  if (!reachable(streamer, at->membranes, spike_streamer_membrane_bytes(streamer, layer)) ||
      !reachable(streamer, at->weights, spike_streamer_weight_bytes(streamer, layer)) ||
      !reachable(streamer, at->sums, spike_streamer_sum_bytes(streamer, layer)) || step.row_tile > MAX_STRIDE ||
      membrane_stride(streamer, layer) > MAX_STRIDE || weight_stride(streamer, layer) > MAX_STRIDE) {
    return SPIKE_CORE_IMPOSSIBLE;
  }
  if (get(streamer, REGISTER(STATUS)) & SPIKE_STREAMER__STATUS__QUEUED_bm) return SPIKE_CORE_BUSY;
  result = spike_core_submit(streamer->core, layer); /* first: input that comes without a job is dropped */
  if (result != SPIKE_CORE_OK) return result;
  set_address(streamer, REGISTER(MEMBRANE_ADDRESS), at->membranes);
  set(streamer, REGISTER(MEMBRANE_BYTES), (uint32_t)membrane_stride(streamer, layer));
  set(streamer, REGISTER(MEMBRANE_STRIDE), (uint32_t)membrane_stride(streamer, layer));
  set(streamer, REGISTER(MEMBRANE_PACKETS), layer->rows);
  set(streamer, REGISTER(MEMBRANE_PASSES), 1);
  set_address(streamer, REGISTER(WEIGHT_ADDRESS), at->weights);
  set(streamer, REGISTER(WEIGHT_BYTES), (uint32_t)weight_stride(streamer, layer));
  set(streamer, REGISTER(WEIGHT_STRIDE), (uint32_t)weight_stride(streamer, layer));
  set(streamer, REGISTER(WEIGHT_PACKETS), tiles(streamer, layer));
  set(streamer, REGISTER(WEIGHT_PASSES), spike_core_row_tiles(streamer->core, layer));
  set_address(streamer, REGISTER(SUM_ADDRESS), at->sums);
  set(streamer, REGISTER(SUM_BYTES), (uint32_t)step.piece);
  set(streamer, REGISTER(SUM_ROW_STRIDE), step.row % streamer->beat == 0 ? (uint32_t)step.row : 0);
  set(streamer, REGISTER(SUM_GROUPS), layer->groups);
  set(streamer, REGISTER(SUM_GROUP_STRIDE), (uint32_t)step.group);
  set(streamer, REGISTER(SUM_TILES), tiles(streamer, layer));
  set(streamer, REGISTER(SUM_TILE_STRIDE), (uint32_t)step.tile);
  set(streamer, REGISTER(SUM_ROW_TILES), spike_core_row_tiles(streamer->core, layer));
  set(streamer, REGISTER(SUM_ROW_TILE_STRIDE), (uint32_t)step.row_tile);
  set(streamer, REGISTER(CTRL), SPIKE_STREAMER__CTRL__START_bm);
  return SPIKE_CORE_OK;
}

int spike_streamer_wait(spike_streamer *streamer, uint32_t runs, uint32_t polls) {
  while (polls-- != 0) {
    uint32_t done = (get(streamer, REGISTER(RUNS)) - streamer->runs) & SPIKE_STREAMER__RUNS__VALUE_bm;

    if (done >= runs) {
      int result = spike_core_wait(streamer->core, runs, 1); /* its sums have been taken */

      streamer->runs += runs;
      set(streamer, REGISTER(STATUS), SPIKE_STREAMER__STATUS__DONE_bm);
      return get(streamer, REGISTER(ERROR)) ? SPIKE_CORE_REPORTED : result;
    }
  }
  return SPIKE_CORE_NO_ANSWER;
}

int spike_streamer_run(spike_streamer *streamer, const spike_core_layer *layer, const spike_streamer_places *at,
                       uint32_t polls) {
  int result = spike_streamer_submit(streamer, layer, at);

  return result == SPIKE_CORE_OK ? spike_streamer_wait(streamer, 1, polls) : result;
}

uint32_t spike_streamer_errors(spike_streamer *streamer) {
  uint32_t bits = get(streamer, REGISTER(ERROR));

  set(streamer, REGISTER(ERROR), bits);
  return bits;
}

void spike_streamer_interrupts(spike_streamer *streamer, int done, int error) {
  set(streamer, REGISTER(IRQ_ENABLE),
      (done ? (uint32_t)SPIKE_STREAMER__IRQ_ENABLE__DONE_bm : 0) |
          (error ? (uint32_t)SPIKE_STREAMER__IRQ_ENABLE__ERROR_bm : 0));
}

void spike_streamer_abort(spike_streamer *streamer) {
  set(streamer, REGISTER(ABORT), SPIKE_STREAMER__ABORT__ABORT_bm);
  spike_core_abort(streamer->core);
}

int spike_streamer_resume(spike_streamer *streamer) {
  int result;

  if (get(streamer, REGISTER(STATUS)) & SPIKE_STREAMER__STATUS__BUSY_bm) return SPIKE_CORE_BUSY;
  result = spike_core_resume(streamer->core);
  if (result != SPIKE_CORE_OK) return result;
  set(streamer, REGISTER(ABORT), 0);
  streamer->runs = get(streamer, REGISTER(RUNS));
  set(streamer, REGISTER(STATUS), SPIKE_STREAMER__STATUS__DONE_bm);
  return SPIKE_CORE_OK;
}
