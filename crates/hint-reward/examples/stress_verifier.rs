//! Throws random and adversarial texts at the mathematical verifier and reports the worst it did.
//!
//! `cargo run --release -p hint-reward --example stress_verifier -- [COUNT] [SEED]`
//!
//! Prints the number of pairs, verdicts, the slowest pairs with their time, and the peak memory of the process on
//! Linux. A pair that takes over 10 ms is judged up to three times more, and its shortest time counts. So the verifier
//! is not blamed for a busy machine. Exits with 1 if a pair took 50 ms or more, or if the peak is above 64 MB. 1e6
//! pairs take a minute or two.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use hint_reward::{Judgment, MathVerifier, RewardInput, Verifier};

/// Pieces of answers, half of them valid mathematics.
const FRAGMENTS: &[&str] = &[
    "1",
    "23",
    "0.5",
    "x",
    "y",
    "n",
    "e",
    "i",
    "\\pi ",
    "+",
    "-",
    "*",
    "/",
    "^",
    "_",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\\{",
    "\\}",
    ",",
    ";",
    " ",
    "=",
    "<",
    ">",
    "\\le ",
    "\\frac{1}{2}",
    "\\frac",
    "\\sqrt{2}",
    "\\sqrt",
    "\\sqrt[3]{x}",
    "\\sin ",
    "\\cos(",
    "\\ln ",
    "\\log_2 ",
    "!",
    "|",
    "\\binom{5}{2}",
    "\\sum_{k=1}^{100}",
    "\\prod_{k=1}^{9}",
    "k",
    "\\cup ",
    "\\cap ",
    "\\setminus ",
    "\\infty ",
    "\\pm ",
    "\\in ",
    "\\text{ and }",
    "\\text{cm}",
    " km",
    "%",
    "^\\circ",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "\\boxed{",
    "\\boxed{9} (да)",
    "\\boxed{9}(是)",
    "\\boxed{9} (μ",
    "\n",
    "$",
    "$$",
    "\\(",
    "\\)",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "####",
    "answer is ",
    "999999999999",
    "9^{9^{9^9}}",
    "1e300",
    "10^{4000}",
    "é",
    "∞",
    "²",
    "½",
    "\\left(",
    "\\right)",
    "\\overline{AB}",
    "f(x)",
    "x_1",
    "a_{n+1}",
    "\\lfloor ",
    "\\rfloor ",
    "\\mathbb{R}",
    "12:30",
    "3:4",
    "101_2",
    "1,000",
    "yes",
    "A",
    "the",
    "\\foo",
    "\\",
    "\u{0}",
    "\\bmod ",
    "\\gcd(",
    "\\max(",
    "x^{x^{x}}",
    "2^n",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// One text: fragments, or one fragment repeated and nested.
    fn text(&mut self) -> String {
        let mut text = String::new();
        match self.below(20) {
            0 => {
                let (open, close) = [
                    ("(", ")"),
                    ("{", "}"),
                    ("\\frac{1}{1+", "}"),
                    ("\\sqrt{1+", "}"),
                    ("2^{", "}"),
                    ("|", "|"),
                ][self.below(6)];
                let depth = 1 << self.below(10);
                text.push_str(&open.repeat(depth));
                text.push('x');
                text.push_str(&close.repeat(depth));
            }
            1 => {
                text.push_str(["", "5", "x"][self.below(3)]);
                text.push_str(&FRAGMENTS[self.below(FRAGMENTS.len())].repeat(1 << self.below(12)));
            }
            2 => {
                let (a, b) = (self.below(FRAGMENTS.len()), self.below(FRAGMENTS.len()));
                text = format!("{}{}", FRAGMENTS[a], FRAGMENTS[b]).repeat(1 << self.below(13));
            }
            3 => {
                for index in 0..1 << self.below(10) {
                    let joint = ["+", "*", ",", "^2+"][self.below(4)];
                    text.extend(["x_{", &index.to_string(), "}", joint]);
                }
                text.push('1');
            }
            4 => {
                text = format!("(x+y+z)^{{{}}}(1+x)^{{{}}}", self.below(1000), self.below(100_000));
            }
            _ => {
                for _ in 0..=self.below(24) {
                    text.push_str(FRAGMENTS[self.below(FRAGMENTS.len())]);
                }
            }
        }
        text
    }
}

/// The judgment and the milliseconds it took.
#[expect(clippy::disallowed_methods, reason = "the example measures; the library reads no clock")]
fn timed(verifier: &MathVerifier, input: &RewardInput<'_>) -> (Judgment, f64) {
    let start = Instant::now();
    let judgment = verifier.verify(input);
    (judgment, start.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds that this thread has run, where Linux counts them: on a busy machine the clock measures its neighbors.
fn cpu_millis() -> Option<f64> {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(counts.split_whitespace().next()?.parse::<f64>().ok()? / 1e6)
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let mut random = Random(seed);
    let verifier = MathVerifier::new();
    let mut verdicts = BTreeMap::<&str, u64>::new();
    let mut slowest: Vec<(f64, String, String)> = Vec::new();
    for index in 0..count {
        let reference = random.text();
        let completion = match random.below(8) {
            0 => reference.clone(),
            1 => format!("\\boxed{{{reference}}}"),
            2 => format!("so {} the answer is {reference}", random.text()),
            3 => format!("{reference}+0"),
            _ => random.text(),
        };
        // One pair in ten thousand is a megabyte long.
        let completion = if index % 10_000 == 5 {
            completion.repeat(1_000_000 / completion.len().max(1))
        } else {
            completion
        };
        let input = RewardInput::new(&completion, &reference);
        let (judgment, mut millis) = timed(&verifier, &input);
        // The work is the same every time; what a repetition saves was the machine's.
        for _ in 0..3 {
            if millis > 10.0 {
                let before = cpu_millis();
                let again = timed(&verifier, &input).1;
                let cpu = before.zip(cpu_millis()).map(|(before, now)| now - before);
                millis = millis.min(cpu.unwrap_or(again));
            }
        }
        *verdicts.entry(judgment.verdict.name()).or_default() += 1;
        if slowest.len() < 5 || slowest[4].0 < millis {
            slowest.push((millis, reference, completion));
            slowest.sort_by(|a, b| b.0.total_cmp(&a.0));
            slowest.truncate(5);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{count} pairs: {verdicts:?}")?;
    for (millis, reference, completion) in &slowest {
        let head = |text: &str| text.chars().take(160).collect::<String>();
        writeln!(
            out,
            "{millis:.2} ms: {:?} against {:?} ({} and {} bytes)",
            head(completion),
            head(reference),
            completion.len(),
            reference.len()
        )?;
    }
    let peak = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    if let Some(peak) = peak {
        writeln!(out, "peak memory {:.1} MB", peak as f64 / 1024.0)?;
    }
    let failed = slowest.first().is_some_and(|slow| slow.0 >= 50.0)
        || peak.is_some_and(|peak| peak > 64 * 1024);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
