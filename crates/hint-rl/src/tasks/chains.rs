//! Arithmetic with a carried state: numbers on a dial of 100.

use super::{Family, STATES, Strategy};

/// `Dial 37: gain 4 fold 3.` Up adds, down subtracts, jump adds ten times the amount, all modulo 100.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chains;

impl Family for Chains {
    fn name(&self) -> &'static str {
        "chains"
    }

    fn thing(&self) -> &'static str {
        "Dial"
    }

    fn show(&self, state: u8) -> String {
        format!("{state:02}")
    }

    fn apply(&self, state: u8, strategy: Strategy, amount: u8) -> u8 {
        let forward = match strategy {
            Strategy::Up => amount,
            Strategy::Down => STATES - amount,
            Strategy::Jump => 10 * amount,
        };
        (state + forward) % STATES
    }

    fn equation(&self, before: u8, strategy: Strategy, amount: u8) -> String {
        let operation = match strategy {
            Strategy::Up => format!("+{amount}"),
            Strategy::Down => format!("-{amount}"),
            Strategy::Jump => format!("+{amount}0"),
        };
        let after = self.apply(before, strategy, amount);
        format!("{}{operation}={}", self.show(before), self.show(after))
    }
}
