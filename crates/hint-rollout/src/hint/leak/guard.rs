//! Treatment of hints that leak.

use serde::{Deserialize, Serialize};

use crate::data::{AllowedLeak, Hint, HintKind};
use crate::error::RolloutError;
use crate::hint::leak::detector::LeakDetector;
use crate::hint::leak::finding::{Leak, LeakKind, masked};
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::writer::HintWriter;

/// Treatment of a hint that gives something away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakAction {
    /// It is counted and used.
    #[default]
    Keep,
    /// It is not used. There is no hint then, and the search for a level ends, since a higher level
    /// would give away more.
    Drop,
    /// Each leak becomes a blank; a solution's prefix ends before the first. A hint that still leaks
    /// afterwards, or of which nothing is left, is dropped.
    Mask,
}

/// Looks at every hint before it is used.
///
/// ```
/// use hint_rollout::hint::leak::{LeakAction, LeakGuard};
///
/// let guard = LeakGuard { action: LeakAction::Drop, retries: 2 };
/// assert_eq!(LeakGuard::default().action, LeakAction::Keep);
/// # let _ = guard;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeakGuard {
    /// Treatment of a hint that gives something away.
    pub action: LeakAction,
    /// Number of further requests for such a hint first, unless it is kept. Sources that draw or
    /// write their hints give another one. The others give the same, and are asked at most once more.
    pub retries: usize,
}

/// A hint and the guard's findings in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GuardedHint {
    /// The hint that is used; `None` if there was none, or if it was dropped.
    pub hint: Option<Hint>,
    /// Leaks of the source's last hint, before the guard acted on them.
    pub leaks: Vec<Leak>,
    /// Whether there was a hint to look at; demonstrations are not looked at.
    pub judged: bool,
    /// Whether the hint is used with blanks.
    pub masked: bool,
    /// Number of further requests to the source.
    pub retries: usize,
}

/// Counts over the hints that a guard looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LeakCounts {
    /// Hints that were looked at.
    pub judged: usize,
    /// Hints that gave something away.
    pub leaking: usize,
    /// Hints that gave the answer away.
    pub answer: usize,
    /// Hints that gave the value of a step away.
    pub step: usize,
    /// Hints that were dropped.
    pub dropped: usize,
    /// Hints that were used with blanks.
    pub masked: usize,
    /// Times that a source was asked again.
    pub retries: usize,
}

impl LeakCounts {
    /// Adds one hint.
    pub fn observe(&mut self, guarded: &GuardedHint) {
        let has = |kind| usize::from(guarded.leaks.iter().any(|leak| leak.kind == kind));
        let leaks = !guarded.leaks.is_empty();
        self.judged += usize::from(guarded.judged);
        self.leaking += usize::from(leaks);
        self.answer += has(LeakKind::Answer);
        self.step += has(LeakKind::Step);
        self.dropped += usize::from(leaks && guarded.hint.is_none());
        self.masked += usize::from(guarded.masked);
        self.retries += guarded.retries;
    }

    /// Adds the counts of others.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { judged, leaking, answer, step, dropped, masked, retries } = other;
        self.judged += judged;
        self.leaking += leaking;
        self.answer += answer;
        self.step += step;
        self.dropped += dropped;
        self.masked += masked;
        self.retries += retries;
    }
}

impl LeakGuard {
    /// Asks `provider` for the hints of `requests` and has `detector` look at each. One answer for each request, in
    /// order.
    ///
    /// # Errors
    ///
    /// Errors of the provider; [`RolloutError::ProviderContract`].
    pub fn hints(
        &self,
        detector: &LeakDetector,
        provider: &dyn HintProvider,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<GuardedHint>, RolloutError> {
        let mut guarded = vec![GuardedHint::default(); requests.len()];
        let mut asking = (0..requests.len()).collect::<Vec<_>>();
        let mut retry = 0;
        while !asking.is_empty() {
            let asked = asking.iter().map(|&at| requests[at].with_retry(retry)).collect::<Vec<_>>();
            let hints = provider.hints(&asked, writer)?;
            if hints.len() != asked.len() {
                let (expected, found) = (asked.len(), hints.len());
                return Err(RolloutError::ProviderContract { expected, found });
            }
            let mut again = Vec::new();
            for (&at, hint) in asking.iter().zip(hints) {
                let entry = &mut guarded[at];
                entry.retries = retry;
                let unchanged = hint == entry.hint;
                let Some(hint) = hint else {
                    entry.hint = None;
                    continue;
                };
                if !unchanged {
                    entry.judged = hint.allowed_leak != AllowedLeak::Answer;
                    entry.leaks = detector.leaks(requests[at].problem, &hint);
                    entry.hint = Some(hint);
                }
                let rejected = !entry.leaks.is_empty() && self.action != LeakAction::Keep;
                if rejected && retry < self.retries && !unchanged {
                    again.push(at);
                }
            }
            asking = again;
            retry += 1;
        }
        for (entry, request) in guarded.iter_mut().zip(requests) {
            if !entry.leaks.is_empty() {
                self.apply(entry, request, detector);
            }
        }
        Ok(guarded)
    }

    fn apply(&self, entry: &mut GuardedHint, request: &HintRequest<'_>, detector: &LeakDetector) {
        match self.action {
            LeakAction::Keep => {}
            LeakAction::Drop => entry.hint = None,
            LeakAction::Mask => {
                let hint = entry.hint.take().map(|mut hint| {
                    hint.text = match hint.kind {
                        HintKind::Prefix => hint.text[..entry.leaks[0].span.start].to_owned(),
                        _ => masked(&hint.text, &entry.leaks),
                    };
                    hint
                });
                entry.hint = hint.filter(|hint| {
                    let says = hint.text.chars().any(char::is_alphabetic);
                    says && detector.leaks(request.problem, hint).is_empty()
                });
                entry.masked = entry.hint.is_some();
            }
        }
    }
}
