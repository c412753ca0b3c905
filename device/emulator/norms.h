// Norms that CUDA has in one kernel and the CPU has not.
#pragma once

#include <ATen/ops/rsqrt.h>

#include "products.h"

namespace emulator {

/// Over the last dimension, the only one that this repository normalizes by.
inline void check_normalized(const char* kernel, const Tensor& x, IntArrayRef shape, const Maybe<Tensor>& weight) {
  TORCH_CHECK(shape.size() == 1 && x.dim() > 0 && shape[0] == x.size(-1), kernel, ": not over the last dimension");
  TORCH_CHECK(!weight || !weight->defined() || (weight->sizes() == shape && weight->scalar_type() == x.scalar_type()), kernel,
              ": a weight of another size or kind");
}

inline Tensor statistics(const Tensor& x) { return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat); }

inline std::tuple<Tensor, Tensor> rms_norm(const Tensor& x, IntArrayRef shape, const Maybe<Tensor>& weight, Maybe<double> eps) {
  check_normalized("rms norm", x, shape, weight);
  TORCH_CHECK(eps, "rms norm: this repository always gives the constant");
  const OnDevice on(x.device());
  const KernelsOnly kernels;
  HostViews views;
  const Tensor wide = statistics(views.of(x));
  const Tensor scale = at::rsqrt(wide.square().mean(-1, true) + *eps);
  Tensor unit = wide * scale;
  if (weight && weight->defined()) unit = unit * statistics(views.of(*weight));
  count_launch("rms norm");
  return {HostViews::copy_to_device(unit.to(x.scalar_type()).contiguous()), HostViews::copy_to_device(scale)};
}

inline std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor& of_output, const Tensor& x, IntArrayRef shape,
                                                    const Tensor& scale, const Maybe<Tensor>& weight,
                                                    std::array<bool, 2> wanted) {
  check_normalized("rms norm backward", x, shape, weight);
  TORCH_CHECK(of_output.sizes() == x.sizes() && of_output.scalar_type() == x.scalar_type(),
              "rms norm backward: a gradient of another size or kind");
  TORCH_CHECK(scale.numel() * x.size(-1) == x.numel(), "rms norm backward: a scale for each row");
  const OnDevice on(x.device());
  const KernelsOnly kernels;
  HostViews views;
  const Tensor rows = views.of(scale).reshape(x.sizes().slice(0, x.dim() - 1)).unsqueeze(-1);
  const Tensor unit = statistics(views.of(x)) * rows, upstream = statistics(views.of(of_output));
  const bool weighted = weight && weight->defined();
  const Tensor of_unit = weighted ? upstream * statistics(views.of(*weight)) : upstream;
  const Tensor of_x = (of_unit - unit * (of_unit * unit).mean(-1, true)) * rows;
  count_launch("rms norm backward");
  auto finish = [&](const Tensor& gradient) { return HostViews::copy_to_device(gradient.to(x.scalar_type()).contiguous()); };
  return {wanted[0] ? finish(of_x) : Tensor(),
          wanted[1] && weighted ? finish((upstream * unit).reshape({-1, x.size(-1)}).sum(0)) : Tensor()};
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("_fused_rms_norm", TORCH_FN(rms_norm));
  m.impl("_fused_rms_norm_backward", TORCH_FN(rms_norm_backward));
  // Of all tensors at once; elsewhere libtorch takes one after the other.
  m.impl("_foreach_norm.Scalar", torch::CppFunction::makeFromBoxedFunction<&fallback>());
  m.impl("_foreach_mul_.Scalar", torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

}  // namespace emulator
