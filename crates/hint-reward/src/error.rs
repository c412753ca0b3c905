//! Errors of this crate.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A reward returned NaN or infinity.
    #[error("reward `{name}` returned {found} for problem `{problem}`, expected a finite number")]
    NotFinite {
        /// Name of the reward.
        name: String,
        /// Problem id, empty if unknown.
        problem: String,
        /// Value that it returned.
        found: f64,
    },

    /// A reward returned too few or too many scores for a group.
    #[error("reward `{name}` returned {found} scores for a group of {expected} completions")]
    GroupLength {
        /// Name of the reward.
        name: String,
        /// Scores returned.
        found: usize,
        /// Completions given.
        expected: usize,
    },

    /// Two parts of a rubric share a name, so their metrics would be mixed up.
    #[error("two parts of the rubric are named `{name}`, expected different names")]
    DuplicatePart {
        /// The shared name.
        name: String,
    },

    /// A setting is outside its range.
    #[error("`{name}` is {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// Expected value.
        expected: &'static str,
    },

    /// A reward needs something of its input that was not given.
    #[error("reward `{reward}` needs `{input}`, which is not known; set it on the `RewardInput`")]
    MissingInput {
        /// Name of the reward.
        reward: &'static str,
        /// The missing field.
        input: &'static str,
    },

    /// An external judge did not give a usable score.
    #[error("judge `{name}` gave no score after {attempts} attempts: {reason}")]
    Judge {
        /// Name of the reward.
        name: String,
        /// Requests made.
        attempts: u32,
        /// The last error.
        reason: String,
    },

    /// A part of a rubric panicked.
    #[error("reward `{name}` panicked: {message}")]
    Panicked {
        /// Name of the part.
        name: String,
        /// Message of the panic.
        message: String,
    },

    /// An error of a user's own [`Reward`](crate::reward::Reward).
    #[error("{part} failed")]
    Other {
        /// The part, by the name of the reward.
        part: String,
        /// The user's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
