//! A whole GRPO step side by side with TRL's `GRPOTrainer`, at equal completions:
//!
//! `cargo bench -p hint-rl --bench vs_trl -- run [--model FILE.gguf or FOLDER] [--precisions float32,bfloat16] [--runs 5]
//! [--prompts 4] [--group 8] [--prompt-tokens 86] [--tokens 128] [--shortest 128] [--micro-batch 8] [--own-micro-batch 8]
//! [--threads 2] [--learning-rate 1e-6] [--trl PYTHON]`
//!
//! Both sides have the same model folder, prompts as token ids, lengths of completions, rewards, group size, learning rate
//! and threads. The completions of a prompt are equally long. Those of the last prompt have `--tokens` tokens, those of the
//! first one `--shortest`, and the others are between. Every other completion of a group is rewarded, by its place. Each
//! side is a process that loads once and then takes a step in turn with the other. So other load on the machine meets
//! both. The first round is not counted. The ratio is one of medians. All sides have memory in large pages, as
//! `vs_transformers` describes.
//!
//! A step begins before its first token is sampled, and ends when the new weights are in place:
//!
//! - hint-rl: `Run::run` between the observer's phase `Rollout` and its report. It samples, judges, and makes advantages.
//!   It goes forward and backward over micro-batches, clips the gradient, takes a step of AdamW, and hands the engine the
//!   weights.
//! - TRL: `GRPOTrainer.train` between the callbacks `on_step_begin` and `on_step_end`. So it is
//!   `_generate_and_score_completions`, `training_step` for each micro-batch, clipping, and the fused AdamW.
//!
//! Both compute the log-probabilities of a completion once, with its entropy: the ratio of a first step needs no old ones.
//! There is no KL term. TRL has no gradient checkpointing here, as hint-rl, and samples by transformers. Left out on both
//! sides are tokenizing, decoding to text, checkpoints, and logging. TRL's environment is made in the cache folder on first
//! use. Its torch is the one of `cargo xtask setup`. `--trl` names the Python of another one.
//!
//! | precision | side | weights, gradients, moments | products |
//! |---|---|---|---|
//! | `float32` | both | f32 | f32 |
//! | `bfloat16` | hint-rl | f32 | bf16, as with `--compute bf16` |
//! | `bfloat16` | TRL | f32 | bf16, by `bf16=True`: autocast converts weights in every forward pass, also while it samples |
//! | `bfloat16` | TRL, bf16 weights | bf16 | bf16, by `dtype=torch.bfloat16` and `bf16=True`; small updates are rounded away |
//!
//! The row of hint-rl has the ratio over the fastest other side, which is the one to quote.
//!
//! Tokens per second are sampled tokens by the time of the whole step. They are counted in what each trainer took: the
//! completions that the reward function of TRL gets, and the report of hint-rl. TRL's side also checks shape and order of
//! the rows that it samples. The time of sampling is that of `RolloutEngine::generate` here, and of the model's `generate`
//! there. It holds prompts and completions, but no rewards, no advantages and no padding of rows for training. Lengths that
//! are equal have no padding at all, which spares TRL some work. `--shortest 32` shows a batch with it. Both sides work on
//! the CPU.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

mod ours;
#[path = "../../../hint-policy/benches/vs_transformers/peer.rs"]
mod peer;

use std::path::PathBuf;
use std::process::Command;

use self::ours::Work;
use self::peer::{
    Peer, Result, Spread, environment, model_folder, option, processor, rate, with_large_pages,
};

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("run") => compare(&args[1..]),
        Some("ours") => ours::serve(&args[1..]),
        _ => {
            println!("vs_trl compares with TRL when it is asked to `run`");
            Ok(())
        }
    }
}

fn compare(args: &[String]) -> Result<()> {
    let number = |name: &str, default: &str| -> Result<usize> {
        Ok(option(args, name, default).parse::<usize>()?)
    };
    let folder = model_folder(args)?;
    let runs = number("--runs", "5")?;
    let tokens = option(args, "--tokens", "128");
    let work = Work {
        prompts: number("--prompts", "4")?,
        prompt_tokens: number("--prompt-tokens", "86")?,
        group: number("--group", "8")?,
        shortest: number("--shortest", &tokens)?,
        longest: tokens.parse()?,
        // The first one warms up.
        steps: runs + 1,
        threads: number("--threads", "2")?,
        micro_batch: number("--micro-batch", "8")?,
        own_micro_batch: number("--own-micro-batch", "8")?,
        learning_rate: option(args, "--learning-rate", "1e-6").parse()?,
    };
    let settings = work.settings(&folder)?;
    let trl = match option(args, "--trl", "").as_str() {
        "" => environment("vs-trl")?,
        python => PathBuf::from(python),
    };
    println!(
        "{}, {} threads; {} prompts of {} tokens, {} completions each of {} to {} tokens\n",
        processor(),
        work.threads,
        work.prompts,
        work.prompt_tokens,
        work.group,
        work.shortest,
        work.longest
    );
    println!(
        "| precision | side | s/step | least to most | of it sampling | tok/s | hint-rl is faster by | peak GiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for precision in option(args, "--precisions", "float32,bfloat16").split(',') {
        let mut own = Command::new(std::env::current_exe()?);
        own.arg("ours");
        let start = |name, mut command: Command, precision| {
            Peer::start(name, with_large_pages(&mut command), &folder, precision, &settings)
        };
        let mut peers =
            vec![start("hint-rl", own, precision)?, start("TRL", ours::trl(&trl), precision)?];
        if precision == "bfloat16" {
            peers.push(start("TRL, bf16 weights", ours::trl(&trl), "bfloat16-weights")?);
        }
        for _ in 0..=runs {
            for peer in &mut peers {
                peer.run("step")?;
            }
        }
        print(precision, &peers)?;
    }
    Ok(())
}

/// The rows of a precision. Our side is the first.
fn print(precision: &str, peers: &[Peer]) -> Result<()> {
    let seconds =
        |peer: &Peer| -> Result<Spread> { peer.spread(|answer| answer["seconds"].as_f64()) };
    let (own, others) = peers.split_first().ok_or("no side has worked")?;
    let sampled = own.newest("tokens")?;
    let own_seconds = seconds(own)?.median;
    let mut best = f64::INFINITY;
    for other in others {
        let tokens = other.newest("tokens")?;
        if tokens != sampled {
            let name = other.name;
            return Err(
                format!("hint-rl sampled {sampled} tokens in a step, {name} {tokens}").into()
            );
        }
        best = best.min(seconds(other)?.median / own_seconds);
    }
    for (at, peer) in peers.iter().enumerate() {
        let step = seconds(peer)?;
        let faster = if at == 0 {
            format!("{best:.2}, over the fastest other")
        } else {
            format!("{:.2}", step.median / own_seconds)
        };
        println!(
            "| {precision} | {} | {:.2} | {:.2} to {:.2} | {:.2} | {:.0} | {faster} | {:.2} |",
            peer.name,
            step.median,
            step.least,
            step.most,
            peer.spread(|answer| answer["sampling"].as_f64())?.median,
            peer.spread(rate)?.median,
            peer.newest("peak_gib")?,
        );
    }
    Ok(())
}
