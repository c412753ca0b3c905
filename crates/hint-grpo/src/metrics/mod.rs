//! Metrics: their names, and how they are averaged.
//!
//! Names that TRL also logs are TRL's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod names;

pub use self::names::*;

/// Weighted means, and extremes, by name.
///
/// Adding is exact about weights: the mean of a step does not depend on how its rows were split
/// into micro-batches.
///
/// ```
/// use hint_grpo::Metrics;
///
/// let mut metrics = Metrics::new();
/// metrics.add("own/length", 30.0, 3.0); // Three completions of 30 tokens together,
/// metrics.add("own/length", 50.0, 1.0); // and one of 50.
/// metrics.add_max("own/longest", 50.0);
/// assert_eq!(metrics.get("own/length"), Some(20.0));
/// assert_eq!(metrics.get("own/longest"), Some(50.0));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics {
    summaries: BTreeMap<String, Summary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Summary {
    Mean { sum: f64, weight: f64 },
    Least(f64),
    Most(f64),
}

impl Summary {
    /// This and `other` together. A name that changes its kind keeps the new one.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Mean { sum, weight }, Self::Mean { sum: more, weight: further }) => {
                Self::Mean { sum: sum + more, weight: weight + further }
            }
            (Self::Least(left), Self::Least(right)) => Self::Least(left.min(right)),
            (Self::Most(left), Self::Most(right)) => Self::Most(left.max(right)),
            (_, other) => other,
        }
    }
}

impl Metrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to `value`, and replaces earlier values.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.summaries.insert(name.into(), Summary::Mean { sum: value, weight: 1.0 });
    }

    /// Sets `name` if there is a value.
    pub fn set_some(&mut self, name: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds `weight` observations that sum to `sum`.
    pub fn add(&mut self, name: impl Into<String>, sum: f64, weight: f64) {
        self.join(name.into(), Summary::Mean { sum, weight });
    }

    /// Adds an observation to a metric that is the least of its observations.
    pub fn add_min(&mut self, name: impl Into<String>, value: f64) {
        self.join(name.into(), Summary::Least(value));
    }

    /// Adds an observation to a metric that is the largest of its observations.
    pub fn add_max(&mut self, name: impl Into<String>, value: f64) {
        self.join(name.into(), Summary::Most(value));
    }

    fn join(&mut self, name: String, summary: Summary) {
        let entry = self.summaries.entry(name);
        entry.and_modify(|present| *present = present.join(summary)).or_insert(summary);
    }

    /// Adds every observation of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (name, summary) in &other.summaries {
            self.join(name.clone(), *summary);
        }
    }

    /// The mean (or extreme) of `name`, or `None` when nothing was observed.
    pub fn get(&self, name: &str) -> Option<f64> {
        match *self.summaries.get(name)? {
            Summary::Mean { sum, weight } => (weight > 0.0).then(|| sum / weight),
            Summary::Least(value) | Summary::Most(value) => Some(value),
        }
    }

    /// Every name with its mean (or extreme), by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.summaries.keys().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }
}
