// The NCCL group of c10d, as libtorch 2.11 has it: a library of its own, whose bytes a program carries.
//
// It alone needs libtorch's CUDA library. So a program starts without that, and loads this one where it has a GPU
// (`load` in `c10d.cpp`). The size of the class depends on the versions of libtorch and NCCL, so both are checked.

#define USE_C10D_NCCL
#include <torch/version.h>
#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "native/nccl.cpp is written for libtorch 2.11"
#endif

#include <nccl.h>
#if NCCL_MAJOR != 2 || NCCL_MINOR != 28
#error "libtorch 2.11 is built with NCCL 2.28: install the package nvidia-nccl-cu13 2.28.9, or nvidia-nccl-cu12"
#endif

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstring>

#ifdef __x86_64__
// That of the objects which libtorch itself makes (`ProcessGroupNCCL::split`).
static_assert(sizeof(c10d::ProcessGroupNCCL) == 1112, "these headers are of another libtorch or NCCL");
#endif

namespace {

using c10d::ProcessGroupNCCL;

class Group final : public ProcessGroupNCCL {
 public:
  Group(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size, c10::intrusive_ptr<Options> options)
      : ProcessGroupNCCL(std::move(store), rank, world_size, std::move(options)) {
    // An error is the caller's to handle. By default, a thread of libtorch ends the process.
    asyncErrorHandling_ = c10d::NoHandling;
    blockingWait_ = false;
  }

 protected:
  // The monitor of the watchdog's heartbeat calls this: an operation that hangs ends with its limit instead.
  void terminateProcess(const std::string&) override {}
};

}  // namespace

#define HINT_EXPORT extern "C" __attribute__((visibility("default")))

// The group of `world_size` processes, connected by the GPU `device` of this one.
HINT_EXPORT c10d::Backend* hint_nccl_new(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world_size,
                                         int device, int64_t timeout_ms) {
  auto options = ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::milliseconds(timeout_ms);
  // Connecting returns when it is done, or throws.
  options->config.blocking = 1;
  auto group = c10::make_intrusive<Group>(store, rank, world_size, std::move(options));
  group->eagerConnectSingleDevice(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
  return group.release();
}

// The 16 bytes that no other GPU has.
HINT_EXPORT void hint_nccl_uuid(int device, char* out) {
  const auto* properties = at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(device));
  static_assert(sizeof(properties->uuid.bytes) == 16, "a UUID");
  std::memcpy(out, properties->uuid.bytes, sizeof(properties->uuid.bytes));
}
