// Flash attention of rows that lie one after the other, by the definition: queries, keys and values are
// [tokens, heads, width], and `ends` says where rows end.
#pragma once

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>

#include "norms.h"

namespace emulator {

/// Rows of a packed tensor, on the host.
class PackedRows {
 public:
  /// `used`, if there is one, is the number of tokens of each row that count.
  PackedRows(const Tensor& ends, const Tensor& used, int64_t longest) : longest_(longest) {
    const Tensor all = ends.to(at::kLong), starts = all.slice(0, 0, -1);
    lens_ = used.defined() ? used.to(at::kLong) : all.slice(0, 1) - starts;
    TORCH_CHECK((lens_ >= 0).all().item<bool>() && (lens_ <= longest).all().item<bool>(),
                "flash attention: a row is longer than the longest");
    places_ = at::arange(longest, at::kLong);
    there_ = places_ < lens_.unsqueeze(1);
    token_of_ = at::where(there_, starts.unsqueeze(1) + places_, at::zeros({}, at::kLong)).flatten();
  }

  const Tensor& lens() const { return lens_; }
  const Tensor& places() const { return places_; }
  /// Which places [rows, longest] hold a token.
  const Tensor& there() const { return there_; }

  /// [tokens, heads, width] as [rows, heads, longest, width], with zeros where no token is.
  Tensor pad(const Tensor& packed) const {
    const Tensor padded = packed.index_select(0, token_of_).unflatten(0, {lens_.size(0), longest_});
    return padded.masked_fill(there_.logical_not().unsqueeze(-1).unsqueeze(-1), 0.0).transpose(1, 2);
  }
  /// The inverse, for rows of which all tokens count.
  Tensor unpad(const Tensor& padded) const {
    return padded.transpose(1, 2).flatten(0, 1).index_select(0, there_.flatten().nonzero().squeeze(-1)).contiguous();
  }

 private:
  const int64_t longest_;
  Tensor lens_, places_, there_, token_of_;
};

/// One call, with the arguments that CUDA's kernel takes.
class PackedCall {
 public:
  PackedCall(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& query_ends, const Tensor& key_ends,
             int64_t longest_query, int64_t longest_key, bool causal, Maybe<double> scale, Maybe<int64_t> left,
             Maybe<int64_t> right, const Tensor& used)
      : query_(checked(query)), queries_(query_ends, {}, longest_query), keys_(key_ends, used, longest_key) {
    TORCH_CHECK(query.size(1) % key.size(1) == 0 && key.sizes() == value.sizes() && key.size(2) == query.size(2),
                "flash attention: shapes do not fit together");
    TORCH_CHECK(checked(key).scalar_type() == query.scalar_type() && checked(value).scalar_type() == query.scalar_type(),
                "flash attention: tensors of several kinds");
    // Rows of queries and keys end together. A single query is the last one.
    const Tensor at = queries_.places().unsqueeze(-1) + (keys_.lens() - queries_.lens()).view({-1, 1, 1});
    const Tensor key_at = keys_.places();
    Tensor hidden = keys_.there().logical_not().unsqueeze(1);
    if (causal) hidden = hidden.logical_or(key_at > at);
    if (left.value_or(-1) >= 0) hidden = hidden.logical_or(key_at < at - *left);
    if (right.value_or(-1) >= 0 && !causal) hidden = hidden.logical_or(key_at > at + *right);
    attention_.emplace(queries_.pad(query), keys_.pad(key), keys_.pad(value), Tensor(), hidden.unsqueeze(1), scale);
  }

  /// [tokens, heads, width], in the kind of the queries.
  Tensor output() const { return queries_.unpad(attention_->output()).to(query_.scalar_type()); }
  /// [heads, tokens], `float`.
  Tensor log_sum_exp() const {
    return queries_.unpad(attention_->log_sum_exp().unsqueeze(-1)).squeeze(-1).transpose(0, 1).contiguous();
  }
  std::tuple<Tensor, Tensor, Tensor> gradients(const Tensor& of_output) const {
    const auto of = attention_->gradients(queries_.pad(of_output));
    const auto kind = query_.scalar_type();
    return {queries_.unpad(of.query).to(kind), keys_.unpad(of.key).to(kind), keys_.unpad(of.value).to(kind)};
  }

 private:
  static const Tensor& checked(const Tensor& tensor) {
    const auto kind = tensor.scalar_type();
    TORCH_CHECK(kind == at::kHalf || kind == at::kBFloat16, "FlashAttention only support fp16 and bf16 data type");
    TORCH_CHECK(tensor.dim() == 3 && tensor.stride(-1) == 1, "flash attention: tokens, heads and dense widths");
    TORCH_CHECK(tensor.size(2) % 8 == 0 && tensor.size(2) <= 256, "head_size must be a multiple of 8, at most 256");
    return tensor;
  }

  const Tensor query_;
  const PackedRows queries_, keys_;
  std::optional<Attention> attention_;
};

/// Lengths and ends are 32 bits wide, dense and on the device.
inline Tensor device_ints(HostViews& views, const Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.is_cuda() && tensor.scalar_type() == at::kInt && tensor.dim() == 1 && tensor.is_contiguous(), name,
              " must be a dense vector of int32 on the device");
  return views.of(tensor);
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> packed_flash(
    const Tensor& query, const Tensor& key, const Tensor& value, const Maybe<Tensor>& query_ends, const Maybe<Tensor>& key_ends,
    int64_t longest_query, int64_t longest_key, double dropout, bool causal, bool debug, Maybe<double> scale,
    Maybe<int64_t> left, Maybe<int64_t> right, const Maybe<Tensor>& used, const Maybe<Tensor>& slopes) {
  TORCH_CHECK(query_ends && key_ends && dropout == 0 && !debug && !slopes, "flash attention: this form is not imitated");
  const OnDevice on(query.device());
  const KernelsOnly kernels;
  HostViews views;
  const PackedCall call(views.of(query), views.of(key), views.of(value), device_ints(views, *query_ends, "cu_seqlens_q"),
                        device_ints(views, *key_ends, "cu_seqlens_k"), longest_query, longest_key,
                        causal && longest_query > 1, scale, left, right,
                        used ? device_ints(views, *used, "seqused_k") : Tensor());
  count_launch("packed flash attention");
  const Tensor random = at::zeros({2}, at::kLong);
  return {HostViews::copy_to_device(call.output()), HostViews::copy_to_device(call.log_sum_exp()),
          HostViews::copy_to_device(random), no_philox_state(), Tensor()};
}

inline std::tuple<Tensor, Tensor, Tensor> packed_flash_backward(
    const Tensor& of_output, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& output,
    const Tensor& log_sum_exp, const Tensor& query_ends, const Tensor& key_ends, int64_t longest_query, int64_t longest_key,
    double dropout, bool causal, const Tensor& random, const Tensor&, Maybe<double> scale, Maybe<int64_t> left,
    Maybe<int64_t> right) {
  TORCH_CHECK(dropout == 0 && random.is_cuda() && of_output.scalar_type() == query.scalar_type(),
              "flash attention backward: this form is not imitated");
  const OnDevice on(query.device());
  const KernelsOnly kernels;
  HostViews views;
  const PackedCall call(views.of(query), views.of(key), views.of(value), device_ints(views, query_ends, "cu_seqlens_q"),
                        device_ints(views, key_ends, "cu_seqlens_k"), longest_query, longest_key, causal, scale, left, right,
                        Tensor());
  // The kernel starts from these two, so they must be those of the forward pass.
  const bool same = at::allclose(views.of(output), call.output(), 0, 0, true) &&
                    at::allclose(views.of(log_sum_exp), call.log_sum_exp(), 0, 0, true);
  TORCH_CHECK(same, "flash attention backward: output or log-sum-exp is that of another forward pass");
  const auto [of_query, of_key, of_value] = call.gradients(views.of(of_output));
  count_launch("packed flash attention backward");
  return {HostViews::copy_to_device(of_query), HostViews::copy_to_device(of_key), HostViews::copy_to_device(of_value)};
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("_flash_attention_forward", TORCH_FN(packed_flash));
  m.impl("_flash_attention_backward", TORCH_FN(packed_flash_backward));
}

}  // namespace emulator
