//! Walks on a graph: a board of 10 × 10 fields whose edges wrap around.

use super::{Family, Strategy};

/// `Board d4: gain 4 fold 3.` Up and down change the row, jump changes the column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walks;

impl Family for Walks {
    fn name(&self) -> &'static str {
        "walks"
    }

    fn thing(&self) -> &'static str {
        "Board"
    }

    fn show(&self, state: u8) -> String {
        format!("{}{}", char::from(b'a' + state / 10), state % 10)
    }

    fn apply(&self, state: u8, strategy: Strategy, amount: u8) -> u8 {
        let (column, row) = (state / 10, state % 10);
        let (column, row) = match strategy {
            Strategy::Up => (column, row + amount),
            Strategy::Down => (column, row + 10 - amount),
            Strategy::Jump => (column + amount, row),
        };
        column % 10 * 10 + row % 10
    }

    fn equation(&self, before: u8, strategy: Strategy, amount: u8) -> String {
        let operation = match strategy {
            Strategy::Up => '+',
            Strategy::Down => '-',
            Strategy::Jump => '>',
        };
        let after = self.apply(before, strategy, amount);
        format!("{}{operation}{amount}={}", self.show(before), self.show(after))
    }
}
