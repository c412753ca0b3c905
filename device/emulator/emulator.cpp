// An emulated CUDA device in place of libtorch_cuda.so; see README.md.
//
// One translation unit: most of the minute that it takes to compile goes into libtorch's headers. Each part includes the
// one before it.
#include "attention.h"
