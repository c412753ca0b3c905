//! `hint-rl pretrain-tasks`: trains the checkpoint that comes with the families, `examples/tiny-tasks`.
//!
//! ```text
//! cargo run --release -p hint-rl -- pretrain-tasks --out examples/tiny-tasks
//! ```
//!
//! Trains a narrow model at a high rate, widens its feed-forward blocks, and trains further at a low rate. Widening
//! does not change the function. A larger model from random weights did not learn the arithmetic at the high rate.
//! `--widen-from DIR` begins with the narrow model of a folder.
//!
//! Prints the loss every hundred steps; `hint-rl audit --model` measures the result (docs/tasks.md). The same build,
//! options and thread count write the same bytes. Verbs and strategies are drawn independently of each other, so that
//! the data does not show the meaning of a verb. Without a hint every strategy is as likely. With one, each step
//! follows it with a probability that grows with the degree of the hint. Hints may also be the beginning of a solution.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use hint_policy::Tokenizer;
use hint_rollout::Seed;
use tch::Kind;

use super::task::below;
use super::{Degree, EASY, FAMILIES, HARD, LEVELS, Strategy, Style, Task, model};
use crate::tiny::fit::{self, Plan, Row, Size, Start};
use crate::tiny::swaps::{FRAME, HINT_INTRODUCTION};
use crate::tiny::vocabulary::EOS;

/// Options of the command.
#[derive(Debug, Args)]
// Its group would have the name of the one of `fit::Options`.
#[group(skip)]
pub struct Options {
    /// Training of the widened model.
    #[command(flatten)]
    training: fit::Options,
    /// Optimizer steps of the narrow model that is trained first [default: as for the checkpoint in the repository].
    #[arg(long, conflicts_with = "widen_from")]
    narrow_steps: Option<u64>,
    /// Folder of a narrow model, in place of training one first.
    #[arg(long, value_name = "DIR")]
    widen_from: Option<PathBuf>,
}

/// Size of the model: 1,009,824 parameters.
const SIZE: Size = Size { hidden: 96, intermediate: 1024, layers: 3, heads: 4 };
/// Width inside the feed-forward blocks of the narrow model, which has 346,272 parameters.
const NARROW: usize = 256;

/// Runs the command.
///
/// # Errors
///
/// A folder that cannot be written; a model to widen that cannot be read, or that is of another kind.
pub fn run(options: &Options) -> Result<()> {
    let tokenizer = model::tokenizer()?;
    let start = if let Some(folder) = &options.widen_from {
        let has_own_tokenizer = model::is_own(&Tokenizer::from_dir(folder)?);
        ensure!(
            has_own_tokenizer,
            "the model in `{}` has another tokenizer; give one that `pretrain-tasks` made",
            folder.display()
        );
        Start::Folder(folder.clone())
    } else {
        let steps = options.narrow_steps.unwrap_or(6000);
        Start::Narrow { intermediate: NARROW, steps, learning_rate: 3e-3 }
    };
    let plan = Plan {
        name: "tiny-tasks",
        tokenizer,
        size: SIZE,
        start,
        steps: 1500,
        learning_rate: 1e-3,
        rows: 48,
        saved: Kind::BFloat16,
    };
    let batch = |seed: Seed, rows: u64, tokenizer: &Tokenizer| {
        // One level a batch: rows of about the same length need little padding.
        let level = LEVELS.start() + usize::from(below(seed.named("level"), 5));
        (0..rows).map(|row| Example::draw(level, seed.child(row)).tokens(tokenizer)).collect()
    };
    options.training.run(plan, batch, |_, _| Ok(()))
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
        Degree::Medium => 0.86,
        Degree::Direct => 0.92,
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::FromArgMatches as _;
    use hint_policy::{
        CausalLm, LoadOptions, LoadedModel, Policy as _, SaveOptions, ScoreOptions, TokenBatch,
        TokenRow,
    };
    use tch::Device;

    use super::*;
    use crate::tiny::tiny_model;

    fn options(args: &[&str]) -> Result<Options, clap::Error> {
        let command = Options::augment_args(clap::Command::new("pretrain-tasks"));
        let args = std::iter::once("pretrain-tasks").chain(args.iter().copied());
        Options::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    /// Runs the command with these options on two rows per step, and returns the weights that it writes.
    fn train(out: &Path, args: &[&str]) -> Result<Vec<u8>> {
        let args = [&["--rows", "2", "--out", out.to_str().unwrap()], args].concat();
        run(&options(&args)?)?;
        Ok(std::fs::read(out.join("model.safetensors"))?)
    }

    /// Log-probabilities of rows of training data.
    fn scores(folder: &Path) -> tch::Tensor {
        let model = LoadedModel::load(folder, &LoadOptions::default()).unwrap();
        let rows = (0..4).map(|row| Example::draw(3, Seed::new(row)).tokens(&model.tokenizer));
        let rows = rows.collect::<Result<Vec<_>>>().unwrap();
        let rows = rows.iter().map(|(prompt, completion)| TokenRow { prompt, completion });
        let batch = TokenBatch::new(&rows.collect::<Vec<_>>(), Device::Cpu).unwrap();
        let scores = tch::no_grad(|| model.policy.score(&batch, &ScoreOptions::default()));
        scores.unwrap().logprobs
    }

    #[test]
    fn one_command_trains_a_narrow_model_and_a_widened_one_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let trained = |name: &str, narrow_steps: &str, steps: &str| {
            train(&at(name), &["--narrow-steps", narrow_steps, "--steps", steps]).unwrap()
        };
        let once = trained("once", "2", "2");
        assert!(trained("again", "2", "2") == once, "the same command writes the same bytes");
        assert!(trained("narrow alone", "2", "0") != once, "the widened model is trained");
        assert!(trained("wide alone", "0", "2") != once, "the narrow model is trained");
        let model = CausalLm::load(at("once"), &LoadOptions::default()).unwrap();
        let sizes = model.parameters().into_iter().map(|parameter| parameter.tensor.numel());
        assert_eq!(sizes.sum::<usize>(), 1_009_824);
    }

    #[test]
    fn a_narrow_model_is_widened_to_one_with_its_scores_and_trained_further() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let tokenizer = model::tokenizer().unwrap();
        let size = Size { intermediate: NARROW, ..SIZE };
        let policy = CausalLm::init(&size.config(&tokenizer), 5, Device::Cpu).unwrap();
        let saved = SaveOptions { kind: Kind::BFloat16, ..SaveOptions::default() };
        let narrow = LoadedModel { policy, tokenizer, stop_tokens: vec![EOS] };
        narrow.save_with(at("narrow"), &saved).unwrap();

        let from = at("narrow");
        let from_narrow = |name: &str, steps: &str| {
            train(&at(name), &["--widen-from", from.to_str().unwrap(), "--steps", steps]).unwrap()
        };
        let (widened, trained) = (from_narrow("widened", "0"), from_narrow("trained", "2"));
        let difference = (scores(&from) - scores(&at("widened"))).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
        assert!(trained != widened, "two steps change it");
    }

    #[test]
    fn only_a_model_of_the_families_is_widened_and_none_is_trained_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let tiny = tiny_model();
        let from_tiny = ["--widen-from", tiny.to_str().unwrap()];
        let error = train(folder.path(), &from_tiny).unwrap_err().to_string();
        assert!(
            error.contains("has another tokenizer; give one that `pretrain-tasks` made"),
            "{error}"
        );
        let both = [&from_tiny[..], &["--narrow-steps", "3"]].concat();
        assert!(options(&both).unwrap_err().to_string().contains("--narrow-steps"));
    }
}
