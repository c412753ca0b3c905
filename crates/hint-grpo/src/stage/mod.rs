//! The stages of training: the samples of a step, and their source.
//!
//! A [`Run`](crate::run::Run) is the same loop for every [`Stage`]: the stage brings the samples of a step,
//! the [`Learner`](crate::learner::Learner) trains on them. [`PolicyGradient`] samples groups and turns
//! rewards into advantages; [`Supervised`] takes demonstrations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Scope;

use hint_policy::SharedPolicy;
use hint_rollout::collect::CollectorConfig;
use hint_rollout::data::{ProblemSet, Problems};
use hint_rollout::engine::Peers;
use hint_rollout::error::Violations;
use hint_rollout::evaluate::{Evaluation, EvaluationOptions};
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, WeightSource};
use serde_json::Value;

use crate::config::GrpoConfig;
use crate::error::{ConfigError, GrpoError};
use crate::learner::{LearnerParts, SampleBatch, SftLoss, UpdateReport};
use crate::metrics::Metrics;
use crate::rollout_table::RolloutRecord;
use crate::warning::Warning;

mod fingerprint;
mod policy_gradient;
mod supervised;

pub use fingerprint::fingerprint;
pub(crate) use fingerprint::problem_fingerprints;
pub use policy_gradient::PolicyGradient;
pub use supervised::{Demonstration, Supervised};

/// Input of one step, from its stage.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// Samples for the learner.
    pub samples: SampleBatch,
    /// Numbers about the samples.
    pub metrics: Metrics,
    /// Findings that did not stop the step.
    pub warnings: Vec<Warning>,
    /// Tokens that were sampled for this step, or in a supervised stage learned from.
    pub tokens: u64,
    /// Tokens of prompts and responses, the prompt once for each response.
    pub num_tokens: u64,
}

/// Everything of a stage that a resumed run needs.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use hint_grpo::stage::StageState;
///
/// let parts = BTreeMap::from([("drawn".to_owned(), serde_json::json!(12))]);
/// let state = StageState::of_parts(parts);
/// assert!(state.batches.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StageState {
    /// States by the name of the part.
    pub parts: BTreeMap<String, Value>,
    /// Batches that have not trained yet, in a form of the stage. Empty without any.
    pub batches: Vec<u8>,
}

impl StageState {
    /// The states of the parts, without batches.
    pub const fn of_parts(parts: BTreeMap<String, Value>) -> Self {
        Self { parts, batches: Vec::new() }
    }
}

/// The state of a stage at some moment, written out when it is called.
pub type Snapshot = Box<dyn FnOnce() -> Result<StageState, GrpoError>>;

/// An evaluation that a stage was asked for.
#[derive(Debug)]
pub enum Evaluated {
    /// It is done.
    Now(Box<Evaluation>),
    /// It is on its way: [`Stage::evaluations`] returns it.
    Later,
    /// The stage evaluates nothing.
    Nothing,
}

/// Options of an evaluation by a collector of this configuration.
fn evaluation_options(config: &GrpoConfig, collector: &CollectorConfig) -> EvaluationOptions {
    let options = config.evaluation.options(&collector.sampling, config.run.seed);
    EvaluationOptions { scoring: collector.scoring, ..options }
}

/// Evaluates with a collector, at once.
fn evaluate_now(
    collector: &mut Collector,
    problems: &ProblemSet,
    config: &GrpoConfig,
) -> Result<Evaluated, GrpoError> {
    let options = evaluation_options(config, collector.config());
    Ok(Evaluated::Now(Box::new(collector.evaluate(problems, &options)?)))
}

/// Refuses a loss that lacks its reference policy, or its teacher.
fn check_reference(config: &GrpoConfig, parts: &LearnerParts) -> Result<(), ConfigError> {
    let (has_reference, kl) = (parts.reference.is_some(), config.loss.kl.coef);
    let (loss, credit) = (&config.loss, &config.loss.credit);
    let teacher = serde_json::json!(credit.teacher);
    Ok(Violations::check(|at| {
        at.within("loss", |at| {
            let holds = loss.further_teacher().is_none() || parts.teacher.is_some();
            let expected = "must be \"live\" or \"reference\" without a policy that teaches";
            at.require(holds, "credit.teacher.type", expected, &teacher);
            let expected = "must be 0 without a reference policy";
            at.require(has_reference || kl == 0.0, "kl.coef", expected, kl);
            let holds = has_reference || !credit.needs_reference();
            let expected = "must not be \"reference\" without a reference policy";
            at.require(holds, "credit.teacher.type", expected, &teacher);
        });
    })?)
}

/// Refuses a collector with another configuration than the one that the run records.
fn check_collector(config: &GrpoConfig, collector: &Collector) -> Result<(), ConfigError> {
    if *collector.config() == config.rollout {
        return Ok(());
    }
    let expected = "must be the configuration of the collector: make it of the run's, and change its parts alone";
    Err(ConfigError::one("rollout", expected, "another one"))
}

/// Source of a run's samples.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use hint_grpo::learner::{Sample, SampleBatch};
/// use hint_grpo::stage::{Batch, Stage, fingerprint};
/// use hint_grpo::GrpoError;
/// use hint_rollout::run::RunProgress;
///
/// /// Learns texts, one per step.
/// struct Texts;
///
/// impl Stage for Texts {
///     const NAME: &'static str = "texts";
///     type Items = [Vec<u32>];
///
///     fn is_empty(texts: &[Vec<u32>]) -> bool {
///         texts.is_empty()
///     }
///
///     fn fingerprints(texts: &[Vec<u32>]) -> Result<BTreeMap<String, String>, GrpoError> {
///         let texts = texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>();
///         let all = fingerprint(texts.iter().map(|text| [text.as_bytes()]));
///         Ok(BTreeMap::from([("texts".to_owned(), all)]))
///     }
///
///     fn next_batch(&mut self, texts: &[Vec<u32>], at: RunProgress) -> Result<Batch, GrpoError> {
///         let text = &texts[at.step as usize % texts.len()];
///         let (prompt, rest) = text.split_at(1);
///         let mut batch = Batch::default();
///         batch.samples = SampleBatch::new(1, vec![Sample::demonstration(0, prompt, rest.to_vec(), 1.0)]);
///         batch.tokens = rest.len() as u64;
///         Ok(batch)
///     }
/// }
/// ```
pub trait Stage {
    /// The name of the stage in checkpoints: a checkpoint of one stage cannot resume another.
    const NAME: &'static str;
    /// Whether it samples in every step, so that the engine needs new weights after each. By default it does not.
    const SAMPLES: bool = false;
    /// The items that the run trains on, such as a slice.
    type Items: ?Sized;

    /// Whether there are no items.
    fn is_empty(items: &Self::Items) -> bool;

    /// The id of the first item with the question of a held-out problem. None by default.
    ///
    /// # Errors
    ///
    /// The reason why they cannot be compared.
    fn find_held_out(
        &self,
        items: &Self::Items,
        held_out: &dyn Problems,
    ) -> Result<Option<String>, GrpoError> {
        let _ = (items, held_out);
        Ok(None)
    }

    /// Checks the items against the configuration, before the first step. Nothing by default.
    ///
    /// # Errors
    ///
    /// The missing part.
    fn check(&self, items: &Self::Items) -> Result<(), GrpoError> {
        let _ = items;
        Ok(())
    }

    /// Checks the learner's parts against the configuration. By default a stage that samples needs a
    /// reference policy where the loss does.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`].
    fn check_parts(&self, config: &GrpoConfig, parts: &LearnerParts) -> Result<(), GrpoError> {
        if Self::SAMPLES {
            check_reference(config, parts)?;
        }
        Ok(())
    }

    /// Fingerprints of all items, in order, by kind: a run is not resumed with others.
    ///
    /// # Errors
    ///
    /// An item that cannot be read.
    fn fingerprints(items: &Self::Items) -> Result<BTreeMap<String, String>, GrpoError>;

    /// Reduction of the supervised loss of this stage's samples. By default the mean over all tokens.
    fn sft_loss(config: &GrpoConfig) -> SftLoss {
        let _ = config;
        SftLoss::default()
    }

    /// The samples of the step after `progress`. There is at least one item.
    ///
    /// # Errors
    ///
    /// Errors of the parts.
    fn next_batch(
        &mut self,
        items: &Self::Items,
        progress: RunProgress,
    ) -> Result<Batch, GrpoError>;

    /// The completions of the last batch, with the measurements of `update`. None by default.
    fn rollouts(&mut self, update: &UpdateReport) -> Vec<RolloutRecord> {
        let _ = update;
        Vec::new()
    }

    /// The names of parts that differ from the configuration's, by their kind. A run records them, and
    /// is not resumed with others. None by default.
    fn custom_parts(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The collector that evaluates held-out problems. By default there is none, and nothing is evaluated.
    fn collector(&mut self) -> Option<&mut Collector> {
        None
    }

    /// Shares every batch with other processes. By default the [collector](Self::collector) does; a stage that brings the
    /// same samples in every process needs nothing else. With `run.ahead`, the exchanges of `peers` may run beside those of
    /// the learner. So a thread that samples uses them alone.
    fn share_with(&mut self, peers: Arc<dyn Peers>) {
        if let Some(collector) = self.collector() {
            collector.share_with(peers);
        }
    }

    /// Prepares to sample `run.ahead` batches ahead: from `copy`, on a thread of its own, while `policy` trains. The stage
    /// is asked once, before the first step. By default it refuses. There is no copy where the engine of another process
    /// [samples for all](hint_rollout::RolloutEngine::samples_for_all).
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`] for a stage that cannot, or a policy that is no copy.
    fn sample_ahead(
        &mut self,
        policy: &SharedPolicy,
        copy: Option<SharedPolicy>,
    ) -> Result<(), GrpoError> {
        let _ = (policy, copy);
        let expected = format!("must be 0: the stage `{}` does not sample ahead", Self::NAME);
        Err(ConfigError::one("run.ahead", expected, "more").into())
    }

    /// A call of [`Run::run`](crate::Run::run) begins: starts the thread that samples ahead, if there is one.
    fn start<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        items: &'env Self::Items,
    ) {
        let _ = (scope, items);
    }

    /// The call ends, by an error or a panic as well: ends that thread. Of several processes, the others finish what was
    /// ordered, unless the group has failed, and wait for this one. Returns the error that ended the thread before, if no
    /// step has ended with it.
    fn stop(&mut self) -> Option<GrpoError> {
        None
    }

    /// Evaluates `problems` with the present weights, after step `step`. By default the
    /// [collector](Self::collector) does at once.
    ///
    /// # Errors
    ///
    /// Errors of the parts.
    fn evaluate(
        &mut self,
        step: u64,
        problems: &ProblemSet,
        config: &GrpoConfig,
    ) -> Result<Evaluated, GrpoError> {
        let _ = step;
        match self.collector() {
            Some(collector) => evaluate_now(collector, problems, config),
            None => Ok(Evaluated::Nothing),
        }
    }

    /// The evaluations that were not done at once and are now, each with its step. If it is to `wait`, all of them.
    ///
    /// # Errors
    ///
    /// Errors of the parts.
    fn evaluations(&mut self, wait: bool) -> Result<Vec<(u64, Evaluation)>, GrpoError> {
        let _ = wait;
        Ok(Vec::new())
    }

    /// Passes new weights to the sampler.
    ///
    /// # Errors
    ///
    /// Errors of the engine.
    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), GrpoError> {
        match self.collector() {
            Some(collector) => Ok(collector.sync(weights)?),
            None => Ok(()),
        }
    }

    /// Everything that a resumed run needs, by the name of the part.
    fn state(&self) -> BTreeMap<String, Value> {
        BTreeMap::new()
    }

    /// The value that [`Stage::state`] would return now, for later. It is taken before every step and used
    /// if the step fails. The default writes the state out; a stage with a large state shares it instead.
    fn snapshot(&self) -> Snapshot {
        let state = StageState::of_parts(self.state());
        Box::new(move || Ok(state))
    }

    /// Restores a value of [`Stage::state`]; `part` looks a state up by its name.
    ///
    /// # Errors
    ///
    /// Errors of `part`, and an error for a state that does not fit.
    fn load_state(
        &mut self,
        part: &dyn Fn(&str) -> Result<Value, GrpoError>,
    ) -> Result<(), GrpoError> {
        let _ = part;
        Ok(())
    }

    /// Restores [`StageState::batches`] after `step` steps. By default there are none.
    ///
    /// # Errors
    ///
    /// Bytes that no stage like this one has written.
    fn load_batches(&mut self, bytes: &[u8], step: u64) -> Result<(), GrpoError> {
        let _ = (bytes, step);
        Ok(())
    }
}
