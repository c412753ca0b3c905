//! Display of a run in training: live lines on a terminal, one line per step elsewhere, or JSON.

mod frame;
mod load;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use hint_grpo::observer::Phase;
use hint_grpo::verdict::{Condition, History, RunVerdict};
use hint_grpo::{GrpoConfig, Observer, StepReport, metrics};
use hint_process::{StopSignals, clock};
use hint_rollout::evaluate::Evaluation;
use hint_rollout::run::Activity;
use serde_json::{Map, Value, json};

use self::frame::Frame;
pub(crate) use self::load::LoadBar;
use crate::terminal::live::{self, Live};

/// Display of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct Output {
    /// Print warnings and errors alone: neither progress nor the tables at the end, which `summary.json` holds.
    #[arg(long)]
    pub quiet: bool,

    /// Print one JSON object per step to the standard output: metrics, timings, warnings and the verdict.
    /// The tables at the end go to the standard error.
    #[arg(long)]
    pub json: bool,
}

impl Output {
    /// A remark that is neither a warning nor an error.
    pub(crate) fn note(self, line: std::fmt::Arguments<'_>) {
        if !self.quiet {
            note!("{line}");
        }
    }

    /// A table for a person.
    pub(crate) fn table(self, table: impl std::fmt::Display) {
        match (self.quiet, self.json) {
            (true, _) => {}
            (false, true) => note!("{table}"),
            (false, false) => say!("{table}"),
        }
    }
}

/// Shows the progress of a run and its verdict; ends the run when `stop` is set.
#[derive(Debug)]
pub(crate) struct Progress {
    frame: Arc<Mutex<Frame>>,
    is_live: bool,
    /// From the first phase on.
    live: Option<Live>,
    output: Output,
    config: GrpoConfig,
    history: History,
    /// The condition that the lines have told last.
    told: Option<Condition>,
    stop: StopSignals,
    tokens: u64,
    seconds: f64,
}

impl Progress {
    /// A display of the run `name`. `history` has the steps of earlier sessions, and `activity` counts the
    /// run's work.
    pub(crate) fn new(
        name: &str,
        config: GrpoConfig,
        history: History,
        activity: Activity,
        output: Output,
        stop: StopSignals,
    ) -> Self {
        let frame = Arc::new(Mutex::new(Frame::new(name, config.run.steps, activity)));
        let is_live = live::is_possible() && !output.quiet;
        let (live, told, tokens, seconds) = (None, None, 0, 0.0);
        Self { frame, is_live, live, output, config, history, told, stop, tokens, seconds }
    }

    fn is_lines(&self) -> bool {
        !self.is_live && !self.output.quiet && !self.output.json
    }

    /// Measurements of a step, as short clauses; missing ones are left out.
    fn items(&self, report: &StepReport) -> Vec<String> {
        let value = |name: &str| report.metrics.get(name);
        let mut items = Vec::new();
        let mut item = |label: &str, name: &str, text: fn(f64) -> String| {
            items.extend(value(name).map(|value| format!("{label} {}", text(value))));
        };
        let share = |value: f64| format!("{value:.2}");
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        let number = |value: f64| match value.abs() {
            size if size == 0.0 || (0.001..1000.0).contains(&size) => format!("{value:.3}"),
            _ => format!("{value:.1e}"),
        };
        item("reward", metrics::REWARD, share);
        item("pass", metrics::ROLLOUT_PASS_RATE, share);
        if let Some((wrong, after)) = History::wrong_after_hints(value) {
            let hinted = value(metrics::HINT_HINTED_FRAC).is_some_and(|hinted| hinted > 0.0);
            let after = if hinted { format!(" → {after:.2}") } else { String::new() };
            items.push(format!("all wrong {wrong:.2}{after}"));
        }
        let mut item = |label: &str, name: &str, text: fn(f64) -> String| {
            items.extend(value(name).map(|value| format!("{label} {}", text(value))));
        };
        item("cut off", metrics::COMPLETIONS_CLIPPED_RATIO, percent);
        item("nll", metrics::NLL, number);
        item("grad", metrics::GRAD_NORM, number);
        item("affinity", metrics::AFFINITY_VALUE, share);
        item("to hints", metrics::AFFINITY_BEHAVIOR_VALUE, share);
        item("KL", metrics::KL, number);
        item("entropy", metrics::ENTROPY_TRAINED, share);
        if self.seconds > 0.0 && self.tokens > 0 {
            items.push(format!("{:.0} tok/s", self.tokens as f64 / self.seconds));
        }
        items
    }

    /// Prints the verdict where it is another one, with the advice on a finding.
    fn tell(&mut self, name: &str, verdict: &RunVerdict) {
        let condition = verdict.condition().filter(|condition| self.told != Some(*condition));
        let Some(condition) = condition else { return };
        self.told = Some(condition);
        note!("{name:>5} {verdict}");
        if let Some(finding) = verdict.findings.first() {
            note!("{name:>5} try: {}", finding.advice);
        }
    }

    /// Whether the run continues.
    fn next(&self) -> ControlFlow<()> {
        if self.stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Observer for Progress {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        locked(&self.frame).enter(step, phase);
        if self.is_live && self.live.is_none() {
            let (frame, clock) = (Arc::clone(&self.frame), clock());
            self.live = Some(Live::start(move |width| locked(&frame).lines(clock(), width)));
        }
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.tokens += report.tokens;
        self.seconds += (report.timings.rollout + report.timings.update).as_secs_f64();
        let name = locked(&self.frame).name.clone();
        for warning in &report.warnings {
            note!("{name}: step {}: {warning}", report.step);
        }
        self.history.record(report.step, &report.metrics);
        let verdict = RunVerdict::of(&self.history, &self.config);
        if self.output.json {
            say!("{}", line_of_json(&name, report, &verdict));
        }
        if report.step == 0 {
            return self.next();
        }
        let items = self.items(report);
        if self.is_lines() {
            let mut line = items.join(" · ");
            if let Some(finding) = verdict.findings.first() {
                line = format!("{line} · {}", finding.condition);
            } else if let Some(so_far) = &verdict.so_far {
                line = format!("{line} · too early: {so_far}");
            }
            note!("{name:>5} step {:>4}/{} {line}", report.step, report.total_steps);
            self.tell(&name, &verdict);
        }
        locked(&self.frame).finish_step(report.step, items, &verdict);
        self.next()
    }

    fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
        let scores = evaluation.overall.avg;
        let (value, low, high) = (scores.value, scores.low, scores.high);
        let name = locked(&self.frame).name.clone();
        if !self.output.quiet && !self.output.json {
            note!("{name:>5} step {step:>4} accuracy {value:.3} [{low:.3}, {high:.3}]");
        }
    }
}

impl Drop for Progress {
    /// The last lines of a run stay.
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            locked(&self.frame).end();
            live.finish();
        }
    }
}

/// A display continues after a panic elsewhere.
fn locked(frame: &Mutex<Frame>) -> MutexGuard<'_, Frame> {
    frame.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One step as an object: its lines in `metrics.jsonl` and `timings.jsonl`, warnings, and the verdict so
/// far.
fn line_of_json(name: &str, report: &StepReport, verdict: &RunVerdict) -> Value {
    let metrics = report.metrics.iter().map(|(name, value)| (name.to_owned(), json!(value)));
    let condition = verdict.condition().map(Condition::name);
    json!({
        "run": name,
        "step": report.step,
        "total_steps": report.total_steps,
        "metrics": metrics.collect::<Map<_, _>>(),
        "timings": report.timings_json(),
        "warnings": report.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "verdict": condition,
        "findings": verdict.findings,
    })
}
