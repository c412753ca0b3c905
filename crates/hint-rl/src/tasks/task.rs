//! One problem in the making, and its texts.

use hint_rollout::Seed;

use super::{Family, STATES, Strategy, Verb};

/// One step of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Asks for a strategy.
    pub verb: Verb,
    /// From 1 to 9.
    pub amount: u8,
}

/// Degree of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Degree {
    /// The effect of each step.
    Abstract,
    /// The strategy of each step.
    Medium,
    /// Each verb with its strategy, and the state after the first of several steps.
    Direct,
}

impl Degree {
    /// Its column in a file of problems, as HINT's data has it.
    pub(crate) const fn column(self) -> &'static str {
        match self {
            Self::Abstract => "abstract_hint",
            Self::Medium => "medium_hint",
            Self::Direct => "direct_hint",
        }
    }
}

/// Form of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Style {
    /// ` gain up 4 41 \boxed{41}`: the small model's own form.
    Named,
    /// ` 37+4=41. \boxed{41}`: how reference solutions are written.
    Equations,
}

/// One problem: a start and some steps.
#[derive(Clone)]
pub(crate) struct Task {
    family: &'static dyn Family,
    start: u8,
    steps: Vec<Step>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.question())
    }
}

impl Task {
    /// A problem of `level` steps with different verbs of `pool`. `seed` decides all of it.
    pub(crate) fn draw(
        family: &'static dyn Family,
        level: usize,
        pool: &[Verb],
        seed: Seed,
    ) -> Self {
        let order = seed.named("verbs").permutation(pool.len());
        let amounts = seed.named("amounts");
        let steps = order.into_iter().take(level).zip(0_u64..);
        let steps = steps
            .map(|(verb, at)| Step { verb: pool[verb], amount: 1 + below(amounts.child(at), 9) });
        Self { family, start: below(seed.named("start"), STATES), steps: steps.collect() }
    }

    /// Its family.
    pub(crate) fn family(&self) -> &'static dyn Family {
        self.family
    }

    /// Its level.
    pub(crate) fn level(&self) -> usize {
        self.steps.len()
    }

    /// Whether it belongs to the eighth that is never trained on, neither by `pretrain-tasks` nor by `train`.
    pub(crate) fn is_held_out(&self) -> bool {
        crc32fast::hash(self.question().as_bytes()).is_multiple_of(8)
    }

    /// `Dial 37: gain 4 fold 3.`
    pub(crate) fn question(&self) -> String {
        let step = |step: &Step| format!(" {} {}", step.verb.word, step.amount);
        let steps = self.steps.iter().map(step).collect::<String>();
        format!("{} {}:{steps}.", self.family.thing(), self.family.show(self.start))
    }

    /// The strategies that the verbs ask for.
    pub(crate) fn strategies(&self) -> Vec<Strategy> {
        self.steps.iter().map(|step| step.verb.strategy).collect()
    }

    /// The state before each step and after the last one, with these strategies.
    fn states(&self, strategies: &[Strategy]) -> Vec<u8> {
        let mut states = vec![self.start];
        for (step, strategy) in self.steps.iter().zip(strategies) {
            let state = states[states.len() - 1];
            states.push(self.family.apply(state, *strategy, step.amount));
        }
        states
    }

    /// Whether no other strategies end in the answer, so that a right answer shows the right ones.
    pub(super) fn needs_all_strategies(&self) -> bool {
        let mut ends = vec![(self.start, true)];
        for step in &self.steps {
            let next = ends.iter().flat_map(|&(state, is_right)| {
                Strategy::ALL.map(|strategy| {
                    let state = self.family.apply(state, strategy, step.amount);
                    (state, is_right && strategy == step.verb.strategy)
                })
            });
            ends = next.collect();
        }
        let right = ends.iter().find(|(_, is_right)| *is_right).map(|(state, _)| *state);
        ends.iter().filter(|(state, _)| Some(*state) == right).count() == 1
    }

    /// The state in the end.
    pub(crate) fn answer(&self) -> String {
        let states = self.states(&self.strategies());
        self.family.show(states[states.len() - 1])
    }

    /// The completion that carries out these strategies.
    pub(crate) fn worked(&self, style: Style, strategies: &[Strategy]) -> String {
        let states = self.states(strategies);
        let steps = self.steps.iter().zip(strategies).zip(states.windows(2));
        let step = |((step, strategy), states): ((&Step, &Strategy), &[u8])| match style {
            Style::Named => {
                let Step { verb, amount } = step;
                format!(
                    " {} {} {amount} {}",
                    verb.word,
                    strategy.name(),
                    self.family.show(states[1])
                )
            }
            Style::Equations => {
                format!(" {}.", self.family.equation(states[0], *strategy, step.amount))
            }
        };
        let last = self.family.show(states[states.len() - 1]);
        steps.map(step).collect::<String>() + &format!(" \\boxed{{{last}}}")
    }

    /// The hint that names these strategies.
    pub(crate) fn hint(&self, degree: Degree, strategies: &[Strategy]) -> String {
        let listed = |text: &dyn Fn(&Step, Strategy) -> String| {
            let steps = self.steps.iter().zip(strategies);
            steps.map(|(step, strategy)| text(step, *strategy)).collect::<Vec<_>>().join(", ")
        };
        match degree {
            Degree::Abstract => {
                format!("It {}.", listed(&|_, strategy| strategy.effect().to_owned()))
            }
            Degree::Medium => format!("Go {}.", listed(&|_, strategy| strategy.name().to_owned())),
            Degree::Direct => {
                let verbs =
                    listed(&|step, strategy| format!("{} {}", step.verb.word, strategy.name()));
                let states = self.states(strategies);
                // A state that comes back would be the answer, and as products of a letter `j0` and `g0` are equal.
                let is_answer = |state: u8, last: u8| state == last || state % 10 + last % 10 == 0;
                match states[..] {
                    [_, first, .., last] if !is_answer(first, last) => {
                        format!("{verbs}. First {}.", self.family.show(first))
                    }
                    _ => format!("{verbs}."),
                }
            }
        }
    }
}

/// A number below `bound`, which is small enough for the bias of the remainder not to matter.
pub(super) fn below(seed: Seed, bound: u8) -> u8 {
    u8::try_from(seed.value() % u64::from(bound)).expect("a remainder of a u8 fits")
}
