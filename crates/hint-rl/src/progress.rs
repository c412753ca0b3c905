//! The live display of a run.

use std::fmt::Write;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hint_grpo::observer::Phase;
use hint_grpo::{Observer, StepReport, metrics};
use hint_policy::io::LoadProgress;
use hint_process::StopSignals;
use hint_rollout::evaluate::Evaluation;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Shows steps as a progress bar on a terminal, as lines elsewhere; ends the run when `stop` is set.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: ProgressBar,
    /// Steps that earlier sessions of the run made.
    first: Arc<AtomicU64>,
    has_stepped: bool,
    stop: StopSignals,
    tokens: u64,
    seconds: f64,
}

impl Progress {
    /// A display of `total` steps.
    ///
    /// # Panics
    ///
    /// Never: the template is valid.
    pub fn new(name: &str, total: u64, stop: StopSignals) -> Self {
        let style = "{prefix:>5} {bar:10} {pos:>4}/{len} {elapsed:>4}, {left:>3} left  {wide_msg}";
        let first = Arc::new(AtomicU64::new(0));
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        let from = Arc::clone(&first);
        let left = move |state: &ProgressState, text: &mut dyn Write| {
            let done = state.pos().saturating_sub(from.load(Ordering::Relaxed));
            let to_do = state.len().unwrap_or(0).saturating_sub(state.pos());
            // Nobody minds an estimate that cannot be shown.
            let _ = match remaining(state.elapsed(), done, to_do) {
                Some(left) => write!(text, "{:#}", HumanDuration(left)),
                None => write!(text, "–"),
            };
        };
        let style = ProgressStyle::with_template(style).expect("the template is valid");
        bar.set_style(style.with_key("left", left));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            name: name.to_owned(),
            bar,
            first,
            has_stepped: false,
            stop,
            tokens: 0,
            seconds: 0.0,
        }
    }

    fn line(&self, report: &StepReport) -> String {
        let value = |name: &str| report.metrics.get(name);
        let mut parts = Vec::new();
        let named = [
            ("pass", metrics::ROLLOUT_PASS_RATE),
            ("nll", metrics::NLL),
            ("all-wrong", metrics::ROLLOUT_ALL_WRONG_FRAC),
            ("hinted pass", metrics::HINT_PASS_RATE),
            ("affinity", metrics::AFFINITY_VALUE),
        ];
        for (label, name) in named {
            if let Some(value) = value(name) {
                parts.push(format!("{label} {value:.2}"));
            }
        }
        if self.seconds > 0.0 {
            parts.push(format!("{:.0} tok/s", self.tokens as f64 / self.seconds));
        }
        parts.join(" · ")
    }
}

impl Observer for Progress {
    fn on_phase(&mut self, step: u64, phase: Phase) {
        match phase {
            Phase::Rollout if step <= 1 => self.bar.set_message("sampling …"),
            Phase::Evaluation => self.bar.set_message("evaluating …"),
            _ => {}
        }
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.tokens += report.tokens;
        self.seconds += (report.timings.rollout + report.timings.update).as_secs_f64();
        for warning in &report.warnings {
            self.bar.suspend(|| note!("{}: step {}: {warning}", self.name, report.step));
        }
        let line = self.line(report);
        if report.step == 0 {
            return self.next();
        }
        // The first step of a resumed run is not step 1.
        if !std::mem::replace(&mut self.has_stepped, true) {
            self.first.store(report.step - 1, Ordering::Relaxed);
        }
        self.bar.set_position(report.step);
        let done = report.step == report.total_steps;
        let every = (report.total_steps / 10).max(1);
        if self.bar.is_hidden() && (done || report.step.is_multiple_of(every)) {
            note!("{:>5} step {:>4}/{} {line}", self.name, report.step, report.total_steps);
        }
        self.bar.set_message(line);
        if done {
            self.bar.finish();
        }
        self.next()
    }

    fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
        let scores = evaluation.overall.avg;
        let (value, low, high) = (scores.value, scores.low, scores.high);
        let line =
            format!("{:>5} step {step:>4} accuracy {value:.3} [{low:.3}, {high:.3}]", self.name);
        if self.bar.is_hidden() {
            note!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Progress {
    /// Whether the run goes on.
    fn next(&self) -> ControlFlow<()> {
        if self.stop.requested() {
            self.bar.abandon();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// The time that `to_do` steps take if they are as fast as those that are `done`.
fn remaining(elapsed: Duration, done: u64, to_do: u64) -> Option<Duration> {
    let each = elapsed.as_secs_f64() / done as f64;
    Duration::try_from_secs_f64(each * to_do as f64).ok()
}

/// Files from this size on take long enough to show how far loading has come: 500 MB.
const LARGE: u64 = 500_000_000;

/// Shows how far the loading of a large model has come, on a terminal.
#[derive(Debug)]
pub struct LoadBar(ProgressBar);

impl Default for LoadBar {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadBar {
    /// A display that appears when there is something to show.
    ///
    /// # Panics
    ///
    /// Never: the template is valid.
    pub fn new() -> Self {
        let bar = ProgressBar::hidden();
        let style = "loading {bar:28} {bytes:>9}/{total_bytes} {elapsed:>4}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        Self(bar)
    }

    /// So much was read.
    pub fn set(&self, progress: LoadProgress) {
        if progress.total < LARGE {
            return;
        }
        if progress.done == 0 {
            self.0.set_length(progress.total);
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.0.set_position(progress.done);
        if progress.done == progress.total {
            self.0.finish_and_clear();
        }
    }

    /// Bytes that are shown as read, and of how many.
    pub fn position(&self) -> (u64, Option<u64>) {
        (self.0.position(), self.0.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_steps_so_far() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(seconds(10), 5, 20), Some(seconds(40)));
        assert_eq!(remaining(seconds(10), 5, 0), Some(seconds(0)));
        // Before the first step, and behind it when nothing is left.
        assert_eq!((remaining(seconds(10), 0, 20), remaining(seconds(0), 0, 0)), (None, None));
    }

    #[test]
    fn only_large_files_are_shown() {
        let show = |total: u64| {
            let bar = LoadBar::new();
            bar.set(LoadProgress { done: 0, total });
            bar.set(LoadProgress { done: total / 2, total });
            bar.position()
        };
        assert_eq!(show(LARGE), (LARGE / 2, Some(LARGE)));
        assert_eq!(show(LARGE - 1).0, 0);
    }
}
