//! Verbs, and the strategy that each asks for.

/// Execution of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Strategy {
    /// Forward by the amount.
    Up,
    /// Back by the amount.
    Down,
    /// Forward by ten times the amount, or sideways.
    Jump,
}

impl Strategy {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Jump];

    /// Its name, in completions and in hints of the medium and direct degree.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Jump => "jump",
        }
    }

    /// Its effect, in abstract hints.
    pub(crate) const fn effect(self) -> &'static str {
        match self {
            Self::Up => "rises",
            Self::Down => "falls",
            Self::Jump => "leaps",
        }
    }
}

/// The word of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Verb {
    /// The word.
    pub word: &'static str,
    /// The strategy that it asks for.
    pub strategy: Strategy,
}

const fn verb(word: &'static str, strategy: Strategy) -> Verb {
    Verb { word, strategy }
}

/// The verbs of levels 1 and 2.
pub(crate) const EASY: [Verb; 6] = [
    verb("gain", Strategy::Up),
    verb("find", Strategy::Up),
    verb("drop", Strategy::Down),
    verb("lose", Strategy::Down),
    verb("fold", Strategy::Jump),
    verb("flip", Strategy::Jump),
];

/// The verbs of levels 3 to 5.
pub(crate) const HARD: [Verb; 6] = [
    verb("earn", Strategy::Up),
    verb("lift", Strategy::Up),
    verb("spend", Strategy::Down),
    verb("sink", Strategy::Down),
    verb("spin", Strategy::Jump),
    verb("warp", Strategy::Jump),
];
