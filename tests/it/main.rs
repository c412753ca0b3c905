//! Scenarios across the crates, with a real (tiny) model in every one.

mod ahead;
mod batches;
mod distributed;
mod early_stop;
mod equivalence;
mod evaluation;
mod faults;
mod judging;
mod killed;
mod kl;
mod lora;
mod micro_batches;
mod optimizer_steps;
mod own_parts;
mod presets;
mod queue_order;
mod ratio_scheme;
mod resume;
mod supervised;
mod table;
mod token_count;
mod verdicts;
