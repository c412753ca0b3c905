// The place of NCCL: exchanges between processes with an emulated device each. A program that is built with NCCL asks for
// the functions below before it loads the library with NCCL's own (`crates/hint-dist/native/c10d.cpp`).
//
// Bytes go from device memory to device memory over Gloo. Arguments are checked as NCCL's are, and an operation that was
// aborted ends with an error.
#pragma once

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "host_views.h"

namespace emulator {

using c10d::Work;
using WorkPtr = c10::intrusive_ptr<Work>;
using Flag = std::shared_ptr<std::atomic<bool>>;

/// An operation under way, which keeps its tensors.
class Exchange final : public Work {
 public:
  Exchange(WorkPtr work, HostViews views, Flag aborted)
      : work_(std::move(work)), views_(std::move(views)), aborted_(std::move(aborted)) {}

  bool isCompleted() override { return *aborted_ || work_->isCompleted(); }
  std::exception_ptr exception() const override {
    if (*aborted_) return std::make_exception_ptr(std::runtime_error("NCCL error: the communicator was aborted"));
    return work_->exception();
  }
  bool wait(std::chrono::milliseconds timeout) override {
    TORCH_CHECK(!*aborted_, "NCCL error: the communicator was aborted");
    return work_->wait(timeout);
  }

 private:
  WorkPtr work_;
  HostViews views_;
  Flag aborted_;
};

class Collectives final : public c10d::Backend {
 public:
  Collectives(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size, c10::Device device,
              std::chrono::milliseconds timeout)
      : Backend(rank, world_size), device_(device) {
    TORCH_CHECK(device.index() < device_count(), "CUDA error: invalid device ordinal");
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(std::move(store), rank, world_size, std::move(options));
  }
  // Closing it waits for operations, which may never end after an abort.
  ~Collectives() override {
    if (*aborted_) (void)gloo_.release();
  }

  const std::string getBackendName() const override { return "nccl"; }
  void abort() override { *aborted_ = true; }

  WorkPtr alltoall_base(Tensor& output, Tensor& input, std::vector<int64_t>& output_sizes,
                        std::vector<int64_t>& input_sizes, const c10d::AllToAllOptions& options) override {
    HostViews views;
    auto out = host(views, output), in = host(views, input);
    return exchange(gloo_->alltoall_base(out, in, output_sizes, input_sizes, options), std::move(views));
  }
  WorkPtr _allgather_base(Tensor& output, Tensor& input, const c10d::AllgatherOptions& options) override {
    HostViews views;
    auto out = host(views, output), in = host(views, input);
    return exchange(gloo_->_allgather_base(out, in, options), std::move(views));
  }
  WorkPtr broadcast(std::vector<Tensor>& tensors, const c10d::BroadcastOptions& options) override {
    HostViews views;
    std::vector<Tensor> hosts;
    for (const auto& tensor : tensors) hosts.push_back(host(views, tensor));
    return exchange(gloo_->broadcast(hosts, options), std::move(views));
  }

 private:
  Tensor host(HostViews& views, const Tensor& tensor) const {
    TORCH_CHECK(!*aborted_, "NCCL error: the communicator was aborted");
    TORCH_CHECK(tensor.is_cuda() && !tensor.is_sparse(), "Tensors must be CUDA and dense");
    TORCH_CHECK(tensor.is_contiguous(), "Tensors must be contiguous");
    TORCH_CHECK(tensor.device() == device_, "the communicator is that of ", device_, ", the tensor on ", tensor.device());
    TORCH_CHECK(tensor.scalar_type() != c10::kShort, "Input tensor data type is not supported for NCCL process group");
    return views.of(tensor);
  }
  WorkPtr exchange(WorkPtr work, HostViews views) const {
    return c10::make_intrusive<Exchange>(std::move(work), std::move(views), aborted_);
  }

  const c10::Device device_;
  const Flag aborted_ = std::make_shared<std::atomic<bool>>(false);
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
};

}  // namespace emulator

extern "C" {
__attribute__((visibility("default"))) c10d::Backend* hint_nccl_new(const c10::intrusive_ptr<c10d::Store>& store,
                                                                    int rank, int world_size, int device,
                                                                    int64_t timeout_ms) {
  const c10::Device place(c10::kCUDA, c10::DeviceIndex(device));
  auto group = c10::make_intrusive<emulator::Collectives>(store, rank, world_size, place,
                                                          std::chrono::milliseconds(timeout_ms));
  return group.release();
}

/// The processes of a machine see the same devices, so that two may take one.
__attribute__((visibility("default"))) void hint_nccl_uuid(int device, char* out) {
  std::memset(out, device + 1, 16);
}

/// An id that holds the port of a store. This process serves it, as NCCL's waits for the others.
__attribute__((visibility("default"))) void hint_nccl_make_id(char* out) {
  static std::mutex mutex;
  static std::vector<c10::intrusive_ptr<c10d::TCPStore>> stores;
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  const uint16_t port = store->getPort();
  std::memset(out, 0, 128);
  std::memcpy(out, &port, sizeof(port));
  std::lock_guard<std::mutex> lock(mutex);
  stores.push_back(std::move(store));
}

__attribute__((visibility("default"))) c10d::Backend* hint_nccl_connect(const char* id, int rank, int world_size,
                                                                        int device, int64_t timeout_ms) {
  uint16_t port = 0;
  std::memcpy(&port, id, sizeof(port));
  c10d::TCPStoreOptions options;
  options.port = port;
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return hint_nccl_new(c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options), rank, world_size, device, timeout_ms);
}
}
