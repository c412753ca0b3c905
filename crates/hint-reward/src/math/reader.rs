//! Reading the texts of one judgment, each once.

use crate::math::fuel::{DEFAULT_FUEL, Fuel};
use crate::math::tree::node::Node;

/// State of one judgment: its budget, and the answer it read last.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) fuel: Fuel,
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

impl Reader {
    /// A reader with the budget of one judgment.
    pub(crate) fn of_one_judgment() -> Self {
        Self::new(DEFAULT_FUEL)
    }

    /// A reader with a budget of work units.
    pub(crate) fn new(units: u64) -> Self {
        Self { fuel: Fuel::new(units), recent: None }
    }

    /// Keeps the reading of a text for the next one who reads it.
    pub(crate) fn keep(&mut self, text: &str, reading: Reading) {
        self.recent = Some((text.to_owned(), reading));
    }

    /// The reading of a text, if it was the last one kept.
    pub(crate) fn kept(&mut self, text: &str) -> Option<Reading> {
        self.recent.take_if(|(kept, _)| kept == text).map(|(_, reading)| reading)
    }
}
