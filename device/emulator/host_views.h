// CPU tensors over the memory of device tensors, for the time of one operation.
//
// A device tensor that is passed twice leads to one CPU tensor, and device tensors that share a storage to CPU tensors that
// share one, so a CPU kernel sees what overlaps and what is written in place.
#pragma once

#include <ATen/core/Tensor.h>

#include "runtime.h"

namespace emulator {

using at::Tensor;

class HostViews {
 public:
  /// The CPU tensor for a device tensor; any other tensor as it is.
  Tensor of(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cuda()) return tensor;
    for (const auto& known : tensors_)
      if (known.device.is_same(tensor)) return known.host;
    Tensor host = make_tensor(host_storage(tensor.storage()), c10::DispatchKey::CPU, tensor);
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) host.unsafeGetTensorImpl()->set_wrapped_number(true);
    tensors_.push_back({tensor, host});
    return host;
  }

  /// The device tensor for what a CPU kernel returned: an argument itself, a view of an argument, or a copy.
  Tensor to_device(const Tensor& result, bool* is_view) const {
    if (!result.defined() || !result.is_cpu()) return result;
    for (const auto& known : tensors_)
      if (known.host.is_same(result)) return known.device;
    for (const auto& known : storages_) {
      if (!known.host.is_alias_of(result.storage())) continue;
      *is_view = true;
      return make_tensor(known.device, c10::DispatchKey::CUDA, result);
    }
    return copy_to_device(result);
  }

  static Tensor copy_to_device(const Tensor& host) {
    if (!host.defined()) return host;
    const size_t size = host.storage().nbytes();
    auto data = Allocator::get().allocate(size);
    if (size) std::memcpy(Memory::get().bytes(data.get()), host.storage().data(), size);
    return make_tensor(storage(size, std::move(data), Allocator::get()), c10::DispatchKey::CUDA, host);
  }

  /// Carries over to the device tensors what a kernel did to the sizes of its arguments.
  void write_back_sizes() const {
    for (const auto& [device, host, start] : storages_) {
      if (host.data() == start) continue;
      auto* resized = device.unsafeGetStorageImpl();
      const OnDevice on(device.device());
      auto data = Allocator::get().allocate(host.nbytes());
      if (host.nbytes()) std::memcpy(Memory::get().bytes(data.get()), host.data(), host.nbytes());
      resized->set_data_ptr_noswap(std::move(data));
      resized->set_nbytes(host.nbytes());
    }
    for (const auto& [device, host] : tensors_) {
      auto* resized = device.unsafeGetTensorImpl();
      if (resized->sizes() == host.sizes() && resized->strides() == host.strides() &&
          resized->storage_offset() == host.storage_offset())
        continue;
      resized->set_storage_offset(host.storage_offset());
      resized->set_sizes_and_strides(host.sizes(), host.strides());
    }
  }

 private:
  struct SharedStorage {
    c10::Storage device, host;
    const void* start;  // of `host` before the operation
  };
  struct SharedTensor {
    Tensor device, host;
  };

  c10::Storage host_storage(const c10::Storage& device) {
    for (const auto& known : storages_)
      if (known.device.is_alias_of(device)) return known.host;
    void* start = Memory::get().bytes(device.data());
    auto host = storage(device.nbytes(), {start, c10::Device(c10::kCPU)}, *c10::GetAllocator(c10::kCPU));
    storages_.push_back({device, host, start});
    return host;
  }

  static c10::Storage storage(size_t size, c10::DataPtr data, c10::Allocator& allocator) {
    return {c10::Storage::use_byte_size_t(), size, std::move(data), &allocator, /*resizable=*/true};
  }

  static Tensor make_tensor(c10::Storage storage, c10::DispatchKey key, const Tensor& like) {
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
    auto* impl = tensor.unsafeGetTensorImpl();
    impl->set_storage_offset(like.storage_offset());
    impl->set_sizes_and_strides(like.sizes(), like.strides());
    impl->_set_conj(like.is_conj());
    impl->_set_neg(like.is_neg());
    return tensor;
  }

  std::vector<SharedStorage> storages_;
  std::vector<SharedTensor> tensors_;
};

/// While this lives, CPU tensors go straight to CPU kernels.
using KernelsOnly = at::AutoDispatchBelowADInplaceOrView;

}  // namespace emulator
