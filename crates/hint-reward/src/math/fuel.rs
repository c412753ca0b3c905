//! What one judgment works with: its budget, which ends it without a clock, and the text it read last.

use crate::math::tree::node::Node;

/// Why reading or comparing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The work budget is used up.
    OutOfFuel,
    /// The text is not in the grammar; the reason is for people.
    Unreadable(&'static str),
}

/// Work units of one judgment. Calibrated so that the worst pair stays below 50 ms on one core.
pub(crate) const DEFAULT_FUEL: u64 = 1_000_000;

/// A work budget. One unit is about ten nanoseconds of work on a current core.
#[derive(Debug, Clone)]
pub(crate) struct Fuel {
    left: u64,
    /// The text that read as an answer last. Extraction finds it, and the comparison reads it again.
    recent: Option<(String, Reading)>,
}

/// One way to read a text.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) node: Node,
    /// Another way to read the same words.
    pub(crate) other: Option<Node>,
    pub(crate) ambiguous_comma: bool,
    /// Whether the words as a whole say it, and not their parts.
    pub(crate) is_phrase: bool,
}

impl Fuel {
    pub(crate) fn new(units: u64) -> Self {
        Self { left: units, recent: None }
    }

    /// Keeps the reading of a text for the next one who reads it.
    pub(crate) fn keep(&mut self, text: &str, reading: Reading) {
        self.recent = Some((text.to_owned(), reading));
    }

    /// The reading of a text, if it was the last one kept.
    pub(crate) fn kept(&mut self, text: &str) -> Option<Reading> {
        self.recent.take_if(|(kept, _)| kept == text).map(|(_, reading)| reading)
    }

    /// Takes `units` from the budget before the work they stand for is done.
    pub(crate) fn spend(&mut self, units: u64) -> Result<(), Stop> {
        if self.left < units {
            self.left = 0;
            return Err(Stop::OutOfFuel);
        }
        self.left -= units;
        Ok(())
    }
}
