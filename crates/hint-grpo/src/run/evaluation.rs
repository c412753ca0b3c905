//! Evaluation on held-out problems during a run.

use hint_rollout::data::ProblemSet;
use hint_rollout::evaluate::Evaluation;

use super::Run;
use crate::config::GrpoConfig;
use crate::error::{ConfigError, GrpoError};
use crate::metrics::{self, Metrics};
use crate::observer::Phase;
use crate::rollout_table::evaluated;
use crate::stage::Stage;

/// Refuses held-out problems that the configuration asks for and the program does not bring.
pub(super) fn check_held_out(config: &GrpoConfig, held_out: &ProblemSet) -> Result<(), GrpoError> {
    let expects = config.evaluation.held_out != hint_rollout::data::HeldOut::None;
    if expects && held_out.is_empty() {
        let expected = "must come with problems; split them with `EvaluationConfig::split` and hand the second part over \
                        with `held_out`; raise the share if that part is empty";
        return Err(ConfigError::one("evaluation.held_out", expected, "none held out").into());
    }
    Ok(())
}

impl<S: Stage> Run<S> {
    /// Refuses problems that are both trained on and held out.
    pub(super) fn check_disjoint(&self, items: &S::Items) -> Result<(), GrpoError> {
        match self.stage.find_held_out(items, &self.held_out)? {
            Some(id) => {
                let found = format!("problem `{id}` in both");
                let expected = "must hold out no problem that is trained on";
                Err(ConfigError::one("evaluation.held_out", expected, found).into())
            }
            None => Ok(()),
        }
    }

    /// Evaluates before the first step, if that is due, and reports it as step 0. Returns whether an
    /// observer stops the run.
    pub(super) fn start(&mut self) -> Result<bool, GrpoError> {
        let mut metrics = Metrics::new();
        self.evaluate(&mut metrics)?;
        if metrics.iter().next().is_none() {
            return Ok(false);
        }
        self.context.finish_step(self.report(metrics))
    }

    pub(super) fn evaluation_is_due(&self) -> bool {
        let steps = self.config.run.steps;
        !self.held_out.is_empty() && self.config.evaluation.is_due(self.progress.step, steps)
    }

    /// Evaluates after the present step, if that is due, and adds `eval/*` to `metrics`.
    pub(super) fn evaluate(&mut self, metrics: &mut Metrics) -> Result<(), GrpoError> {
        if !self.evaluation_is_due() {
            return Ok(());
        }
        let (step, run) = (self.progress.step, self.config.run);
        if !S::SAMPLES {
            self.sync()?;
        }
        self.context.enter(step, Phase::Evaluation);
        let Some(collector) = self.stage.collector() else { return Ok(()) };
        let mut options = self.config.evaluation.options(&collector.config().sampling, run.seed);
        options.scoring = collector.config().scoring;
        let evaluation = collector.evaluate(&self.held_out, &options)?;
        report(metrics, &evaluation);
        let records = evaluated(step, &evaluation, &self.held_out)?;
        self.context.finish_evaluation(step, &evaluation, &records)
    }
}

fn report(metrics: &mut Metrics, evaluation: &Evaluation) {
    let scores = &evaluation.overall;
    metrics.set(metrics::EVAL_AVG, scores.avg.value);
    metrics.set(metrics::EVAL_AVG_LOW, scores.avg.low);
    metrics.set(metrics::EVAL_AVG_HIGH, scores.avg.high);
    let families =
        [(metrics::EVAL_PASS_AT, &scores.pass_at), (metrics::EVAL_MAJ_AT, &scores.maj_at)];
    for (family, by_k) in families {
        // For one completion both are the average.
        for (k, estimate) in by_k.iter().filter(|(k, _)| **k > 1) {
            metrics.set(metrics::member(family, k), estimate.value);
        }
    }
    metrics.set(metrics::EVAL_MEAN_LENGTH, scores.lengths.mean);
    metrics.set(metrics::EVAL_CLIPPED_RATIO, scores.truncated_frac);
    let failed = scores.verdicts.iter().filter(|(verdict, _)| verdict.is_failure());
    let failed = failed.map(|(_, count)| count).sum::<usize>();
    metrics.set(metrics::EVAL_FAILED_FRAC, failed as f64 / scores.completions as f64);
}
