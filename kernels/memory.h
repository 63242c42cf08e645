// Scratch memory of one call, in one thread.
#ifndef SPIKE_MEMORY_H
#define SPIKE_MEMORY_H
#include <cstdint>
#include <cstdlib>

namespace spike {
namespace {

// Elements that are freed at the end of a block; not initialized, aligned to 64 bytes. `data` is NULL where none were had.
template <class T>
struct Scratch {
  explicit Scratch(int64_t count) : block(std::malloc(static_cast<size_t>(count) * sizeof(T) + 64)) {
    data = block == nullptr
               ? nullptr
               : reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(block) + 63) & ~static_cast<uintptr_t>(63));
  }
  ~Scratch() { std::free(block); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;

  void *block;
  T *data;
};

}  // namespace
}  // namespace spike
#endif
