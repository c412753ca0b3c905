//! Continuing a run where its checkpoint was written.

use std::path::{Path, PathBuf};

use hint_policy::{Parameter, SharedPolicy};
use serde_json::Value;
use tch::Tensor;

use crate::config::GrpoConfig;
use crate::error::GrpoError;
use crate::learner::Learner;
use crate::optim::Decay;
use crate::run_dir::{LoadedCheckpoint, Progress, TrainerState, read_checkpoint};
use crate::stage::Stage;

/// The folder and the state of the checkpoint that a run continues from.
#[derive(Debug)]
pub(super) struct Restored {
    dir: PathBuf,
    state: TrainerState,
}

impl Restored {
    /// Reads the checkpoint in `dir` into learner and stage, after comparing what the run was started
    /// with.
    pub(super) fn load<S: Stage>(
        dir: &Path,
        config: &GrpoConfig,
        learner: &mut Learner,
        stage: &mut S,
    ) -> Result<Self, GrpoError> {
        let LoadedCheckpoint { state, model, optimizer } = read_checkpoint(dir)?;
        if state.stage != S::NAME {
            let difference = format!("stage: {} there, {} here", state.stage, S::NAME);
            let path = dir.to_path_buf();
            return Err(GrpoError::Mismatch { path, differences: vec![difference] });
        }
        check_config(dir, &state.config, config)?;
        load_weights(dir, learner.policy(), &model)?;
        let restored = Self { dir: dir.to_path_buf(), state };
        let part = |name: &str| restored.part(name).cloned();
        let damaged = |error| restored.damaged(error);
        stage.load_state(&part).map_err(damaged)?;
        let updates = restored.state.progress.updates;
        learner.load_state(updates, &optimizer, &part("guard")?).map_err(damaged)?;
        Ok(restored)
    }

    pub(super) const fn progress(&self) -> Progress {
        self.state.progress
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

    /// Compares the training data of the checkpoint with that of this run.
    pub(super) fn check_problems(&self, fingerprint: &str) -> Result<(), GrpoError> {
        if self.state.problems == fingerprint {
            return Ok(());
        }
        let difference =
            format!("problems: {} there, {fingerprint} here (count-checksum)", self.state.problems);
        Err(GrpoError::Mismatch { path: self.dir.clone(), differences: vec![difference] })
    }
}

/// Compares the configurations key by key. Only the number of steps may differ, so that a run can
/// be prolonged; how often checkpoints are written changes no number either.
fn check_config(dir: &Path, saved: &GrpoConfig, current: &GrpoConfig) -> Result<(), GrpoError> {
    let value = |config: &GrpoConfig| {
        let mut config = config.clone();
        config.run.checkpoint_every = 0;
        config.run.keep_checkpoints = 1;
        if matches!(config.optimizer.schedule.decay, Decay::Constant) {
            config.run.steps = 1;
        }
        let mut value = serde_json::to_value(config).expect("a configuration is plain data");
        // Left out while it is empty, but compared part by part.
        if let Some(keys) = value.as_object_mut() {
            keys.entry("custom_parts").or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        value
    };
    let mut differences = Vec::new();
    compare("", &value(saved), &value(current), &mut differences);
    if differences.is_empty() {
        return Ok(());
    }
    Err(GrpoError::Mismatch { path: dir.to_path_buf(), differences })
}

fn compare(path: &str, saved: &Value, current: &Value, differences: &mut Vec<String>) {
    if let (Some(left), Some(right)) = (saved.as_object(), current.as_object()) {
        let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let (left, right) = (left.get(key), right.get(key));
            compare(
                &path,
                left.unwrap_or(&Value::Null),
                right.unwrap_or(&Value::Null),
                differences,
            );
        }
    } else if saved != current {
        let text = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            value => value.to_string(),
        };
        differences.push(format!("{path}: {} there, {} here", text(saved), text(current)));
    }
}

/// Copies the checkpoint's weights into the policy's parameters.
fn load_weights(
    dir: &Path,
    policy: &SharedPolicy,
    tensors: &[(String, Tensor)],
) -> Result<(), GrpoError> {
    let policy = policy.lock();
    let damaged = |problem| GrpoError::Checkpoint { path: dir.to_path_buf(), problem };
    for Parameter { name, tensor } in policy.parameters() {
        let found = tensors.iter().find(|(candidate, _)| *candidate == name);
        let (_, saved) = found.ok_or_else(|| damaged(format!("it lacks the tensor `{name}`")))?;
        if saved.size() != tensor.size() {
            let (found, expected) = (saved.size(), tensor.size());
            let problem = format!("`{name}` has shape {found:?}, the policy's is {expected:?}");
            return Err(damaged(problem));
        }
        tch::no_grad(|| tensor.shallow_clone().copy_(saved));
    }
    policy.parameters_changed();
    Ok(())
}
