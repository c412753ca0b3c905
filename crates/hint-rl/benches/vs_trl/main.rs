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
//! both. The first round is not counted. The ratio is one of medians.
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
//! There is no KL term. Weights are f32; with `bfloat16`, TRL runs by `bf16=True`, its autocast, and hint-rl by
//! `--compute bf16`. TRL has no gradient checkpointing here, as hint-rl, and samples by transformers. Left out on both
//! sides are tokenizing, decoding to text, checkpoints, and logging. TRL's environment is made in the cache folder on first
//! use. Its torch is the one of `cargo xtask setup`. `--trl` names the Python of another one.
//!
//! Tokens per second are sampled tokens by the time of the whole step. The time of sampling is the phase `Rollout` here,
//! and `generate` there. Both sides work on the CPU.
#![expect(clippy::print_stdout, reason = "the table is the output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and its environment")]

mod ours;
#[path = "../../../hint-policy/benches/vs_transformers/peer.rs"]
mod peer;

use std::path::PathBuf;
use std::process::Command;

use self::ours::Work;
use self::peer::{Peer, Result, Spread, environment, model_folder, option, processor, rate};

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
        let mut peers = [
            Peer::start("hint-rl", &mut own, &folder, precision, &settings)?,
            Peer::start("TRL", &mut ours::trl(&trl), &folder, precision, &settings)?,
        ];
        for _ in 0..=runs {
            for peer in &mut peers {
                peer.run("step")?;
            }
        }
        let [sampled, others] = [peers[0].newest("tokens")?, peers[1].newest("tokens")?];
        if sampled != others {
            return Err(format!("hint-rl sampled {sampled} tokens in a step, TRL {others}").into());
        }
        let seconds =
            |peer: &Peer| -> Result<Spread> { peer.spread(|answer| answer["seconds"].as_f64()) };
        let own = seconds(&peers[0])?.median;
        for peer in &peers {
            let step = seconds(peer)?;
            println!(
                "| {precision} | {} | {:.2} | {:.2} to {:.2} | {:.2} | {:.0} | {:.2} | {:.2} |",
                peer.name,
                step.median,
                step.least,
                step.most,
                peer.spread(|answer| answer["sampling"].as_f64())?.median,
                peer.spread(rate)?.median,
                step.median / own,
                peer.newest("peak_gib")?,
            );
        }
    }
    Ok(())
}
