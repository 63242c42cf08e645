// The loops over panels, groups, chunks and rows that all vector levels share. A level gives the kernel within them:
//
//   struct Kernel {
//     using Code = int8_t;               // what rows of codes are made of; other types are converted from int8
//     static constexpr int lanes;        // int32 lanes of a vector, a divisor of 16
//     static constexpr int rows;         // rows that `multiply` takes at most
//     static constexpr int direct_rows;  // so few rows read panels as they are, if their quads have direct_bytes;
//     static constexpr int64_t direct_bytes;  // more rows have them unpacked first
//     static int64_t chunk(int32_t bits, int32_t max_code);  // quads whose sums are exact in what `multiply` sums up in
//     static int32_t start(const Code *codes, int64_t quads, int32_t offset);  // what undoes the offset, for `multiply`
//     static constexpr int64_t quad_bytes;  // of a quad as `multiply` takes it: 64, or what `unpack` makes
//     static void unpack(const uint8_t *panel, int64_t quads, int64_t from_bytes, uint8_t *to);  // from quads of 32 or 64
//     template <int Rows, bool Packed>   // Packed: quads of direct_bytes, as panels have them
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
constexpr int64_t kUnits = 16;       // groups whose totals are kept at once

// How the quads of a layer are summed up: chunks, several to a group or one.
struct Chunks {
  int64_t quads;      // of a chunk; the last one of a group may have fewer
  int64_t per_group;
  int64_t last;       // quads of the last one of a group
};

static inline Chunks chunks_of(const Layout &l, int64_t longest) {
  Chunks c;
  c.quads = most(1, least(least(longest, kQuadBlock), l.group_quads));
  c.per_group = most(1, ceil_div(l.group_quads, c.quads));  // a layer without inputs has one of no quads
  c.quads = most(1, ceil_div(l.group_quads, c.per_group));  // of about one length
  c.per_group = most(1, ceil_div(l.group_quads, c.quads));
  c.last = l.group_quads - (c.per_group - 1) * c.quads;
  return c;
}

// Consecutive chunks of one panel that a few rows meet. A unit is what a sink takes: a group, or a part of a long one.
struct Stretch {
  int64_t units, chunks;  // chunks of a unit
  int64_t quads, last;    // quads of a chunk, and of the last one of a unit
};

// Where the sums of a unit go: into integers, times the weight of the step.
template <class Kernel, bool Weighted>
struct IntoTotals {
  using V = Vectors<Kernel::lanes>;
  uint32_t *totals;        // [units][Kernel::rows][16]
  const int32_t *weights;  // of the rows, one after the other or one for all
  int64_t weights_step;

  template <int Rows, int Parts>
  SPIKE_INLINE void take(int64_t unit, const typename V::Ints (&sums)[Rows][Parts]) const {
    uint32_t *first = totals + unit * Kernel::rows * kPanel;
    SPIKE_UNROLL for (int r = 0; r < Rows; ++r) {
      SPIKE_UNROLL for (int h = 0; h < Parts; ++h) {
        auto *to = reinterpret_cast<typename V::WordsAnywhere *>(first + r * kPanel + h * Kernel::lanes);
        typename V::Words sum = (typename V::Words)sums[r][h];
        if (Weighted) sum *= static_cast<uint32_t>(weights[r * weights_step]);
        *to += sum;
      }
    }
  }
};

// ... or, where each unit is a group, scaled onto the outputs.
template <class Kernel>
struct OntoOutputs {
  using V = Vectors<Kernel::lanes>;
  float *outputs;              // [rows][16]
  const float *scales;         // of the rows
  const float *weight_scales;  // of the first unit's group, this panel
  int64_t stride;              // from group to group

  template <int Rows, int Parts>
  SPIKE_INLINE void take(int64_t unit, const typename V::Ints (&sums)[Rows][Parts]) const {
    const float *columns = weight_scales + unit * stride;
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

template <class Kernel, int Rows, bool Packed, bool Several, class Sink>
__attribute__((noinline)) void run(const uint8_t *weights, const typename Kernel::Code *codes, int64_t stride,
                                   const int32_t *starts, int64_t starts_stride, const Stretch &stretch, Sink sink) {
  constexpr int parts = kPanel / Kernel::lanes;
  constexpr int64_t quad_bytes = Packed ? Kernel::direct_bytes : Kernel::quad_bytes;
  for (int64_t unit = 0; unit < stretch.units; ++unit) {
    Ints<Kernel::lanes> sums[Rows][parts];
    int64_t quads = Several ? stretch.quads : stretch.last;
    Kernel::template multiply<Rows, Packed>(weights, codes, stride, quads, starts++, starts_stride, sums);
    weights += quads * quad_bytes;
    codes += quads * kQuad;
    if (Several)
      for (int64_t chunk = 1; chunk < stretch.chunks; ++chunk) {
        Ints<Kernel::lanes> more[Rows][parts];
        quads = chunk == stretch.chunks - 1 ? stretch.last : stretch.quads;
        Kernel::template multiply<Rows, Packed>(weights, codes, stride, quads, starts++, starts_stride, more);
        weights += quads * quad_bytes;
        codes += quads * kQuad;
        SPIKE_UNROLL for (int r = 0; r < Rows; ++r)
          SPIKE_UNROLL for (int h = 0; h < parts; ++h) sums[r][h] += more[r][h];
      }
    sink.take(unit, sums);
    asm volatile("" : : : "memory");  // what a sink writes stays in memory: no register is free for it
  }
}

// Numbers of rows that `run` is compiled for: all of a small kernel; of one that takes more, what doubles.
template <class Kernel>
constexpr bool together(int64_t rows) {
  return Kernel::rows <= 6 || (rows & (rows - 1)) == 0;
}

// The most rows of those left that `run` takes at once.
template <class Kernel>
SPIKE_INLINE int64_t rows_together(int64_t left) {
  int64_t rows = least(Kernel::rows, left);
  while (!together<Kernel>(rows)) --rows;
  return rows;
}

// `run` for what is known when it is called.
template <class Kernel, int Rows, class... Arguments>
SPIKE_INLINE void run_rows(int64_t rows, bool packed, bool several, const Arguments &...arguments) {
  if constexpr (!together<Kernel>(Rows)) {
    run_rows<Kernel, Rows - 1>(rows, packed, several, arguments...);
  } else if (rows == Rows) {
    constexpr bool direct = Rows <= Kernel::direct_rows;
    if (direct && packed && several)
      run<Kernel, Rows, direct, true>(arguments...);
    else if (direct && packed)
      run<Kernel, Rows, direct, false>(arguments...);
    else if (several)
      run<Kernel, Rows, false, true>(arguments...);
    else
      run<Kernel, Rows, false, false>(arguments...);
  } else if constexpr (Rows > 1) {
    run_rows<Kernel, Rows - 1>(rows, packed, several, arguments...);
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
  const Code *codes;  // [steps][code_rows][width], from the first row of the block
  const int64_t code_rows;
  const int32_t *starts;  // [steps][rows][groups * chunks.per_group]
  uint8_t *bytes;         // [kQuadBlock][64]
  uint32_t *totals;       // [units][Kernel::rows][16] of a few rows; [rows][16] where groups are longer than a block
  float *outputs;         // [rows][16]

  // Panels are read as they are, though `multiply` would rather have them unpacked.
  bool packed() const { return p.layout.quad_bytes == Kernel::direct_bytes && p.steps * rows <= Kernel::direct_rows; }
  bool unpacks() const { return !packed() && p.layout.quad_bytes != Kernel::quad_bytes; }
  // Several passes over a panel's weights read them from the first cache, a block after the other.
  bool blocked() const { return unpacks() || p.steps * rows > Kernel::rows; }
  // A block has whole groups, or a part of one.
  bool whole() const { return !blocked() || p.layout.group_quads <= kQuadBlock; }
  // Groups go onto the outputs without totals between.
  bool onto_outputs() const { return p.outputs != nullptr && p.layout.groups > 1 && whole() && p.weights == nullptr; }

  // All units of one block of weights: groups [group, group_end), or chunks [chunk, chunk_end) of a single long one.
  void multiply(int64_t panel, int64_t group, int64_t group_end, int64_t chunk, int64_t chunk_end) {
    const Layout &l = p.layout;
    const bool complete = chunk_end == chunks.per_group;
    const int64_t quad = group * l.group_quads + chunk * chunks.quads;
    const int64_t quad_end = complete ? group_end * l.group_quads : group * l.group_quads + chunk_end * chunks.quads;
    const uint8_t *weights = p.layer->panels + (panel * l.quads + quad) * l.quad_bytes;
    // The next block lies behind this one, in the next panel as well. It comes from memory, so all that is done with some
    // rows asks for a part of it. Asking beyond the last block is no access.
    const int64_t size = (quad_end - quad) * l.quad_bytes;
    const uint8_t *next = weights + size;
    const int64_t lines = ceil_div(size, 64 * ceil_div(rows, Kernel::rows));
    if (unpacks()) {
      Kernel::unpack(weights, quad_end - quad, l.quad_bytes, bytes);
      weights = bytes;
    }
    const Stretch stretch{group_end - group, chunk_end - chunk, chunks.quads, complete ? chunks.last : chunks.quads};
    const int64_t starts_stride = l.groups * chunks.per_group, first_start = group * chunks.per_group + chunk;
    const bool last = complete && group_end == l.groups;
    for (int64_t r = 0, few; r < rows; r += few) {
      few = rows_together<Kernel>(rows - r);
      for (int64_t line = blocked() ? lines : 0; line > 0; --line, next += 64) __builtin_prefetch(next, 0, 2);
      if (last && p.outputs != nullptr) ask_for_outputs(panel, r, few);
      uint32_t *own = whole() ? totals : totals + r * kPanel;
      for (int64_t step = 0; step < p.steps; ++step) {
        const Code *from = codes + (step * code_rows + r) * l.width + quad * kQuad;
        const int32_t *start = starts + (step * rows + r) * starts_stride + first_start;
        const auto run_into = [&](const auto &sink) {
          run_rows<Kernel, Kernel::rows>(few, packed(), stretch.chunks > 1, weights, from, l.width, start, starts_stride,
                                         stretch, sink);
        };
        if (onto_outputs()) {
          const float *columns = p.layer->scales + (group * l.panels + panel) * kPanel;
          run_into(OntoOutputs<Kernel>{outputs + r * kPanel, p.scales + row + r, columns, l.panels * kPanel});
        } else if (p.weights == nullptr) {
          run_into(IntoTotals<Kernel, false>{own, nullptr, 0});
        } else {
          const int32_t *weight = p.weights + (p.weights_step != 0 ? step * p.rows + row + r : step);
          run_into(IntoTotals<Kernel, true>{own, weight, p.weights_step});
        }
      }
      if (complete && !onto_outputs())
        for (int64_t g = group; g < group_end; ++g) finish_group(panel, g, r, few, own + (g - group) * Kernel::rows * kPanel);
    }
  }

  // Asks for the lines that a panel's outputs of a few rows are going to be written to: each lies in a page of its own.
  void ask_for_outputs(int64_t panel, int64_t first, int64_t few) const {
    for (int64_t r = first; r < first + few; ++r)
      __builtin_prefetch(p.outputs + (row + r) * p.layout.outputs + panel * kPanel, 1, 3);
  }

  // Clears a few rows. A call takes longer, and so does the string instruction that compilers make of memset, or of a
  // loop in which they recognize it.
  template <class T>
  static SPIKE_INLINE void clear(T *rows_of_panel, int64_t count) {
    const typename V::Floats zero = {};
    for (int64_t n = 0; n < count * kPanel; n += Kernel::lanes) {
      *reinterpret_cast<typename V::FloatsAnywhere *>(rows_of_panel + n) = zero;
      asm volatile("" : : : "memory");
    }
  }

  // Takes the totals of a group that is complete, of a few rows, and clears them.
  void finish_group(int64_t panel, int64_t group, int64_t first, int64_t few, uint32_t *own) {
    const Layout &l = p.layout;
    const int64_t live = least(kPanel, l.outputs - panel * kPanel);
    if (p.sums != nullptr)
      for (int64_t r = 0; r < few; ++r) {
        int32_t *to = p.sums + (group * p.rows + row + first + r) * l.outputs + panel * kPanel;
        if (live == kPanel)
          __builtin_memcpy(to, own + r * kPanel, kPanel * sizeof *to);
        else
          __builtin_memcpy(to, own + r * kPanel, static_cast<size_t>(live) * sizeof *to);
      }
    else
      for (int64_t r = 0; r < few; ++r) {
        const float scale = p.scales[row + first + r];
        SPIKE_UNROLL for (int64_t h = 0; h < kPanel; h += Kernel::lanes) {
          const typename V::Ints sum = (typename V::Ints)*reinterpret_cast<typename V::WordsAnywhere *>(own + r * kPanel + h);
          const typename V::Floats column = *reinterpret_cast<const typename V::FloatsAnywhere *>(
              p.layer->scales + (group * l.panels + panel) * kPanel + h);
          const typename V::Floats scaled = (__builtin_convertvector(sum, typename V::Floats) * scale) * column;
          auto *to = reinterpret_cast<typename V::FloatsAnywhere *>(outputs + (first + r) * kPanel + h);
          *to = l.groups == 1 ? scaled : *to + scaled;
        }
      }
    clear(own, few);
  }

  // Writes the outputs of a panel that is complete.
  void finish_panel(int64_t panel) {
    if (p.outputs == nullptr) return;
    const int64_t first = panel * kPanel, live = least(kPanel, p.layout.outputs - first);
    alignas(64) float bias[kPanel] = {};
    if (p.layer->bias != nullptr) __builtin_memcpy(bias, p.layer->bias + first, static_cast<size_t>(live) * sizeof *bias);
    for (int64_t r = 0; r < rows; ++r) {
      const float *from = outputs + r * kPanel;
      float *to = p.outputs + (row + r) * p.layout.outputs + first;
      if (live < kPanel)
        for (int64_t n = 0; n < live; ++n) to[n] = p.layer->bias == nullptr ? from[n] : from[n] + bias[n];
      else if (p.layer->bias == nullptr)
        __builtin_memcpy(to, from, kPanel * sizeof *to);
      else
        SPIKE_UNROLL for (int64_t h = 0; h < kPanel; h += Kernel::lanes)
          *reinterpret_cast<typename V::FloatsAnywhere *>(to + h) =
              *reinterpret_cast<const typename V::FloatsAnywhere *>(from + h) +
              *reinterpret_cast<const typename V::FloatsAnywhere *>(bias + h);
    }
    if (p.layout.groups > 1) clear(outputs, rows);
  }

  void multiply_panels(int64_t panel, int64_t panel_end) {
    const Layout &l = p.layout;
    int64_t groups = l.groups, stretch = chunks.per_group;
    if (blocked()) groups = whole() ? least(groups, most(1, kQuadBlock / most(1, l.group_quads))) : 1;
    if (!onto_outputs()) groups = least(groups, kUnits);
    if (!whole()) stretch = most(1, kQuadBlock / chunks.quads);
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
  const Scratch<uint8_t> bytes(kQuadBlock * Kernel::quad_bytes);
  const Scratch<int32_t> starts(p.steps * rows * l.groups * chunks.per_group);
  const Scratch<Code> converted(convert ? p.steps * rows * l.width : 0);
  const Scratch<uint32_t> totals(most(kUnits * Kernel::rows, rows) * kPanel);
  const Scratch<float> outputs(rows * kPanel);
  if (!bytes.data || !starts.data || !converted.data || !totals.data || !outputs.data) return false;
  __builtin_memset(totals.data, 0, static_cast<size_t>(most(kUnits * Kernel::rows, rows) * kPanel) * sizeof(uint32_t));
  __builtin_memset(outputs.data, 0, static_cast<size_t>(rows * kPanel) * sizeof(float));
  for (int64_t row = part.row; row < part.row_end; row += kRowBlock) {
    const int64_t few = least(kRowBlock, part.row_end - row);
    prepare<Kernel>(p, chunks, row, few, converted.data, starts.data);
    const Code *codes = convert ? converted.data : reinterpret_cast<const Code *>(p.codes + row * l.width);
    RowBlock<Kernel> block{p, chunks, row, few, codes, convert ? few : p.rows, starts.data, bytes.data, totals.data,
                           outputs.data};
    block.multiply_panels(part.panel, part.panel_end);
  }
  return true;
}

}  // namespace
}  // namespace spike
#endif
