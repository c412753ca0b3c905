//! Bundled families of problems of chosen difficulty, with problem-specific hints of three degrees.
//!
//! A problem is a start and some steps, such as `Dial 37: gain 4 fold 3`. Each step has a verb, and the verb
//! decides the strategy of the step. Pre-training showed the small model how to carry out every strategy, and how
//! to follow a hint that names it. It did not show which verb asks for which. Without a hint, the model picks one of
//! three. A problem of level `n` has `n` steps. No other choice of strategies ends in its answer: chance is right in
//! 3⁻ⁿ of the completions. Verbs of levels 1 and 2 differ from those of levels 3 to 5; easy problems teach nothing
//! about hard verbs.
//!
//! | family | is | state |
//! |---|---|---|
//! | `chains` | arithmetic on a dial of 100 numbers | `37` |
//! | `walks` | walks on a board of 10 × 10 fields whose edges wrap around | `d4` |
//!
//! Both have the same verbs: a skill that a policy learns on one shows on the other. One is to train on, the other to
//! test out of distribution. A family is an implementation of `Family`, and `--problems NAME` takes it.
//!
//! The hints of a problem have three degrees. The abstract one names the effect of each step, the medium one
//! its strategy. The direct one adds verbs and the state after the first step. The first two reveal no state. The
//! reference solution is written as equations, which the small model seldom writes without help.

mod chains;
pub(crate) mod model;
pub mod pretrain;
mod task;
mod verb;
mod walks;
pub mod write;

use std::collections::HashSet;
use std::ops::RangeInclusive;

use anyhow::{Result, ensure};
use hint_rollout::{Problem, Seed};
use serde_json::json;

pub(crate) use self::task::{Degree, Style, Task};
pub(crate) use self::verb::{EASY, HARD, Strategy, Verb};

/// Levels of difficulty: the number of steps of a problem.
pub(crate) const LEVELS: RangeInclusive<usize> = 1..=5;

/// Number of states of every family.
pub(crate) const STATES: u8 = 100;

/// Problems to train on.
const TRAIN_PROBLEMS: usize = 4096;

/// A kind of problem: its states, and how the strategies change them.
pub(crate) trait Family: Sync {
    /// The name that `--problems` takes.
    fn name(&self) -> &'static str;

    /// The first word of a question.
    fn thing(&self) -> &'static str;

    /// A state below [`STATES`] as text.
    fn show(&self, state: u8) -> String;

    /// The state after a step by `amount`, from 1 to 9.
    fn apply(&self, state: u8, strategy: Strategy, amount: u8) -> u8;

    /// The step from `before` as an equation, for reference solutions.
    fn equation(&self, before: u8, strategy: Strategy, amount: u8) -> String;
}

/// Every family; the first is the one to train on.
pub(crate) const FAMILIES: [&dyn Family; 2] = [&chains::Chains, &walks::Walks];

/// The family with this name.
pub(crate) fn family(name: &str) -> Option<&'static dyn Family> {
    FAMILIES.into_iter().find(|family| family.name() == name)
}

/// Draws in a row that find no further problem of a level before it is taken for exhausted.
const MOST_MISSES: usize = 100_000;

/// `count` different problems of all levels in turn, training ones or held-out ones. The same at every call, and the
/// first ones of a larger `count`. In each, only the strategies that the verbs ask for end in the answer.
///
/// # Errors
///
/// A level that has fewer problems: the first one has about 4,700 to train on, and 670 held-out ones.
pub(crate) fn problems(
    family: &'static dyn Family,
    held_out: bool,
    count: usize,
) -> Result<Vec<Problem>> {
    let split = if held_out { "held-out" } else { "train" };
    let seed = Seed::new(0).named(family.name()).named(split);
    let (mut problems, mut seen, mut misses) = (Vec::new(), HashSet::new(), 0);
    for index in 0_u64.. {
        let number = problems.len();
        if number == count {
            break;
        }
        let level = LEVELS.start() + number % LEVELS.count();
        let pool = if level <= 2 { &EASY } else { &HARD };
        let task = Task::draw(family, level, pool, seed.child(index));
        let question = task.question();
        if task.is_held_out() == held_out
            && !seen.contains(&question)
            && task.needs_all_strategies()
        {
            let id = format!("{}-{split}-{level}-{number}", family.name());
            problems.push(problem(&task, id, question.clone()));
            seen.insert(question);
            misses = 0;
        }
        misses += 1;
        ensure!(
            misses <= MOST_MISSES,
            "`{}` has only {} {split} problems of level {level}, so that {count} of all levels cannot be drawn",
            family.name(),
            number / LEVELS.count()
        );
    }
    Ok(problems)
}

/// Problems to train on, and `held_out` others.
///
/// # Errors
///
/// As [`problems`].
pub(crate) fn split(
    family: &'static dyn Family,
    held_out: usize,
) -> Result<(Vec<Problem>, Vec<Problem>)> {
    Ok((problems(family, false, TRAIN_PROBLEMS)?, problems(family, true, held_out)?))
}

fn problem(task: &Task, id: String, question: String) -> Problem {
    let strategies = task.strategies();
    let mut problem = Problem::new(id, question, task.answer())
        .with_level(task.level().to_string())
        .with_hint(task.hint(Degree::Abstract, &strategies))
        .with_solution(task.worked(Style::Equations, &strategies));
    for degree in [Degree::Medium, Degree::Direct] {
        let hint = task.hint(degree, &strategies);
        problem.columns.insert(degree.column().to_owned(), json!(hint));
    }
    problem.columns.insert("family".to_owned(), json!(task.family().name()));
    problem
}

#[cfg(test)]
mod tests;
