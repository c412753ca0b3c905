//! The parts of a collector that the configuration names, or that are a user's own.

use crate::collect::config::CollectorConfig;
use crate::collect::hinted::{Combine, Levels, Trigger};

/// A user's own parts; a missing one is taken from the configuration.
#[derive(Default)]
pub(crate) struct OwnParts {
    pub(crate) trigger: Option<Box<dyn Trigger>>,
    pub(crate) levels: Option<Box<dyn Levels>>,
    pub(crate) combine: Option<Box<dyn Combine>>,
}

/// The parts that count.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'c> {
    pub(crate) trigger: &'c dyn Trigger,
    pub(crate) levels: &'c dyn Levels,
    pub(crate) combine: &'c dyn Combine,
}

impl OwnParts {
    pub(crate) fn or<'c>(&'c self, config: &'c CollectorConfig) -> Parts<'c> {
        Parts {
            trigger: self.trigger.as_deref().unwrap_or(&config.trigger),
            levels: self.levels.as_deref().unwrap_or(&config.level),
            combine: self.combine.as_deref().unwrap_or(&config.combine),
        }
    }

    /// The axis and the name of each.
    pub(crate) fn names(&self) -> Vec<(&'static str, String)> {
        let trigger = self.trigger.as_ref().map(|part| ("trigger", part.name()));
        let levels = self.levels.as_ref().map(|part| ("level", part.name()));
        let combine = self.combine.as_ref().map(|part| ("combine", part.name()));
        [trigger, levels, combine].into_iter().flatten().collect()
    }
}

impl Parts<'_> {
    /// Whether hinted groups need no plain completions: the trigger does not look at them, and the
    /// combination would put them aside. They are not sampled then.
    pub(crate) fn skips_plain(self) -> bool {
        let needs_plain = self.combine.keeps_plain() || self.combine.teaching().is_some();
        !self.trigger.looks_at_outcome() && !needs_plain
    }
}
