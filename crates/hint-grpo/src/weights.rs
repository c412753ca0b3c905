//! Weights on their way from the learner to the engine.

use std::path::Path;

use hint_policy::{
    LoraConfig, Parameter, Policy, PolicyError, SaveOptions, SharedPolicy, catch_out_of_memory,
};
use hint_rollout::engine::{HeadWeights, WeightTensor};
use hint_rollout::{PolicyVersion, RolloutError, WeightSource};
use tch::{Device, Tensor};

use crate::error::{ConfigError, GrpoError};

/// The policy's weights, for engines in other processes.
pub(crate) struct SharedWeights<'a> {
    pub(crate) policy: &'a SharedPolicy,
    pub(crate) version: PolicyVersion,
}

impl WeightSource for SharedWeights<'_> {
    fn version(&self) -> PolicyVersion {
        self.version
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        let untied_head = head == HeadWeights::Untied;
        let options = SaveOptions { untied_head, merged: true, ..SaveOptions::default() };
        Ok(self.policy.lock().save_as(dir, &options)?)
    }

    fn write_adapter(&self, dir: &Path) -> Result<bool, RolloutError> {
        let policy = self.policy.lock();
        let is_readable = policy.lora().is_some_and(LoraConfig::is_uniform);
        if is_readable {
            policy.save(dir)?;
        }
        Ok(is_readable)
    }

    fn tensors(&self, head: HeadWeights) -> Result<Option<Vec<WeightTensor>>, RolloutError> {
        weight_tensors(self.policy, head)
    }
}

/// The tensors of the policy's checkpoint, for [`WeightSource::tensors`]: `tch::Tensor`s that need no gradient, on the
/// policy's device, some in its memory. `None` for a policy that gives none away.
///
/// # Errors
///
/// [`RolloutError::Policy`] when the memory is too small to merge adapters.
pub fn weight_tensors(
    policy: &SharedPolicy,
    head: HeadWeights,
) -> Result<Option<Vec<WeightTensor>>, RolloutError> {
    let tensors = catch_out_of_memory("merge the adapters for servers", || {
        let untied_head = head == HeadWeights::Untied;
        Ok::<_, PolicyError>(tch::no_grad(|| policy.lock().checkpoint_tensors(untied_head)))
    })?;
    let shared = |Parameter { name, tensor }| {
        let values = tensor.detach();
        WeightTensor { name, shape: values.size(), values: Box::new(values) }
    };
    Ok(tensors.map(|tensors| tensors.into_iter().map(shared).collect()))
}

/// Weights that the first of several processes has, whose engine takes them up for all.
pub(crate) struct ForeignWeights(pub(crate) PolicyVersion);

impl WeightSource for ForeignWeights {
    fn version(&self) -> PolicyVersion {
        self.0
    }

    fn write_checkpoint(&self, _dir: &Path, _head: HeadWeights) -> Result<(), RolloutError> {
        Err(RolloutError::other("the weights", "the first process alone has a copy of them"))
    }
}

/// Weights of one version, apart from the policy, which trains on.
#[derive(Debug)]
pub(crate) struct NewWeights {
    version: PolicyVersion,
    /// The values of [`Policy::parameters`], in order.
    values: Vec<Tensor>,
}

impl NewWeights {
    /// The weights that `policy` has now, on `device`.
    pub(crate) fn of(
        policy: &SharedPolicy,
        device: Device,
        version: PolicyVersion,
    ) -> Result<Self, GrpoError> {
        let copied = |tensor: &Tensor| match tensor.device() {
            place if place == device => tensor.detach().copy(),
            _ => tensor.detach().to_device(device),
        };
        let values = catch_out_of_memory("copy the weights for the sampler", || {
            let parameters = policy.lock().parameters();
            let values = parameters.iter().map(|parameter| copied(&parameter.tensor));
            Ok::<_, GrpoError>(tch::no_grad(|| values.collect::<Vec<_>>()))
        })?;
        Ok(Self { version, values })
    }

    /// Gives them to `copy`. Returns their version.
    pub(crate) fn load(self, copy: &SharedPolicy) -> PolicyVersion {
        let copy = copy.lock();
        tch::no_grad(|| {
            for (parameter, values) in copy.parameters().into_iter().zip(&self.values) {
                parameter.tensor.shallow_clone().copy_(values);
            }
        });
        copy.parameters_changed();
        self.version
    }
}

/// Refuses a policy that is no copy of the trained one. The parameters of a copy have the same names and shapes, and a
/// memory of their own.
pub(crate) fn check_copy(policy: &SharedPolicy, copy: &SharedPolicy) -> Result<(), ConfigError> {
    let refused = |found: &str| {
        let expected = "must come with a copy of the policy (RunBuilder::sampler_policy): the same parameters in a memory of \
                        their own";
        Err(ConfigError::one("run.ahead", expected, found))
    };
    if copy.id() == policy.id() {
        return refused("the policy itself");
    }
    let describe = |policy: &SharedPolicy| {
        let parameters = policy.lock().parameters().into_iter();
        parameters.map(|one| (one.name, one.tensor.size())).collect::<Vec<_>>()
    };
    if describe(copy) == describe(policy) { Ok(()) } else { refused("other parameters") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hint_policy::config::Architecture;
    use hint_policy::{CausalLm, ModelConfig};
    use tch::Kind;

    use super::*;

    #[test]
    fn adapters_are_written_alone_where_servers_read_them() {
        let write = |lora: Option<&LoraConfig>| {
            let config = ModelConfig::small(Architecture::Llama, 60);
            let policy = CausalLm::init(&config, 1, Device::Cpu).unwrap();
            let policy = match lora {
                Some(lora) => policy.with_lora(lora, 7).unwrap(),
                None => policy,
            };
            let (policy, version) = (SharedPolicy::new(policy), PolicyVersion(3));
            let dir = tempfile::tempdir().unwrap();
            let weights = SharedWeights { policy: &policy, version };
            let is_written = weights.write_adapter(dir.path()).unwrap();
            let files = std::fs::read_dir(dir.path()).unwrap();
            let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut weights = files.filter(|file| file.ends_with("safetensors"));
            (is_written, weights.next(), weights.next())
        };
        let lora = LoraConfig { rank: 4, ..LoraConfig::default() };
        let adapter = Some("adapter_model.safetensors".to_owned());
        assert_eq!(write(Some(&lora)), (true, adapter, None));
        assert_eq!(write(None), (false, None, None));
        // A server would scale it as the others.
        let rank_pattern = BTreeMap::from([("q_proj".to_owned(), 2)]);
        assert_eq!(write(Some(&LoraConfig { rank_pattern, ..lora })), (false, None, None));
    }

    #[test]
    fn tensors_are_those_of_the_checkpoint() {
        let mut config = ModelConfig::small(Architecture::Llama, 60);
        config.tie_word_embeddings = true;
        let policy = CausalLm::init(&config, 1, Device::Cpu).unwrap();
        let policy = policy.with_lora(&LoraConfig { rank: 4, ..LoraConfig::default() }, 7).unwrap();
        let policy = SharedPolicy::new(policy);
        // An adapter starts at zero.
        tch::no_grad(|| {
            for parameter in policy.lock().parameters() {
                let _ = parameter.tensor.shallow_clone().fill_(0.25);
            }
        });
        policy.lock().parameters_changed();
        let weights = SharedWeights { policy: &policy, version: PolicyVersion(3) };
        let dir = tempfile::tempdir().unwrap();
        weights.write_checkpoint(dir.path(), HeadWeights::Untied).unwrap();
        let file = dir.path().join("model.safetensors");
        let expected = Tensor::read_safetensors(file).unwrap();
        let expected = expected.into_iter().collect::<BTreeMap<_, _>>();
        let tensors = weights.tensors(HeadWeights::Untied).unwrap().expect("a model has them");
        assert_eq!(tensors.len(), expected.len());
        assert!(tensors.iter().any(|tensor| tensor.name == "lm_head.weight"));
        for WeightTensor { name, shape, values } in tensors {
            let values = values.downcast::<Tensor>().expect("a tensor of tch");
            assert!(!values.requires_grad() && values.size() == shape, "{name}");
            assert!(values.to_kind(Kind::Float).equal(&expected[&name]), "{name}");
        }
    }
}
