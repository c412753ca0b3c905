//! Integration tests of `hint-policy`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    reason = "test sizes are small, and helper functions of tests may fail loudly"
)]

mod checkpoint;
mod config;
mod corrupt;
mod folders;
mod forward_pass;
mod fuzz_seeds;
mod gemma3_270m;
mod gguf_file;
mod gguf_writer;
mod golden;
mod load_report;
mod lora;
mod model;
mod out_of_memory;
mod parity;
mod sampling;
mod smollm2;
mod templates;
