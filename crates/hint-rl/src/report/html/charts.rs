//! Charts of the page, and their metrics.

use std::collections::BTreeSet;

use hint_grpo::metrics::{self, timings};
use hint_reward::Verdict;
use hint_reward::extract::AnswerSource;
use hint_rollout::sample::RolloutSource;
use serde::Serialize;

use super::run::{Run, TIMING, WRONG_AFTER_HINTS};

/// Ends of the intervals that the rollout table gives: see [`super::intervals`].
pub(super) const REWARD_INTERVAL: [&str; 2] = ["report/reward_low", "report/reward_high"];
pub(super) const PASS_INTERVAL: [&str; 2] = ["report/pass_rate_low", "report/pass_rate_high"];

/// A chart.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    section: &'static str,
    title: &'static str,
    unit: Unit,
    /// Its content, in a sentence.
    about: &'static str,
    /// Lines on top of each other, as areas.
    stacked: bool,
    pub(super) lines: Vec<Line>,
}

/// Unit of a chart's numbers.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// In `[0, 1]`; shown as percent.
    Share,
    /// A difference of shares.
    ShareDifference,
    Nats,
    Tokens,
    Seconds,
    None,
}

/// A line of a chart.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    /// Name that distinguishes it from the others; empty for a single line.
    label: String,
    pub(super) column: String,
    /// The columns of its interval.
    interval: Option<[String; 2]>,
}

fn line(label: impl Into<String>, column: impl Into<String>) -> Line {
    Line { label: label.into(), column: column.into(), interval: None }
}

impl Line {
    fn within(mut self, interval: [&str; 2]) -> Self {
        self.interval = Some(interval.map(str::to_owned));
        self
    }
}

/// The charts that have a value in one of the runs.
pub(super) fn charts(runs: &[Run]) -> Vec<Chart> {
    let known = runs.iter().flat_map(|run| run.columns.keys().map(String::as_str));
    let known = known.collect::<BTreeSet<_>>();
    let mut charts = all();
    for chart in &mut charts {
        chart.lines.retain(|line| known.contains(line.column.as_str()));
    }
    charts.retain(|chart| !chart.lines.is_empty());
    charts
}

/// A line per source of completions.
fn by_source(family: &str) -> Vec<Line> {
    let sources = RolloutSource::ALL.map(RolloutSource::name);
    sources.map(|source| line(source, metrics::member(family, source))).into()
}

/// A line per rule of the verifier.
fn by_rule(family: &str) -> Vec<Line> {
    let rules = AnswerSource::ALL.map(AnswerSource::name).into_iter().chain(["none"]);
    rules.map(|rule| line(rule.replace('_', " "), metrics::member(family, rule))).collect()
}

#[rustfmt::skip] // A table.
fn all() -> Vec<Chart> {
    let chart = |section, title, unit, about, lines| {
        Chart { section, title, unit, about, stacked: false, lines }
    };
    let stacked = |section, title, unit, about, lines| {
        Chart { section, title, unit, about, stacked: true, lines }
    };
    let verdicts = Verdict::ALL.map(|verdict| {
        line(verdict.name().replace('_', " "), metrics::member(metrics::VERDICT, verdict.name()))
    });
    let phases = [("rollout", timings::ROLLOUT), ("update", timings::UPDATE), ("sync", timings::SYNC),
        ("evaluation", timings::EVALUATION), ("checkpoint", timings::CHECKPOINT)];
    let phases = phases.map(|(label, name)| line(label, format!("{TIMING}{name}")));
    let (learning, hints, affinity, update, sampled, time) =
        ("Learning", "Hints", "Affinity", "Update", "Completions", "Time");
    vec![
        chart(learning, "Accuracy without hints", Unit::Share, "Held-out problems; 95 % interval over problems.",
            vec![line("", metrics::EVAL_AVG).within([metrics::EVAL_AVG_LOW, metrics::EVAL_AVG_HIGH])]),
        chart(learning, "Reward", Unit::None, "Mean of the completions that train; 95 % interval over groups.",
            vec![line("", metrics::REWARD).within(REWARD_INTERVAL)]),
        chart(learning, "Pass rate while training", Unit::Share,
            "Correct plain completions; 95 % interval over groups.",
            vec![line("", metrics::ROLLOUT_PASS_RATE).within(PASS_INTERVAL)]),
        chart(learning, "Negative log-likelihood", Unit::Nats, "Supervised loss per learned token.",
            vec![line("", metrics::NLL)]),
        chart(hints, "All-wrong groups", Unit::Share, "Groups without a correct completion.",
            vec![line("before hints", metrics::ROLLOUT_ALL_WRONG_FRAC), line("after hints", WRONG_AFTER_HINTS)]),
        chart(hints, "Hinted groups", Unit::Share, "Rescued: at least one hinted completion is correct.",
            vec![line("hinted", metrics::HINT_HINTED_FRAC), line("rescued of them", metrics::HINT_RESCUED_FRAC),
                line("leak the answer", metrics::HINT_LEAKING_ANSWER_FRAC)]),
        chart(hints, "Internalization gap", Unit::ShareDifference,
            "Hinted minus plain success rate of hinted problems; 0 is learned.",
            vec![line("this step", metrics::HINT_INTERNALIZATION_GAP),
                line("over the run", metrics::HINT_INTERNALIZATION_GAP_RUN)]),
        chart(affinity, "Affinity of the ratio", Unit::Share, "Of the ratio that trains, by source; 1 is on-policy.",
            by_source(metrics::AFFINITY_SOURCE_VALUE)),
        chart(affinity, "EUR of the ratio", Unit::Share, "Share of tokens whose ratio is within the clip range.",
            by_source(metrics::AFFINITY_SOURCE_EUR)),
        chart(affinity, "UC of the ratio", Unit::Nats, "Spread of the log-ratios within the clip range.",
            by_source(metrics::AFFINITY_SOURCE_UC)),
        chart(affinity, "Affinity to the sampler", Unit::Share,
            "Plain prompt against the distribution that drew the tokens.",
            by_source(metrics::AFFINITY_BEHAVIOR_SOURCE_VALUE)),
        chart(affinity, "EUR to the sampler", Unit::Share, "The same, share of tokens.",
            by_source(metrics::AFFINITY_BEHAVIOR_SOURCE_EUR)),
        chart(affinity, "UC to the sampler", Unit::Nats, "The same, spread.",
            by_source(metrics::AFFINITY_BEHAVIOR_SOURCE_UC)),
        chart(update, "Entropy", Unit::Nats, "Per token of the completions that have a gradient.",
            vec![line("", metrics::ENTROPY_TRAINED)]),
        chart(update, "KL to the reference", Unit::Nats, "Per token.", vec![line("", metrics::KL)]),
        chart(update, "Clipped tokens", Unit::Share, "Trained tokens whose ratio is clipped.",
            vec![line("from below", metrics::CLIP_RATIO_LOW), line("from above", metrics::CLIP_RATIO_HIGH)]),
        chart(update, "Gradient norm", Unit::None, "Before clipping.", vec![line("", metrics::GRAD_NORM)]),
        chart(update, "Sampler against trainer", Unit::Nats,
            "Mean difference of the log-probabilities of the same tokens.",
            vec![line("", metrics::SAMPLING_LOGP_DIFFERENCE)]),
        stacked(sampled, "Verdicts", Unit::Share, "All sampled completions, both stages.", Vec::from(verdicts)),
        stacked(sampled, "Answers by rule", Unit::Share, "Sampled completions by the rule that found their answer.",
            by_rule(metrics::VERIFIER_EXTRACTED_BY)),
        chart(sampled, "Correct by rule", Unit::Share, "Correct ones of the answers that a rule found.",
            by_rule(metrics::VERIFIER_PASS_RATE_BY)),
        chart(sampled, "Length", Unit::Tokens, "Mean, from the shortest to the longest completion.",
            vec![line("", metrics::COMPLETIONS_MEAN_LENGTH)
                .within([metrics::COMPLETIONS_MIN_LENGTH, metrics::COMPLETIONS_MAX_LENGTH])]),
        chart(sampled, "Cut off", Unit::Share, "Completions that reached the token limit.",
            vec![line("", metrics::COMPLETIONS_CLIPPED_RATIO)]),
        chart(sampled, "Groups without signal", Unit::Share, "All rewards of the group are equal.",
            vec![line("", metrics::FRAC_REWARD_ZERO_STD)]),
        stacked(time, "Time by phase", Unit::Seconds, "Seconds per step.", Vec::from(phases)),
        chart(time, "Throughput", Unit::None, "Sampled tokens per second of sampling and training.",
            vec![line("", format!("{TIMING}{}", timings::TOKENS_PER_SECOND))]),
    ]
}
