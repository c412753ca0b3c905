//! Growth of time and memory, ours beside transformers, as plots and as a table of numbers:
//!
//! `cargo bench -p hint-rl --bench growth -- run [--short] [--plots batch,context,memory,group,vocabulary]
//! [--model FILE.gguf or FOLDER] [--precisions float32] [--runs 5] [--threads 2] [--out FOLDER] [--python PYTHON]
//! [--batches 1,2,…] [--contexts 128,256,…] [--tokens 256,512,…] [--groups 2,4,…] [--vocabularies 4096,8192,…]`
//!
//! | plot | over | shows |
//! |---|---|---|
//! | `batch` | rows that are decoded together, behind a prompt of 64 tokens | ms per token |
//! | `context` | tokens of prompt and completion, for four rows | ms per token |
//! | `memory` | tokens of a micro-batch, in rows of 256 | peak GiB of a process that goes forward and backward |
//! | `group` | completions of a prompt, two prompts and 64 tokens each | seconds of a GRPO step, beside TRL |
//! | `vocabulary` | words of the vocabulary, in two random blocks as wide as SmolLM2-135M's | µs per scored token |
//!
//! Time per token is that of decoding: it begins when every row has its first token. Both sides sample with the whole
//! distribution at temperature 1. Each side is a process that works in turn with the other, and the first round is not
//! counted. Both have memory in large pages, as `vs_transformers` describes. `memory`, `group` and `vocabulary` start
//! processes anew for each size. A side that fails at a size, such as by lack of memory, is named, and left out from
//! there on. The work of `group` is that of the benchmark `vs_trl`. It takes `float32` alone: in bf16, TRL has two
//! sides there.
//!
//! `FOLDER`, by default `target/growth`, gets `growth.csv` with median, least and most of the runs, and the drawing
//! `growth-PLOT.svg` of each plot. They are written after each plot. The lines of a plot in `growth.csv` are those of its
//! drawing. A call replaces the lines of its own plots, and keeps the others. A drawing names its command and the
//! processor. `--short` has two or three sizes for each plot, and two runs. Sizes beyond the positions of the model are
//! left out.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the numbers are the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

#[expect(
    dead_code,
    reason = "a chart escapes its texts; the rest is the page of `hint-rl reproduce`"
)]
#[path = "../../src/reproduce/html.rs"]
mod html;
#[path = "../../../hint-policy/benches/vs_transformers/ours.rs"]
mod ours;
#[path = "../../../hint-policy/benches/vs_transformers/peer.rs"]
mod peer;
mod plot;
#[path = "../vs_trl/ours.rs"]
mod step;
#[expect(dead_code, reason = "`chart` is for the page of `hint-rl reproduce`")]
#[cfg_attr(test, expect(unused_imports, reason = "no harness runs the tests of the library here"))]
#[path = "../../src/reproduce/svg.rs"]
mod svg;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, ModelConfig, Policy};
use serde_json::{Value, json};
use tch::Device;

use self::peer::{
    Peer, Result, environment, model_folder, option, processor, rate, with_large_pages,
};
use self::plot::{Plot, Point, Scale};
use self::step::Work;

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("run") => run(&args[1..]),
        Some("ours") => ours::serve(&args[1..]),
        Some("step") => step::serve(&args[1..]),
        _ => {
            println!("growth measures when it is asked to `run`");
            Ok(())
        }
    }
}

/// Which processes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    /// The tasks of `vs_transformers`, one pair of processes for all sizes.
    Together,
    /// The same, a pair for each size.
    Apart,
    /// Steps of training, a pair for each size.
    Steps,
}

/// A size at which both sides work.
struct Case {
    size: usize,
    task: String,
    folder: PathBuf,
    settings: Value,
}

/// A plot that is to be measured.
struct Measurement {
    plot: Plot,
    sides: Sides,
    runs: usize,
    /// In ascending order of their sizes.
    cases: Vec<Case>,
    number: fn(&Value) -> Option<f64>,
}

fn run(args: &[String]) -> Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/growth");
    let out = PathBuf::from(option(args, "--out", &target.to_string_lossy()));
    std::fs::create_dir_all(&out)?;
    let table = out.join("growth.csv");
    let mut csv = former_table(&table)?;
    let python = match option(args, "--python", "").as_str() {
        "" => environment("vs-trl")?,
        python => PathBuf::from(python),
    };
    let models = tempfile::tempdir()?;
    let names = option(args, "--plots", "batch,context,memory,group,vocabulary");
    let setup = Setup::read(args, models.path())?;
    let measurements =
        names.split(',').map(|name| setup.measurement(name)).collect::<Result<Vec<_>>>()?;
    println!("{}, {} threads\n", processor(), setup.threads);
    println!("| plot | size | precision | side | median | least to most | unit | peak GiB |");
    println!("|---|---|---|---|---|---|---|---|");
    for measurement in &measurements {
        let mut points = Vec::new();
        for precision in option(args, "--precisions", "float32").split(',') {
            measurement.take(&python, precision, &mut points)?;
        }
        csv = measurement.plot.replaced(&csv, &points);
        std::fs::write(&table, &csv)?;
        let file = out.join(format!("growth-{}.svg", measurement.plot.name));
        std::fs::write(file, measurement.plot.svg(&points, &processor(), &command(args)))?;
    }
    println!("\nwritten to {}", out.display());
    Ok(())
}

/// The content of `growth.csv`, or its first line where there is no file yet.
fn former_table(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.starts_with(plot::HEADER) => Ok(text),
        Ok(_) => {
            let path = path.display();
            Err(format!("`{path}` has other columns; name another folder by `--out`").into())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(plot::HEADER.to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// The command line for a reader elsewhere: without the options whose values are paths of this machine.
fn command(args: &[String]) -> String {
    let mut command = "cargo bench -p hint-rl --bench growth -- run".to_owned();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if ["--out", "--python", "--model"].contains(&arg.as_str()) {
            args.next();
        } else {
            command.push(' ');
            command.push_str(arg);
        }
    }
    command
}

/// Sizes, and the model.
struct Setup<'a> {
    args: &'a [String],
    is_short: bool,
    folder: PathBuf,
    /// Most tokens of a row.
    positions: usize,
    threads: usize,
    runs: usize,
    /// A folder for models of other vocabularies.
    models: &'a Path,
}

impl<'a> Setup<'a> {
    fn read(args: &'a [String], models: &'a Path) -> Result<Self> {
        let folder = model_folder(args)?;
        let config = std::fs::read_to_string(folder.join("config.json"))?;
        let config = serde_json::from_str::<Value>(&config)?;
        let positions = config["max_position_embeddings"].as_u64().ok_or("no positions")?;
        let is_short = args.iter().any(|arg| arg == "--short");
        let runs = option(args, "--runs", if is_short { "2" } else { "5" }).parse()?;
        Ok(Self {
            args,
            is_short,
            folder,
            positions: usize::try_from(positions)?,
            threads: option(args, "--threads", "2").parse()?,
            runs,
            models,
        })
    }

    /// The sizes behind an option, in ascending order.
    fn sizes(&self, name: &str, short: &str, whole: &str) -> Result<Vec<usize>> {
        let text = option(self.args, name, if self.is_short { short } else { whole });
        let sizes = text.split(',').map(str::parse::<usize>);
        let mut sizes = sizes.collect::<std::result::Result<Vec<_>, _>>()?;
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// Settings of the tasks of `vs_transformers` that have their sizes behind their names.
    fn settings(&self) -> Value {
        json!({ "threads": self.threads, "device": "cpu", "prompts": [], "lengths": [], "rows": [] })
    }

    fn case(&self, size: usize, task: String) -> Case {
        Case { size, task, folder: self.folder.clone(), settings: self.settings() }
    }

    fn measurement(&self, name: &str) -> Result<Measurement> {
        match name {
            "batch" => self.batch(),
            "context" => self.context(),
            "memory" => self.memory(),
            "group" => self.group(),
            "vocabulary" => self.vocabulary(),
            _ => Err(format!("no plot `{name}`").into()),
        }
    }

    fn batch(&self) -> Result<Measurement> {
        let sizes = self.sizes("--batches", "1,8,64", "1,2,4,8,16,32,64,128,256")?;
        Ok(Measurement {
            plot: Plot {
                name: "batch",
                title: "Decoding by rows of the batch",
                over: "rows of the batch",
                unit: "ms per token",
                scale: Scale::Logarithmic,
            },
            sides: Sides::Together,
            runs: self.runs,
            cases: sizes
                .iter()
                .map(|rows| self.case(*rows, format!("decode {rows} 64 33")))
                .collect(),
            number: |answer| Some(1e3 / rate(answer)?),
        })
    }

    fn context(&self) -> Result<Measurement> {
        let sizes = self.sizes("--contexts", "128,1024", "128,256,512,1024,2048,4096,8192")?;
        let fitting = sizes.iter().filter(|size| (18..=self.positions).contains(*size));
        let task = |size: &usize| self.case(*size, format!("decode 4 {} 17", size - 17));
        Ok(Measurement {
            plot: Plot {
                name: "context",
                title: "Decoding by tokens of context",
                over: "tokens of context",
                unit: "ms per token",
                scale: Scale::Logarithmic,
            },
            sides: Sides::Together,
            runs: self.runs,
            cases: fitting.map(task).collect(),
            number: |answer| Some(1e3 / rate(answer)?),
        })
    }

    fn memory(&self) -> Result<Measurement> {
        let sizes = self.sizes("--tokens", "512,2048", "256,512,1024,2048,4096")?;
        let length = self.positions.min(256);
        let task = |size: &usize| {
            let rows = size.div_ceil(length);
            self.case(rows * length, format!("backward {rows} {length}"))
        };
        Ok(Measurement {
            plot: Plot {
                name: "memory",
                title: "Memory of a training pass by tokens",
                over: "tokens of the micro-batch",
                unit: "GiB at most",
                scale: Scale::Linear,
            },
            sides: Sides::Apart,
            // It hardly differs from run to run.
            runs: 1,
            cases: sizes.iter().map(task).collect(),
            number: |answer| answer["peak_gib"].as_f64(),
        })
    }

    fn group(&self) -> Result<Measurement> {
        if option(self.args, "--precisions", "float32") != "float32" {
            return Err("the plot `group` is of float32; in bf16, TRL has two sides, which `vs_trl` compares; \
                        leave it out of --plots"
                .into());
        }
        let mut cases = Vec::new();
        for group in self.sizes("--groups", "2,8", "2,4,8,16,32")? {
            let work = Work {
                prompts: 2,
                prompt_tokens: 64,
                group,
                shortest: 64,
                longest: 64,
                steps: self.runs + 1,
                threads: self.threads,
                micro_batch: 8,
                own_micro_batch: 8,
                learning_rate: 1e-6,
            };
            let settings = work.settings(&self.folder)?;
            cases.push(Case { settings, ..self.case(group, "step".to_owned()) });
        }
        Ok(Measurement {
            plot: Plot {
                name: "group",
                title: "A GRPO step by completions of a group",
                over: "completions of a group",
                unit: "s per step",
                scale: Scale::Linear,
            },
            sides: Sides::Steps,
            runs: self.runs,
            cases,
            number: |answer| answer["seconds"].as_f64(),
        })
    }

    fn vocabulary(&self) -> Result<Measurement> {
        let whole = "4096,8192,16384,32768,65536,131072";
        let mut cases = Vec::new();
        for words in self.sizes("--vocabularies", "8192,65536", whole)? {
            let config = ModelConfig {
                hidden_size: 576,
                intermediate_size: 1536,
                num_hidden_layers: 2,
                num_attention_heads: 9,
                num_key_value_heads: 3,
                head_dim: 64,
                ..ModelConfig::small(Architecture::Llama, words)
            };
            let folder = self.models.join(words.to_string());
            CausalLm::init(&config, 1, Device::Cpu)?.save(&folder)?;
            cases.push(Case { folder, ..self.case(words, "score 8 257".to_owned()) });
        }
        Ok(Measurement {
            plot: Plot {
                name: "vocabulary",
                title: "Scoring by words of the vocabulary",
                over: "words of the vocabulary",
                unit: "µs per token",
                scale: Scale::Linear,
            },
            sides: Sides::Apart,
            runs: self.runs,
            cases,
            number: |answer| Some(1e6 / rate(answer)?),
        })
    }
}

impl Measurement {
    /// Measures every size on both sides, and prints and adds the points.
    fn take(&self, python: &Path, precision: &str, points: &mut Vec<Point>) -> Result<()> {
        let mut failed = Vec::new();
        let mut peers = Vec::new();
        for (place, case) in self.cases.iter().enumerate() {
            if place == 0 || self.sides != Sides::Together {
                // Those of the last size end first, and give their memory back.
                peers.clear();
                peers = self.start(python, precision, case, &failed)?;
            }
            // The first round warms every side up.
            for _ in 0..=self.runs {
                peers.retain_mut(|peer: &mut Peer| {
                    let result = peer.run(&case.task);
                    if let Err(error) = &result {
                        eprintln!("{} at {}: {error}", self.plot.name, case.size);
                        failed.push(peer.name);
                    }
                    result.is_ok()
                });
            }
            for peer in &mut peers {
                let point = Point {
                    size: case.size,
                    precision: precision.to_owned(),
                    side: peer.name,
                    spread: peer.spread(self.number)?,
                    runs: self.runs,
                    peak_gib: peer.newest("peak_gib")?,
                };
                println!("{}", self.plot.row(&point));
                points.push(point);
                peer.answers.clear();
            }
        }
        Ok(())
    }

    /// The processes for a case, apart from sides that failed at a smaller one.
    fn start(
        &self,
        python: &Path,
        precision: &str,
        case: &Case,
        failed: &[&str],
    ) -> Result<Vec<Peer>> {
        let mut own = Command::new(std::env::current_exe()?);
        let other = if self.sides == Sides::Steps {
            own.arg("step");
            ("TRL", step::trl(python))
        } else {
            own.arg("ours");
            let mut command = Command::new(python);
            let script = include_str!("../../../hint-policy/benches/vs_transformers/peer.py");
            command.arg("-c").arg(script);
            ("transformers", command)
        };
        let sides = [("hint-rl", own), other];
        let working = sides.into_iter().filter(|(name, _)| !failed.contains(name));
        let start = |(name, mut command): (&'static str, Command)| {
            let command = with_large_pages(&mut command);
            Peer::start(name, command, &case.folder, precision, &case.settings)
        };
        working.map(start).collect()
    }
}
