//! Evaluation on held-out problems during a run.

use std::collections::BTreeSet;

use hint_rollout::data::ProblemSet;
use hint_rollout::error::Violations;
use hint_rollout::evaluate::Evaluation;

use super::{HeldReport, Run};
use crate::config::GrpoConfig;
use crate::data_parallel::DataParallel;
use crate::error::{ConfigError, GrpoError};
use crate::metrics::{self, Metrics};
use crate::observer::{Phase, StepReport};
use crate::rollout_table::evaluated;
use crate::stage::{Evaluated, Stage, fingerprint};

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

/// Refuses a first evaluation that this run would not make. Seed, sampling, problems, and the numbers of completions and
/// resamples must be the same. All processes must have the same one, or none.
pub(super) fn check_first<S: Stage>(
    first: Option<&Evaluation>,
    held_out: &ProblemSet,
    stage: &mut S,
    config: &GrpoConfig,
    processes: &DataParallel,
) -> Result<(), GrpoError> {
    let text = first.map(serde_json::to_string).transpose();
    let text = text.map_err(|error| GrpoError::other("the first evaluation", error.to_string()))?;
    let one = text.as_ref().map(|text| [text.as_bytes()]);
    processes.agree("first_evaluation", fingerprint(one))?;
    let Some((first, collector)) = first.zip(stage.collector()) else { return Ok(()) };
    let options = config.evaluation.options(&collector.config().sampling, config.run.seed);
    let mut own_ids = BTreeSet::new();
    for problem in held_out.iter() {
        own_ids.insert(problem?.id.clone());
    }
    let ids = first.problems.iter().map(|problem| &problem.id).chain(&first.left_out);
    let ids = ids.cloned().collect::<BTreeSet<_>>();
    let counts = [
        ("seed", options.seed, first.seed),
        (
            "completions_per_problem",
            options.completions_per_problem as u64,
            first.completions_per_problem as u64,
        ),
        ("resamples", options.resamples as u64, first.resamples as u64),
    ];
    let checked = Violations::check(|at| {
        at.within("first_evaluation", |at| {
            for (field, own, found) in counts {
                at.require(own == found, field, format!("must be {own}, as in this run"), found);
            }
            let expected =
                "must be that of this run (`rollout.sampling`, `evaluation.temperature`)";
            at.require(options.sampling == first.sampling, "sampling", expected, "another one");
            if let Some(id) = own_ids.symmetric_difference(&ids).next() {
                let found = format!("problem `{id}` in one of the two alone");
                at.require(false, "problems", "must be those that this run holds out", found);
            }
        });
    });
    checked.map_err(ConfigError::from)?;
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
        let mut report = self.report(Metrics::new());
        let awaits_evaluation = self.evaluate(&mut report.metrics)?;
        let is_empty = report.metrics.iter().next().is_none();
        if is_empty && !awaits_evaluation {
            return Ok(false);
        }
        self.hold(report, awaits_evaluation);
        self.write_reports(true)
    }

    pub(super) fn evaluation_is_due(&self) -> bool {
        let steps = self.config.run.steps;
        !self.held_out.is_empty() && self.config.evaluation.is_due(self.progress.step, steps)
    }

    /// Closes the report of the present step, which is then ready to be written. One that waits for an evaluation holds up
    /// those behind it, and not the training.
    pub(super) fn hold(&mut self, mut report: StepReport, awaits_evaluation: bool) {
        let wall = self.context.close_step(&mut report);
        self.held.push_back(HeldReport { report, wall, awaits_evaluation });
    }

    /// Evaluates after the present step, if that is due, and adds `eval/*` to `metrics`. Returns whether they are still
    /// to come.
    pub(super) fn evaluate(&mut self, metrics: &mut Metrics) -> Result<bool, GrpoError> {
        if !self.evaluation_is_due() {
            return Ok(false);
        }
        let step = self.progress.step;
        if !S::SAMPLES {
            self.sync()?;
        }
        self.context.enter(step, Phase::Evaluation);
        if step == 0
            && let Some(evaluation) = self.first_evaluation.take()
        {
            self.observe(step, &evaluation, metrics)?;
            return Ok(false);
        }
        match self.stage.evaluate(step, &self.held_out, &self.config)? {
            Evaluated::Now(evaluation) => {
                self.observe(step, &evaluation, metrics)?;
                Ok(false)
            }
            Evaluated::Later => Ok(true),
            Evaluated::Nothing => Ok(false),
        }
    }

    /// Adds an evaluation to `metrics`, writes it and passes it to the observers.
    fn observe(
        &mut self,
        step: u64,
        evaluation: &Evaluation,
        metrics: &mut Metrics,
    ) -> Result<(), GrpoError> {
        report(metrics, evaluation);
        let records = evaluated(step, evaluation, &self.held_out)?;
        self.context.finish_evaluation(step, evaluation, &records)
    }

    /// Writes the reports that are whole, in order: all of them if it is to `wait` for their evaluations. Returns whether
    /// an observer stops the run.
    pub(super) fn write_reports(&mut self, wait: bool) -> Result<bool, GrpoError> {
        if wait && self.held.iter().any(|held| held.awaits_evaluation) {
            self.context.enter(self.progress.step.max(1), Phase::Evaluation);
        }
        for (step, evaluation) in self.stage.evaluations(wait)? {
            let mut metrics = Metrics::new();
            self.observe(step, &evaluation, &mut metrics)?;
            if let Some(held) = self.held.iter_mut().find(|held| held.report.step == step) {
                held.report.metrics.merge(&metrics);
                held.awaits_evaluation = false;
            }
        }
        let mut stop = false;
        while let Some(held) = self.held.pop_front_if(|held| !held.awaits_evaluation) {
            stop |= self.context.write_step(held.report, held.wall)?;
        }
        match self.held.front() {
            Some(held) if wait => {
                let step = held.report.step;
                let lost = format!(
                    "the evaluation after step {step} was lost by an error before; resume the run"
                );
                Err(GrpoError::other("the evaluation", lost))
            }
            _ => Ok(stop),
        }
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
