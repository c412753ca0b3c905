//! Taking up a run where its checkpoint was written.

use std::path::{Path, PathBuf};

use hint_policy::{Parameter, SharedPolicy};
use serde_json::Value;
use tch::Tensor;

use crate::run_dir::{LoadedCheckpoint, TrainerState, read_checkpoint};
use crate::{GrpoConfig, GrpoError, Optimizer};

/// The folder and the state of the checkpoint that a run goes on from.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) dir: PathBuf,
    pub(crate) state: TrainerState,
}

impl Restored {
    /// Reads the checkpoint in `dir` into policy and optimizer, after comparing what the run was
    /// started with.
    pub(crate) fn load(
        dir: &Path,
        stage: &str,
        config: &GrpoConfig,
        policy: &SharedPolicy,
        optimizer: &mut dyn Optimizer,
    ) -> Result<Self, GrpoError> {
        let LoadedCheckpoint { state, model, optimizer: moments } = read_checkpoint(dir)?;
        if state.stage != stage {
            let difference = format!("stage: {} there, {stage} here", state.stage);
            let path = dir.to_path_buf();
            return Err(GrpoError::Mismatch { path, differences: vec![difference] });
        }
        check_config(dir, &state.config, config)?;
        load_weights(dir, policy, &model)?;
        optimizer.load_state(&moments)?;
        Ok(Self { dir: dir.to_path_buf(), state })
    }

    /// The state of a part.
    pub(crate) fn part(&self, name: &str) -> Result<&Value, GrpoError> {
        self.state.parts.get(name).ok_or_else(|| self.damaged(name, "it is not there"))
    }

    /// The checkpoint has a state of `part` that cannot be used.
    pub(crate) fn damaged(&self, part: &str, problem: impl std::fmt::Display) -> GrpoError {
        let problem = format!("the state of `{part}` cannot be used: {problem}");
        GrpoError::Checkpoint { path: self.dir.clone(), problem }
    }

    /// Compares the training data of the checkpoint with that of this run.
    pub(crate) fn check_problems(&self, fingerprint: &str) -> Result<(), GrpoError> {
        if self.state.problems == fingerprint {
            return Ok(());
        }
        let difference =
            format!("problems: {} there, {fingerprint} here (count-checksum)", self.state.problems);
        Err(GrpoError::Mismatch { path: self.dir.clone(), differences: vec![difference] })
    }
}

/// Gives every parameter a gradient of zeros. Without one, a step in which nothing trains would leave
/// out the momentum of a fresh process and not that of a process that has trained before, so a
/// resumed run would part from an uninterrupted one.
pub(crate) fn materialize_gradients(parameters: &[Parameter]) -> Result<(), GrpoError> {
    for parameter in parameters {
        (parameter.tensor.sum(parameter.tensor.kind()) * 0.0)
            .f_backward()
            .map_err(|source| GrpoError::torch("the first backward pass", source))?;
        parameter.tensor.shallow_clone().zero_grad();
    }
    Ok(())
}

/// Compares the configurations key by key. Only the number of steps may differ, so that a run can
/// be prolonged; how often checkpoints are written changes no number either.
fn check_config(dir: &Path, saved: &GrpoConfig, current: &GrpoConfig) -> Result<(), GrpoError> {
    let value = |config: &GrpoConfig| {
        let mut config = config.clone();
        config.run.checkpoint_every = 0;
        config.run.keep_checkpoints = 1;
        if matches!(config.optimizer.schedule.decay, crate::Decay::Constant {}) {
            config.run.steps = 1;
        }
        serde_json::to_value(config).expect("a configuration is plain data")
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
        differences.push(format!("{path}: {saved} there, {current} here"));
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
            let (got, expected) = (saved.size(), tensor.size());
            let problem = format!("`{name}` has shape {got:?}, the policy's is {expected:?}");
            return Err(damaged(problem));
        }
        tch::no_grad(|| tensor.shallow_clone().copy_(saved));
    }
    policy.parameters_changed();
    Ok(())
}
