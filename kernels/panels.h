// The loops over panels, groups, chunks and rows that all vector levels share. A level gives the kernel within them:
//
//   struct Kernel {
//     using Code = int8_t;               // what rows of codes are made of; other types are converted from int8
//     static constexpr int lanes;        // int32 lanes of a vector, a divisor of 16
//     static constexpr int rows;         // rows that `multiply` takes at most
//     static constexpr int direct_rows;  // so few rows read 4-bit panels as they are; more have them unpacked first
//     static int64_t chunk(int32_t bits, int32_t max_code);  // quads whose sums are exact in what `multiply` sums up in
//     static int32_t start(const Code *codes, int64_t quads, int32_t offset);  // what undoes the offset, for `multiply`
//     static void unpack(const uint8_t *panel, int64_t quads, uint8_t *bytes);  // 4-bit quads to quads of 64 bytes
//     template <int Rows, bool Packed>   // Packed: quads of 4 bits, else of 64 bytes
//     static void multiply(const uint8_t *weights, const Code *codes, int64_t stride, int64_t quads,
//                          const int32_t *starts, int64_t starts_stride, Ints<lanes> (&sums)[Rows][16 / lanes]);
//   };
//
// `multiply` gives, for each of its rows, the 16 sums of a chunk: exact, without the offset of the panels. All is in an
// unnamed namespace: each level compiles its own.
#ifndef SPIKE_PANELS_H
#define SPIKE_PANELS_H
#include "level.h"
#include "memory.h"

#define SPIKE_INLINE inline __attribute__((always_inline))
#define SPIKE_UNROLL _Pragma("GCC unroll 16")

namespace spike {
namespace {

// Vectors of any length, as GCC and Clang have them; memory may hold them at any address of an element.
template <int Lanes>
struct Vectors {
  typedef int32_t Ints __attribute__((vector_size(4 * Lanes)));
  typedef uint32_t Words __attribute__((vector_size(4 * Lanes)));
  typedef float Floats __attribute__((vector_size(4 * Lanes)));
  typedef uint32_t WordsAnywhere __attribute__((vector_size(4 * Lanes), aligned(4), may_alias));
  typedef float FloatsAnywhere __attribute__((vector_size(4 * Lanes), aligned(4), may_alias));
};
template <int Lanes>
using Ints = typename Vectors<Lanes>::Ints;

constexpr int64_t kRowBlock = 96;    // rows for which a panel is unpacked once; their outputs stay in the first cache
constexpr int64_t kQuadBlock = 256;  // quads of 64 bytes that are unpacked at once: half of a first cache of 32 KiB

// How the quads of a layer are summed up: chunks, several to a group or one.
struct Chunks {
  int64_t quads;      // of a chunk; the last one of a group may have fewer
  int64_t per_group;
  int64_t last;       // quads of the last one of a group
};

static inline Chunks chunks_of(const Layout &l, int64_t longest) {
  Chunks c;
  c.quads = most(1, least(least(longest, kQuadBlock), l.group_quads));
  c.per_group = ceil_div(l.group_quads, c.quads);
  c.quads = most(1, ceil_div(l.group_quads, most(1, c.per_group)));  // of about one length
  c.per_group = ceil_div(l.group_quads, c.quads);
  c.last = l.group_quads - most(0, c.per_group - 1) * c.quads;
  return c;
}

// Consecutive chunks of one panel that a few rows meet.
struct Stretch {
  int64_t count, quads, last;  // chunks, quads of each, quads of the last one
};

// Where the sums of a chunk go: into the integers of their rows, times the weight of the step.
template <class Kernel, bool Weighted>
struct IntoIntegers {
  using V = Vectors<Kernel::lanes>;
  uint32_t *totals;        // [rows][16]
  const int32_t *weights;  // of the rows, one after the other or one for all
  int64_t weights_step;

  template <int Rows, int Parts>
  SPIKE_INLINE void take(int64_t, const typename V::Ints (&sums)[Rows][Parts]) const {
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
      SPIKE_UNROLL for (int h = 0; h < Parts; ++h) {
        auto *to = reinterpret_cast<typename V::WordsAnywhere *>(totals + r * kPanel + h * Kernel::lanes);
        typename V::Words sum = (typename V::Words)sums[r][h];
        if (Weighted) sum *= static_cast<uint32_t>(weights[r * weights_step]);
        *to += sum;
      }
    }
  }
};

// ... or, where each chunk is a group, scaled onto the outputs.
template <class Kernel>
struct OntoOutputs {
  using V = Vectors<Kernel::lanes>;
  float *outputs;              // [rows][16]
  const float *scales;         // of the rows
  const float *weight_scales;  // of the first chunk's group, this panel
  int64_t stride;              // from group to group

  template <int Rows, int Parts>
  SPIKE_INLINE void take(int64_t chunk, const typename V::Ints (&sums)[Rows][Parts]) const {
    const float *columns = weight_scales + chunk * stride;
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
      const float scale = scales[r];
      SPIKE_UNROLL for (int h = 0; h < Parts; ++h) {
        auto *to = reinterpret_cast<typename V::FloatsAnywhere *>(outputs + r * kPanel + h * Kernel::lanes);
        const typename V::Floats column =
            *reinterpret_cast<const typename V::FloatsAnywhere *>(columns + h * Kernel::lanes);
        *to += (__builtin_convertvector(sums[r][h], typename V::Floats) * scale) * column;
      }
    }
  }
};

template <class Kernel, int Rows, bool Packed, class Sink>
__attribute__((noinline)) void run(const uint8_t *weights, const typename Kernel::Code *codes, int64_t stride,
                                   const int32_t *starts, int64_t starts_stride, const Stretch &stretch, Sink sink) {
  for (int64_t c = 0; c < stretch.count; ++c) {
    const int64_t quads = c == stretch.count - 1 ? stretch.last : stretch.quads;
    Ints<Kernel::lanes> sums[Rows][kPanel / Kernel::lanes];
    Kernel::template multiply<Rows, Packed>(weights, codes, stride, quads, starts + c, starts_stride, sums);
    sink.take(c, sums);
    weights += quads * (Packed ? 32 : 64);
    codes += quads * kQuad;
  }
}

// `run` for a number of rows that is known when it is called.
template <class Kernel, int Rows, class... Arguments>
SPIKE_INLINE void run_rows(int64_t rows, bool packed, const Arguments &...arguments) {
  if (rows == Rows) {
    if (Rows <= Kernel::direct_rows && packed)
      run<Kernel, Rows, (Rows <= Kernel::direct_rows)>(arguments...);
    else
      run<Kernel, Rows, false>(arguments...);
  } else if constexpr (Rows > 1) {
    run_rows<Kernel, Rows - 1>(rows, packed, arguments...);
  }
}

// The rows of a part that meet each panel together, at most kRowBlock of them.
template <class Kernel>
struct RowBlock {
  using V = Vectors<Kernel::lanes>;
  using Code = typename Kernel::Code;
  const Product &p;
  const Chunks chunks;
  const int64_t row, rows;
  const Code *codes;      // [steps][code_rows][width], from the first row of the block
  const int64_t code_rows;
  const int32_t *starts;  // [steps][rows][groups * chunks.per_group]
  uint8_t *bytes;         // [kQuadBlock][64]
  uint32_t totals[kRowBlock * kPanel];
  float outputs[kRowBlock * kPanel];

  // Whether the sums of chunks go onto the outputs at once.
  bool direct() const { return p.outputs != nullptr && p.layout.groups > 1 && chunks.per_group == 1 && p.steps == 1 && p.weights == nullptr; }

  // Groups [group, group_end) of a panel, or chunks [chunk, chunk_end) of a single one.
  void multiply(int64_t panel, int64_t group, int64_t group_end, int64_t chunk, int64_t chunk_end) {
    const Layout &l = p.layout;
    const int64_t quad = group * l.group_quads + chunk * chunks.quads;
    const int64_t quad_end =
        chunk_end == chunks.per_group ? group_end * l.group_quads : group * l.group_quads + chunk_end * chunks.quads;
    const uint8_t *weights = p.layer->panels + (panel * l.quads + quad) * l.quad_bytes;
    const bool packed = l.quad_bytes == 32 && p.steps * rows <= Kernel::direct_rows;
    if (l.quad_bytes == 32 && !packed) {
      Kernel::unpack(weights, quad_end - quad, bytes);
      weights = bytes;
    }
    const int64_t quad_bytes = packed ? 32 : 64, starts_stride = l.groups * chunks.per_group;
    const int64_t count = chunk_end - chunk, last = chunk_end == chunks.per_group ? chunks.last : chunks.quads;
    for (int64_t r = 0, few; r < rows; r += few) {
      few = least(Kernel::rows, rows - r);
      if (direct()) {
        const OntoOutputs<Kernel> sink{outputs + r * kPanel, p.scales + row + r,
                                       p.layer->scales + group * l.panels * kPanel + panel * kPanel, l.panels * kPanel};
        run_rows<Kernel, Kernel::rows>(few, packed, weights, codes + r * l.width + quad * kQuad, l.width,
                                       starts + r * starts_stride + group, starts_stride,
                                       Stretch{group_end - group, chunks.quads, chunks.quads}, sink);
        continue;
      }
      const Stretch stretch{count, chunks.quads, last};
      for (int64_t g = group; g < group_end; ++g) {
        const uint8_t *from = weights + (g - group) * l.group_quads * quad_bytes;
        for (int64_t step = 0; step < p.steps; ++step) {
          const Code *own = codes + (step * code_rows + r) * l.width + (g == group ? quad : g * l.group_quads) * kQuad;
          const int32_t *start = starts + (step * rows + r) * starts_stride + g * chunks.per_group + chunk;
          if (p.weights == nullptr) {
            const IntoIntegers<Kernel, false> sink{totals + r * kPanel, nullptr, 0};
            run_rows<Kernel, Kernel::rows>(few, packed, from, own, l.width, start, starts_stride, stretch, sink);
          } else {
            const int32_t *weight = p.weights + (p.weights_step != 0 ? step * p.rows + row + r : step);
            const IntoIntegers<Kernel, true> sink{totals + r * kPanel, weight, p.weights_step};
            run_rows<Kernel, Kernel::rows>(few, packed, from, own, l.width, start, starts_stride, stretch, sink);
          }
        }
        if (chunk_end == chunks.per_group) finish_group(panel, g, r, few);
      }
    }
  }

  // Takes the sums of a group that is complete, of a few rows.
  void finish_group(int64_t panel, int64_t group, int64_t first, int64_t few) {
    const Layout &l = p.layout;
    const int64_t live = least(kPanel, l.outputs - panel * kPanel);
    const float *columns = p.outputs == nullptr ? nullptr : p.layer->scales + (group * l.panels + panel) * kPanel;
    for (int64_t r = first; r < first + few; ++r) {
      uint32_t *own = totals + r * kPanel;
      if (p.sums != nullptr) {
        int32_t *to = p.sums + (group * p.rows + row + r) * l.outputs + panel * kPanel;
        if (live == kPanel)
          __builtin_memcpy(to, own, kPanel * sizeof *to);
        else
          for (int64_t n = 0; n < live; ++n) to[n] = static_cast<int32_t>(own[n]);
      }
      if (p.outputs != nullptr) {
        const float scale = p.scales[row + r];
        for (int64_t h = 0; h < kPanel; h += Kernel::lanes) {
          const typename V::Ints sum = (typename V::Ints)*reinterpret_cast<typename V::WordsAnywhere *>(own + h);
          const typename V::Floats column = *reinterpret_cast<const typename V::FloatsAnywhere *>(columns + h);
          const typename V::Floats scaled = (__builtin_convertvector(sum, typename V::Floats) * scale) * column;
          auto *to = reinterpret_cast<typename V::FloatsAnywhere *>(outputs + r * kPanel + h);
          if (l.groups == 1)
            *to = scaled;
          else
            *to += scaled;
        }
      }
      __builtin_memset(own, 0, kPanel * sizeof *own);
    }
  }

  // Writes the outputs of a panel that is complete.
  void finish_panel(int64_t panel) {
    if (p.outputs == nullptr) return;
    const int64_t first = panel * kPanel, live = least(kPanel, p.layout.outputs - first);
    const float *bias = p.layer->bias == nullptr ? nullptr : p.layer->bias + first;
    for (int64_t r = 0; r < rows; ++r) {
      const float *from = outputs + r * kPanel;
      float *to = p.outputs + (row + r) * p.layout.outputs + first;
      if (live == kPanel && bias != nullptr)
        for (int64_t n = 0; n < kPanel; ++n) to[n] = from[n] + bias[n];
      else if (live == kPanel)
        __builtin_memcpy(to, from, kPanel * sizeof *to);
      else
        for (int64_t n = 0; n < live; ++n) to[n] = bias == nullptr ? from[n] : from[n] + bias[n];
    }
    if (p.layout.groups > 1) __builtin_memset(outputs, 0, static_cast<size_t>(rows * kPanel) * sizeof *outputs);
  }

  void multiply_panels(int64_t panel, int64_t panel_end) {
    const Layout &l = p.layout;
    const bool whole = l.group_quads <= kQuadBlock;  // groups: as many as fit at once, else parts of one
    const int64_t groups = whole ? most(1, kQuadBlock / most(1, l.group_quads)) : 1;
    const int64_t stretch = whole ? chunks.per_group : most(1, kQuadBlock / chunks.quads);
    __builtin_memset(totals, 0, sizeof totals);
    __builtin_memset(outputs, 0, sizeof outputs);
    for (; panel < panel_end; ++panel) {
      for (int64_t g = 0; g < l.groups; g += groups)
        for (int64_t c = 0; c < chunks.per_group; c += stretch)
          multiply(panel, g, least(g + groups, l.groups), c, least(c + stretch, chunks.per_group));
      finish_panel(panel);
    }
  }
};

// Codes of another type than int8, and the starts of all chunks of `rows` rows.
template <class Kernel>
void prepare(const Product &p, const Chunks &chunks, int64_t row, int64_t rows, typename Kernel::Code *converted,
             int32_t *starts) {
  const Layout &l = p.layout;
  for (int64_t step = 0; step < p.steps; ++step)
    for (int64_t r = 0; r < rows; ++r) {
      const int8_t *plain = p.codes + (step * p.rows + row + r) * l.width;
      const typename Kernel::Code *codes = reinterpret_cast<const typename Kernel::Code *>(plain);
      if (sizeof(typename Kernel::Code) != 1) {
        for (int64_t k = 0; k < l.width; ++k) converted[k] = plain[k];
        codes = converted;
        converted += l.width;
      }
      for (int64_t g = 0; g < l.groups; ++g)
        for (int64_t c = 0; c < chunks.per_group; ++c) {
          const int64_t quads = c == chunks.per_group - 1 ? chunks.last : chunks.quads;
          *starts++ = Kernel::start(codes + (g * l.group_quads + c * chunks.quads) * kQuad, quads, l.offset);
        }
    }
}

// `Level::multiply` with a kernel.
template <class Kernel>
bool multiply_with(const Product &p, const Part &part) {
  using Code = typename Kernel::Code;
  const Layout &l = p.layout;
  const Chunks chunks = chunks_of(l, Kernel::chunk(p.layer->bits, p.max_code));
  const int64_t rows = least(kRowBlock, part.row_end - part.row);
  const bool convert = sizeof(Code) != 1;
  const Scratch<uint8_t> bytes(kQuadBlock * 64);
  const Scratch<int32_t> starts(p.steps * rows * l.groups * chunks.per_group);
  const Scratch<Code> converted(convert ? p.steps * rows * l.width : 0);
  if (bytes.data == nullptr || starts.data == nullptr || converted.data == nullptr) return false;
  for (int64_t row = part.row; row < part.row_end; row += kRowBlock) {
    const int64_t few = least(kRowBlock, part.row_end - row);
    prepare<Kernel>(p, chunks, row, few, converted.data, starts.data);
    const Code *codes = convert ? converted.data : reinterpret_cast<const Code *>(p.codes + row * l.width);
    RowBlock<Kernel> block{p, chunks, row, few, codes, convert ? few : p.rows, starts.data, bytes.data, {}, {}};
    block.multiply_panels(part.panel, part.panel_end);
  }
  return true;
}

}  // namespace
}  // namespace spike
#endif
