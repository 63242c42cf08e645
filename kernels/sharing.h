// Work shared out among the threads of whoever loaded the library.
#ifndef SPIKE_SHARING_H
#define SPIKE_SHARING_H
#include <atomic>
#include <cstdint>

#include "spike_kernels.h"

namespace spike {

// Calls body(item) for each item in 0 .. items - 1. At least `grain` items are worth a thread.
void share(int64_t items, int64_t grain, void (*body)(int64_t item, void *context), void *context);

// The same with a callable.
template <class Body>
void share(int64_t items, int64_t grain, Body &body) {
  share(items, grain, [](int64_t item, void *context) { (*static_cast<Body *>(context))(item); }, &body);
}

}  // namespace spike
#endif
