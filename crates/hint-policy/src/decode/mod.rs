//! Decoding with a key-value cache, for many rows of different lengths.
//!
//! [`CachedDecoder`](cached::CachedDecoder) implements [`Decoder`](crate::Decoder) for
//! [`CausalLm`](crate::CausalLm). It has its own copy of the weights, rearranged for few operations per
//! step ([`fused`]). It has its own storage of keys and values ([`cache`]) and of states
//! ([`recurrent`]). A plan groups the rows that attend together ([`layout`]). Gradients do not exist
//! here; the training pass is in `forward`.

mod attention;
mod cache;
pub(crate) mod cached;
pub(crate) mod fused;
mod layout;
mod matrix;
mod recurrent;
mod unit;
