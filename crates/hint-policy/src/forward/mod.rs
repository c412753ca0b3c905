//! The forward pass for scoring and training, and its gradients.
//!
//! There are two interpreters of the same description of a block ([`LayerPlan`](crate::config::plan::LayerPlan)).
//! [`autograd`] is the short one: libtorch records it, and
//! users who call [`Policy::logits`](crate::Policy::logits) differentiate through it. [`pass`] is the fast
//! one: it skips padding, keeps a few tensors per block and has a backward pass of its own. Tests compare
//! values and gradients of the two for every architecture.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod autograd;
mod block;
pub(crate) mod delta_net;
pub(crate) mod delta_rule;
mod grad;
mod head;
mod norm;
pub(crate) mod packed;
pub(crate) mod pass;
mod projection;
pub(crate) mod ragged;
pub(crate) mod rope;
mod self_attention;
