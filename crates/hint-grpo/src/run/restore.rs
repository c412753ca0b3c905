//! Continuing a run where its checkpoint was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_policy::{Parameter, SharedPolicy};
use serde::Deserialize;
use serde_json::Value;

use super::{UNFINISHED, Unfinished};
use crate::config::{Change, GrpoConfig, configured_part, differences, is_below};
use crate::data_parallel::DataParallel;
use crate::error::GrpoError;
use crate::learner::Learner;
use crate::optim::SavedState;
use crate::run_dir::{LoadedCheckpoint, Progress, TrainerState, read_checkpoint};
use crate::shared_file::SharedFile;
use crate::stage::Stage;

/// The folder and the state of the checkpoint that a run continues from.
#[derive(Debug)]
pub(super) struct Restored {
    dir: PathBuf,
    state: TrainerState,
    /// Differences of the configuration that this run may have.
    pub(super) changed: Vec<Change>,
}

impl Restored {
    /// Reads the checkpoint in `dir` into learner and stage, after comparing the run's configuration
    /// and dependencies. The first of several processes reads it for all. Nothing without a checkpoint.
    pub(super) fn load<S: Stage>(
        dir: Option<&Path>,
        config: &GrpoConfig,
        changes: &[String],
        learner: &mut Learner,
        stage: &mut S,
        processes: &DataParallel,
    ) -> Result<Option<Self>, GrpoError> {
        let read = || {
            let Some(dir) = dir else { return Ok(None) };
            let LoadedCheckpoint { state, model, optimizer, batches } = read_checkpoint(dir)?;
            Ok(Some((dir.to_path_buf(), state, model, optimizer, batches)))
        };
        let Some((dir, state, model, optimizer, batches)) = processes.broadcast_value(read)? else {
            return Ok(None);
        };
        let dir = dir.as_path();
        if state.stage != S::NAME {
            let difference = format!("stage: {} there, {} here", state.stage, S::NAME);
            let path = dir.to_path_buf();
            return Err(GrpoError::Mismatch { path, differences: vec![difference] });
        }
        let mut restored = Self { dir: dir.to_path_buf(), state, changed: Vec::new() };
        let differences = differences(&restored.state.config, config);
        restored.changed = restored.admit(differences, changes, config)?;
        load_weights(dir, learner.policy(), &SharedFile::open(&model, processes)?)?;
        let part = |name: &str| restored.part(name).cloned();
        let damaged = |error| restored.damaged(error);
        stage.load_state(&part).map_err(damaged)?;
        stage.load_batches(&batches, restored.state.progress.step).map_err(damaged)?;
        let updates = restored.state.progress.updates;
        let optimizer = SharedFile::open(&optimizer, processes)?;
        let saved = SavedState::in_file(&optimizer);
        learner.load_state(updates, &saved, &part("guard")?).map_err(damaged)?;
        Ok(Some(restored))
    }

    pub(super) const fn progress(&self) -> Progress {
        self.state.progress
    }

    /// The step that the earlier session could not finish, if there is one.
    pub(super) fn unfinished(&self) -> Result<Option<Unfinished>, GrpoError> {
        let Some(value) = self.state.parts.get(UNFINISHED) else { return Ok(None) };
        let unfinished = Unfinished::deserialize(value).map(Some);
        unfinished.map_err(|error| {
            self.checkpoint_error(format!("the state of `{UNFINISHED}` cannot be used: {error}"))
        })
    }

    /// The state of a part.
    fn part(&self, name: &str) -> Result<&Value, GrpoError> {
        let missing = || self.checkpoint_error(format!("the state of `{name}` is missing"));
        self.state.parts.get(name).ok_or_else(missing)
    }

    /// An error of a part that cannot use its state.
    fn damaged(&self, error: GrpoError) -> GrpoError {
        match error {
            GrpoError::Other { part, source } => {
                self.checkpoint_error(format!("the state of `{part}` cannot be used: {source}"))
            }
            error => error,
        }
    }

    fn checkpoint_error(&self, problem: String) -> GrpoError {
        GrpoError::Checkpoint { path: self.dir.clone(), problem }
    }

    /// Earlier changes, and those of the configuration.
    pub(super) fn history(&self) -> Vec<Change> {
        [&self.state.history[..], &self.changed].concat()
    }

    /// Compares the dependencies of the checkpoint's run with the dependencies of this one. Returns
    /// the differences that are among `changes`.
    pub(super) fn check_fingerprints(
        &self,
        found: &BTreeMap<String, String>,
        changes: &[String],
    ) -> Result<Vec<Change>, GrpoError> {
        let saved = &self.state.fingerprints;
        let names = saved.keys().chain(found.keys().filter(|name| !saved.contains_key(*name)));
        let value = |side: &BTreeMap<String, String>, name: &str| {
            side.get(name).map_or(Value::Null, |value| Value::from(value.as_str()))
        };
        let both = names.map(|name| (name.clone(), value(saved, name), value(found, name)));
        let different = both.filter(|(_, before, after)| before != after);
        self.admit(different.collect(), changes, &self.state.config)
    }

    /// The differences from `config` as changes, if all of them are among `changes`.
    fn admit(
        &self,
        differences: Vec<(String, Value, Value)>,
        changes: &[String],
        config: &GrpoConfig,
    ) -> Result<Vec<Change>, GrpoError> {
        let step = self.state.progress.step;
        let names = |key: &str| changes.iter().any(|change| is_below(key, change));
        // More steps stretch the schedules, unless their steps are stated.
        let is_meant = |(key, ..): &(String, Value, Value)| {
            names(key) && (key != "run.steps" || names("run.schedule_steps"))
        };
        let is_ahead = config.run.samples_ahead() || self.state.config.run.samples_ahead();
        let refused = differences.iter().filter(|difference| !is_meant(difference));
        let refused = refused.map(|(key, before, after)| {
            let text = |value: &Value, side| match (value, key.strip_prefix("custom_parts.")) {
                (Value::Null, Some(axis)) => {
                    format!("the configured {}", configured_part(side, axis))
                }
                (Value::Null, None) => "nothing".to_owned(),
                (value, _) => value.to_string(),
            };
            let advice = if key == "run.steps" { advise_steps(is_ahead) } else { String::new() };
            format!(
                "{key}: {} there, {} here{advice}",
                text(before, &self.state.config),
                text(after, config)
            )
        });
        let refused = refused.collect::<Vec<_>>();
        if !refused.is_empty() {
            return Err(GrpoError::Mismatch { path: self.dir.clone(), differences: refused });
        }
        let change = |(key, before, after)| Change { step, key, before, after };
        Ok(differences.into_iter().map(change).collect())
    }
}

/// Why another number of steps is refused, and how to have it. `is_ahead` tells whether either run samples ahead.
fn advise_steps(is_ahead: bool) -> String {
    let ahead =
        if is_ahead { "with `run.ahead` no batch is sampled beyond `run.steps`, and " } else { "" };
    format!(
        "; {ahead}schedules are in shares of the run, so set `run.schedule_steps` as well; the former value keeps them, \
         the new one stretches them"
    )
}

/// Copies the checkpoint's weights into the policy's parameters.
fn load_weights(dir: &Path, policy: &SharedPolicy, file: &SharedFile) -> Result<(), GrpoError> {
    let policy = policy.lock();
    let damaged = |problem| GrpoError::Checkpoint { path: dir.to_path_buf(), problem };
    for Parameter { name, tensor } in policy.parameters() {
        let found = file.find(&name);
        let index = found.ok_or_else(|| damaged(format!("it lacks the tensor `{name}`")))?;
        let (found, expected) = (&file.headers()[index].size, tensor.size());
        if *found != expected {
            let problem = format!("`{name}` has shape {found:?}, the policy's is {expected:?}");
            return Err(damaged(problem));
        }
        tch::no_grad(|| file.copy_to(index, &tensor, 0))?;
    }
    policy.parameters_changed();
    Ok(())
}
