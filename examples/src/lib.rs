//! What the examples share: the command line, models and problems by name, the display, the report.

pub mod dry_run;
pub mod engine;
pub mod evaluation;
pub mod generate;
pub mod lora;
pub mod memory;
pub mod options;
pub mod progress;
pub mod source;
pub mod summary;
pub mod swaps;
pub mod workload;
