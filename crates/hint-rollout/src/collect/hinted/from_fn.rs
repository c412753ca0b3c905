//! Closures as parts of the hinted stage.

/// A named closure as a [`Trigger`](crate::collect::hinted::Trigger),
/// [`Levels`](crate::collect::hinted::Levels) or [`Combine`](crate::collect::hinted::Combine); made by
/// [`from_fn`].
pub struct FromFn<F> {
    pub(super) name: String,
    pub(super) function: F,
}

impl<F> std::fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FromFn").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Turns a closure into a part of the hinted stage. The name goes into the record of a run.
///
/// ```
/// use hint_rollout::collect::hinted::{Trigger, TriggerInput, from_fn};
///
/// let trigger = from_fn("at_most_one", |input: &TriggerInput| input.correct <= 1);
/// assert!(trigger.fires(&TriggerInput::new(1, 8)));
/// assert_eq!(Trigger::name(&trigger), "at_most_one");
/// ```
pub fn from_fn<F>(name: impl Into<String>, function: F) -> FromFn<F> {
    FromFn { name: name.into(), function }
}

/// Implements a trait of one required method, beside its name, for a [`FromFn`].
macro_rules! from_closure {
    ($part:ident: $method:ident($($arg:ident: $type:ty),*) $(-> $output:ty)?) => {
        impl<F> $part for $crate::collect::hinted::from_fn::FromFn<F>
        where
            F: Fn($($type),*) $(-> $output)? + Send + Sync,
        {
            fn name(&self) -> String {
                self.name.clone()
            }

            fn $method(&self, $($arg: $type),*) $(-> $output)? {
                (self.function)($($arg),*)
            }
        }
    };
}

pub(super) use from_closure;
