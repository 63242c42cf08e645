// Every function of the library on many shapes, in memory that ends where it must; built with the sanitizers by
// test_sanitizers.py. Levels are compared with level 0, threads with one thread.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "spike_kernels.h"

namespace {

uint32_t state = 1;
int32_t within(int32_t low, int32_t high) {
  state = state * 1664525u + 1013904223u;
  const uint32_t span = static_cast<uint32_t>(high) - static_cast<uint32_t>(low) + 1;
  return static_cast<int32_t>(static_cast<uint32_t>(low) + (state >> 8) % span);
}

// An array of exactly so many elements: the sanitizer knows its ends.
template <class T>
struct Array {
  explicit Array(int64_t count) : size(count), data(static_cast<T *>(std::malloc(static_cast<size_t>(count) * sizeof(T)))) {
    std::memset(data, 0x55, static_cast<size_t>(count) * sizeof(T));
  }
  ~Array() { std::free(data); }
  Array(const Array &) = delete;
  bool operator==(const Array &other) const {
    return size == other.size && std::memcmp(data, other.data, static_cast<size_t>(size) * sizeof(T)) == 0;
  }
  int64_t size;
  T *data;
};

int32_t three_threads(int64_t begin, int64_t end, int64_t, spike_body body, void *context) {
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 3 && begin + t < end; ++t)
    threads.emplace_back([=] { body(begin + t, begin + t + 1, context); });
  for (std::thread &thread : threads) thread.join();
  return 0;
}

[[noreturn]] void fail(const char *what, const char *level) {
  std::fprintf(stderr, "%s differs at level %s\n", what, level);
  std::exit(1);
}

void expect(bool holds, const char *what, const char *level) {
  if (!holds) fail(what, level);
}

struct Shape {
  int64_t rows, inputs, outputs;
  int32_t groups, bits, dtype;
};

void check(const Shape &s) {
  const int32_t high = s.bits == 4 ? 7 : 127, sizes[] = {4, 2, 2, 8};
  const int64_t width = spike_codes_width(s.inputs, s.groups), stride = s.inputs + within(0, 3);
  Array<int8_t> weights(s.outputs * s.inputs), again(s.outputs * s.inputs), planes(3 * s.rows * width);
  Array<uint8_t> panels(spike_panels_size(s.outputs, s.inputs, s.groups, s.bits)), silenced(s.inputs);
  Array<float> scales(s.groups * ((s.outputs + 15) / 16 * 16)), bias(s.outputs), ratio(s.rows), fixed(1);
  Array<int32_t> timesteps(s.rows), one(3), each(3 * s.rows);
  Array<int8_t> table(7 * 8 * 256);
  // the last row ends with its last input
  Array<uint8_t> x(s.rows == 0 ? 0 : ((s.rows - 1) * stride + s.inputs) * sizes[s.dtype]);
  for (int64_t i = 0; i < weights.size; ++i) weights.data[i] = static_cast<int8_t>(within(-high - 1, high));
  for (int64_t i = 0; i < planes.size; ++i) planes.data[i] = static_cast<int8_t>(within(-1, 1));
  for (int64_t i = 0; i < silenced.size; ++i) silenced.data[i] = within(0, 3) == 0;
  for (int64_t i = 0; i < scales.size; ++i) scales.data[i] = static_cast<float>(within(1, 1000)) / 1024;
  for (int64_t i = 0; i < bias.size; ++i) bias.data[i] = static_cast<float>(within(-9, 9));
  for (int64_t i = 0; i < s.rows; ++i) ratio.data[i] = static_cast<float>(within(1, 8)) / 4, timesteps.data[i] = within(1, 7);
  for (int64_t i = 0; i < one.size; ++i) one.data[i] = within(-2000000000, 2000000000);
  for (int64_t i = 0; i < each.size; ++i) each.data[i] = within(-9, 9);
  for (int64_t i = 0; i < table.size; ++i) table.data[i] = static_cast<int8_t>(within(-1, 1));
  fixed.data[0] = 0.5f;
  const int64_t elements = x.size / sizes[s.dtype];
  for (int64_t i = 0; i < elements; ++i) {
    const float value = static_cast<float>(within(-40, 40)) / 4;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (s.dtype == SPIKE_FLOAT32) std::memcpy(x.data + 4 * i, &value, 4);
    const uint16_t upper = static_cast<uint16_t>(bits >> 16), half = static_cast<uint16_t>(within(0, 0x7bff) | within(0, 1) << 15);
    if (s.dtype == SPIKE_BFLOAT16) std::memcpy(x.data + 2 * i, &upper, 2);
    if (s.dtype == SPIKE_FLOAT16) std::memcpy(x.data + 2 * i, &half, 2);
    const double wide = value;
    if (s.dtype == SPIKE_FLOAT64) std::memcpy(x.data + 8 * i, &wide, 8);
  }
  spike_pack(weights.data, s.outputs, s.inputs, s.groups, s.bits, panels.data);
  spike_unpack(panels.data, s.outputs, s.inputs, s.groups, s.bits, again.data);
  expect(weights == again, "unpacked weights", "any");
  const spike_layer layer = {s.inputs, s.outputs, s.groups, s.bits, 127, panels.data, scales.data, bias.data};
  const bool quiet = within(0, 1) != 0, still = within(0, 1) != 0;
  const int32_t beam = within(0, 1) != 0 ? 8 : 4;
  const spike_rows rows = {x.data, s.rows, stride, s.dtype, 1, timesteps.data, ratio.data, still ? fixed.data : nullptr,
                           1, 0, quiet ? silenced.data : nullptr, within(SPIKE_ABSMAX, SPIKE_MEAN_ABS),
                           within(SPIKE_NEAREST, SPIKE_RATE_DISTORTION)};

  struct Made {
    Array<int8_t> codes, fired;
    Array<int16_t> wide;
    Array<float> scales, outputs, linear, steps, wide_scales, wide_outputs;
    Array<int32_t> sums, step_sums, wide_sums;
    int64_t clipped = 0, clipped_too = 0, clipped_wide = 0;
    Made(const Shape &s, int64_t width)
        : codes(s.rows * width), fired(7 * s.rows * width), wide(s.rows * s.inputs), scales(s.rows),
          outputs(s.rows * s.outputs), linear(s.rows * s.outputs), steps(s.rows * s.outputs), wide_scales(s.rows),
          wide_outputs(s.rows * s.outputs), sums(s.groups * s.rows * s.outputs),
          step_sums(s.groups * s.rows * s.outputs), wide_sums(s.groups * s.rows * s.outputs) {}
  };
  const auto make = [&](int32_t level, Made &m) {
    const char *name = spike_level_name(level);
    expect(spike_encode(level, &layer, &rows, m.codes.data, m.scales.data, &m.clipped) == SPIKE_OK, "encode", name);
    expect(spike_accumulate(level, &layer, m.codes.data, s.rows, m.sums.data) == SPIKE_OK, "accumulate", name);
    expect(spike_outputs(level, &layer, m.codes.data, m.scales.data, s.rows, m.outputs.data) == SPIKE_OK, "outputs", name);
    expect(spike_linear(level, &layer, &rows, m.linear.data, &m.clipped_too) == SPIKE_OK, "linear", name);
    expect(spike_accumulate_steps(level, &layer, planes.data, s.rows, 3, each.data, 1, m.step_sums.data) == SPIKE_OK, "steps", name);
    expect(spike_outputs_steps(level, &layer, planes.data, m.scales.data, s.rows, 3, one.data, 0, m.steps.data) == SPIKE_OK, "steps", name);
    expect(m.clipped == m.clipped_too && m.outputs == m.linear, "linear", name);
    spike_planes(m.codes.data, s.rows, width, table.data, 7, timesteps.data, 1, m.fired.data);
    expect(spike_encode_groups(level, &layer, &rows, beam, m.wide.data, m.wide_scales.data, &m.clipped_wide) == SPIKE_OK, "groups", name);
    expect(spike_accumulate_wide(level, &layer, m.wide.data, s.rows, m.wide_sums.data) == SPIKE_OK, "wide sums", name);
    expect(spike_outputs_wide(level, &layer, m.wide.data, m.wide_scales.data, s.rows, m.wide_outputs.data) == SPIKE_OK, "wide outputs", name);
  };
  Made expected(s, width);
  make(0, expected);
  for (int32_t level = 0; level < spike_level_count(); ++level) {
    if (!spike_level_supported(level)) continue;
    const char *name = spike_level_name(level);
    for (const spike_parallel_for threads : {static_cast<spike_parallel_for>(nullptr), &three_threads}) {
      Made m(s, width);
      spike_set_parallel_for(threads);
      make(level, m);
      expect(m.codes == expected.codes && m.scales == expected.scales && m.clipped == expected.clipped, "codes", name);
      expect(m.sums == expected.sums, "sums", name);
      expect(m.step_sums == expected.step_sums, "sums of steps", name);
      expect(m.outputs == expected.outputs && m.steps == expected.steps, "outputs", name);
      expect(m.fired == expected.fired, "planes", name);
      expect(m.wide == expected.wide && m.wide_scales == expected.wide_scales && m.clipped_wide == expected.clipped_wide, "groups", name);
      expect(m.wide_sums == expected.wide_sums && m.wide_outputs == expected.wide_outputs, "outputs of groups", name);
    }
    spike_set_parallel_for(nullptr);
  }
}

// Scales tried on rows, by one thread and by three.
void check_trials(int64_t rows, int64_t inputs, int64_t candidates) {
  Array<float> x(rows * inputs), weights(rows * inputs), scales(candidates * rows);
  Array<int32_t> timesteps(candidates);
  for (int64_t i = 0; i < x.size; ++i) x.data[i] = static_cast<float>(within(-999, 999)) / 64;
  for (int64_t i = 0; i < weights.size; ++i) weights.data[i] = static_cast<float>(within(0, 99)) / 8;
  for (int64_t i = 0; i < scales.size; ++i) scales.data[i] = static_cast<float>(within(1, 99)) / 256;
  for (int64_t i = 0; i < candidates; ++i) timesteps.data[i] = within(1, 7);
  Array<double> errors(candidates), again(candidates);
  Array<int64_t> counts(candidates * 128), counts_too(candidates * 128);
  const int32_t rounding = within(SPIKE_NEAREST, SPIKE_RATE_DISTORTION);
  const auto run = [&](Array<double> &error, Array<int64_t> &count) {
    return spike_try_scales(x.data, weights.data, rows, inputs, candidates, scales.data, timesteps.data, rounding, error.data,
                            count.data);
  };
  expect(run(errors, counts) == SPIKE_OK, "trials", "any");
  spike_set_parallel_for(&three_threads);
  expect(run(again, counts_too) == SPIKE_OK, "trials", "any");
  spike_set_parallel_for(nullptr);
  expect(errors == again && counts == counts_too, "trials on threads", "any");
  for (int64_t c = 0; c < candidates; ++c) {
    int64_t seen = 0;
    for (int64_t code = 0; code < 128; ++code) seen += counts.data[c * 128 + code];
    expect(seen == rows * inputs, "codes counted", "any");
  }
}

}  // namespace

int main(int argc, char **argv) {
  for (int32_t level = 0; level < spike_level_count(); ++level)
    if (spike_level_supported(level)) expect(spike_self_test(level) == 0, "the self-test", spike_level_name(level));
  const int64_t rows[] = {0, 1, 2, 3, 4, 6, 7, 13, 97}, outputs[] = {1, 15, 16, 17, 100, 600},
                inputs[] = {1, 3, 4, 5, 32, 33, 64, 130, 1029};
  const int shapes = argc > 1 ? std::atoi(argv[1]) : 200;
  for (int i = 0; i < shapes; ++i) {
    const int32_t groups = within(1, 4);
    check({rows[within(0, 8)], groups * inputs[within(0, 8)] / (groups > 2 ? 2 : 1) / groups * groups, outputs[within(0, 5)],
           groups, within(0, 1) != 0 ? 4 : 8, within(0, 3)});
    check_trials(within(0, 9), inputs[within(0, 8)], within(1, 5));
  }
  std::printf("%d shapes\n", shapes);
  return 0;
}
