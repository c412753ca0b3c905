//! The arithmetic of one step: how long sampling, transfer and update take on a machine.
//!
//! Every function follows from its arguments alone. Times are in seconds, sizes in bytes or numbers, and all counts are
//! `f64`, since most of them are means. The assumptions are in `docs/machines.md`.

use super::machine::Machine;

/// The sizes of a model that time depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// Values of the model.
    pub(super) parameters: f64,
    /// Values that each token is multiplied with: all but an embedding that is only looked up.
    pub(super) multiplied: f64,
    /// Values of the adapters that are trained in place of the model; 0 without adapters.
    pub(super) adapters: f64,
    /// The layers with attention.
    pub(super) attention: Vec<Attention>,
    /// Numbers of the states that a row has in layers without attention.
    pub(super) state: f64,
    /// Buffers in which gradients and weights travel between the trainers.
    pub(super) buffers: f64,
    /// Operations that exchange all buffers once: one for each slice of a buffer.
    pub(super) operations: f64,
}

/// A layer with attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attention {
    /// Width of the queries of a token.
    pub(super) queries: f64,
    /// Keys and values of a token, in numbers.
    pub(super) key_values: f64,
    /// Latest positions that a token attends to; infinite without a window.
    pub(super) window: f64,
}

/// Work of a step, and the GPUs for it.
#[expect(clippy::struct_excessive_bools, reason = "independent choices of a run")]
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Demand {
    /// GPUs that train.
    pub(super) gpus: f64,
    /// GPUs that sample; 0 where those that train do so in turns.
    pub(super) servers: f64,
    /// Parts of the work of a step, as `run.virtual_workers`; at least one for each GPU that trains.
    pub(super) workers: f64,
    /// Problems of a step.
    pub(super) prompts: f64,
    /// Completions of each problem.
    pub(super) group_size: f64,
    /// Mean length of the prompts, in tokens.
    pub(super) prompt_len: f64,
    /// Mean length of the completions, in tokens.
    pub(super) mean_len: f64,
    /// Length of the longest completion of a step, in tokens.
    pub(super) max_len: f64,
    /// Share of the problems that are sampled again with a hint.
    pub(super) hinted_frac: f64,
    /// Share of the completions that have a gradient.
    pub(super) trained_frac: f64,
    /// Optimizer steps in one step of the run.
    pub(super) updates: f64,
    /// Passes over the batch.
    pub(super) passes: f64,
    /// Forward passes for log-probabilities that stay fixed.
    pub(super) scoring_passes: f64,
    /// Whether batches are sampled ahead.
    pub(super) is_ahead: bool,
    /// Whether blocks are computed again for the backward pass.
    pub(super) gradient_checkpointing: bool,
    /// Bytes of a weight, a key or a value in the passes.
    pub(super) width: f64,
    /// Most completions that one GPU decodes at a time.
    pub(super) max_batch: f64,
    /// Whether gradients travel from GPU to GPU, and not through host memory.
    pub(super) has_nccl: bool,
    /// Whether each GPU keeps its part of the weights alone while it learns, as `run.shard`.
    pub(super) shares_weights: bool,
    /// Most tokens of a micro-batch.
    pub(super) micro_batch_tokens: f64,
}

/// Bytes of a weight, a gradient or a moment on trainers, and of a weight in a checkpoint.
pub(super) const FLOAT: f64 = 4.0;

/// Bytes that AdamW reads and writes for each weight: weight, gradient and two moments in, weight and moments out.
const OPTIMIZER_BYTES: f64 = 7.0 * FLOAT;

/// Operations of an optimizer step for measurements, and for the norm of the gradient. Lengths of values travel before them.
const VALUE_OPERATIONS: f64 = 4.0;

impl Shape {
    /// Values that are trained.
    pub(super) fn trained(&self) -> f64 {
        if self.adapters > 0.0 { self.adapters } else { self.parameters }
    }

    /// Operations of attention in the forward pass of one row.
    fn attention(&self, length: f64) -> f64 {
        let of = |layer: &Attention| 4.0 * layer.queries * causal_pairs(length, layer.window);
        self.attention.iter().map(of).sum()
    }

    /// Operations of the forward pass of one row.
    fn forward(&self, length: f64) -> f64 {
        2.0 * self.multiplied * length + self.attention(length)
    }

    /// Keys and values, or states, of a row with so many positions, in bytes.
    pub(super) fn row_bytes(&self, positions: f64, width: f64) -> f64 {
        let of = |layer: &Attention| layer.key_values * positions.min(layer.window);
        width * self.attention.iter().map(of).sum::<f64>() + FLOAT * self.state
    }
}

/// Pairs of a query and a key at or before it, in a row. The diagonal counts by half.
fn causal_pairs(length: f64, window: f64) -> f64 {
    let seen = length.min(window);
    seen * length - seen * seen / 2.0
}

/// The next whole number, apart from the noise of quotients that are whole.
fn whole(number: f64) -> f64 {
    (number - 1e-6).ceil()
}

/// Moments and masters that one of `gpus` processes holds and updates, as a part of all. The only place that knows how
/// the optimizer's state is divided.
pub(super) fn state_share(gpus: f64) -> f64 {
    1.0 / gpus
}

/// One round of sampling.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Round {
    /// Reading the prompts.
    pub(super) prefill: f64,
    /// Drawing the tokens.
    pub(super) decode: f64,
    /// Tokens that one GPU draws after each other.
    pub(super) steps: f64,
    /// Completions that are drawn at a time, as a mean over these.
    pub(super) live: f64,
    /// Cause of the time.
    pub(super) bound: Bound,
}

impl Round {
    /// Seconds of the round.
    pub(super) fn seconds(&self) -> f64 {
        self.prefill + self.decode
    }
}

/// Cause of the time that sampling takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Bound {
    /// The longest completion ends alone.
    #[default]
    Longest,
    /// Weights are read for few completions.
    Weights,
    /// Keys and values are read.
    Cache,
    /// Products.
    Arithmetic,
    /// Reading the prompts.
    Prompts,
}

/// Samples `groups` on GPUs that decode at most `room` completions at a time. A group stays on one GPU. The round lasts
/// until the longest completion has ended.
pub(super) fn sampling(
    shape: &Shape,
    demand: &Demand,
    machine: &Machine,
    (groups, room): (f64, f64),
) -> Round {
    if groups <= 0.0 {
        return Round::default();
    }
    let samplers = if demand.servers > 0.0 { demand.servers } else { demand.gpus };
    let groups = whole(groups / samplers);
    let rows = groups * demand.group_size;
    let full = rows * demand.mean_len / rows.min(room);
    let steps = demand.max_len.max(full);
    let live = rows * demand.mean_len / steps;
    let context = demand.prompt_len + demand.mean_len / 2.0;
    let weights = shape.multiplied * demand.width;
    let cache = live * shape.row_bytes(context, demand.width);
    let (flops, bandwidth) = (
        machine.flops * machine.sampling_efficiency,
        machine.memory_bandwidth * machine.sampling_efficiency,
    );
    let attended = |layer: &Attention| 4.0 * layer.queries * context.min(layer.window);
    let attended = shape.attention.iter().map(attended).sum::<f64>();
    let of_products = live * (2.0 * shape.multiplied + attended) / flops;
    let of_memory = (weights + cache) / bandwidth;
    let decode = steps * of_products.max(of_memory);
    let prefill = groups * shape.forward(demand.prompt_len) / flops;
    let bound = if prefill > decode {
        Bound::Prompts
    } else if steps > full {
        Bound::Longest
    } else if of_products > of_memory {
        Bound::Arithmetic
    } else if weights > cache {
        Bound::Weights
    } else {
        Bound::Cache
    };
    Round { prefill, decode, steps, live, bound }
}

/// Scoring, forward and backward passes of the trainers. Completions are dealt one by one.
pub(super) fn update(shape: &Shape, demand: &Demand, machine: &Machine) -> f64 {
    let length = demand.prompt_len + demand.mean_len;
    let rows = demand.prompts * demand.group_size * demand.trained_frac;
    let dealt = |rows: f64| whole(rows / demand.gpus);
    let again = if demand.gradient_checkpointing { 1.0 } else { 0.0 };
    // The backward pass has a product for the gradient of the inputs, and one for that of the weights.
    let backward = if shape.adapters > 0.0 { 1.0 } else { 2.0 };
    let products = (1.0 + backward + again) * 2.0 * shape.multiplied * length;
    let trained = products + (3.0 + again) * shape.attention(length);
    let rows_trained = demand.updates * dealt(rows * demand.passes / demand.updates);
    let scored = demand.scoring_passes * dealt(rows) * shape.forward(length);
    (rows_trained * trained + scored) / (machine.flops * machine.mfu)
}

/// The optimizer's own steps.
pub(super) fn optimizer(shape: &Shape, demand: &Demand, machine: &Machine) -> f64 {
    let own = shape.trained() * state_share(demand.gpus);
    demand.updates * OPTIMIZER_BYTES * own / machine.memory_bandwidth
}

/// Gathers of all weights in an optimizer step, by GPUs that keep their parts alone. Each micro-batch has one for the forward
/// pass and one for the backward pass. Passes that score are not counted.
fn gathers(demand: &Demand) -> f64 {
    if !demand.shares_weights {
        return 0.0;
    }
    let rows = demand.prompts * demand.group_size * demand.trained_frac * demand.passes;
    let rows = whole(rows / demand.updates / demand.gpus);
    let tokens = rows * (demand.prompt_len + demand.mean_len);
    let batches = whole(tokens / demand.micro_batch_tokens).max(demand.workers / demand.gpus);
    2.0 * whole(batches.min(rows))
}

/// The sum of gradients over the trainers, once for each virtual worker of one in each optimizer step, and then the weights.
/// Weights in parts are gathered besides. Nothing overlaps with the passes.
///
/// Before each operation the processes compare what they call, also where NCCL follows. So an operation costs two rounds of
/// messages to the others.
pub(super) fn all_reduce(shape: &Shape, demand: &Demand, machine: &Machine) -> f64 {
    let gpus = demand.gpus;
    if gpus <= 1.0 {
        return 0.0;
    }
    let is_one_node = gpus <= machine.gpus_per_node as f64;
    let link = if is_one_node { machine.link_within } else { machine.link_between };
    let link = if demand.has_nccl { link } else { link.min(machine.gloo_bandwidth) };
    let (workers, gathers) = (whole(demand.workers / gpus).max(1.0), gathers(demand));
    let exchanges = workers + 1.0 + gathers;
    let bytes = exchanges * (gpus - 1.0) / gpus * FLOAT * shape.trained();
    // Processes with parts of the weights ask who needs any: before each buffer that is gathered, and before other operations.
    let asks = if demand.shares_weights {
        gathers * shape.buffers + workers * shape.operations + VALUE_OPERATIONS
    } else {
        0.0
    };
    let operations = exchanges * shape.operations + VALUE_OPERATIONS + asks;
    let messages = 2.0 * operations * (gpus - 1.0);
    demand.updates * (bytes / link + messages * machine.link_latency)
}

/// New weights for the servers: a checkpoint is written once, and read by all servers at the same time.
pub(super) fn transfer(shape: &Shape, demand: &Demand, machine: &Machine) -> f64 {
    if demand.servers <= 0.0 {
        return 0.0;
    }
    2.0 * FLOAT * shape.trained() / machine.disk_bandwidth
}

/// The parts of a step, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepTime {
    /// The first round of sampling.
    pub(super) sampling: Round,
    /// The second round, with hints.
    pub(super) hinted: Round,
    /// New weights for the servers.
    pub(super) transfer: f64,
    /// Scoring, forward and backward passes.
    pub(super) update: f64,
    /// The optimizer's own steps.
    pub(super) optimizer: f64,
    /// The sum of gradients.
    pub(super) all_reduce: f64,
    /// Whether both sides work at the same time.
    pub(super) overlaps: bool,
}

/// Rows of a virtual worker in an optimizer step, those without a gradient included.
pub(super) fn rows_of_worker(demand: &Demand) -> f64 {
    let rows = demand.prompts * demand.group_size * demand.passes / demand.updates;
    whole(rows / demand.workers)
}

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Sampling,
    Hinted,
    Transfer,
    Update,
    Optimizer,
    AllReduce,
}

impl StepTime {
    /// The times of a step, where GPUs decode at most `room` completions at a time.
    pub(super) fn new(shape: &Shape, demand: &Demand, machine: &Machine, room: f64) -> Self {
        let hinted = whole(demand.prompts * demand.hinted_frac);
        Self {
            sampling: sampling(shape, demand, machine, (demand.prompts, room)),
            hinted: sampling(shape, demand, machine, (hinted, room)),
            transfer: transfer(shape, demand, machine),
            update: update(shape, demand, machine),
            optimizer: optimizer(shape, demand, machine),
            all_reduce: all_reduce(shape, demand, machine),
            overlaps: demand.is_ahead && demand.servers > 0.0,
        }
    }

    /// Seconds of the side that samples.
    pub(super) fn sampler_side(&self) -> f64 {
        self.sampling.seconds() + self.hinted.seconds() + self.transfer
    }

    /// Seconds of the side that trains.
    pub(super) fn trainer_side(&self) -> f64 {
        self.update + self.optimizer + self.all_reduce
    }

    /// Seconds of the step.
    pub(super) fn total(&self) -> f64 {
        let (sampler, trainer) = (self.sampler_side(), self.trainer_side());
        if self.overlaps { sampler.max(trainer) } else { sampler + trainer }
    }

    /// The parts with their seconds.
    pub(super) fn parts(&self) -> [(Part, f64); 6] {
        [
            (Part::Sampling, self.sampling.seconds()),
            (Part::Hinted, self.hinted.seconds()),
            (Part::Transfer, self.transfer),
            (Part::Update, self.update),
            (Part::Optimizer, self.optimizer),
            (Part::AllReduce, self.all_reduce),
        ]
    }

    /// The longest part of the step, or of the side that the other one waits for. Both rounds of sampling count together,
    /// and the longer one stands for them.
    pub(super) fn bottleneck(&self) -> Part {
        let (first, second) = (self.sampling.seconds(), self.hinted.seconds());
        let round = if second > first { Part::Hinted } else { Part::Sampling };
        let parts = [
            (round, first + second),
            (Part::Transfer, self.transfer),
            (Part::Update, self.update),
            (Part::Optimizer, self.optimizer),
            (Part::AllReduce, self.all_reduce),
        ];
        let of_samplers = self.sampler_side() >= self.trainer_side();
        let waited = match (self.overlaps, of_samplers) {
            (false, _) => &parts[..],
            (true, true) => &parts[..2],
            (true, false) => &parts[2..],
        };
        let longest = waited.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        longest.map_or(Part::Update, |(part, _)| *part)
    }
}

/// Completion tokens of a step, both rounds.
pub(super) fn tokens(demand: &Demand) -> f64 {
    let groups = demand.prompts + whole(demand.prompts * demand.hinted_frac);
    groups * demand.group_size * demand.mean_len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with round numbers.
    fn machine() -> Machine {
        Machine {
            flops: 1000.0,
            memory_bandwidth: 100.0,
            memory: 1e6,
            link_within: 10.0,
            link_between: 1.0,
            link_latency: 0.25,
            gloo_bandwidth: 0.5,
            disk_bandwidth: 20.0,
            gpus_per_node: 4,
            mfu: 0.5,
            sampling_efficiency: 0.5,
            ..Machine::read("h100").unwrap()
        }
    }

    fn shape() -> Shape {
        let layer = Attention { queries: 2.0, key_values: 3.0, window: f64::INFINITY };
        Shape {
            parameters: 50.0,
            multiplied: 40.0,
            adapters: 0.0,
            attention: vec![layer; 2],
            state: 0.0,
            buffers: 2.0,
            operations: 3.0,
        }
    }

    fn demand() -> Demand {
        Demand {
            gpus: 2.0,
            servers: 4.0,
            workers: 2.0,
            prompts: 8.0,
            group_size: 4.0,
            prompt_len: 10.0,
            mean_len: 20.0,
            max_len: 30.0,
            hinted_frac: 0.5,
            trained_frac: 1.0,
            updates: 2.0,
            passes: 1.0,
            scoring_passes: 1.0,
            is_ahead: false,
            gradient_checkpointing: true,
            width: 2.0,
            max_batch: 4.0,
            has_nccl: true,
            shares_weights: false,
            micro_batch_tokens: 100.0,
        }
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found}, not {expected}");
    }

    #[test]
    fn a_step_is_that_of_a_computation_by_hand() {
        let time = StepTime::new(&shape(), &demand(), &machine(), 4.0);
        // 2 groups on each server, 8 completions of 20 tokens, 4 at a time: 40 tokens after each other.
        assert_eq!((time.sampling.steps, time.sampling.live), (40.0, 4.0));
        // Each reads 40 weights of 2 bytes, and for 4 rows 6 numbers of 2 bytes at 20 positions, at 50 bytes/s.
        close(time.sampling.decode, 40.0 * (80.0 + 4.0 * 240.0) / 50.0);
        // 2 prompts of 10 tokens: 2 · 40 · 10, and 16 for each of 50 pairs of queries and keys, at 500 FLOP/s.
        close(time.sampling.prefill, 2.0 * (800.0 + 16.0 * 50.0) / 500.0);
        assert_eq!(time.sampling.bound, Bound::Cache);
        // One group on each server: the longest completion of 30 tokens decides, and 4 · 20 / 30 rows live.
        assert_eq!((time.hinted.steps, time.hinted.bound), (30.0, Bound::Longest));
        close(time.hinted.decode, 30.0 * (80.0 + 80.0 / 30.0 * 240.0) / 50.0);
        // 32 rows of 30 tokens on 2 GPUs. Trained: 8 · 40 · 30 and 4 · 16 · 450. Scored: 2 · 40 · 30 and 16 · 450.
        let (trained, scored) = (16.0 * (9600.0 + 28800.0), 16.0 * (2400.0 + 7200.0));
        close(time.update, (trained + scored) / 500.0);
        // Twice 7 numbers of 4 bytes for half of 50 weights.
        close(time.optimizer, 2.0 * 28.0 * 25.0 / 100.0);
        // Twice 2 · ½ · 4 · 50 bytes at 10 bytes/s, and two messages for each of 2 · 3 + 4 operations.
        close(time.all_reduce, 2.0 * (200.0 / 10.0 + 20.0 * 0.25));
        close(time.transfer, 2.0 * 200.0 / 20.0);
        // 8 rows of 30 tokens in each of two optimizer steps: 3 micro-batches of 100 tokens, with two gathers each. So there are
        // 8 · 3 + 4 operations. The processes ask before 6 · 2 buffers, 3 operations on gradients and 4 on values.
        let shared = Demand { shares_weights: true, ..demand() };
        let messages = 2.0 * (28.0 + 19.0);
        close(all_reduce(&shape(), &shared, &machine()), 2.0 * (800.0 / 10.0 + messages * 0.25));
        let parts = time.parts().iter().map(|(_, seconds)| seconds).sum::<f64>();
        close(time.total(), parts);
        assert_eq!(time.bottleneck(), Part::Update);
        assert_eq!(tokens(&demand()), 12.0 * 4.0 * 20.0);
    }

    #[test]
    fn more_servers_shorten_sampling_and_nothing_else() {
        let time =
            |servers| StepTime::new(&shape(), &Demand { servers, ..demand() }, &machine(), 4.0);
        for (few, many) in [(1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0)] {
            let (few, many) = (time(few), time(many));
            assert!(many.sampling.seconds() <= few.sampling.seconds());
            assert!(many.hinted.seconds() <= few.hinted.seconds());
            assert_eq!(StepTime { sampling: few.sampling, hinted: few.hinted, ..many }, few);
        }
        assert!(time(8.0).sampling.seconds() < time(1.0).sampling.seconds() / 2.0);
        // More servers than problems have nothing to do.
        assert_eq!(time(16.0), time(8.0));
    }

    #[test]
    fn a_longer_maximum_lengthens_sampling_and_nothing_else() {
        let time =
            |max_len| StepTime::new(&shape(), &Demand { max_len, ..demand() }, &machine(), 4.0);
        let (short, long, longer) = (time(20.0), time(400.0), time(800.0));
        assert!(short.sampling.seconds() < long.sampling.seconds());
        assert!(long.sampling.seconds() < longer.sampling.seconds());
        assert_eq!(longer.sampling.bound, Bound::Longest);
        assert_eq!((short.update, short.all_reduce), (longer.update, longer.all_reduce));
    }

    #[test]
    fn sampling_ahead_takes_the_longer_side_and_never_lengthens() {
        for servers in [0.0, 1.0, 3.0, 64.0] {
            let demand = Demand { servers, ..demand() };
            let waits = StepTime::new(&shape(), &demand, &machine(), 4.0);
            let demand = Demand { is_ahead: true, ..demand };
            let ahead = StepTime::new(&shape(), &demand, &machine(), 4.0);
            assert!(ahead.total() <= waits.total());
            if servers > 0.0 {
                close(ahead.total(), ahead.sampler_side().max(ahead.trainer_side()));
            } else {
                assert_eq!(ahead.total(), waits.total());
            }
        }
    }

    #[test]
    fn the_bottleneck_is_on_the_side_that_the_other_one_waits_for() {
        let ahead = Demand { is_ahead: true, servers: 1.0, ..demand() };
        // The update is the longest part, but the two rounds of sampling together take longer.
        let slow = Machine { mfu: 0.3, ..machine() };
        let time = StepTime::new(&shape(), &ahead, &slow, 2.0);
        assert!(time.sampler_side() > time.trainer_side());
        assert_eq!(time.bottleneck(), Part::Sampling);
        let time = StepTime::new(&shape(), &ahead, &Machine { mfu: 0.01, ..machine() }, 2.0);
        assert_eq!(time.bottleneck(), Part::Update);
    }

    #[test]
    fn links_adapters_and_windows_change_what_they_should() {
        let of = |change: &dyn Fn(&mut Demand)| {
            let mut demand = demand();
            change(&mut demand);
            all_reduce(&shape(), &demand, &machine())
        };
        assert_eq!(of(&|demand| demand.gpus = 1.0), 0.0);
        // Through host memory, a link of 10 bytes/s has half a byte/s.
        close(of(&|demand| demand.has_nccl = false), 2.0 * (200.0 / 0.5 + 5.0));
        // Three virtual workers on each GPU send three gradients, and the weights once: 4 · 3 + 4 operations.
        close(of(&|demand| demand.workers = 6.0), 2.0 * (400.0 / 10.0 + 32.0 * 0.25));
        // Eight GPUs are two nodes of four. Each has two messages to seven others for each of ten operations.
        close(of(&|demand| demand.gpus = 8.0), 2.0 * (350.0 + 140.0 * 0.25));
        let adapted = Shape { adapters: 5.0, ..shape() };
        close(transfer(&adapted, &demand(), &machine()), 2.0 * 20.0 / 20.0);
        // One product less in the backward pass: 2 · 40 · 30 operations for each of 16 rows.
        let less = 16.0 * 2400.0 / 500.0;
        let (whole, adapters) =
            [&shape(), &adapted].map(|shape| update(shape, &demand(), &machine())).into();
        close(whole - adapters, less);
        assert_eq!(causal_pairs(10.0, f64::INFINITY), 50.0);
        // Every query but the first two sees two keys.
        assert_eq!(causal_pairs(10.0, 2.0), 18.0);
    }
}
