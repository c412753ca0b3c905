//! Scenarios across the crates, with a real (tiny) model in every one.

mod equivalence;
mod kl;
mod micro_batches;
mod ratio_scheme;
mod resume;
