// What a 64-bit Arm machine has.
#ifndef SPIKE_ARM_H
#define SPIKE_ARM_H
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace spike {
namespace {

#if defined(__linux__)
// Bits of the kernel's answer: HWCAP_ASIMDDP, HWCAP2_I8MM.
inline bool has_dotprod() { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
inline bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) >> 13 & 1) != 0; }
#elif defined(__APPLE__)
inline bool says(const char *name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
inline bool has_dotprod() { return says("hw.optional.arm.FEAT_DotProd"); }
inline bool has_i8mm() { return has_dotprod() && says("hw.optional.arm.FEAT_I8MM"); }
#else
inline bool has_dotprod() { return false; }
inline bool has_i8mm() { return false; }
#endif

}  // namespace
}  // namespace spike
#endif
