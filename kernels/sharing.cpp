// Threads take one item after the other: one that is kept waiting by other processes leaves its items to the rest.
#include "sharing.h"

namespace spike {
namespace {

std::atomic<spike_parallel_for> parallel_for{nullptr};

struct Work {
  std::atomic<int64_t> next{0};
  int64_t items;
  void (*body)(int64_t item, void *context);
  void *context;
};

void take(int64_t, int64_t, void *context) {
  Work &work = *static_cast<Work *>(context);
  for (;;) {
    const int64_t item = work.next.fetch_add(1, std::memory_order_relaxed);
    if (item >= work.items) return;
    work.body(item, work.context);
  }
}

}  // namespace

void share(int64_t items, int64_t grain, void (*body)(int64_t item, void *context), void *context) {
  const spike_parallel_for outer = parallel_for.load(std::memory_order_relaxed);
  Work work;
  work.items = items;
  work.body = body;
  work.context = context;
  if (outer != nullptr && items > grain) outer(0, items, grain, take, &work);
  take(0, 0, &work);  // what is left: all of it without threads, nothing after them
}

}  // namespace spike

extern "C" __attribute__((visibility("default"))) void spike_set_parallel_for(spike_parallel_for function) {
  spike::parallel_for.store(function, std::memory_order_relaxed);
}
