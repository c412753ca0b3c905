// Every operation without an implementation of its own: check the devices of its arguments as CUDA does, run the CPU's
// kernel on the same bytes, and count.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <optional>
#include <unordered_set>

#include "host_views.h"

namespace emulator {

using c10::IValue;
using torch::jit::Stack;

/// Operations that native_functions.yaml marks `device_check: NoCheck`; the build takes them from libtorch's own copy.
inline bool takes_host_scalars(const std::string& operation) {
  static const std::unordered_set<std::string> operations{
#include "no_device_check.inc"
  };
  return operations.count(operation) > 0;
}

/// Operations whose result has a size that only the device knows, or that answer to the host.
inline bool waits_for_device(const std::string& operation) {
  static const std::unordered_set<std::string> operations{
      "allclose", "bincount", "equal", "histc", "is_nonzero", "linalg_eigh", "_linalg_eigh.eigenvalues", "_linalg_svd.U",
      "masked_select", "masked_select.out", "nonzero", "nonzero.out", "repeat_interleave.Tensor", "segment_reduce",
      "unique_consecutive", "unique_dim", "_unique", "_unique2"};
  return operations.count(operation) > 0;
}

/// Operations whose indices may lie on the host; CUDA copies them and waits.
inline bool takes_host_indices(const std::string& operation) {
  for (const char* start : {"index.Tensor", "index_put", "_index_put_impl_", "_unsafe_index"})
    if (operation.rfind(start, 0) == 0) return true;
  return false;
}

inline std::string name_of(const c10::OperatorHandle& op) {
  const auto& full = op.operator_name();
  std::string name = full.name.rfind("aten::", 0) == 0 ? full.name.substr(6) : full.name;
  return full.overload_name.empty() ? name : name + "." + full.overload_name;
}

template <class Visit>
void for_each_tensor(const IValue& value, Visit&& visit) {
  auto defined = [&](const Tensor& tensor) {
    if (tensor.defined()) visit(tensor);
  };
  if (value.isTensor()) defined(value.toTensor());
  if (value.isTensorList())
    for (const Tensor& tensor : value.toTensorVector()) defined(tensor);
  if (value.isOptionalTensorList())
    for (const auto& tensor : value.toOptionalTensorVector())
      if (tensor) defined(*tensor);
}

/// Replaces the tensors of a value, lists included.
template <class Replace>
IValue map_tensors(const IValue& value, Replace&& replace) {
  if (value.isTensor()) return replace(value.toTensor());
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor& tensor : value.toTensorVector()) list.push_back(replace(tensor));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const auto& tensor : value.toOptionalTensorVector())
      list.push_back(tensor ? std::optional<Tensor>(replace(*tensor)) : std::nullopt);
    return list;
  }
  return value;
}

/// One call of an operation, whose arguments are the last values of the stack.
class Call {
 public:
  Call(const c10::OperatorHandle& op, Stack* stack)
      : op_(op), stack_(stack), name_(name_of(op)), begin_(stack->size() - arguments().size()), device_(find_device()) {}

  void run() {
    check_devices();
    const OnDevice on(device_);
    for (size_t i = 0; i < arguments().size(); ++i) to_host(argument(i), arguments()[i]);
    {
      const KernelsOnly kernels;
      op_.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack_);
    }
    bool is_view = false;
    for (size_t i = stack_->size() - op_.schema().returns().size(); i < stack_->size(); ++i)
      (*stack_)[i] = map_tensors((*stack_)[i], [&](const Tensor& result) { return views_.to_device(result, &is_view); });
    views_.write_back_sizes();
    if (!is_view) count_launch(name_);
    if (has_boolean_index_ || waits_for_device(name_)) count_wait(name_);
  }

 private:
  const std::vector<c10::Argument>& arguments() const { return op_.schema().arguments(); }
  IValue& argument(size_t i) const { return (*stack_)[begin_ + i]; }

  /// The first device among the arguments.
  c10::Device find_device() const {
    std::optional<c10::Device> found;
    for (size_t i = 0; i < arguments().size() && !found; ++i) {
      if (argument(i).isDevice() && argument(i).toDevice().is_cuda()) found = argument(i).toDevice();
      for_each_tensor(argument(i), [&](const Tensor& tensor) {
        if (!found && tensor.is_cuda()) found = tensor.device();
      });
    }
    return found.value_or(c10::Device(c10::kCUDA));
  }

  void check_devices() const {
    const bool host_scalars = takes_host_scalars(name_);
    const bool host_indices = takes_host_indices(name_);
    std::optional<c10::Device> common;
    if (host_scalars) common = device_;
    for (size_t i = 0; i < arguments().size(); ++i) {
      const auto& declared = arguments()[i];
      const bool written = declared.alias_info() && declared.alias_info()->isWrite();
      for_each_tensor(argument(i), [&](const Tensor& tensor) {
        if (host_indices && tensor.is_cpu() && declared.name() == "indices") {
          count_sent(name_ + " (indices on the host)", long(tensor.nbytes()), /*waits=*/true);
          return;
        }
        if (host_scalars && tensor.is_cpu() && tensor.dim() == 0 && !written) return;
        if (!common) common = tensor.device();
        TORCH_CHECK(tensor.device() == *common,
                    "Expected all tensors to be on the same device, but found at least two devices, ", *common, " and ",
                    tensor.device(), "! (when checking argument ", declared.name(), " in method wrapper_CUDA_", name_, ")");
      });
    }
  }

  void to_host(IValue& value, const c10::Argument& declared) {
    if (value.isOptionalTensorList())
      for_each_tensor(value, [&](const Tensor& index) {
        has_boolean_index_ |= index.scalar_type() == at::kBool || index.scalar_type() == at::kByte;
      });
    value = map_tensors(value, [&](const Tensor& tensor) { return views_.of(tensor); });
    if (value.isDevice() && value.toDevice().is_cuda()) value = c10::Device(c10::kCPU);
    if (value.isGenerator()) value = Generator::inner_of(value.toGenerator());
    if (value.isNone()) {
      const auto optional = declared.type()->cast<c10::OptionalType>();
      if (optional && optional->getElementType()->kind() == c10::TypeKind::GeneratorType)
        value = Generator::inner_of(Generator::standard());
    }
  }

  const c10::OperatorHandle& op_;
  Stack* const stack_;
  const std::string name_;
  const size_t begin_;
  const c10::Device device_;
  HostViews views_;
  bool has_boolean_index_ = false;
};

inline void fallback(const c10::OperatorHandle& op, Stack* stack) { Call(op, stack).run(); }

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

}  // namespace emulator
