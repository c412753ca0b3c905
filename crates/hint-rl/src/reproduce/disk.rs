//! The disk that the checkpoints of a reproduction take.

use std::fmt;

use anyhow::Result;
use hint_grpo::GrpoConfig;
use hint_grpo::objective::CreditTeacher;
use hint_grpo::optim::AlgorithmConfig;
use hint_policy::estimate::mebibytes;
use hint_policy::io::Inspection;

use super::schedule::Task;
use crate::workload::local_model;

/// Bytes of a stored weight or moment.
const FLOAT: u64 = 4;

/// The checkpoints of all runs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// When all runs are done: their weights.
    pub(super) kept: u64,
    /// While the last ones run: with the moments of their optimizers, and with checkpoints that are being written.
    pub(super) peak: u64,
    /// The most that the completions of a run take beside.
    completions: u64,
}

impl Disk {
    /// Of these runs, `jobs` side by side, that train `model`. `None` for a model that is no file here, such as one of the
    /// Hub.
    ///
    /// # Errors
    ///
    /// A model that cannot be read.
    pub(super) fn of<'t>(
        model: &str,
        tasks: impl Iterator<Item = &'t Task>,
        jobs: usize,
    ) -> Result<Option<Self>> {
        let Some(path) = local_model(model)? else { return Ok(None) };
        let parameters = Inspection::new(path, None)?.config.num_parameters() as u64;
        Ok(Some(Self::of_parameters(parameters, tasks, jobs)))
    }

    fn of_parameters<'t>(
        parameters: u64,
        tasks: impl Iterator<Item = &'t Task>,
        jobs: usize,
    ) -> Self {
        let (mut kept, mut completions, mut beside) = (0, 0, Vec::new());
        for Task { settings, steps, .. } in tasks {
            let config = settings.config(&settings.methods[0]);
            // The first one is written before the first step.
            let count = (config.run.keep_checkpoints as u64).min(steps + 1);
            let weights = FLOAT * parameters;
            let done = count * weights;
            // A new one is there before an old one is removed.
            let running = (count + 1) * (weights + state(parameters, &config));
            kept += done;
            beside.push(running - done);
            let max_mib =
                if config.rollout_table.every == 0 { 0 } else { config.rollout_table.max_mib };
            completions = completions.max(max_mib.saturating_mul(1 << 20));
        }
        beside.sort_unstable_by(|one, other| other.cmp(one));
        let peak = kept + beside.iter().take(jobs.max(1)).sum::<u64>();
        Self { kept, peak, completions }
    }
}

/// Bytes of the optimizer's file, at most: moments, and an average of the weights that teaches.
fn state(parameters: u64, config: &GrpoConfig) -> u64 {
    let moments = match &config.optimizer.algorithm {
        // Muon keeps one for matrices, and two for the rest.
        AlgorithmConfig::AdamW(_) | AlgorithmConfig::Muon(_) => 2,
        AlgorithmConfig::Sgd(sgd) => u64::from(sgd.momentum != 0.0),
        // Sums over rows and columns.
        AlgorithmConfig::Adafactor(_) => 0,
    };
    let is_averaged = matches!(config.loss.credit.teacher, CreditTeacher::Average { .. });
    FLOAT * parameters * (moments + u64::from(is_averaged))
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kept, peak, completions] = [self.kept, self.peak, self.completions].map(mebibytes);
        write!(
            f,
            "the runs keep {kept} of checkpoints, at most {peak} while they run; completions take at most {completions} a run"
        )
    }
}

#[cfg(test)]
mod tests {
    use hint_policy::{LoadOptions, LoadedModel, Policy as _, SharedPolicy};

    use super::*;

    #[test]
    fn the_sizes_are_those_of_weights_and_moments() {
        let path = local_model("tiny-tasks").unwrap().unwrap();
        let parameters = Inspection::new(&path, None).unwrap().config.num_parameters() as u64;
        let loaded = LoadedModel::load(&path, &LoadOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        loaded.save(folder.path()).unwrap();
        let file = folder.path().join("model.safetensors").metadata().unwrap().len();
        // Beside the weights, it has a header.
        assert!((FLOAT * parameters..FLOAT * parameters + (1 << 14)).contains(&file), "{file}");
        let policy = SharedPolicy::new(loaded.policy);
        let both = |set: &str| {
            let config = GrpoConfig::from_toml_with("", [set]).unwrap();
            let optimizer = config.optimizer.build(policy.lock().parameters()).unwrap();
            (optimizer.state_bytes(), state(parameters, &config))
        };
        let (held, planned) = both("optimizer.algorithm.type='adamw'");
        assert!(planned <= held && held < planned + planned / 50, "{held} of {planned}");
        let (held, planned) = both("optimizer.algorithm.type='muon'");
        assert!(held <= planned + planned / 50, "{held} of {planned}");
        assert_eq!(both("optimizer.algorithm={ type = 'sgd', momentum = 0.0 }").1, 0);
        let average = "loss.credit.teacher={ type = 'average', decay = 0.5 }";
        assert_eq!(both(average).1, 3 * FLOAT * parameters);
    }
}
