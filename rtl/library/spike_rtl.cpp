// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// The library of spike_rtl.h. Built for a core whose beats are units: no stream has a width of its own.

#include "spike_rtl.h"

#include <cstring>
#include <new>
#include <vector>

#include "Vcore.h"
#include "axil.h"
#include "spike_core.h"
#include "verilated.h"

namespace {

constexpr uint32_t Idle = 1u << 22;  // cycles in which nothing moves, until a job counts as stuck
constexpr uint32_t Polls = 100;

struct Failure {
  int32_t result;
};

// What an input port sends: packets of so many beats, TLAST with the last one; the whole again `repeats` times.
struct Source {
  const uint8_t *data;
  size_t bytes, packet, repeats, done;

  bool left() const { return repeats != 0; }
  const uint8_t *beat() const { return data + done; }
  bool last(size_t beat) const { return (done + beat) % packet == 0; }
  void taken(size_t beat) {
    done += beat;
    if (done == bytes) done = 0, repeats--;
  }
};

// What an output port fills.
struct Sink {
  uint8_t *data;
  size_t bytes, done;

  bool left() const { return done < bytes; }
};

}  // namespace

struct spike_rtl {
  VerilatedContext context;
  Vcore core{&context};
  spike_core driver{};
  Source membranes{}, weights{};
  Sink sums{}, spikes{};
  bool silent = false;  // nothing moved in the last cycle
  bool broken = false;  // a register access failed
  size_t membrane_beat = 0, weight_beat = 0, sum_beat = 0, spike_beat = 0;
  std::vector<uint8_t> membrane_stream, weight_stream, sum_stream, spike_stream;

  void edge() {
    core.clk_i = 1;
    core.eval();
    core.clk_i = 0;
    core.eval();
    context.timeInc(1);
  }

  // A cycle. No output of the core hangs on an input of the same cycle: what is ready now is what the edge sees.
  void tick() {
    bool membrane = core.s_axis_membrane_tvalid_i && core.s_axis_membrane_tready_o;
    bool weight = core.s_axis_weight_tvalid_i && core.s_axis_weight_tready_o;
    bool sum = core.m_axis_acc_tvalid_o && core.m_axis_acc_tready_i;
    bool spike = core.m_axis_spike_tvalid_o && core.m_axis_spike_tready_i;
    silent = !(membrane || weight || sum || spike);
    if (sum) take(sums, &core.m_axis_acc_tdata_o, sum_beat);
    if (spike) take(spikes, &core.m_axis_spike_tdata_o, spike_beat);
    edge();
    if (membrane) {
      membranes.taken(membrane_beat);
      core.s_axis_membrane_tvalid_i = 0;
    }
    if (weight) {
      weights.taken(weight_beat);
      core.s_axis_weight_tvalid_i = 0;
    }
    offer();
  }

  void offer() {
    if (!core.s_axis_membrane_tvalid_i && membranes.left()) {
      std::memcpy(&core.s_axis_membrane_tdata_i, membranes.beat(), membrane_beat);
      core.s_axis_membrane_tlast_i = membranes.last(membrane_beat);
      core.s_axis_membrane_tvalid_i = 1;
    }
    if (!core.s_axis_weight_tvalid_i && weights.left()) {
      std::memcpy(&core.s_axis_weight_tdata_i, weights.beat(), weight_beat);
      core.s_axis_weight_tlast_i = weights.last(weight_beat);
      core.s_axis_weight_tvalid_i = 1;
    }
    core.m_axis_acc_tready_i = sums.left();
    core.m_axis_spike_tready_i = spikes.left();
  }

  static void take(Sink &sink, const void *data, size_t beat) {
    std::memcpy(sink.data + sink.done, data, beat);
    sink.done += beat;
  }

  void reset() {
    membranes = weights = Source{};
    sums = spikes = Sink{};
    core.s_axis_membrane_tvalid_i = core.s_axis_weight_tvalid_i = 0;
    core.m_axis_acc_tready_i = core.m_axis_spike_tready_i = 0;
    core.s_axil_awvalid_i = core.s_axil_wvalid_i = core.s_axil_arvalid_i = 0;
    core.s_axil_bready_i = core.s_axil_rready_i = 0;
    core.s_axis_membrane_tuser_i = 0;
    core.rst_ni = 0;
    for (int i = 0; i < 4; i++) edge();
    core.rst_ni = 1;
    edge();
    broken = false;
  }

  static uint32_t read(void *self, uint32_t offset) {
    auto rtl = static_cast<spike_rtl *>(self);
    uint32_t value = 0;
    auto tick = [rtl] { rtl->tick(); };
    if (axil::read(rtl->core, tick, offset, value) != axil::Answer::Okay) rtl->broken = true;
    return value;
  }

  static void write(void *self, uint32_t offset, uint32_t value) {
    auto rtl = static_cast<spike_rtl *>(self);
    auto tick = [rtl] { rtl->tick(); };
    if (axil::write(rtl->core, tick, offset, value) != axil::Answer::Okay) rtl->broken = true;
  }

  bool open() {
    reset();
    if (spike_core_open(&driver, read, write, this) != SPIKE_CORE_OK || broken) return false;
    spike_core_interrupts(&driver, 1, 1);
    membrane_beat = driver.lanes * 4;
    weight_beat = driver.weight_inputs * driver.columns;
    sum_beat = driver.columns * 4;
    spike_beat = driver.lanes * 2 / 8;
    return !broken;
  }

  void require(int32_t result) const {
    if (result != SPIKE_CORE_OK) throw Failure{result};
    if (broken) throw Failure{SPIKE_RTL_REFUSED};
  }

  void wait() {
    for (uint32_t quiet = 0; quiet < Idle; quiet = silent ? quiet + 1 : 0) {
      if (!core.irq_o) {
        tick();
        continue;
      }
      int result = spike_core_wait(&driver, 1, Polls);
      if (result != SPIKE_CORE_NO_ANSWER) return require(result);  // else a job that goes on has reported an error
    }
    throw Failure{SPIKE_RTL_STUCK};
  }

  void compute(const spike_rtl_job &job, int64_t entry) {
    spike_core_layer layer{};
    layer.rows = static_cast<uint32_t>(job.rows);
    layer.outputs = static_cast<uint32_t>(job.outputs);
    layer.inputs = static_cast<uint32_t>(job.inputs);
    layer.groups = static_cast<uint32_t>(job.groups);
    layer.frac_bits = static_cast<uint32_t>(job.frac_bits);
    layer.csd = job.csd;
    layer.spike_stream = job.spikes != nullptr;
    const uint8_t *timesteps = job.timesteps + entry * job.rows;
    membrane_stream.resize(spike_core_membrane_bytes(&driver, &layer));
    weight_stream.resize(spike_core_weight_bytes(&driver, &layer));
    sum_stream.resize(spike_core_sum_bytes(&driver, &layer));
    require(spike_core_pack_membranes(&driver, &layer, job.membranes + entry * job.rows * job.inputs, timesteps,
                                      membrane_stream.data()));
    require(spike_core_pack_weights(&driver, &layer, job.weights + entry * job.outputs * job.inputs,
                                    weight_stream.data()));
    require(spike_core_submit(&driver, &layer));
    membranes = {membrane_stream.data(), membrane_stream.size(), spike_core_membrane_packet(&driver, &layer), 1, 0};
    weights = {weight_stream.data(), weight_stream.size(), spike_core_weight_packet(&driver, &layer),
               spike_core_row_tiles(&driver, &layer), 0};
    sums = {sum_stream.data(), sum_stream.size(), 0};
    if (job.spikes != nullptr) {
      spike_stream.resize(steps(job, timesteps) * chunks(job) * spike_beat);
      spikes = {spike_stream.data(), spike_stream.size(), 0};
    }
    offer();
    wait();
    if (membranes.left() || weights.left() || sums.left() || spikes.left()) throw Failure{SPIKE_RTL_INCOMPLETE};
    spike_core_unpack_sums(&driver, &layer, sum_stream.data(),
                           job.sums + entry * job.rows * job.outputs * job.groups);
    if (job.spikes != nullptr) unpack_spikes(job, timesteps, job.spikes + entry * job.steps * job.rows * job.inputs);
  }

  static size_t steps(const spike_rtl_job &job, const uint8_t *timesteps) {
    size_t all = 0;
    for (int64_t m = 0; m < job.rows; m++) all += timesteps[m] + (job.csd ? 1 : 0);
    return all;
  }

  size_t group_chunks(const spike_rtl_job &job) const {
    return (job.inputs / job.groups + driver.lanes - 1) / driver.lanes;
  }

  size_t chunks(const spike_rtl_job &job) const { return group_chunks(job) * job.groups; }

  // Row by row, chunk by chunk, step by step: two bits a lane -> [steps][M][K].
  void unpack_spikes(const spike_rtl_job &job, const uint8_t *timesteps, int8_t *out) const {
    static const int8_t value[4] = {0, 1, 2, -1};
    const uint8_t *from = spike_stream.data();
    size_t group = job.inputs / job.groups, plane = job.rows * job.inputs;
    for (int64_t m = 0; m < job.rows; m++) {
      int steps = timesteps[m] + (job.csd ? 1 : 0);
      for (size_t g = 0; g < static_cast<size_t>(job.groups); g++) {
        for (size_t k = 0; k < group; k += driver.lanes) {
          for (int t = 0; t < steps; t++, from += spike_beat) {
            int8_t *to = out + t * plane + m * job.inputs + g * group + k;
            for (size_t lane = 0; lane < driver.lanes && k + lane < group; lane++) {
              to[lane] = value[from[lane / 4] >> lane % 4 * 2 & 3];
            }
          }
        }
      }
    }
  }
};

extern "C" int32_t spike_rtl_abi(void) { return SPIKE_RTL_ABI; }

extern "C" spike_rtl *spike_rtl_open(void) {
  auto rtl = new (std::nothrow) spike_rtl;
  if (rtl != nullptr && !rtl->open()) {
    delete rtl;
    rtl = nullptr;
  }
  return rtl;
}

extern "C" void spike_rtl_close(spike_rtl *rtl) { delete rtl; }

extern "C" void spike_rtl_get_shape(const spike_rtl *rtl, spike_rtl_shape *shape) {
  const spike_core &core = rtl->driver;
  *shape = {static_cast<int32_t>(core.rows),        static_cast<int32_t>(core.columns),
            static_cast<int32_t>(core.lanes),       static_cast<int32_t>(core.slots),
            static_cast<int32_t>(core.weight_bits), static_cast<int32_t>(core.tmax),
            core.csd,                               static_cast<int64_t>(core.blocks)};
}

extern "C" int32_t spike_rtl_compute(spike_rtl *rtl, const spike_rtl_job *job, uint64_t *counters, uint32_t *errors) {
  int32_t result = SPIKE_CORE_OK;
  *errors = 0;
  try {
    if (counters != nullptr) spike_core_clear_counters(&rtl->driver);
    for (int64_t entry = 0; entry < job->batch; entry++) rtl->compute(*job, entry);
    for (uint32_t i = 0; counters != nullptr && i < SPIKE_RTL_COUNTERS; i++) {
      counters[i] = spike_core_counter(&rtl->driver, i);
    }
    rtl->require(SPIKE_CORE_OK);
  } catch (const Failure &failure) {
    result = failure.result;
  } catch (const std::bad_alloc &) {
    result = SPIKE_RTL_NO_MEMORY;
  }
  if (result != SPIKE_CORE_OK) {
    if (!rtl->broken) *errors = spike_core_errors(&rtl->driver);
    rtl->open();
  }
  return result;
}
