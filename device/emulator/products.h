// Products that CUDA has and the CPU has not.
#pragma once

#include <ATen/ops/addmm.h>

#include "attention.h"

namespace emulator {

/// `beta · self + alpha · left · right` for narrow matrices and a sum in `wide`.
inline Tensor& addmm_into_wider(const Tensor& self, const Tensor& left, const Tensor& right, at::ScalarType wide,
                                const at::Scalar& beta, const at::Scalar& alpha, Tensor& out) {
  TORCH_CHECK(left.scalar_type() == right.scalar_type(), "addmm.dtype_out: matrices of two kinds");
  TORCH_CHECK(self.scalar_type() == wide && out.scalar_type() == wide, "addmm.dtype_out: the sum is of another kind");
  TORCH_CHECK(out.sizes() == self.sizes(), "addmm.dtype_out: the result has another shape");
  const OnDevice on(out.device());
  const KernelsOnly kernels;
  HostViews views;
  const Tensor sum = at::addmm(views.of(self), views.of(left).to(wide), views.of(right).to(wide), beta, alpha);
  views.of(out).copy_(sum);
  count_launch("addmm.dtype_out");
  return out;
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) { m.impl("addmm.dtype_out", TORCH_FN(addmm_into_wider)); }

}  // namespace emulator
