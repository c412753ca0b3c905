//! Scenarios across the crates, with a real (tiny) model in every one.

mod equivalence;
mod killed;
mod kl;
mod micro_batches;
mod presets;
mod ratio_scheme;
mod resume;
mod supervised;
