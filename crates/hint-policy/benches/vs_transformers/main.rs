//! Speed and memory side by side with transformers, and with vLLM if asked for, on SmolLM2-135M:
//!
//! `cargo bench -p hint-policy --bench vs_transformers -- run [--model FILE.gguf or FOLDER or qwen2.5-1.5b]
//! [--tasks generate,ragged,train] [--precisions float32,bfloat16] [--runs 5] [--batch 32] [--requests 256] [--rows 16]
//! [--micro-batch 4] [--own-micro-batch 2] [--threads 2] [--device cpu] [--transformers PYTHON] [--vllm PYTHON]
//! [--bandwidth GB/S] [--peak TFLOP/S]`
//!
//! Each side is a process of its own that loads once and then runs in turn with the others. So other load on the
//! machine meets all. The first round is not counted.
//!
//! Our program asks for memory in pages of 2 MiB, by a variable of the C library that it sets itself. So our side has it
//! here. On a CPU, transformers takes part without it, as it is, and with it.
//!
//! On a CPU, a further process of ours takes part in `generate` and `train`, and `products` is this process alone. It times
//! the products of the model with its weights at 32, 128 and 2,048 rows. Each is tried in three ways, and the fastest counts.
//! A second table has their GFLOP/s, and the tokens per second that these products alone would allow. The column `of the
//! bound` is the share of each side. The bound takes two operations for each weight and token in decoding, and six in
//! training. Its speed is the most GFLOP/s at any number of rows. Prompts, attention, and logits that are computed twice
//! are left out of it. So shares are a little low.
//!
//! transformers lives in an environment in the cache folder, made on first use from the torch of `cargo xtask setup`.
//! `--transformers` names the Python of another one, `--vllm` the Python of an environment with vLLM. `qwen2.5-1.5b` has
//! random weights in the shape of that model, kept in the cache folder. Prints a Markdown table of medians; takes hours with
//! the defaults on two cores, most of them in transformers. `--tasks products` alone takes minutes and needs no Python.
//!
//! On a GPU: `--device cuda --batch 256 --rows 64 --micro-batch 32 --own-micro-batch 32`, so that its work is larger than its
//! launches. One side after the other is then started and measured alone, and the column of memory is the device memory in
//! use. On the side of transformers, cuDNN's attention is off and AdamW fused. `--bandwidth` and `--peak` are the limits of
//! the device. The share that decoding (weights and cache are read once per step) and training reach is then printed.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

mod ours;
mod peer;
mod products;

use std::path::{Path, PathBuf};
use std::process::Command;

use hint_policy::config::Architecture;
use hint_policy::{CausalLm, ModelConfig, Policy};
use serde_json::{Value, json};
use tch::Device;

use self::peer::{
    Peer, Result, cache, environment, model_folder, option, processor, rate, with_large_pages,
};
use self::products::Bound;

/// The side of transformers that has large pages.
const TUNED: &str = "transformers, large pages";

/// The task that times products, and the side that does.
const PRODUCTS: &str = "products";

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("run") => compare(&args[1..]),
        Some("ours") => ours::serve(&args[1..]),
        Some(PRODUCTS) => products::serve(&args[1..]),
        _ => {
            println!("vs_transformers compares with transformers when it is asked to `run`");
            Ok(())
        }
    }
}

fn compare(args: &[String]) -> Result<()> {
    let folder = match option(args, "--model", "").as_str() {
        "qwen2.5-1.5b" => random_weights(&cache()?)?,
        _ => model_folder(args)?,
    };
    let vllm = option(args, "--vllm", "");
    let limits = [("--bandwidth", 1e9), ("--peak", 1e12)].map(|(name, unit)| {
        let limit = option(args, name, "");
        (!limit.is_empty()).then(|| limit.parse::<f64>().map(|limit| limit * unit)).transpose()
    });
    let [bandwidth, peak] = limits;
    let (bandwidth, peak) = (bandwidth?, peak?);
    let number = |name: &str, default: &str| -> Result<usize> {
        Ok(option(args, name, default).parse::<usize>()?)
    };
    let mut settings =
        settings(number("--batch", "32")?, number("--requests", "256")?, number("--rows", "16")?);
    settings["micro_batch"] = number("--micro-batch", "4")?.into();
    settings["own_micro_batch"] = number("--own-micro-batch", "2")?.into();
    settings["threads"] = number("--threads", "2")?.into();
    settings["device"] = option(args, "--device", "cpu").into();
    let runs = number("--runs", "5")?;
    let scripts = tempfile::tempdir()?;
    let script = |name: &str, text: &str| -> Result<PathBuf> {
        let path = scripts.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let tasks = option(args, "--tasks", "generate,ragged,train");
    let transformers = match option(args, "--transformers", "").as_str() {
        "" if tasks == PRODUCTS => PathBuf::new(),
        "" => environment("vs-transformers")?,
        python => PathBuf::from(python),
    };
    let peer = script("peer.py", include_str!("peer.py"))?;
    let vllm_peer = script("vllm_peer.py", include_str!("vllm_peer.py"))?;
    let vllm = (!vllm.is_empty()).then(|| [PathBuf::from(vllm), vllm_peer]);
    let comparison = Comparison {
        folder,
        settings,
        runs,
        transformers: [transformers, peer],
        vllm,
        limits: [bandwidth, peak],
    };
    println!("{}, {} threads\n", processor(), comparison.settings["threads"]);
    println!(
        "| task | precision | side | tok/s | least to most | ours is faster by | of the bound | peak GiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut bounds = Vec::new();
    for task in tasks.split(',') {
        for precision in option(args, "--precisions", "float32,bfloat16").split(',') {
            let peers = comparison.take(task, precision)?;
            let products = peers.iter().find(|peer| peer.name == PRODUCTS);
            let bound = products.map(Bound::of).transpose()?;
            comparison.print(task, precision, &peers, bound.as_ref())?;
            bounds.extend(bound.iter().flat_map(|bound| bound.rows(task, precision)));
        }
    }
    if !bounds.is_empty() {
        println!("\n{}\n{}", products::HEAD, bounds.join("\n"));
    }
    Ok(())
}

/// The sides of a comparison, and their work.
struct Comparison {
    folder: PathBuf,
    settings: Value,
    runs: usize,
    /// Python and script.
    transformers: [PathBuf; 2],
    vllm: Option<[PathBuf; 2]>,
    /// Bytes and FLOP per second that the device reaches at most, where they are given.
    limits: [Option<f64>; 2],
}

impl Comparison {
    fn is_on_cpu(&self) -> bool {
        self.settings["device"] == "cpu"
    }

    /// The programs of a task.
    fn sides(&self, task: &str) -> Result<Vec<(&'static str, Command)>> {
        let program = |path: &Path, argument: &Path| {
            let mut command = Command::new(path);
            command.arg(argument);
            command
        };
        let own = std::env::current_exe()?;
        let mut sides = Vec::new();
        if task != PRODUCTS {
            let [python, script] = &self.transformers;
            sides.push(("hint-policy", program(&own, Path::new("ours"))));
            sides.push(("transformers", program(python, script)));
            if self.is_on_cpu() {
                sides.push((TUNED, program(python, script)));
            }
        }
        if let (Some([python, script]), "generate" | "ragged") = (&self.vllm, task) {
            sides.push(("vLLM", program(python, script)));
        }
        if self.is_on_cpu() && task != "ragged" {
            sides.push((PRODUCTS, program(&own, Path::new(PRODUCTS))));
        }
        for (name, command) in &mut sides {
            if self.is_on_cpu() && !["transformers", "vLLM"].contains(name) {
                with_large_pages(command);
            }
        }
        Ok(sides)
    }

    /// Runs a task on every side in turn.
    fn take(&self, task: &str, precision: &str) -> Result<Vec<Peer>> {
        let mut sides = self.sides(task)?;
        if sides.is_empty() {
            return Err("products are timed on a CPU; give the limit of a GPU by `--peak`".into());
        }
        let start = |name, command: &mut Command| {
            Peer::start(name, command, &self.folder, precision, &self.settings)
        };
        // A GPU holds one side at a time, so that its memory is that side's; a CPU all, in turn.
        let at_once = if self.is_on_cpu() { sides.len() } else { 1 };
        let mut peers = Vec::new();
        for sides in sides.chunks_mut(at_once) {
            let started = sides.iter_mut().map(|(name, command)| start(name, command));
            let mut started = started.collect::<Result<Vec<_>>>()?;
            // The first round warms every side up.
            for _ in 0..=self.runs {
                for peer in &mut started {
                    let line = if peer.name == PRODUCTS { PRODUCTS } else { task };
                    peer.run(line)?;
                }
            }
            started.iter_mut().for_each(Peer::stop);
            peers.extend(started);
        }
        Ok(peers)
    }

    /// Prints a row for each side that did the task, and the shares of given limits.
    fn print(
        &self,
        task: &str,
        precision: &str,
        peers: &[Peer],
        bound: Option<&Bound>,
    ) -> Result<()> {
        let sides = peers.iter().filter(|peer| peer.name != PRODUCTS).collect::<Vec<_>>();
        let Some(first) = sides.first() else { return Ok(()) };
        let own = first.spread(rate)?.median;
        for peer in &sides {
            let found = peer.spread(rate)?;
            let share = bound.and_then(|bound| bound.share(task, found.median));
            println!(
                "| {task} | {precision} | {} | {:.0} | {:.0} to {:.0} | {:.2} | {} | {:.2} |",
                peer.name,
                found.median,
                found.least,
                found.most,
                own / found.median,
                share.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share)),
                peer.newest("peak_gib")?,
            );
        }
        // Of the work for a token and the limit on it.
        let [bandwidth, peak] = self.limits;
        let shares = [
            ("generate", "bytes_per_token", bandwidth, "bandwidth"),
            ("train", "flop_per_token", peak, "peak FLOP/s"),
        ];
        for (of, work, limit, name) in shares {
            if let (Some(limit), true) = (limit, of == task) {
                let share = own * first.newest(work)? / limit;
                println!("\n{task} in {precision} reaches {:.1} % of the {name}\n", 100.0 * share);
            }
        }
        Ok(())
    }
}

/// A folder of random weights in the shape of Qwen2.5-1.5B.
fn random_weights(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("vs-transformers/qwen2.5-1.5b");
    if !folder.join("model.safetensors").is_file() {
        let config = ModelConfig {
            hidden_size: 1536,
            intermediate_size: 8960,
            num_hidden_layers: 28,
            num_attention_heads: 12,
            num_key_value_heads: 2,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            max_position_embeddings: 32_768,
            ..ModelConfig::small(Architecture::Qwen2, 151_936)
        };
        CausalLm::init(&config, 1, Device::Cpu)?.save(&folder)?;
    }
    Ok(folder)
}

/// The same work for every side, from a fixed generator.
fn settings(batch: usize, requests: usize, rows: usize) -> Value {
    let mut state = 1_u64;
    let mut draw = |low: u64, high: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (state >> 33) % (high - low + 1)
    };
    let mut prompt = |len: u64| (0..len).map(|_| draw(100, 40_000)).collect::<Vec<_>>();
    // Eight completions of each prompt.
    let prompts: Vec<_> = (0..batch / 8).map(|_| prompt(86)).flat_map(|p| vec![p; 8]).collect();
    let lens: Vec<u64> = (0..requests as u64).map(|i| 20 + i * 7919 % 381).collect();
    let ragged_prompts: Vec<_> = lens.iter().map(|&len| prompt(len)).collect();
    let ragged_lengths: Vec<u64> = (0..requests as u64).map(|i| 5 + i * 6151 % 196).collect();
    let rows: Vec<_> = (0..rows).map(|_| prompt(512)).collect();
    json!({
        "batch": batch, "lengths": vec![128; prompts.len()], "prompts": prompts,
        "ragged_prompts": ragged_prompts, "ragged_lengths": ragged_lengths, "rows": rows,
    })
}
