// What an x86 machine has, and what its system lets programs use: names for these differ from compiler to compiler.
#ifndef SPIKE_X86_H
#define SPIKE_X86_H
#include <cpuid.h>

#include <cstdint>

namespace spike {
namespace {

// Parts of the registers that a system saves for each thread, bits of XCR0.
constexpr uint64_t kSavesAvx = 0x6, kSavesAvx512 = 0xe6, kSavesTiles = 0x60000;

// Bits of the answer to cpuid(7, 0) and cpuid(7, 1).
struct Features {
  uint32_t eax, ebx, ecx, edx;  // of cpuid(7, 0)
  uint32_t more;                // eax of cpuid(7, 1)
};

inline Features features() {
  Features f = {0, 0, 0, 0, 0};
  uint32_t unused[3];
  if (!__get_cpuid_count(7, 0, &f.eax, &f.ebx, &f.ecx, &f.edx)) return {0, 0, 0, 0, 0};
  if (f.eax >= 1) __get_cpuid_count(7, 1, &f.more, &unused[0], &unused[1], &unused[2]);
  return f;
}

// Whether the system saves all of `parts` when it changes from thread to thread.
inline bool saves(uint64_t parts) {
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx >> 27 & 1) == 0) return false;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return ((static_cast<uint64_t>(edx) << 32 | eax) & parts) == parts;
}

inline bool bit(uint32_t word, int index) { return (word >> index & 1) != 0; }

inline bool has_avx512vnni() {
  const Features f = features();  // F, BW, VL and VNNI
  return bit(f.ebx, 16) && bit(f.ebx, 30) && bit(f.ebx, 31) && bit(f.ecx, 11) && saves(kSavesAvx512);
}

inline bool has_avxvnni() {
  const Features f = features();  // AVX2 and AVX-VNNI
  return bit(f.ebx, 5) && bit(f.more, 4) && saves(kSavesAvx);
}

// The answer of `ask`, which is slow: a machine that runs in another traps each cpuid. Asked once.
template <bool (*ask)()>
bool once() {
  static int32_t known;  // 0: not asked yet
  int32_t answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (answer == 0) {
    answer = ask() ? 2 : 1;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
  }
  return answer == 2;
}

}  // namespace
}  // namespace spike
#endif
