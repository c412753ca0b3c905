//! Evaluation on held-out problems in the course of a run.

use hint_policy::SharedPolicy;
use hint_rollout::{Collector, Evaluation, Problem};

use super::host::Host;
use super::sync_engine;
use crate::run_dir::Progress;
use crate::{ConfigError, GrpoConfig, GrpoError, Metrics, Phase, StepReport, Timings, metrics};

/// Refuses held-out problems that the configuration asks for and the program does not bring.
pub(crate) fn check_held_out(config: &GrpoConfig, held_out: &[Problem]) -> Result<(), GrpoError> {
    let expects = config.evaluation.held_out != hint_rollout::HeldOut::None;
    if expects && held_out.is_empty() {
        let message = "evaluation.held_out: no problem is held out; split the problems with \
                       `EvaluationConfig::split`, hand the second part over with `held_out`, and \
                       raise the share if that part is empty";
        return Err(ConfigError::Invalid(vec![message.to_owned()]).into());
    }
    Ok(())
}

/// Refuses problems that are both trained on and held out.
pub(crate) fn check_disjoint<'i>(
    trained: impl Iterator<Item = &'i str>,
    held_out: &[Problem],
) -> Result<(), GrpoError> {
    let ids = held_out.iter().map(|problem| problem.id.as_str());
    let ids = ids.collect::<std::collections::HashSet<_>>();
    match trained.into_iter().find(|id| ids.contains(id)) {
        Some(id) => {
            let message = format!("evaluation: problem `{id}` is both trained on and held out");
            Err(ConfigError::Invalid(vec![message]).into())
        }
        None => Ok(()),
    }
}

/// What an evaluation in the course of a run works with.
pub(crate) struct Evaluator<'t> {
    pub(crate) host: &'t mut Host,
    pub(crate) policy: &'t SharedPolicy,
    pub(crate) collector: &'t mut Collector,
    pub(crate) config: &'t GrpoConfig,
    pub(crate) held_out: &'t [Problem],
}

impl Evaluator<'_> {
    /// Evaluates before the first step, if that is due, and reports it as step 0. Returns whether an
    /// observer stops the run.
    pub(crate) fn start(mut self, engine_is_current: bool) -> Result<bool, GrpoError> {
        let mut metrics = Metrics::new();
        self.run(Progress::default(), engine_is_current, &mut metrics)?;
        if metrics.iter().next().is_none() {
            return Ok(false);
        }
        self.host.finish_step(StepReport {
            step: 0,
            total_steps: self.config.run.steps,
            metrics,
            timings: Timings::default(),
            tokens: 0,
            peak_memory: None,
            warnings: Vec::new(),
        })
    }

    /// Evaluates after the step that `progress` has come to, if that is due, and adds `eval/*` to
    /// `metrics`. The engine is told about the weights if it does not have them yet.
    pub(crate) fn run(
        &mut self,
        progress: Progress,
        engine_is_current: bool,
        metrics: &mut Metrics,
    ) -> Result<(), GrpoError> {
        let (step, run) = (progress.step, self.config.run);
        if self.held_out.is_empty() || !self.config.evaluation.is_due(step, run.steps) {
            return Ok(());
        }
        if !engine_is_current {
            sync_engine(self.host, self.policy, self.collector, progress)?;
        }
        self.host.enter(step, Phase::Evaluation);
        let sampling = &self.collector.config().sampling;
        let options = self.config.evaluation.options(sampling, run.seed);
        let evaluation = self.collector.evaluate(self.held_out, &options)?;
        report(metrics, &evaluation);
        self.host.finish_evaluation(step, &evaluation)
    }
}

fn report(metrics: &mut Metrics, evaluation: &Evaluation) {
    let scores = &evaluation.overall;
    metrics.set(metrics::EVAL_AVG, scores.avg.value);
    metrics.set(metrics::EVAL_AVG_LOW, scores.avg.low);
    metrics.set(metrics::EVAL_AVG_HIGH, scores.avg.high);
    for (name, by_k) in [("pass", &scores.pass_at), ("maj", &scores.maj_at)] {
        // For one completion both are the average.
        for (k, estimate) in by_k.iter().filter(|(k, _)| **k > 1) {
            metrics.set(format!("eval/{name}_at_{k}"), estimate.value);
        }
    }
    metrics.set(metrics::EVAL_MEAN_LENGTH, scores.lengths.mean);
    metrics.set(metrics::EVAL_CLIPPED_RATIO, scores.truncated_frac);
    let failed = scores.verdicts.iter().filter(|(verdict, _)| verdict.is_failure());
    let failed = failed.map(|(_, count)| count).sum::<usize>();
    metrics.set(metrics::EVAL_FAILED_FRAC, failed as f64 / scores.completions as f64);
}
