//! One step: a rollout batch, and the optimizer steps it is worth.

use std::collections::BTreeMap;

use hint_policy::catch_out_of_memory;
use hint_rollout::{
    CollectStats, PolicyVersion, Problem, RolloutGroup, RunProgress, Seed, StepContext,
};

use super::table::GroupMeasures;
use super::{Trainer, staleness};
use crate::batch::{Rows, Skip};
use crate::{
    GrpoError, KlConfig, KlGroups, Metrics, Phase, ScoredGroup, StepReport, Timings, Warning,
    metrics,
};

impl Trainer {
    pub(super) fn step_once(&mut self, problems: &[Problem]) -> Result<StepReport, GrpoError> {
        let index = self.progress.step;
        self.host.enter(index + 1, Phase::Rollout);
        let run = self.config.run;
        let seed = Seed::new(run.seed).named("rollout").child(index);
        let moment = StepContext { seed, progress: RunProgress::new(index, run.steps) };
        let mut collected =
            self.collector.collect_batch(problems, run.problems_per_step, run.seed, moment)?;

        self.host.enter(index + 1, Phase::Update);
        let (mut metrics, mut warnings) = (Metrics::new(), Vec::new());
        let stats = &collected.stats;
        if stats.missing_groups > 0 {
            warnings.push(Warning::MissingGroups {
                missing: stats.missing_groups,
                wanted: run.problems_per_step,
                drawn: stats.problems,
                rounds: stats.rounds,
            });
        }
        let version = PolicyVersion(self.progress.updates);
        staleness::admit(&mut collected.groups, version, &run, &mut metrics, &mut warnings)?;
        let advantages = self.advantages(&collected.groups)?;
        group_metrics(&mut metrics, &collected.groups);
        let scheme = self.config.ratio_scheme;
        let rows = Rows::new(&collected.groups, &advantages, scheme, self.skip());
        self.measures = GroupMeasures::default();
        catch_out_of_memory("train on the batch", || {
            self.train(&collected.groups, &rows, &mut metrics, &mut warnings)
        })?;
        if run.rollout_table {
            let step = self.progress.step + 1;
            let lines = self.measures.lines(step, &collected.groups, &advantages);
            self.host
                .rollouts(&lines.map_err(|error| GrpoError::other("rollout table", error))?)?;
        }
        self.sync_engine()?;

        self.progress.step += 1;
        let tokens = collected.stats.tokens as u64;
        self.progress.num_tokens += tokens + collected.stats.prompt_tokens as u64;
        collect_metrics(&mut metrics, &collected.stats);
        let gap = self.collector.record().internalization_gap();
        metrics.set_some(metrics::HINT_INTERNALIZATION_GAP_RUN, gap);
        metrics.set(metrics::NUM_TOKENS, self.progress.num_tokens as f64);
        let seen = self.collector.drawn() as f64;
        metrics.set(metrics::EPOCH, seen / problems.len() as f64);
        Ok(StepReport {
            step: self.progress.step,
            total_steps: self.config.run.steps,
            metrics,
            timings: Timings::default(),
            tokens,
            peak_memory: None,
            warnings,
        })
    }

    /// Which rows are left out of the forward pass because they have no gradient.
    fn skip(&self) -> Skip {
        let config = &self.config;
        // The tokens of rows without gradient are in the denominators of their micro-batch.
        if !config.aggregation.is_split_invariant() || !self.objective.ignores_zero_advantage() {
            return Skip::Empty;
        }
        match config.kl {
            KlConfig { coef: 0.0, .. } => Skip::ZeroAdvantage,
            KlConfig { groups: KlGroups::Varied, .. } => Skip::ZeroVariance,
            KlConfig { groups: KlGroups::All, .. } => Skip::Empty,
        }
    }

    /// Advantages of each group's rollouts.
    fn advantages(&mut self, groups: &[RolloutGroup]) -> Result<Vec<Vec<f64>>, GrpoError> {
        let rewards = groups
            .iter()
            .map(|group| {
                let replaced = group.replaced.iter().map(|rollout| rollout.score.value);
                (group.rewards(), replaced.collect::<Vec<_>>())
            })
            .collect::<Vec<_>>();
        let scored = groups
            .iter()
            .zip(&rewards)
            .map(|(group, (rewards, replaced))| {
                ScoredGroup::new(&group.problem_id, rewards).with_replaced(replaced)
            })
            .collect::<Vec<_>>();
        let advantages = self.advantage.estimate_batch(&scored)?;
        if advantages.len() != groups.len() {
            let (got, expected) = (advantages.len(), groups.len());
            return Err(GrpoError::AdvantageGroups { got, expected });
        }
        for (group, advantages) in groups.iter().zip(&advantages) {
            if advantages.len() != group.rollouts.len() {
                return Err(GrpoError::AdvantageCount {
                    problem: group.problem_id.clone(),
                    got: advantages.len(),
                    expected: group.rollouts.len(),
                });
            }
            if let Some(&value) = advantages.iter().find(|value| !value.is_finite()) {
                let step = self.progress.step + 1;
                return Err(GrpoError::NotFinite { what: "an advantage", value, step });
            }
        }
        Ok(advantages)
    }
}

fn group_metrics(metrics: &mut Metrics, groups: &[RolloutGroup]) {
    let mut parts = BTreeMap::<&str, Vec<f64>>::new();
    for group in groups {
        let rewards = group.rewards();
        let count = rewards.len() as f64;
        let sum = rewards.iter().sum::<f64>();
        metrics.add(metrics::REWARD, sum, count);
        let mean = sum / count;
        let squares = rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>();
        let equal = rewards.iter().all(|reward| *reward == rewards[0]);
        let std = if equal { 0.0 } else { (squares / (count - 1.0)).sqrt() };
        metrics.add(metrics::REWARD_STD, std, 1.0);
        metrics.add(metrics::FRAC_REWARD_ZERO_STD, f64::from(equal), 1.0);
        for rollout in &group.rollouts {
            for (name, value) in &rollout.score.parts {
                parts.entry(name).or_default().push(*value);
            }
        }
    }
    for (name, values) in parts {
        let count = values.len() as f64;
        let sum = values.iter().sum::<f64>();
        metrics.add(format!("rewards/{name}/mean"), sum, count);
        if values.len() > 1 {
            let squares = values.iter().map(|value| (value - sum / count).powi(2)).sum::<f64>();
            metrics.set(format!("rewards/{name}/std"), (squares / (count - 1.0)).sqrt());
        }
    }
}

fn collect_metrics(metrics: &mut Metrics, stats: &CollectStats) {
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    metrics.set_some(metrics::ROLLOUT_PASS_RATE, stats.plain.rate());
    metrics.set_some(metrics::ROLLOUT_ALL_WRONG_FRAC, share(stats.all_wrong, stats.plain_groups));
    metrics.set_some(metrics::ROLLOUT_ALL_RIGHT_FRAC, share(stats.all_right, stats.plain_groups));
    metrics.set_some(metrics::ROLLOUT_DROPPED_FRAC, share(stats.dropped, stats.completions));
    for (counts, [mean, min, max]) in [
        (
            stats.lengths,
            [
                metrics::COMPLETIONS_MEAN_LENGTH,
                metrics::COMPLETIONS_MIN_LENGTH,
                metrics::COMPLETIONS_MAX_LENGTH,
            ],
        ),
        (
            stats.terminated,
            [
                metrics::COMPLETIONS_MEAN_TERMINATED_LENGTH,
                metrics::COMPLETIONS_MIN_TERMINATED_LENGTH,
                metrics::COMPLETIONS_MAX_TERMINATED_LENGTH,
            ],
        ),
    ] {
        metrics.set_some(mean, counts.mean());
        metrics.set_some(min, counts.least.map(|least| least as f64));
        metrics.set_some(max, counts.least.map(|_| counts.most as f64));
    }
    metrics.set_some(metrics::COMPLETIONS_CLIPPED_RATIO, share(stats.truncated, stats.completions));
    metrics.set_some(metrics::HINT_HINTED_FRAC, share(stats.hinted_groups, stats.problems));
    metrics.set_some(metrics::HINT_RESCUED_FRAC, share(stats.rescued_groups, stats.hinted_groups));
    metrics.set_some(metrics::HINT_PASS_RATE, stats.hinted.rate());
    metrics.set_some(metrics::HINT_ATTEMPTS, share(stats.attempts, stats.hinted_groups));
    if stats.hinted_groups > 0 {
        metrics.set(metrics::HINT_SHARE, stats.share_sum / stats.hinted_groups as f64);
    }
    let leaks = stats.leaks;
    metrics.set_some(metrics::HINT_LEAKING_FRAC, share(leaks.leaking, leaks.judged));
    metrics.set_some(metrics::HINT_LEAKING_ANSWER_FRAC, share(leaks.answer, leaks.judged));
    metrics.set_some(metrics::HINT_LEAKING_STEP_FRAC, share(leaks.step, leaks.judged));
    metrics.set_some(metrics::HINT_DROPPED_FRAC, share(leaks.dropped, leaks.judged));
    if stats.masked > 0 {
        metrics.set_some(metrics::ROLLOUT_MASKED_FRAC, share(stats.masked, stats.completions));
    }
    if stats.rounds > 1 || stats.without_signal > 0 || stats.missing_groups > 0 {
        metrics.set(metrics::ROLLOUT_ROUNDS, stats.rounds as f64);
        let left_out = share(stats.without_signal, stats.problems);
        metrics.set_some(metrics::ROLLOUT_NO_SIGNAL_FRAC, left_out);
        metrics.set(metrics::ROLLOUT_MISSING_GROUPS, stats.missing_groups as f64);
    }
    if stats.replayed > 0 {
        metrics.set(metrics::ROLLOUT_REPLAYED_GROUPS, stats.replayed as f64);
        let age = stats.replay_age_sum as f64 / stats.replayed as f64;
        metrics.set(metrics::ROLLOUT_REPLAY_AGE, age);
    }
    let (hinted, plain) = (stats.hinted_with_plain.rate(), stats.plain_of_hinted.rate());
    if let (Some(hinted), Some(plain)) = (hinted, plain) {
        metrics.set(metrics::HINT_INTERNALIZATION_GAP, hinted - plain);
    }
    for (verdict, count) in &stats.verdicts {
        metrics.set_some(format!("verdict/{verdict}"), share(*count, stats.completions));
    }
}
