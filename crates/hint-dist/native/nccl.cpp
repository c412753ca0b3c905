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

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

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

using Millis = std::chrono::milliseconds;

// NCCL's own functions, for a group with processes that use no c10d. libtorch's CUDA library has loaded them.
struct Raw {
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init;
  decltype(&ncclCommGetAsyncError) state;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclGetErrorString) describe;
  decltype(&ncclGetLastError) last;
};

template <typename F>
void find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  TORCH_CHECK(function != nullptr, "NCCL has no `", name, "`");
}

const Raw& raw() {
  static const Raw functions = [] {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
    TORCH_CHECK(library != nullptr, "libtorch has not loaded `libnccl.so.2`");
    Raw found{};
    find(library, "ncclGetUniqueId", found.get_unique_id);
    find(library, "ncclCommInitRankConfig", found.init);
    find(library, "ncclCommGetAsyncError", found.state);
    find(library, "ncclAllReduce", found.all_reduce);
    find(library, "ncclBroadcast", found.broadcast);
    find(library, "ncclCommAbort", found.abort);
    find(library, "ncclGetErrorString", found.describe);
    find(library, "ncclGetLastError", found.last);
    return found;
  }();
  return functions;
}

void check(ncclResult_t result) {
  TORCH_CHECK(result == ncclSuccess || result == ncclInProgress, "NCCL error: ", raw().describe(result), ": ",
              raw().last(nullptr));
}

// Whether NCCL has done on the host what it was asked for.
bool settled(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  check(raw().state(comm, &state));
  check(state);
  return state != ncclInProgress;
}

template <typename F>
void wait_until(Millis limit, F&& done) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    TORCH_CHECK(std::chrono::steady_clock::now() < end, "the other GPUs are not there within ", limit.count(), " ms");
    std::this_thread::sleep_for(Millis(2));
  }
}

using CommPtr = std::shared_ptr<ncclComm>;

// An operation of a `Channel` under way, which keeps its tensor. Nothing waits when it starts: NCCL connects at the first
// use, and may need the other GPUs for that.
class Step final : public c10d::Work {
 public:
  Step(CommPtr comm, at::Tensor tensor, c10::cuda::CUDAStream stream)
      : tensor_(std::move(tensor)), comm_(std::move(comm)), stream_(stream), end_(c10::kCUDA) {}

  bool isCompleted() override {
    try {
      bool is_in_stream = settled(comm_.get());
      if (is_in_stream && !is_recorded_) {
        c10::DeviceGuard guard(stream_.device());
        end_.record(stream_.unwrap());
        is_recorded_ = true;
      }
      return is_recorded_ && end_.query();
    } catch (...) {
      problem_ = std::current_exception();
      return true;
    }
  }
  std::exception_ptr exception() const override { return problem_; }
  bool wait(Millis) override { return true; }

 private:
  // In this order: the last user of the connection ends it before the tensor is freed.
  at::Tensor tensor_;
  CommPtr comm_;
  c10::cuda::CUDAStream stream_;
  c10::Event end_;
  bool is_recorded_ = false;
  std::exception_ptr problem_;
};

// A group that NCCL makes of an id alone. One thread at a time uses it. Closing it aborts what is under way.
class Channel final : public c10d::Backend {
 public:
  Channel(const ncclUniqueId& id, int rank, int world_size, c10::Device device, Millis limit)
      : Backend(rank, world_size),
        device_(device),
        stream_(c10::cuda::getStreamFromPool(false, device.index())),
        limit_(limit) {
    c10::DeviceGuard guard(device_);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    // No call waits: a process that never comes would keep this one for ever.
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    auto result = raw().init(&comm, world_size, id, rank, &config);
    comm_ = CommPtr(comm, [](ncclComm* open) {
      if (open != nullptr) raw().abort(open);
    });
    check(result);
    wait_until(limit_, [&] { return settled(comm); });
    // vLLM's workers begin with the sum of one number. They wait until every rank has taken part.
    auto one = at::zeros({1}, at::TensorOptions(device_).dtype(at::kFloat));
    void* data = one.data_ptr();
    auto sum = start(one, [=](cudaStream_t stream) {
      return raw().all_reduce(data, data, 1, ncclFloat32, ncclSum, comm, stream);
    });
    wait_until(limit_, [&] { return sum->isCompleted(); });
    if (auto problem = sum->exception()) std::rethrow_exception(problem);
  }

  const std::string getBackendName() const override { return "nccl"; }

  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override {
    const auto& tensor = tensors.at(0);
    TORCH_CHECK(tensor.device() == device_ && tensor.is_contiguous() && tensor.scalar_type() == at::kFloat,
                "a channel carries contiguous Float tensors of ", device_);
    void* data = tensor.data_ptr();
    auto count = static_cast<size_t>(tensor.numel());
    auto root = static_cast<int>(options.rootRank);
    auto* comm = comm_.get();
    return start(tensor, [=](cudaStream_t stream) {
      return raw().broadcast(data, data, count, ncclFloat32, root, comm, stream);
    });
  }

 private:
  // Behind all work on the tensor so far, in a stream of its own: a server that is slow keeps no other work waiting.
  template <typename F>
  c10::intrusive_ptr<c10d::Work> start(at::Tensor tensor, F&& call) {
    c10::DeviceGuard guard(device_);
    c10::Event ready(c10::kCUDA);
    ready.record(c10::cuda::getCurrentCUDAStream(device_.index()).unwrap());
    ready.block(stream_.unwrap());
    check(call(stream_.stream()));
    return c10::make_intrusive<Step>(comm_, std::move(tensor), stream_);
  }

  const c10::Device device_;
  const c10::cuda::CUDAStream stream_;
  const Millis limit_;
  CommPtr comm_;
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

// The 128 bytes by which the processes of a new group find each other, from `ncclGetUniqueId`.
HINT_EXPORT void hint_nccl_make_id(char* out) {
  ncclUniqueId id;
  static_assert(sizeof(id) == 128, "the id of a group");
  check(raw().get_unique_id(&id));
  std::memcpy(out, &id, sizeof(id));
}

// The group of `world_size` processes that have `id`. Each wait for them in here takes `timeout_ms` at most.
HINT_EXPORT c10d::Backend* hint_nccl_connect(const char* id, int rank, int world_size, int device,
                                             int64_t timeout_ms) {
  ncclUniqueId shared;
  std::memcpy(&shared, id, sizeof(shared));
  const c10::Device place(c10::kCUDA, static_cast<c10::DeviceIndex>(device));
  return c10::make_intrusive<Channel>(shared, rank, world_size, place, Millis(timeout_ms)).release();
}
