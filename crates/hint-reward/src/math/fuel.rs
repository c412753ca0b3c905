//! The budget of one judgment, which ends it without a clock.

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
}

impl Fuel {
    pub(crate) fn new(units: u64) -> Self {
        Self { left: units }
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
