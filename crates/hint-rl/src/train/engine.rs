//! The sampler of a run: the policy in this process, or vLLM servers.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use hint_policy::{Policy as _, SaveOptions, SharedPolicy};
use hint_rollout::engine::HeadWeights;
use hint_rollout::engine::vllm::{VllmEngine, VllmEvent, VllmOptions};
use hint_rollout::{LocalEngine, PolicyVersion, RolloutEngine, RolloutError, WeightSource};

use super::settings::Settings;
use crate::workload::{Compute, Model};

/// Name under which servers are to serve the model.
pub(crate) const SERVED_NAME: &str = "policy";

/// The engine that `settings` ask for. `dir` is the folder of the run; servers get their weights
/// below it.
///
/// # Errors
///
/// Servers that cannot be used, with the reason of each.
pub(crate) fn engine(
    settings: &Settings,
    model: &Model,
    dir: &Path,
) -> Result<Box<dyn RolloutEngine>> {
    if settings.vllm.is_empty() {
        return Ok(local(settings, model));
    }
    let (policy, stop_tokens) = (&model.policy, model.stop_tokens.clone());
    let mut options = VllmOptions::new(&settings.vllm, SERVED_NAME, dir.join("vllm-weights"));
    if settings.compute != Compute::Bf16 {
        options.dtype = Some("float32".to_owned());
    }
    let builder = VllmEngine::builder(options).stop_tokens(stop_tokens);
    let mut engine = builder.observer(report_server).connect()?;
    // An earlier run may have left its own weights there.
    engine.sync(&Initial(policy))?;
    Ok(Box::new(engine))
}

/// The policy in this process.
pub(crate) fn local(settings: &Settings, model: &Model) -> Box<dyn RolloutEngine> {
    let engine = LocalEngine::new(model.policy.clone(), model.stop_tokens.clone())
        .with_tokenizer(Arc::clone(&model.tokenizer));
    Box::new(match settings.max_batch {
        Some(max_batch) => engine.with_max_batch(max_batch),
        None => engine,
    })
}

/// The weights that a run starts from.
struct Initial<'a>(&'a SharedPolicy);

impl WeightSource for Initial<'_> {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(0)
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        let untied_head = head == HeadWeights::Untied;
        let options = SaveOptions { untied_head, merged: true, ..SaveOptions::default() };
        Ok(self.0.lock().save_as(dir, &options)?)
    }
}

/// Reports servers that fail and come back to a person.
pub(crate) fn report_server(event: &VllmEvent<'_>) {
    match event {
        VllmEvent::ServerDown { server, error, requests } => {
            note!("{server} is down, {requests} requests go to the others: {error}");
        }
        VllmEvent::ServerBack { server } => note!("{server} is back"),
        _ => {}
    }
}
