// An emulated CUDA device in place of libtorch_cuda.so; see README.md.
//
// One translation unit: most of the minute that it takes to compile goes into libtorch's headers. Each part includes the
// one before it.
#include "packed.h"

#include "collectives.h"

// What a program asks of CUDA's runtime by name.
extern "C" {
__attribute__((visibility("default"))) int cudaGetDevice(int* index) {
  *index = emulator::current_device;
  return 0;
}
__attribute__((visibility("default"))) int cudaSetDevice(int index) {
  if (index < 0 || index >= emulator::device_count()) return 101;
  emulator::current_device = c10::DeviceIndex(index);
  return 0;
}
__attribute__((visibility("default"))) int cudaMemGetInfo(size_t* free, size_t* total) {
  emulator::Memory::get().info(free, total);
  return 0;
}
}
