//! Time of an AdamW step over the matrices and norms of twelve layers of SmolLM2-135M, in f32.
//!
//! `cargo bench -p hint-grpo --bench adamw` measures our step over flat buffers and a plain loop over tensors, by
//! criterion. `cargo bench -p hint-grpo --bench adamw -- torch [--rounds 15] [--threads 2]` runs both in turn with
//! `torch.optim.AdamW` of the installed libtorch's Python side (foreach, fused, and its own loop). It prints a Markdown
//! table of medians. Takes a minute; needs a `python3` that the wheel fits.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group};
use hint_grpo::Optimizer;
use hint_grpo::optim::{AdamW, AdamWConfig};
use hint_policy::Parameter;
use tch::{Device, Kind, Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LAYERS: usize = 12;
const LAYER: [(&str, &[i64]); 9] = [
    ("q", &[576, 576]),
    ("k", &[192, 576]),
    ("v", &[192, 576]),
    ("o", &[576, 576]),
    ("gate", &[1536, 576]),
    ("up", &[1536, 576]),
    ("down", &[576, 1536]),
    ("norm1", &[576]),
    ("norm2", &[576]),
];
const CONFIG: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
const RATE: f64 = 1e-6;

/// Parameters whose gradients are ones.
fn parameters() -> Vec<Parameter> {
    let layers = (0..LAYERS).flat_map(|layer| LAYER.map(|(name, size)| (layer, name, size)));
    let new = |(layer, name, size): (usize, &str, &[i64])| {
        let tensor = Tensor::ones(size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        Parameter { name: format!("{layer}.{name}"), tensor }
    };
    layers.map(new).collect()
}

fn give_gradients(parameters: &[Parameter]) {
    for parameter in parameters {
        parameter.tensor.sum(Kind::Float).backward();
    }
}

fn elements() -> u64 {
    parameters().iter().map(|parameter| parameter.tensor.numel() as u64).sum()
}

fn ours() -> impl FnMut() -> Result<()> {
    let mut optimizer = AdamW::new(parameters(), CONFIG);
    give_gradients(optimizer.parameters());
    move || Ok(optimizer.step(RATE)?)
}

/// The update formula, one tensor after another.
fn plain() -> impl FnMut() -> Result<()> {
    let mut parameters = parameters();
    give_gradients(&parameters);
    let zeros = |parameter: &Parameter| parameter.tensor.detach().zeros_like();
    let mut moments = parameters.iter().map(|one| (zeros(one), zeros(one))).collect::<Vec<_>>();
    let mut steps = 0;
    move || {
        steps += 1;
        let correction1 = 1.0 - CONFIG.beta1.powi(steps);
        let correction2 = (1.0 - CONFIG.beta2.powi(steps)).sqrt();
        tch::no_grad(|| {
            for (parameter, (first, second)) in parameters.iter_mut().zip(&mut moments) {
                let gradient = parameter.tensor.grad();
                parameter.tensor *= 1.0 - RATE * CONFIG.weight_decay;
                *first = &*first * CONFIG.beta1 + &gradient * (1.0 - CONFIG.beta1);
                *second = &*second * CONFIG.beta2 + gradient.square() * (1.0 - CONFIG.beta2);
                let denominator = second.sqrt() / correction2 + CONFIG.epsilon;
                parameter.tensor -= &*first / denominator * (RATE / correction1);
            }
        });
        Ok(())
    }
}

fn by_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adamw step");
    group.throughput(Throughput::Elements(elements()));
    let mut step = ours();
    group.bench_function("flat buffers", |bencher| bencher.iter(|| step().expect("it steps")));
    let mut step = plain();
    group.bench_function("a loop over tensors", |bencher| {
        bencher.iter(|| step().expect("it steps"));
    });
    group.finish();
}

criterion_group!(benches, by_criterion);

fn main() -> Result<()> {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    if args.iter().any(|arg| arg == "torch") {
        return compare(&args);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    Ok(())
}

fn number(args: &[String], name: &str, default: usize) -> Result<usize> {
    let at = args.iter().position(|arg| arg == name);
    let value = at.and_then(|at| args.get(at + 1));
    Ok(value.map_or(Ok(default), |value| value.parse())?)
}

/// Milliseconds of `count` steps, per step.
fn time(mut step: impl FnMut() -> Result<()>, count: u32) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        step()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / f64::from(count))
}

fn compare(args: &[String]) -> Result<()> {
    const STEPS: u32 = 4;
    let (rounds, threads) = (number(args, "--rounds", 15)?, number(args, "--threads", 2)?);
    tch::set_num_threads(i32::try_from(threads)?);
    let (mut ours, mut plain, mut torch) = (ours(), plain(), Torch::start(threads)?);
    let kinds = ["foreach", "fused", "loop"];
    let mut times = vec![Vec::new(); 2 + kinds.len()];
    // The first round warms all sides up.
    for round in 0..=rounds {
        let mut all = vec![time(&mut ours, STEPS)?, time(&mut plain, STEPS)?];
        for kind in kinds {
            all.push(torch.time(kind, STEPS)?);
        }
        if round > 0 {
            times.iter_mut().zip(all).for_each(|(times, time)| times.push(time));
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let times = times.iter_mut().map(median).collect::<Vec<_>>();
    println!("{} parameters, {threads} threads, medians of {rounds} rounds\n", elements());
    println!("| step | ms | against ours |\n|---|---|---|");
    let names = ["ours, flat buffers", "tch, a loop over tensors"].map(str::to_owned);
    let names = names.into_iter().chain(kinds.map(|kind| format!("torch.optim.AdamW, {kind}")));
    for (name, time) in names.zip(&times) {
        println!("| {name} | {time:.1} | {:.2} |", time / times[0]);
    }
    Ok(())
}

/// A Python process that takes steps on request.
struct Torch {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Torch {
    fn start(threads: usize) -> Result<Self> {
        let torch = std::env::var_os("LIBTORCH").ok_or("no LIBTORCH: run through cargo")?;
        let torch = PathBuf::from(torch);
        let site = torch.parent().ok_or("LIBTORCH has no parent folder")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/adamw/peer.py");
        let shapes = LAYER.map(|(_, size)| size);
        let mut child = Command::new("python3")
            .arg(script)
            .arg(format!("{shapes:?}"))
            .args([LAYERS.to_string(), threads.to_string()])
            .env("PYTHONPATH", site)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output })
    }

    fn time(&mut self, kind: &str, count: u32) -> Result<f64> {
        writeln!(self.input, "{kind} {count}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
