// The operations that make tensors, change what memory they show, and copy.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/ops/_local_scalar_dense_ops.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy_ops.h>
#include <ATen/ops/view_native.h>

#include "fallback.h"

namespace emulator {

using at::IntArrayRef;
template <class T>
using Maybe = std::optional<T>;

const c10::Device kCurrentCuda(c10::kCUDA);
const c10::DispatchKeySet kCpuKeys(c10::DispatchKey::CPU);

inline Tensor empty(IntArrayRef size, Maybe<at::ScalarType> type, Maybe<at::Layout>, Maybe<c10::Device> device, Maybe<bool>,
                    Maybe<at::MemoryFormat> format) {
  const OnDevice on(device.value_or(kCurrentCuda));
  return at::detail::empty_generic(size, &Allocator::get(), kCudaKeys, c10::dtype_or_default(type), format);
}

inline Tensor empty_strided(IntArrayRef size, IntArrayRef stride, Maybe<at::ScalarType> type, Maybe<at::Layout>,
                            Maybe<c10::Device> device, Maybe<bool>) {
  const OnDevice on(device.value_or(kCurrentCuda));
  return at::detail::empty_strided_generic(size, stride, &Allocator::get(), kCudaKeys, c10::dtype_or_default(type));
}

inline const Tensor& resize(const Tensor& self, IntArrayRef size, Maybe<at::MemoryFormat>) {
  const OnDevice on(self.device());
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  const size_t wanted = (self.storage_offset() + self.numel()) * self.itemsize();
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (wanted <= storage->nbytes()) return self;
  auto data = Allocator::get().allocate(wanted);
  if (storage->nbytes()) Allocator::get().copy_data(data.get(), storage->data(), storage->nbytes());
  storage->set_data_ptr_noswap(std::move(data));
  storage->set_nbytes(wanted);
  return self;
}

inline Tensor& set_storage(Tensor& self, at::Storage source, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_storage_offset(offset);
  if (stride.empty()) {
    impl->set_sizes_contiguous(size);
  } else {
    impl->set_sizes_and_strides(size, stride);
  }
  return self;
}

inline Tensor& set_tensor(Tensor& self, const Tensor& source) {
  if (self.is_same(source)) return self;
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

inline Tensor& set_empty(Tensor& self) {
  const OnDevice on(self.device());
  auto& allocator = Allocator::get();
  return set_storage(self, {c10::Storage::use_byte_size_t(), 0, allocator.allocate(0), &allocator, true}, 0, {0}, {});
}

inline Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  HostViews views;
  Tensor to = views.of(self);
  {
    const KernelsOnly kernels;
    at::_ops::copy_::redispatch(kCpuKeys, to, views.of(source), false);
  }
  if (self.numel() == 0) return self;
  // Types are converted where the source is; gaps on the device take a kernel.
  const bool converts = self.scalar_type() != source.scalar_type();
  const bool kernel = source.is_cpu() ? !self.is_contiguous()
                                      : self.is_cuda() || converts || !source.is_contiguous();
  if (kernel) count_launch("copy_ (on the device)");
  if (source.is_cpu()) count_sent("copy_ (to the device)", long(self.nbytes()), !non_blocking);
  if (self.is_cpu()) count_read("copy_ (to the host)", long(self.nbytes()));
  return self;
}

inline at::Scalar local_scalar(const Tensor& self) {
  HostViews views;
  count_read("item", long(self.itemsize()));
  const KernelsOnly kernels;
  return at::_ops::_local_scalar_dense::redispatch(kCpuKeys, views.of(self));
}

inline Tensor as_strided(const Tensor& self, IntArrayRef size, IntArrayRef stride, Maybe<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
inline Tensor view(const Tensor& self, IntArrayRef size) { return at::native::view(self, size); }
inline Tensor reshape_alias(const Tensor& self, IntArrayRef size, IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("resize_", TORCH_FN(resize));
  m.impl("set_", TORCH_FN(set_empty));
  m.impl("set_.source_Tensor", TORCH_FN(set_tensor));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage));
  m.impl("copy_", TORCH_FN(copy));
  m.impl("_local_scalar_dense", TORCH_FN(local_scalar));
  m.impl("as_strided", TORCH_FN(as_strided));
  m.impl("view", TORCH_FN(view));
  m.impl("_reshape_alias", TORCH_FN(reshape_alias));
}

}  // namespace emulator
