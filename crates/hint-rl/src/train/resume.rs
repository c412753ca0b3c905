//! The command line of `hint-rl train --resume`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, FromArgMatches};
use hint_policy::runtime::DeviceChoice;

use super::options::Options;
use super::settings::{SETTINGS, Settings};

impl Options {
    /// The options `--resume OUT`.
    pub(super) fn resume(out: PathBuf) -> Result<Self> {
        let command = Self::augment_args(clap::Command::new("train"));
        let matches = command.try_get_matches_from([
            "train".into(),
            "--resume".into(),
            OsString::from(out),
        ])?;
        Ok(Self::from_arg_matches(&matches)?)
    }

    /// The settings of the run in `out`, with what this command line changes.
    ///
    /// # Errors
    ///
    /// A folder without a run, a change that is not allowed, a method that the run does not have.
    pub(super) fn resolve_resumed(self, out: PathBuf) -> Result<Settings> {
        let file = out.join(SETTINGS);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read `{}`; is `{}` the `--out` of a run?",
                file.display(),
                out.display()
            )
        })?;
        let mut settings: Settings = serde_json::from_str(&text)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        settings.out = out;
        (settings.from_step, settings.output) = (self.from_step, self.output);
        settings.change(&self.change)?;
        settings.config.run.steps = self.steps.unwrap_or(settings.config.run.steps);
        if settings.config.run.schedule_steps.is_some() {
            settings.may_change("run.steps");
        }
        let servers = self.servers;
        if !servers.vllm.is_empty() {
            settings.vllm = servers.vllm;
            settings.may_change("engine");
        }
        // Earlier versions kept it where there are no servers.
        let kept = settings.vllm_key_env.take().filter(|_| !settings.vllm.is_empty());
        settings.vllm_key_env = servers.vllm_key_env.or(kept);
        settings.vllm_merged |= servers.vllm_merged;
        settings.vllm_weights = servers.vllm_weights;
        settings.gradient_checkpointing |= self.gradient_checkpointing;
        settings.config.validate()?;
        settings.threads = self.threads.or(settings.threads);
        settings.max_batch = self.max_batch.or(settings.max_batch);
        settings.check_methods()?;
        let names = self.method.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
        for name in &names {
            let started =
                settings.methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>();
            ensure!(
                started.contains(&name.as_str()),
                "the run in `{}` has no method `{name}`; it was started with: {}",
                settings.out.display(),
                started.join(", ")
            );
        }
        if self.from_step.is_some() {
            // That checkpoint may be older than they are.
            settings.settled.retain(|method, _| !names.is_empty() && !names.contains(method));
        }
        settings.only = names;
        if self.device != DeviceChoice::Auto {
            settings.device = self.device;
        }
        settings.device.resolve()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::{refused, resolve};
    use super::*;
    use crate::workload::PromptOptions;

    #[test]
    fn a_resumed_run_remembers_its_options_and_may_be_narrowed_to_one_method() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let out = out.to_str().unwrap();
        let settings = resolve(&["--out", out, "--set", "optimizer.max_grad_norm=0.28"]).unwrap();
        settings.save().unwrap();
        refused(&["--out", out], "already holds a run; continue it with `--resume");
        let norm = "optimizer.max_grad_norm=0.28";
        let again = ["--out", out, "--auto-resume", "--threads", "3", "--set", norm];
        let again = resolve(&again).unwrap();
        assert_eq!((&again.config, again.threads), (&settings.config, Some(3)));
        let resumed = resolve(&["--resume", out, "--method", "HINT", "--from-step", "5"]).unwrap();
        assert_eq!(resumed.config, settings.config);
        let chosen = resumed.chosen().map(|method| method.name.as_str()).collect::<Vec<_>>();
        assert_eq!((chosen, resumed.from_step), (vec!["hint"], Some(5)));
        // The others stay what the run was started with.
        assert_eq!(resumed.methods, settings.methods);
        refused(&["--resume", out, "--method", "sft"], "it was started with: grpo, hint");

        // Without servers, the options for them mean nothing.
        let served = folder.path().join("served");
        let served = served.to_str().unwrap();
        let server = ["--vllm", "http://localhost:1", "--vllm-merged", "--vllm-key-env", "PATH"];
        resolve(&[&["--out", served, "--lora"][..], &server].concat()).unwrap().save().unwrap();
        let local = resolve(&["--resume", served, "--change", "engine=local"]).unwrap();
        assert!(local.vllm.is_empty() && local.vllm_key_env.is_none() && !local.vllm_merged);
        // Earlier versions kept the variable.
        let file = PathBuf::from(served).join(SETTINGS);
        let text = std::fs::read_to_string(&file).unwrap();
        let mut earlier = serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let fields = earlier.as_object_mut().unwrap();
        fields.insert("vllm".to_owned(), serde_json::Value::Array(Vec::new()));
        fields.remove("vllm_merged").unwrap();
        assert!(fields.contains_key("vllm_key_env"));
        std::fs::write(&file, earlier.to_string()).unwrap();
        assert_eq!(resolve(&["--resume", served]).unwrap().vllm_key_env, None);
        refused(&["--resume", served, "--vllm-key-env", "PATH"], "--vllm-key-env is for servers");

        // A change is remembered until the checkpoints of each method have it.
        let change = ["--resume", out, "--change", "evaluation.max_problems=3"];
        let changed = resolve(&change).unwrap();
        assert_eq!(changed.config.evaluation.max_problems, Some(3));
        let data =
            ["columns", "evaluation.max_problems", "held_out", "hints", "problems", "solutions"];
        assert_eq!(changed.changes, data, "fewer held-out problems are other data");
        changed.write().unwrap();
        assert_eq!(resolve(&["--resume", out]).unwrap().changes, data);
    }

    #[test]
    fn a_resumed_run_takes_no_other_prompts() {
        let prompts = PromptOptions::augment_args(clap::Command::new("prompts"));
        let mut train = Options::augment_args(clap::Command::new("train"));
        train.build();
        let resume = train.get_arguments().find(|arg| arg.get_id() == "resume").unwrap();
        let refused = train.get_arg_conflicts_with(resume);
        let refused = refused.iter().map(|arg| arg.get_id()).collect::<Vec<_>>();
        for arg in prompts.get_arguments() {
            assert!(refused.contains(&arg.get_id()), "{}", arg.get_id());
        }
    }
}
