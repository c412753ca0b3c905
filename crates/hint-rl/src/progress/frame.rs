//! The lines that a terminal shows of a run, for any width.

use std::time::Duration;

use console::{Style, measure_text_width, truncate_str};
use hint_grpo::observer::Phase;
use hint_grpo::verdict::{Condition, RunVerdict};
use hint_rollout::run::{Activity, Work};

use crate::terminal::bar::{remaining, time, with_bar};

/// Columns that names of runs take, and that the other lines are set in by.
const INDENT: usize = 6;
/// Most lines of a verdict, and of the advice below it.
const VERDICT_LINES: usize = 4;
const ADVICE_LINES: usize = 2;

/// State of a run for a display.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) activity: Activity,
    /// Steps of the whole run.
    total: u64,
    /// Steps that are finished.
    step: u64,
    /// Steps that earlier sessions of the run finished.
    first: Option<u64>,
    /// When this session began its first step.
    began: Option<Duration>,
    now: Duration,
    phase: Option<Phase>,
    has_ended: bool,
    items: Vec<String>,
    verdict: Option<(Option<Condition>, String)>,
    /// Advice on the first finding.
    advice: Option<String>,
}

impl Frame {
    pub(super) fn new(name: &str, total: u64, activity: Activity) -> Self {
        Self {
            name: name.to_owned(),
            activity,
            total,
            step: 0,
            first: None,
            began: None,
            now: Duration::ZERO,
            phase: None,
            has_ended: false,
            items: Vec::new(),
            verdict: None,
            advice: None,
        }
    }

    /// A phase of step `step` begins.
    pub(super) fn enter(&mut self, step: u64, phase: Phase) {
        self.activity.begin(Work::Other, 0);
        self.phase = Some(phase);
        // The first step of a resumed run is not step 1.
        if self.first.is_none() && matches!(phase, Phase::Rollout | Phase::Update) {
            self.first = Some(step.saturating_sub(1));
            self.step = step.saturating_sub(1);
            self.began = Some(self.now);
        }
    }

    /// A step is finished.
    pub(super) fn finish_step(&mut self, step: u64, items: Vec<String>, verdict: &RunVerdict) {
        (self.step, self.items) = (step, items);
        self.verdict = Some((verdict.condition(), verdict.to_string()));
        self.advice = verdict.findings.first().map(|finding| format!("try: {}", finding.advice));
    }

    /// The run has ended: only its result is shown.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The lines at the time `now` of a clock, each at most `width` columns wide.
    pub(super) fn lines(&mut self, now: Duration, width: usize) -> Vec<String> {
        self.now = now;
        // A terminal may wrap what fills its last column.
        let width = width.saturating_sub(1);
        let mut lines = vec![self.header(width)];
        if self.step < self.total && !self.has_ended {
            lines.push(self.doing(width));
        }
        let room = width.saturating_sub(INDENT);
        lines.extend(flow(&self.items, room).map(|line| set_in(&line)));
        if let Some((condition, text)) = &self.verdict {
            let name = condition.map_or("", Condition::name);
            let mut wrapped = wrap(text, room, VERDICT_LINES);
            if let Some(rest) = wrapped.first().and_then(|first| first.strip_prefix(name)) {
                wrapped[0] = format!("{}{rest}", color(*condition).apply_to(name));
            }
            lines.extend(wrapped.iter().map(|line| set_in(line)));
        }
        let advice = self.advice.as_ref().filter(|_| !self.has_ended);
        let advice = advice.into_iter().flat_map(|advice| wrap(advice, room, ADVICE_LINES));
        let dim = Style::new().for_stderr().dim();
        lines.extend(advice.map(|line| set_in(&dim.apply_to(line).to_string())));
        lines
    }

    /// The run, its steps, and the time.
    fn header(&self, width: usize) -> String {
        let (step, total) = (self.step, self.total);
        let digits = total.to_string().len();
        let start = format!("{:<INDENT$}step {step:>digits$}/{total} ", self.name);
        let mut end = format!(" {:>3.0} %", 100.0 * step as f64 / total.max(1) as f64);
        if let (Some(began), Some(first)) = (self.began, self.first) {
            let elapsed = self.now.saturating_sub(began);
            end = format!("{end}  {}", time(elapsed));
            let left = remaining(elapsed, step.saturating_sub(first), total.saturating_sub(step));
            if let Some(left) = left.filter(|_| step < total && !self.has_ended) {
                end = format!("{end}, {} left", time(left));
            }
        }
        with_bar(&start, &end, (step, total), width)
    }

    /// The phase, and how far it is.
    fn doing(&self, width: usize) -> String {
        let (work, done, total) = self.activity.now();
        let (what, of) = match (self.phase, work) {
            (None, _) => ("starting", ""),
            (Some(Phase::Rollout), Work::Sampling) => ("sampling", "completions"),
            (Some(Phase::Rollout), Work::SamplingHinted) => ("sampling with hints", "completions"),
            (Some(Phase::Rollout), Work::Judging) => ("judging", "problems"),
            (Some(Phase::Rollout), _) => ("choosing problems", ""),
            (Some(Phase::Update), Work::Training) => ("updating", "micro-batches"),
            (Some(Phase::Update), _) => ("scoring", ""),
            (Some(Phase::Sync), _) => ("handing over weights", ""),
            (Some(Phase::Evaluation), Work::Evaluating) => ("evaluating", "completions"),
            (Some(Phase::Evaluation), _) => ("evaluating", ""),
            (Some(Phase::Checkpoint), _) => ("writing a checkpoint", ""),
            (Some(_), _) => ("working", ""),
        };
        if of.is_empty() || total == 0 {
            return set_in(what);
        }
        let start = format!("{}{what} {done}/{total} {of} ", " ".repeat(INDENT));
        with_bar(&start, "", (done, total), width)
    }
}

fn set_in(line: &str) -> String {
    " ".repeat(INDENT) + line
}

/// The items in lines of at most `width` columns, with dots between them.
fn flow(items: &[String], width: usize) -> impl Iterator<Item = String> {
    let mut lines = Vec::<String>::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 3 + measure_text_width(item) <= width => {
                *line += " · ";
                *line += item;
            }
            _ => lines.push(item.clone()),
        }
    }
    lines.into_iter()
}

/// A text in lines of at most `width` columns, broken between words. The last of `most` lines ends in dots if there is
/// more.
fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = Vec::<String>::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= width => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        let last = lines.pop().unwrap_or_default() + " …";
        lines.push(truncate_str(&last, width, "…").into_owned());
    }
    lines
}

/// Green, red, or yellow for passing states.
fn color(condition: Option<Condition>) -> Style {
    let style = Style::new().for_stderr().bold();
    match condition {
        None => Style::new(),
        Some(Condition::Healthy) => style.green(),
        Some(Condition::Saturated) => style.yellow(),
        Some(_) => style.red(),
    }
}

#[cfg(test)]
mod tests {
    use hint_grpo::verdict::History;
    use hint_grpo::{GrpoConfig, Metrics, metrics};

    use super::*;

    /// A run in its third step, after a resume at the first.
    fn frame() -> Frame {
        let mut frame = Frame::new("hint", 30, Activity::default());
        frame.enter(2, Phase::Rollout);
        let mut history = History::new();
        let mut of_step = Metrics::new();
        of_step.set(metrics::COMPLETIONS_CLIPPED_RATIO, 0.5);
        history.record(2, &of_step);
        let items = [
            "reward 0.42",
            "pass 0.38",
            "all wrong 0.60 → 0.21",
            "cut off 50 %",
            "grad 0.310",
            "affinity 0.83",
            "entropy 0.52",
            "1234 tok/s",
        ];
        let items = items.map(str::to_owned).to_vec();
        frame.finish_step(2, items, &RunVerdict::of(&history, &GrpoConfig::default()));
        frame.enter(3, Phase::Rollout);
        frame.activity.begin(Work::Sampling, 96);
        frame.activity.advance(40);
        frame
    }

    fn lines(width: usize) -> Vec<String> {
        let lines = frame().lines(Duration::from_mins(1), width);
        lines.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn a_step_takes_as_many_lines_as_its_width_needs() {
        let expected = [
            "hint  step  2/30 ━━──────────────────────────────────────   7 %  1m 00s, 28m 00s left",
            "      sampling 40/96 completions ━━━━━━━━━━━━━━━━────────────────────────",
            "      reward 0.42 · pass 0.38 · all wrong 0.60 → 0.21 · cut off 50 % · grad 0.310 · \
             affinity 0.83 · entropy 0.52 · 1234 tok/s",
            "      CUT OFF: 50 % of the completions end at 3000 tokens (step 2)",
            "      try: raise `rollout.sampling.max_completion_len` (now 3000); if completions run on after the answer, name \
             their end in `rollout.sampling.stop` or check the model's stop token with `hint-rl",
        ];
        assert_eq!(lines(200)[..5], expected);
        let narrow = lines(80);
        assert_eq!(narrow.len(), 7);
        assert_eq!(
            narrow[0],
            "hint  step  2/30 ━━────────────────────────────────   7 %  1m 00s, 28m 00s left"
        );
        assert!(narrow[2].ends_with("cut off 50 %"), "{narrow:?}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [60, 80, 81, 100, 140, 200] {
            let lines = lines(width);
            for line in &lines {
                assert!(measure_text_width(line) < width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn every_word_of_the_verdict_is_shown() {
        let mut frame = frame();
        let text = "STARVED: 90 % of the groups are all wrong, 81 % after hints; the pass rate went from 0.40 to 0.40 \
                    (steps 36–40); also COLLAPSING, FROZEN";
        frame.verdict = Some((Some(Condition::Starved), text.to_owned()));
        for width in [60, 80, 140, 200] {
            let lines = frame.lines(Duration::from_mins(1), width);
            let lines = lines.iter().map(|line| console::strip_ansi_codes(line).trim().to_owned());
            let lines = lines.collect::<Vec<_>>();
            let first =
                lines.iter().position(|line| line.starts_with("STARVED")).expect("a verdict");
            let advice = lines.iter().position(|line| line.starts_with("try:")).expect("advice");
            assert_eq!(lines[first..advice].join(" "), text, "{width}");
            assert!(lines.len() - advice <= 2, "{width}: {lines:?}");
        }
        frame.end();
        let lines = frame.lines(Duration::from_mins(1), 80).concat();
        assert!(!lines.contains("try:"), "advice is for a run that is going on: {lines}");
    }

    #[test]
    fn a_text_that_is_too_long_ends_in_dots() {
        assert_eq!(wrap("one two three", 7, 2), ["one two", "three"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("one two threefour five", 7, 1), ["one tw…"]);
    }

    #[test]
    fn before_the_first_step_there_is_only_what_is_known() {
        let mut frame = Frame::new("grpo", 30, Activity::default());
        frame.enter(1, Phase::Sync);
        let lines = frame.lines(Duration::ZERO, 80);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("grpo  step  0/30 ─"), "{lines:?}");
        assert_eq!(lines[1], "      handing over weights");
    }
}
