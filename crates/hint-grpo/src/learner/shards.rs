//! Gradient and state of the optimizer in parts, one for each process, and what the processes exchange for them.

use std::collections::BTreeMap;
use std::ops::Range;

use hint_dist::{Collective, CollectiveError};
use hint_policy::{Parameter, Policy, catch_out_of_memory};
use tch::Tensor;

use super::Learner;
use super::column::dim;
use crate::config::GrpoConfig;
use crate::data_parallel::DataParallel;
use crate::error::GrpoError;
use crate::optim::{
    FlatBuffer, Optimizer, Shard, StatePart, clip_factor, clip_grad_norm, len, norm_of, part,
    squares_of_units,
};

/// The buffers of an optimizer whose state several processes share.
///
/// The gradient of a step is the sum over all workers in the own range of a buffer alone. The optimizer steps there, and
/// then the processes give each other the new weights. So as much travels as for a gradient that every process gets whole.
/// See (ZERO-1) in [the book](../../../book/math.html#optimizer).
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) buffers: Vec<FlatBuffer>,
    /// The stages of the backward pass in which the gradient of each buffer changes.
    pub(super) stages: Vec<Range<usize>>,
    /// The buffers in the order in which a backward pass completes them.
    pub(super) order: Vec<usize>,
    processes: DataParallel,
}

/// The stages of a backward pass in which the gradients of parameters change, by the names of these.
pub(super) type Stages = BTreeMap<String, Range<usize>>;

/// The stages of all parameters of a policy.
pub(super) fn stages_of(policy: &dyn Policy) -> Stages {
    let names = policy.parameters().into_iter().map(|parameter| parameter.name);
    names.zip(policy.gradient_stages()).collect()
}

/// The shard of this process.
pub(super) fn shard_of(processes: &DataParallel) -> Shard {
    let collective = processes.collective();
    Shard { rank: collective.rank(), world_size: collective.world_size() }
}

/// The optimizer of the configuration, with the state of this process alone.
pub(super) fn build_optimizer(
    config: &GrpoConfig,
    parameters: Vec<Parameter>,
    processes: &DataParallel,
) -> Result<Box<dyn Optimizer>, GrpoError> {
    catch_out_of_memory("build the optimizer", || {
        config.optimizer.build_shard(parameters, shard_of(processes))
    })
}

impl Shards {
    /// Shares the state of `optimizer` with the other processes, if it can. A single worker keeps it whole, and its
    /// gradients where they are.
    pub(super) fn new(
        optimizer: &mut dyn Optimizer,
        stages: &Stages,
        processes: &DataParallel,
    ) -> Option<Self> {
        if processes.num_virtual_workers() == 1 {
            return None;
        }
        let buffers = optimizer.shard(shard_of(processes))?;
        let stages = buffers.iter().map(|buffer| buffer.stages(stages)).collect::<Vec<_>>();
        let mut order = (0..buffers.len()).collect::<Vec<_>>();
        order.sort_by_key(|&index| stages[index].end);
        let shards = Self { buffers, stages, order, processes: processes.clone() };
        shards.clear();
        Some(shards)
    }

    /// Drops every gradient.
    pub(super) fn clear(&self) {
        tch::no_grad(|| self.buffers.iter().for_each(FlatBuffer::clear));
    }

    /// As [`clip_grad_norm`], of the gradient that the processes hold together. The squares of each unit are summed on their
    /// own, then in the order of the units. So the norm does not depend on who has them.
    fn clip_grad_norm(&self, max_norm: f64) -> Result<f64, GrpoError> {
        let own = tch::no_grad(|| squares_of_units(&self.buffers));
        let all = self.processes.all_gather_values(own)?;
        let of_buffer = |(index, buffer): (usize, &FlatBuffer)| {
            let mut ranks = (0..all.len()).collect::<Vec<_>>();
            ranks.sort_by_key(|&rank| buffer.ranges[rank].start);
            ranks.into_iter().flat_map(|rank| all[rank][index].clone()).collect::<Vec<_>>()
        };
        let norm = norm_of(self.buffers.iter().enumerate().flat_map(of_buffer));
        if let Some(factor) = clip_factor(norm, max_norm) {
            tch::no_grad(|| {
                for buffer in &self.buffers {
                    let mut own = buffer.gradient.shallow_clone();
                    own *= factor;
                }
            });
        }
        Ok(norm)
    }

    /// Gives every process the weights that the others have updated.
    fn gather_weights(&self) -> Result<(), GrpoError> {
        if self.processes.is_alone() {
            return Ok(());
        }
        let collective = self.processes.collective();
        for buffer in &self.buffers {
            let own = part(&buffer.weights, &buffer.ranges[collective.rank()]);
            gather_buffer(buffer, &own, Some(&buffer.weights), collective)?;
        }
        Ok(())
    }
}

/// Gives `whole`, `[elements]`, the weights of a buffer from every process; this one has `own`, `[elements of its range]`. All
/// processes call it. `None` helps the others alone.
pub(super) fn gather_buffer(
    buffer: &FlatBuffer,
    own: &Tensor,
    whole: Option<&Tensor>,
    collective: &dyn Collective,
) -> Result<(), CollectiveError> {
    let (rank, world_size) = (collective.rank(), collective.world_size());
    let slices = buffer.slices();
    let (room, first) = (slices.room(), buffer.ranges[rank].start);
    let sent = Tensor::zeros([room], buffer.options());
    let mut all = Tensor::zeros([room * dim(world_size)], buffer.options());
    for offset in slices.offsets() {
        let place = slices.of(rank, offset);
        sent.narrow(0, 0, len(&place)).copy_(&own.narrow(0, place.start - first, len(&place)));
        collective.all_gather(&mut all, &sent)?;
        let Some(whole) = whole else { continue };
        for other in 0..world_size {
            let place = slices.of(other, offset);
            part(whole, &place).copy_(&all.narrow(0, dim(other) * room, len(&place)));
        }
    }
    Ok(())
}

impl Learner {
    /// Whether the other processes hold a part of the optimizer's state.
    pub(crate) fn needs_others(&self) -> bool {
        self.shards.is_some() && !self.processes.is_alone()
    }

    /// The processes that hold the rest of [`Learner::state_parts`].
    pub(crate) fn holders(&self) -> DataParallel {
        if self.needs_others() { self.processes.clone() } else { DataParallel::default() }
    }

    /// The tensors that a resumed run needs, as far as this process holds them. These are the state of the optimizer, and
    /// the average that teaches.
    pub(crate) fn state_parts(&self) -> Vec<StatePart> {
        let whole = |(name, tensor): (String, Tensor)| StatePart::whole(name, &tensor);
        let mut parts = tch::no_grad(|| match &self.shards {
            Some(_) => self.optimizer.state_parts(),
            None => self.optimizer.state().into_iter().map(whole).collect::<Vec<_>>(),
        });
        parts.extend(self.average().into_iter().map(whole));
        parts
    }

    /// The tensors of [`Learner::state_parts`], in a process that does not need the others.
    pub(super) fn state_tensors(&self) -> Vec<(String, Tensor)> {
        self.state_parts().into_iter().filter_map(StatePart::into_whole).collect()
    }

    /// Bounds the gradient. Returns its norm before.
    pub(super) fn clip(&self) -> Result<f64, GrpoError> {
        let max_norm = self.settings.max_grad_norm;
        match &self.shards {
            Some(shards) => shards.clip_grad_norm(max_norm),
            None => Ok(clip_grad_norm(self.optimizer.parameters(), max_norm)),
        }
    }

    /// Drops the gradients of a step, if they are not kept for the next one.
    pub(super) fn drop_gradients(&self) {
        if let Some(shards) = &self.shards {
            shards.clear();
        }
    }

    /// Updates the weights in every process.
    pub(super) fn apply_gradient(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        // The next pass would take gathered weights for those after the step.
        if let Some(weights) = &self.shared_weights {
            weights.drop_gathered();
        }
        self.optimizer.step(learning_rate)?;
        // Shared weights are gathered where they are read.
        if let (Some(shards), None) = (&self.shards, &self.shared_weights) {
            tch::no_grad(|| shards.gather_weights())?;
        }
        self.policy.lock().parameters_changed();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hint_dist::{Single, Threads};
    use tch::{Device, Kind};

    use super::super::gradients::GradientSum;
    use super::*;
    use crate::optim::{
        AdafactorConfig, AdamWConfig, AlgorithmConfig, MuonConfig, OptimizerConfig, ParameterGroup,
        SgdConfig, materialize_gradients, write_parts,
    };

    pub(in super::super) const WORKERS: usize = 6;

    /// Names and sizes: 3 to 4 units of a CPU, so that matrices are cut over processes.
    const LARGE: [(&str, &[i64]); 5] = [
        ("embed.weight", &[50, 600]),
        ("norm.weight", &[600]),
        ("mlp.up.weight", &[130, 200]),
        ("mlp.down.weight", &[200, 130]),
        ("mlp.frozen", &[7]),
    ];
    /// Less than one unit.
    const SMALL: [(&str, &[i64]); 2] = [("mlp.weight", &[4, 3]), ("norm.weight", &[3])];

    /// Names and sizes of parameters.
    type Sizes = [(&'static str, &'static [i64])];

    pub(in super::super) fn adamw() -> AlgorithmConfig {
        AlgorithmConfig::AdamW(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() })
    }

    fn muon() -> AlgorithmConfig {
        AlgorithmConfig::Muon(MuonConfig::default())
    }

    /// Another learning rate for the norm, and a frozen vector.
    fn grouped(algorithm: AlgorithmConfig) -> GrpoConfig {
        let group = |pattern: &str, frozen| ParameterGroup {
            pattern: pattern.to_owned(),
            frozen,
            lr_multiplier: 3.0,
            weight_decay: Some(0.2),
        };
        let groups = vec![group("*frozen", true), group("norm*", false)];
        let optimizer = OptimizerConfig { algorithm, groups, ..OptimizerConfig::default() };
        GrpoConfig { optimizer, ..GrpoConfig::default() }
    }

    pub(in super::super) fn plain(algorithm: AlgorithmConfig) -> GrpoConfig {
        let optimizer = OptimizerConfig { algorithm, ..OptimizerConfig::default() };
        GrpoConfig { optimizer, ..GrpoConfig::default() }
    }

    /// Numbers that depend on `seed` alone.
    fn numbers(size: &[i64], seed: usize) -> Tensor {
        let len = size.iter().product::<i64>();
        let all = Tensor::arange(len, (Kind::Double, Device::Cpu));
        ((all + 1.0) * (1.0 + 0.37 * seed as f64)).sin().view(size)
    }

    fn bits(tensor: &Tensor) -> Vec<u64> {
        let values = tensor.detach().to_kind(Kind::Double).contiguous().view([-1]);
        Vec::<f64>::try_from(values).expect("numbers").into_iter().map(f64::to_bits).collect()
    }

    /// One process of a training.
    struct Process {
        processes: DataParallel,
        optimizer: Box<dyn Optimizer>,
        shards: Option<Shards>,
        /// Stages of a backward pass.
        stages: usize,
        steps: usize,
    }

    /// What a process ends with: bits of weights and norms, and the state of the optimizer on the first one.
    #[derive(Debug, Default, Clone, PartialEq)]
    struct Outcome {
        weights: Vec<Vec<u64>>,
        norms: Vec<u64>,
        state: Vec<(String, Vec<i64>, Vec<u64>)>,
    }

    impl Process {
        fn new(config: &GrpoConfig, sizes: &Sizes, kind: Kind, processes: DataParallel) -> Self {
            tch::set_num_threads(1);
            let parameters = sizes.iter().enumerate().map(|(index, (name, size))| {
                let tensor = numbers(size, index).to_kind(kind).set_requires_grad(true);
                Parameter { name: (*name).to_owned(), tensor }
            });
            let mut optimizer = build_optimizer(config, parameters.collect(), &processes).unwrap();
            // A stage for each parameter, from the last to the first.
            let stage = |(index, (name, _)): (usize, &(&str, &[i64]))| {
                let stage = sizes.len() - 1 - index;
                ((*name).to_owned(), stage..stage + 1)
            };
            let stages = sizes.iter().enumerate().map(stage).collect();
            let shards = Shards::new(&mut *optimizer, &stages, &processes);
            if shards.is_none() {
                materialize_gradients(optimizer.parameters()).unwrap();
            }
            Self { processes, optimizer, shards, stages: sizes.len(), steps: 0 }
        }

        /// One optimizer step, whose gradient depends on the step and on the worker. Workers have one micro-batch and two in
        /// turn. Returns the norm.
        fn step(&mut self) -> f64 {
            self.optimizer.zero_grad();
            let (parameters, stages, steps) =
                (self.optimizer.parameters(), self.stages, self.steps);
            let mut sum = GradientSum::new(parameters, self.shards.as_ref(), &self.processes);
            for round in self.processes.rounds() {
                let made = sum.round(round, |gradient| {
                    let Some(worker) = round.worker else { return Ok(()) };
                    for micro_batch in 0..=worker % 2 {
                        gradient.begin(micro_batch == worker % 2);
                        for (index, parameter) in parameters.iter().enumerate().rev() {
                            let stage = stages - 1 - index;
                            gradient.before(&(stage..stage + 1));
                            let seed = 100 * steps + 10 * worker + index + 1000 * micro_batch;
                            let values = numbers(&parameter.tensor.size(), seed);
                            // In f32, sums of these depend on their order.
                            let scale = [1.0, 1e1, 1e-2, 1e3, 1e2, 1e-1][worker];
                            let mut grad = parameter.tensor.grad();
                            let values = (values * scale).to_kind(grad.kind());
                            tch::no_grad(|| grad += values);
                        }
                    }
                    Ok(())
                });
                made.unwrap();
            }
            sum.finish().unwrap();
            let norm = match &self.shards {
                Some(shards) => shards.clip_grad_norm(1.0).unwrap(),
                None => clip_grad_norm(self.optimizer.parameters(), 1.0),
            };
            self.optimizer.step(1e-2).unwrap();
            if let Some(shards) = &self.shards {
                tch::no_grad(|| shards.gather_weights()).unwrap();
            }
            self.steps += 1;
            norm
        }

        /// The state as a checkpoint has it, on the first process.
        fn state(&self) -> Vec<(String, Tensor)> {
            if self.shards.is_none() {
                return self.optimizer.state();
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state");
            let own = self.processes.is_first().then_some(path.as_path());
            let parts = self.optimizer.state_parts();
            write_parts(parts, &self.processes, own, 10_000).unwrap();
            let mut state = match own {
                Some(path) => Tensor::read_safetensors(path).unwrap(),
                None => Vec::new(),
            };
            state.sort_by(|(one, _), (other, _)| one.cmp(other));
            state
        }

        fn train(&mut self, steps: usize) -> Outcome {
            let norms = (0..steps).map(|_| self.step().to_bits()).collect();
            let state = self.state().into_iter();
            let state = state.map(|(name, tensor)| (name, tensor.size(), bits(&tensor)));
            let weights = self.optimizer.parameters().iter();
            let weights = weights.map(|parameter| bits(&parameter.tensor)).collect();
            Outcome { weights, norms, state: state.collect() }
        }
    }

    /// What `work` returns in each of several processes, as threads.
    pub(in super::super) fn each<T: Send>(
        world_size: usize,
        work: impl Fn(DataParallel) -> T + Sync,
    ) -> Vec<T> {
        let alone = || work(DataParallel::new(Arc::new(Single), WORKERS));
        let one_of = |member: Threads| {
            let member = Arc::new(member);
            let collective = Arc::clone(&member) as Arc<dyn Collective>;
            let found = work(DataParallel::new(collective, WORKERS));
            member.shutdown().expect("all leave");
            found
        };
        let one_of = &one_of;
        std::thread::scope(|scope| {
            if world_size == 1 {
                return vec![scope.spawn(alone).join().expect("no panic")];
            }
            let members = Threads::group(world_size, Duration::from_mins(1)).into_iter();
            let threads = members.map(|member| scope.spawn(move || one_of(member)));
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    fn outcomes(world_size: usize, config: &GrpoConfig, sizes: &Sizes, kind: Kind) -> Vec<Outcome> {
        each(world_size, |processes| Process::new(config, sizes, kind, processes).train(3))
    }

    #[test]
    fn processes_that_share_the_state_end_with_the_bytes_of_one() {
        let cases: [(&str, GrpoConfig, &Sizes, Kind); 7] = [
            ("f32", plain(adamw()), &LARGE, Kind::Float),
            ("bf16 with masters", plain(adamw()), &LARGE, Kind::BFloat16),
            ("groups", grouped(adamw()), &LARGE, Kind::Float),
            ("fewer units than processes", plain(adamw()), &SMALL, Kind::Float),
            ("Muon", grouped(muon()), &LARGE, Kind::Float),
            ("Muon in bf16", plain(muon()), &LARGE, Kind::BFloat16),
            ("Muon, small", plain(muon()), &SMALL, Kind::Float),
        ];
        for (name, config, sizes, kind) in cases {
            let alone = outcomes(1, &config, sizes, kind).remove(0);
            assert!(alone.state.len() > sizes.len(), "{name}: {:?}", alone.state.len());
            // In six processes, each has one worker, and the sum takes the place of the gradient.
            for world_size in [2, 3, 4, WORKERS] {
                let shared = outcomes(world_size, &config, sizes, kind);
                assert!(shared[0].state == alone.state, "{name}: the state in {world_size}");
                for (rank, found) in shared.iter().enumerate() {
                    assert_eq!(found.norms, alone.norms, "{name}: rank {rank} of {world_size}");
                    let same = found.weights == alone.weights;
                    assert!(same, "{name}: the weights of rank {rank} of {world_size}");
                }
                assert!(shared[1..].iter().all(|other| other.state.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn optimizers_without_parts_are_the_same_as_well() {
        let sgd = SgdConfig { momentum: 0.9, ..SgdConfig::default() };
        let algorithms =
            [AlgorithmConfig::Sgd(sgd), AlgorithmConfig::Adafactor(AdafactorConfig::default())];
        for algorithm in algorithms {
            let config = plain(algorithm);
            let new = |processes| Process::new(&config, &SMALL, Kind::Float, processes);
            let is_whole = each(2, |processes| new(processes).shards.is_none());
            assert_eq!(is_whole, [true, true]);
            let alone = outcomes(1, &config, &SMALL, Kind::Float).remove(0);
            for found in outcomes(3, &config, &SMALL, Kind::Float) {
                assert_eq!(found, alone, "every process has all of the state");
            }
        }
    }

    #[test]
    fn the_state_of_three_processes_continues_in_one_and_in_two() {
        for (config, kind) in
            [(adamw(), Kind::BFloat16), (adamw(), Kind::Float), (muon(), Kind::Float)]
        {
            let config = plain(config);
            let new = |processes| Process::new(&config, &LARGE, kind, processes);
            let whole = each(1, |processes| new(processes).train(5)).remove(0);
            let saved = each(3, |processes| {
                let mut process = new(processes);
                process.train(2);
                let weights = process.optimizer.parameters().iter();
                let weights = weights.map(|one| one.tensor.detach().copy()).collect::<Vec<_>>();
                (weights, process.state())
            });
            let saved = std::sync::Mutex::new(saved);
            for world_size in [1, 2, 4] {
                let found = each(world_size, |processes| {
                    let mut process = new(processes);
                    {
                        let saved = saved.lock().expect("no panic");
                        let (weights, state) = &saved[0];
                        for (parameter, values) in
                            process.optimizer.parameters().iter().zip(weights)
                        {
                            tch::no_grad(|| parameter.tensor.shallow_clone().copy_(values));
                        }
                        process.optimizer.load_state(state).expect("the state fits");
                        assert!(process.optimizer.load_state(&state[1..]).is_err());
                        process.optimizer.load_state(state).expect("the state fits");
                    }
                    process.steps = 2;
                    process.train(3)
                });
                for found in &found {
                    assert!(found.weights == whole.weights, "{world_size}, {kind:?}");
                    assert_eq!(found.norms, whole.norms[2..]);
                }
                assert!(found[0].state == whole.state, "{world_size}, {kind:?}");
            }
        }
    }

    #[test]
    fn every_process_holds_its_share_of_the_state() {
        let elements = |state: &[StatePart]| state.iter().map(|part| part.values.numel()).sum();
        for (config, kind) in [(adamw(), Kind::Float), (adamw(), Kind::BFloat16)] {
            let config = plain(config);
            let held = |world_size: usize| {
                each(world_size, |processes| {
                    let mut process = Process::new(&config, &LARGE, kind, processes);
                    process.step();
                    let held: usize = elements(&process.optimizer.state_parts());
                    (held - 1, process.optimizer.state_bytes() - 8)
                })
            };
            let (all, bytes) = held(1)[0];
            assert_eq!(bytes, 4 * all as u64);
            for world_size in 2..=4 {
                let found = held(world_size);
                assert_eq!(found.iter().map(|(held, _)| held).sum::<usize>(), all);
                // All take the room of four units, of which the last is not full.
                let most = found.iter().map(|(held, _)| *held).max().unwrap();
                let units = 4_usize.div_ceil(world_size);
                assert!(most <= all * units / 3, "{most} of {all} in {world_size}");
                assert!(found.iter().all(|(held, bytes)| *bytes == 4 * *held as u64));
            }
        }
    }

    #[test]
    fn the_norm_is_that_of_the_whole_gradient() {
        let norms = |config: &GrpoConfig| {
            each(3, |processes| Process::new(config, &LARGE, Kind::Float, processes).step())
        };
        let sharded = norms(&plain(adamw()));
        let whole = norms(&plain(AlgorithmConfig::Sgd(SgdConfig::default())))[0];
        assert!(sharded.iter().all(|norm| *norm == sharded[0]));
        assert!((sharded[0] / whole - 1.0).abs() < 1e-12, "{} and {whole}", sharded[0]);
    }
}
