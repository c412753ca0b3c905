//! `hint-rl pretrain-tasks`: trains the checkpoint that comes with the families, `examples/tiny-tasks`.
//!
//! ```text
//! cargo run --release -p hint-rl -- pretrain-tasks --out examples/tiny-tasks
//! ```
//!
//! Prints the loss every hundred steps; `hint-rl audit --model` measures the result (docs/tasks.md). The same build,
//! options and thread count write the same bytes. Verbs and strategies are drawn independently of each other, so that
//! the data does not show the meaning of a verb. Without a hint every strategy is as likely. With one, each step
//! follows it with a probability that grows with the degree of the hint. Hints may also be the beginning of a solution.

use anyhow::Result;
use hint_policy::Tokenizer;
use hint_rollout::Seed;
use tch::Kind;

use super::task::below;
use super::{Degree, EASY, FAMILIES, HARD, LEVELS, Strategy, Style, Task, model};
pub use crate::tiny::fit::Options;
use crate::tiny::fit::{Plan, Row};
use crate::tiny::swaps::{FRAME, HINT_INTRODUCTION};
use crate::tiny::vocabulary::EOS;

/// Runs the command.
///
/// # Errors
///
/// A folder that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let tokenizer = model::tokenizer()?;
    let plan = Plan { name: "tiny-tasks", tokenizer, steps: 6000, rows: 48, saved: Kind::BFloat16 };
    let batch = |seed: Seed, rows: u64, tokenizer: &Tokenizer| {
        // One level a batch: rows of about the same length need little padding.
        let level = LEVELS.start() + usize::from(below(seed.named("level"), 5));
        (0..rows).map(|row| Example::draw(level, seed.child(row)).tokens(tokenizer)).collect()
    };
    options.run(plan, batch, |_, _| Ok(()))
}

/// Share of rows without a hint, and of rows with a hint of each degree. The others have a beginning of a solution.
const SHARES: [(Option<Degree>, f64); 4] = [
    (None, 0.4),
    (Some(Degree::Abstract), 0.16),
    (Some(Degree::Medium), 0.16),
    (Some(Degree::Direct), 0.14),
];
/// Share of rows in equations: without a hint, and after the beginning of a solution. Rows after the other hints name
/// their strategies.
const EQUATIONS: [f64; 2] = [0.15, 0.4];

/// Probability that a step follows a hint of this degree. Otherwise it takes one of the other two
/// strategies.
const fn follows(degree: Degree) -> f64 {
    match degree {
        Degree::Abstract => 0.8,
        Degree::Medium => 0.88,
        Degree::Direct => 0.96,
    }
}

/// One row of training data.
struct Example {
    task: Task,
    hint: Option<String>,
    style: Style,
    /// Strategies that the completion carries out.
    strategies: Vec<Strategy>,
}

impl Example {
    fn draw(level: usize, seed: Seed) -> Self {
        let task = Self::task(level, seed.named("task"));
        let drawn = |name: &str| -> Vec<Strategy> {
            let seed = seed.named(name);
            let steps = 0..task.level() as u64;
            steps.map(|step| Strategy::ALL[usize::from(below(seed.child(step), 3))]).collect()
        };
        let hinted = drawn("hinted");
        // Step `at` of the completion, which follows the hint with this probability.
        let step = |at: usize, probability: f64| {
            let seed = seed.named("followed").child(at as u64);
            let others = Strategy::ALL.into_iter().filter(|other| *other != hinted[at]);
            let others = others.collect::<Vec<_>>();
            let other = usize::from(below(seed.named("other"), 2));
            if seed.unit() < probability { hinted[at] } else { others[other] }
        };
        let share = seed.named("context").unit();
        let mut below_share = 0.0;
        let context = SHARES.iter().find(|(_, size)| {
            below_share += size;
            share < below_share
        });
        let equations = |share: f64| {
            if seed.named("style").unit() < share { Style::Equations } else { Style::Named }
        };
        let all = 0..task.level();
        let (hint, style, strategies) = match context {
            Some((None, _)) => (None, equations(EQUATIONS[0]), drawn("plain")),
            Some((Some(degree), _)) => {
                let strategies = all.map(|at| step(at, follows(*degree))).collect();
                (Some(task.hint(*degree, &hinted)), Style::Named, strategies)
            }
            None => {
                let solution = task.worked(Style::Equations, &hinted);
                let words = solution.split_inclusive(' ').skip(1);
                let count =
                    1 + below(seed.named("words"), u8::try_from(task.level()).unwrap_or(1) + 1);
                let count = usize::from(count);
                let prefix = words.take(count).collect::<String>();
                let strategies = all.map(|at| step(at, if at < count { 0.97 } else { 1.0 / 3.0 }));
                let hint = format!(" {}", prefix.trim_end());
                (Some(hint), equations(EQUATIONS[1]), strategies.collect())
            }
        };
        Self { task, hint, style, strategies }
    }

    /// A problem that is not held out, with verbs of all levels.
    fn task(level: usize, seed: Seed) -> Task {
        let verbs = [EASY, HARD].concat();
        let family = FAMILIES[usize::from(below(seed.named("family"), 2))];
        let mut attempts = 0_u64..;
        loop {
            let attempt = attempts.next().unwrap_or_default();
            let task = Task::draw(family, level, &verbs, seed.child(attempt));
            if !task.is_held_out() {
                return task;
            }
        }
    }

    fn tokens(&self, tokenizer: &Tokenizer) -> Result<Row> {
        let hint = self.hint.as_deref();
        let hint = hint.map_or_else(String::new, |hint| format!("{HINT_INTRODUCTION}{hint}"));
        let prompt = format!("{}{}{hint}{}", FRAME.0, self.task.question(), FRAME.1);
        let mut completion = tokenizer.encode(&self.task.worked(self.style, &self.strategies))?;
        completion.push(EOS);
        Ok((tokenizer.encode(&prompt)?, completion))
    }
}
