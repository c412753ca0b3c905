//! Memory of trainers and servers.

use hint_policy::estimate::{MemoryDemand, MemoryEstimate, SampledBatch};
use hint_policy::io::LoadedFiles;
use hint_policy::model::LoadReport;
use hint_policy::{ModelConfig, SampleOptions};
use tch::{Device, Kind};

use super::machine::Machine;
use super::step::{Attention, Demand, FLOAT, Shape, rows_of_worker, state_share};

/// Share of the memory that a vLLM server takes by default (`gpu_memory_utilization`).
const SERVER_MEMORY: f64 = 0.9;

/// Gradients that are on their way between processes at a time, in bytes: sent and received.
const IN_FLIGHT: u64 = 2 * (4 << 24);

/// Elements of a buffer of gradients, unless one parameter has more: a sixteenth of all, within these bounds.
const BUFFER: (u64, u64) = (24_576, 1 << 24);

/// Elements of a slice of a buffer, which one operation exchanges.
const SLICE: u64 = 1 << 24;

/// The report that a model would have once it is loaded. It is stored in `Float`, or in `compute` below adapters of
/// `adapters` values.
pub(crate) fn load_report(
    config: &ModelConfig,
    adapters: usize,
    compute: Kind,
    device: Device,
) -> LoadReport {
    let parameters = config.num_parameters();
    let stored = if adapters > 0 { compute } else { Kind::Float };
    LoadReport {
        architecture: config.architecture,
        source: None,
        files: LoadedFiles::default(),
        parameters: parameters + adapters,
        trainable: if adapters > 0 { adapters } else { parameters },
        bytes: parameters * stored.elt_size_in_bytes() + 4 * adapters,
        stored,
        compute,
        device,
    }
}

/// The sizes of a model that time depends on, with adapters of this rank on every projection if one is given. Gated
/// delta-nets count as attention there.
pub(super) fn shape(config: &ModelConfig, rank: Option<usize>) -> Shape {
    let table = config.vocab_size * config.hidden_size;
    let looked_up = if config.tie_word_embeddings { 0 } else { table };
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let mixes = |layer| config.delta_net.as_ref().is_some_and(|sizes| sizes.mixes(layer));
    let layers = 0..config.num_hidden_layers;
    let attention = layers.clone().filter(|layer| !mixes(*layer)).map(|layer| Attention {
        queries: queries as f64,
        key_values: 2.0 * keys as f64,
        window: config.sliding_window(layer).map_or(f64::INFINITY, |window| window as f64),
    });
    let state = config.delta_net.as_ref().map_or(0, |sizes| {
        sizes.value_heads
            * sizes.key_head_dim
            * sizes.value_head_dim
            * layers.clone().filter(|layer| mixes(*layer)).count()
    });
    // Inputs and outputs of the seven projections of a layer.
    let sides = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + inner);
    let parameters = config.num_parameters();
    let adapters = rank.map(|rank| rank * sides * config.num_hidden_layers);
    let (buffers, operations) = match adapters {
        Some(adapters) => exchange(&[], adapters as u64),
        None => exchange(&large(config), parameters as u64),
    };
    Shape {
        parameters: parameters as f64,
        multiplied: (parameters - looked_up) as f64,
        adapters: adapters.unwrap_or(0) as f64,
        attention: attention.collect(),
        state: state as f64,
        buffers: buffers as f64,
        operations: operations as f64,
    }
}

/// The largest parameters of a model: how many there are, and the elements of each.
fn large(config: &ModelConfig) -> [(u64, u64); 2] {
    let tables = if config.tie_word_embeddings { 1 } else { 2 };
    let table = config.vocab_size * config.hidden_size;
    let projection = config.hidden_size * config.intermediate_size;
    let projections = 3 * config.num_hidden_layers as u64;
    [(tables, table as u64), (projections, projection as u64)]
}

/// Elements of a buffer, unless one parameter has more.
fn buffer_len(trained: u64) -> u64 {
    (trained / 16).clamp(BUFFER.0, BUFFER.1).min(trained)
}

/// Buffers in which `trained` elements travel, and operations that exchange all of them once. A parameter that is larger than a
/// buffer has one of its own. That one travels in slices, each by one operation. Hundreds of processes have about a tenth
/// more slices, since each has whole units of a buffer.
fn exchange(large: &[(u64, u64)], trained: u64) -> (u64, u64) {
    let buffer = buffer_len(trained);
    let (mut buffers, mut operations, mut rest) = (0, 0, trained);
    for &(count, elements) in large.iter().filter(|(_, elements)| *elements > buffer) {
        buffers += count;
        operations += count * elements.div_ceil(SLICE);
        rest = rest.saturating_sub(count * elements);
    }
    let packed = rest.div_ceil(buffer.max(1));
    (buffers + packed, operations + packed)
}

/// What the memory of a trainer depends on beside a [`Demand`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TrainerOptions {
    /// Kind of the passes.
    pub(super) compute: Kind,
    /// Whether there is a frozen reference.
    pub(super) reference: bool,
    /// Whether another model of the same size teaches.
    pub(super) teacher: bool,
    /// Tokens of the largest micro-batch.
    pub(super) micro_batch_tokens: usize,
    /// Steps that batches are sampled ahead.
    pub(super) ahead: u64,
}

/// Memory of one of the GPUs that train.
pub(super) fn trainer(
    config: &ModelConfig,
    shape: &Shape,
    demand: &Demand,
    options: &TrainerOptions,
) -> MemoryEstimate {
    let report = load_report(config, count(shape.adapters), options.compute, Device::Cuda(0));
    let trained = report.trainable as u64;
    let is_shared = demand.workers > 1.0;
    // A worker has no more rows than these, and a row may have more tokens than a micro-batch.
    let row = count(demand.prompt_len + demand.max_len);
    let rows = count(rows_of_worker(demand)).saturating_mul(row);
    let micro_batch_tokens = rows.min(options.micro_batch_tokens).max(row);
    // Of so few tokens, rows are never packed apart.
    let is_one_micro_batch = rows <= row || rows <= options.micro_batch_tokens / 16;
    let gradient_bytes =
        if is_shared { gradients(config, shape, demand, is_one_micro_batch) } else { 4 * trained };
    let samples = demand.servers <= 0.0;
    let each = count(demand.group_size);
    let prompts = count((demand.prompts / demand.gpus).ceil());
    let max_batch = count(demand.max_batch);
    let on_the_way = (4 * trained).saturating_mul(options.ahead);
    MemoryEstimate::new(&MemoryDemand {
        model: config,
        report: &report,
        gradient_bytes,
        frees_gradients: is_shared,
        gathered_bytes: (demand.shares_weights && demand.gpus > 1.0)
            .then(|| report.bytes as u64 - 4 * trained + weights(config, shape, demand)),
        optimizer_bytes: bytes(2.0 * FLOAT * trained as f64 * state_share(demand.gpus)),
        reference: options.reference,
        teacher_bytes: if options.teacher { 4 * config.num_parameters() as u64 } else { 0 },
        // With servers, the copy is in the memory of the host.
        sampler_bytes: if samples && options.ahead > 0 {
            report.bytes as u64 + on_the_way
        } else {
            0
        },
        gradient_checkpointing: demand.gradient_checkpointing,
        sampled: samples.then_some(SampledBatch { prompts, each, max_batch }).into_iter().collect(),
        longest_prompt: count(demand.prompt_len),
        longest_completion: count(demand.max_len),
        micro_batch_tokens,
    })
}

/// Gradients of one of several processes, or of several virtual workers, in bytes. A dry run counts the buffers of the loaded
/// model ([`hint_grpo::optim::GradientMemory`]). These are bounded here by the sizes of the model.
pub(super) fn gradients(
    config: &ModelConfig,
    shape: &Shape,
    demand: &Demand,
    is_one_micro_batch: bool,
) -> u64 {
    let trained = count(shape.trained()) as u64;
    let Alive { largest, alive } = Alive::new(config, shape);
    let processes = count(demand.gpus) as u64;
    let own = trained.div_ceil(processes);
    let sum = if demand.workers > demand.gpus { own } else { largest.div_ceil(processes) };
    let several = trained + sum;
    let one = own + (alive + largest).min(trained);
    let held = if is_one_micro_batch { one.min(several) } else { several };
    4 * held + in_flight(largest)
}

/// Weights of one of several processes that keep their parts alone while they learn, in bytes.
pub(super) fn weights(config: &ModelConfig, shape: &Shape, demand: &Demand) -> u64 {
    let trained = count(shape.trained()) as u64;
    let Alive { largest, alive } = Alive::new(config, shape);
    4 * (trained.div_ceil(count(demand.gpus) as u64) + alive) + in_flight(largest)
}

/// What is sent and received at a time, in bytes.
fn in_flight(largest: u64) -> u64 {
    IN_FLIGHT.min(2 * 4 * largest)
}

/// Elements of the buffers that are there at a time in a pass by blocks.
struct Alive {
    /// Of the largest buffer.
    largest: u64,
    /// Of all that a stage of the pass needs.
    alive: u64,
}

impl Alive {
    fn new(config: &ModelConfig, shape: &Shape) -> Self {
        let trained = count(shape.trained()) as u64;
        let whole = |elements: usize| if shape.adapters > 0.0 { 0 } else { elements as u64 };
        let table = whole(config.vocab_size * config.hidden_size);
        let projection = whole(config.hidden_size * config.intermediate_size);
        let tables = if config.tie_word_embeddings { table } else { 2 * table };
        let layers = config.num_hidden_layers.max(1) as u64;
        // A mean, since blocks are of about the same size.
        let block = trained.saturating_sub(tables).div_ceil(layers);
        let buffer = buffer_len(trained);
        let largest = buffer.max(table).max(projection);
        // Buffers on both sides of a block hold parameters of its neighbors as well.
        let at_block = block + 2 * buffer;
        let alive = if config.tie_word_embeddings {
            // It has a gradient during the whole pass.
            table + at_block
        } else {
            at_block.max(table + buffer)
        };
        Self { largest, alive }
    }
}

/// Memory of one of the GPUs that sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ServerMemory {
    /// Its copy of the weights, in bytes.
    pub(super) weights: f64,
    /// Keys and values of one completion with its prompt, in bytes.
    pub(super) row: f64,
    /// Completions at a time; none if the weights leave no room.
    pub(super) rows: f64,
}

impl ServerMemory {
    pub(super) fn total(&self) -> f64 {
        self.weights + self.rows * self.row
    }
}

/// Memory of a server, with as many completions at a time as it has and may decode. A prompt counts for each completion,
/// though a group shares it.
pub(super) fn server(shape: &Shape, demand: &Demand, machine: &Machine) -> ServerMemory {
    let weights = demand.width * (shape.parameters + shape.adapters);
    let row = shape.row_bytes(demand.prompt_len + demand.mean_len, demand.width);
    let groups = (demand.prompts / demand.servers.max(1.0)).ceil();
    let asked = (groups * demand.group_size).min(demand.max_batch);
    let room = ((SERVER_MEMORY * machine.memory - weights) / row).floor();
    ServerMemory { weights, row, rows: asked.min(room).max(0.0) }
}

/// Completions that a GPU decodes at a time.
pub(super) fn room(demand: &Demand, server: Option<&ServerMemory>) -> f64 {
    server.map_or(demand.max_batch, |server| server.rows.max(1.0)).min(demand.max_batch)
}

/// The default of `--max-batch`.
pub(super) fn default_max_batch() -> usize {
    SampleOptions::default().max_batch
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "options bound counts far below 2⁵³, and none is negative"
)]
fn count(number: f64) -> usize {
    number.round() as usize
}

fn bytes(number: f64) -> u64 {
    count(number.ceil()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use hint_policy::config::Architecture;

    #[test]
    fn sizes_are_those_of_the_model() {
        let small = ModelConfig::small(Architecture::Llama, 60);
        let tied = shape(&small, None);
        let parameters = small.num_parameters() as f64;
        assert_eq!(
            (tied.parameters, tied.multiplied, tied.trained()),
            (parameters, parameters, parameters)
        );
        let layer = Attention { queries: 128.0, key_values: 256.0, window: f64::INFINITY };
        assert_eq!((tied.attention, tied.state), (vec![layer; 4], 0.0));
        let untied = ModelConfig { tie_word_embeddings: false, ..small.clone() };
        let untied = shape(&untied, None);
        assert_eq!(untied.parameters - untied.multiplied, 60.0 * 128.0);
        // The number of values that adapters of that rank have in a model.
        let lora = hint_policy::LoraConfig { rank: 3, ..hint_policy::LoraConfig::default() };
        let model = hint_policy::CausalLm::init(&small, 1, Device::Cpu).unwrap();
        let report = model.with_lora(&lora, 1).unwrap().report();
        assert_eq!(shape(&small, Some(3)).adapters, report.trainable as f64);
        assert_eq!(load_report(&small, report.trainable, Kind::Float, Device::Cpu), report);
    }

    #[test]
    fn delta_nets_keep_a_state_and_windows_bound_the_keys() {
        let hybrid = ModelConfig::small(Architecture::Qwen35, 60);
        let found = shape(&hybrid, None);
        let sizes = hybrid.delta_net.as_ref().unwrap();
        let nets = (0..4).filter(|layer| sizes.mixes(*layer)).count();
        assert_eq!((found.attention.len(), found.state), (4 - nets, (nets * 4 * 16 * 24) as f64));
        let windows = ModelConfig {
            sliding_windows: vec![Some(8), None],
            ..ModelConfig::small(Architecture::Llama, 60)
        };
        let windows = shape(&windows, None);
        assert_eq!(windows.row_bytes(100.0, 2.0), 2.0 * 256.0 * (8.0 + 3.0 * 100.0));
    }
}
