//! Integration tests of `hint-affinity`.

mod definition;
#[path = "../../examples/affinity_report/dump.rs"]
mod dump;
#[path = "../../examples/affinity_report/error.rs"]
mod error;
mod golden;
mod properties;
#[path = "../../examples/affinity_report/records.rs"]
mod records;
mod report;
mod support;
mod transfer;
