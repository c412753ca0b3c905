// Attention: the choice of a kernel as CUDA makes it on sm80 and later without cuDNN, and reference implementations of
// the flash and memory-efficient kernels, with their gradients.
#pragma once

#include <ATen/Context.h>
#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tensors.h"

namespace emulator {

using sdp::SDPBackend;

inline int64_t choose_attention(const Tensor& query, const Tensor& key, const Tensor& value, const Maybe<Tensor>& mask,
                                double dropout, bool causal, Maybe<double>, bool) {
  constexpr auto decompose = int64_t(SDPBackend::math);
  if (query.dim() != 4 || key.dim() != 4 || value.dim() != 4) return decompose;
  const bool dense = query.stride(-1) == 1 && key.stride(-1) == 1 && value.stride(-1) == 1;
  const bool empty = query.size(2) == 0 || key.size(2) == 0;
  if (!dense || empty) return decompose;

  const bool half = query.scalar_type() == at::kHalf || query.scalar_type() == at::kBFloat16;
  // cuDNN would come first for these, and plans a kernel for every new shape.
  TORCH_CHECK(!half || !at::globalContext().userEnabledCuDNNSDP(), "cuDNN's attention is in the order of kernels");
  const int64_t width = query.size(3);
  const bool same_width = width == key.size(3) && width == value.size(3);
  const bool heads_divide = query.size(1) % key.size(1) == 0;
  const bool square = query.size(2) == key.size(2);
  if (half && !mask && same_width && width <= 256 && heads_divide && (square || !causal))
    return int64_t(SDPBackend::flash_attention);

  const int64_t alignment = half ? 8 : 4;
  const bool aligned = width % alignment == 0 && value.size(3) % alignment == 0;
  const bool same_heads = query.size(1) == key.size(1) && query.size(1) == value.size(1);
  if ((half || query.scalar_type() == at::kFloat) && same_heads && aligned && dropout == 0)
    return int64_t(SDPBackend::efficient_attention);
  return decompose;
}

/// Attention on host tensors of shape [batch, heads, length, width], in f32 or wider.
class Attention {
 public:
  /// `hidden`, if there is one, marks keys that a query does not see.
  Attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias, const Tensor& hidden,
            Maybe<double> scale)
      : scale_(scale.value_or(1 / std::sqrt(double(query.size(3))))),
        share_(query.size(1) / key.size(1)),
        query_(wide(query)),
        key_(repeat_heads(wide(key))),
        value_(repeat_heads(wide(value))) {
    scores_ = at::matmul(query_, key_.transpose(-2, -1)) * scale_;
    if (bias.defined()) scores_ = scores_ + wide(bias);
    if (hidden.defined()) scores_ = scores_.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    // A row that sees nothing gives 0, as from the kernels; what is NaN stays so.
    weights_ = scores_.softmax(-1).masked_fill(scores_.isneginf().all(-1, true), 0.0);
  }

  Tensor output() const { return at::matmul(weights_, value_); }
  Tensor log_sum_exp() const { return scores_.logsumexp(-1); }

  struct Gradients {
    Tensor query, key, value, bias;
  };
  Gradients gradients(const Tensor& of_output) const {
    const Tensor upstream = wide(of_output);
    const Tensor of_weights = at::matmul(upstream, value_.transpose(-2, -1));
    const Tensor of_scores = weights_ * (of_weights - (of_weights * weights_).sum(-1, true));
    return {at::matmul(of_scores, key_) * scale_, sum_heads(at::matmul(of_scores.transpose(-2, -1), query_) * scale_),
            sum_heads(at::matmul(weights_.transpose(-2, -1), upstream)), of_scores};
  }

 private:
  static Tensor wide(const Tensor& tensor) {
    return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
  }
  Tensor repeat_heads(const Tensor& tensor) const { return share_ == 1 ? tensor : tensor.repeat_interleave(share_, 1); }
  Tensor sum_heads(const Tensor& tensor) const {
    return share_ == 1 ? tensor : tensor.unflatten(1, {tensor.size(1) / share_, share_}).sum(2);
  }

  const double scale_;
  const int64_t share_;  // query heads to a key head
  const Tensor query_, key_, value_;
  Tensor scores_, weights_;
};

/// Keys behind each query, if they are hidden.
inline Tensor future(const Tensor& query, const Tensor& key, bool causal) {
  return causal ? at::ones({query.size(2), key.size(2)}, at::kBool).tril().logical_not() : Tensor();
}

/// Output and log-sum-exp on the device; the output lies in memory as [batch, length, heads, width].
inline std::pair<Tensor, Tensor> attend(const char* kernel, const Tensor& query, const Tensor& key, const Tensor& value,
                                        const Tensor& bias, bool causal, Maybe<double> scale) {
  const OnDevice on(query.device());
  const KernelsOnly kernels;
  HostViews views;
  const Attention attention(views.of(query), views.of(key), views.of(value), views.of(bias),
                            future(query, key, causal), scale);
  const Tensor output = attention.output().to(query.scalar_type()).transpose(1, 2).contiguous().transpose(1, 2);
  count_launch(kernel);
  return {HostViews::copy_to_device(output), HostViews::copy_to_device(attention.log_sum_exp())};
}

inline Attention::Gradients attend_backward(const char* kernel, const Tensor& of_output, const Tensor& query,
                                            const Tensor& key, const Tensor& value, const Tensor& bias, bool causal,
                                            Maybe<double> scale) {
  const OnDevice on(query.device());
  const KernelsOnly kernels;
  HostViews views;
  const Attention attention(views.of(query), views.of(key), views.of(value), views.of(bias),
                            future(query, key, causal), scale);
  const auto host = attention.gradients(views.of(of_output));
  count_launch(kernel);
  auto finish = [](const Tensor& gradient, const Tensor& like) {
    return HostViews::copy_to_device(at::sum_to(gradient, like.sizes()).to(like.scalar_type()));
  };
  return {finish(host.query, query), finish(host.key, key), finish(host.value, value),
          bias.defined() ? finish(host.bias, bias) : Tensor()};
}

/// Seed and offset of dropout, which is not imitated.
inline Tensor no_philox_state() { return HostViews::copy_to_device(at::zeros({}, at::kLong)); }

inline std::tuple<Tensor, Tensor, Tensor, Tensor> efficient(const Tensor& query, const Tensor& key, const Tensor& value,
                                                            const Maybe<Tensor>& bias, bool, double, bool causal,
                                                            Maybe<double> scale) {
  auto [output, log_sum_exp] = attend("efficient attention", query, key, value, bias.value_or(Tensor()), causal, scale);
  return {output, log_sum_exp, no_philox_state(), no_philox_state()};
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> efficient_backward(
    const Tensor& of_output, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias, const Tensor&,
    const Tensor&, const Tensor&, const Tensor&, double, std::array<bool, 4> wanted, bool causal, Maybe<double> scale) {
  if (!of_output.defined()) return {};
  auto of = attend_backward("efficient attention backward", of_output, query, key, value, bias, causal, scale);
  return {of.query, of.key, of.value, wanted[3] ? of.bias : Tensor()};
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> flash(
    const Tensor& query, const Tensor& key, const Tensor& value, double, bool causal, bool, Maybe<double> scale) {
  auto [output, log_sum_exp] = attend("flash attention", query, key, value, {}, causal, scale);
  return {output, log_sum_exp, {}, {}, query.size(2), key.size(2), no_philox_state(), no_philox_state(), {}};
}

inline std::tuple<Tensor, Tensor, Tensor> flash_backward(
    const Tensor& of_output, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, c10::SymInt, c10::SymInt, double, bool causal, const Tensor&, const Tensor&,
    Maybe<double> scale) {
  auto of = attend_backward("flash attention backward", of_output, query, key, value, {}, causal, scale);
  return {of.query, of.key, of.value};
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_attention);
  m.impl("_scaled_dot_product_flash_attention", TORCH_FN(flash));
  m.impl("_scaled_dot_product_flash_attention_backward", TORCH_FN(flash_backward));
  m.impl("_scaled_dot_product_efficient_attention", TORCH_FN(efficient));
  m.impl("_scaled_dot_product_efficient_attention_backward", TORCH_FN(efficient_backward));
}

}  // namespace emulator
