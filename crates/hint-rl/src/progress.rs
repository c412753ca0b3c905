//! The live display of a run.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hint_grpo::{Observer, Phase, StepReport, metrics};
use hint_policy::LoadProgress;
use hint_rollout::Evaluation;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows steps as a progress bar on a terminal, as lines elsewhere; ends the run when `stop` is set.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    tokens: u64,
    seconds: f64,
}

impl Progress {
    /// A display of `total` steps.
    ///
    /// # Panics
    ///
    /// Never: the template is valid.
    pub fn new(name: &str, total: u64, stop: Arc<AtomicBool>) -> Self {
        let style = "{prefix:>5} {bar:10} {pos:>4}/{len} {elapsed:>4}, {eta:>3} left  {wide_msg}";
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        Self { name: name.to_owned(), bar, stop, tokens: 0, seconds: 0.0 }
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

    #[expect(clippy::print_stderr, reason = "the display of a program")]
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.tokens += report.tokens;
        self.seconds += (report.timings.rollout + report.timings.update).as_secs_f64();
        for warning in &report.warnings {
            self.bar.suspend(|| eprintln!("{}: step {}: {warning}", self.name, report.step));
        }
        let line = self.line(report);
        if report.step == 0 {
            return self.next();
        }
        // The first step of a resumed run is not step 1.
        self.bar.set_position(report.step);
        let done = report.step == report.total_steps;
        let every = (report.total_steps / 10).max(1);
        if self.bar.is_hidden() && (done || report.step.is_multiple_of(every)) {
            eprintln!("{:>5} step {:>4}/{} {line}", self.name, report.step, report.total_steps);
        }
        self.bar.set_message(line);
        if done {
            self.bar.finish();
        }
        self.next()
    }

    #[expect(clippy::print_stderr, reason = "the display of a program")]
    fn on_evaluation(&mut self, step: u64, evaluation: &Evaluation) {
        let scores = evaluation.overall.avg;
        let (value, low, high) = (scores.value, scores.low, scores.high);
        let line =
            format!("{:>5} step {step:>4} accuracy {value:.3} [{low:.3}, {high:.3}]", self.name);
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Progress {
    /// Whether the run goes on.
    fn next(&self) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) {
            self.bar.abandon();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// The time since now, for a trainer.
pub fn clock() -> impl Fn() -> std::time::Duration + Send {
    #[expect(clippy::disallowed_methods, reason = "a program may read the clock")]
    let start = std::time::Instant::now();
    move || start.elapsed()
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
