/* NVIDIA's driver, as far as a program asks it before it loads CUDA: for checks that programs find and load what they need.
   DRIVER_DEVICES is the number of GPUs (1), DRIVER_CODE what starting the driver returns (0). */
#include <stdlib.h>

static int setting(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) { return (void)flags, setting("DRIVER_CODE", 0); }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) { return *count = setting("DRIVER_DEVICES", 1), 0; }
