//! Scoring with a backward pass of its own.
//!
//! libtorch's autograd keeps the result of every operation, works on padding, and holds a log-softmax
//! for every scored token. This pass computes the same functions on the real tokens alone. It keeps a
//! few tensors per block, and recomputes norms, activations, attention weights and logits. Its gradients
//! are compared with autograd's for every architecture.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::plan::{LayerPlan, MixerPlan};
use crate::error::PolicyError;
use crate::forward::block::{Block, SavedBlock};
use crate::forward::grad;
use crate::forward::head::{Head, HeadScores, KeptLogits};
use crate::forward::norm::Norm;
use crate::forward::ragged::RaggedLayout;
use crate::forward::rope::{self, Rotations};
use crate::policy::batch::TokenBatch;
use crate::policy::scores::{Alternatives, ScoreGradients, ScoreOptions, TokenScores};
use crate::policy::stage_weights::StageCell;
use crate::tensor::{size, statistics_kind, upload};
use crate::weights::Weights;

/// A batch on its way through a model.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    rows: RaggedLayout,
    /// `[tokens]`, `Int64`.
    ids: Tensor,
    /// Tokens to be predicted. `[completion tokens]`, `Int64`.
    targets: Tensor,
    /// Tokens to be scored in their place, where the batch names some. `[completion tokens, k]`, `Int64`.
    alternatives: Option<Tensor>,
    /// Cosines and sines of the tokens' angles.
    angles: Rotations<(Tensor, Tensor)>,
    compute: Kind,
    checkpoints: bool,
    /// Brings the weights, unless they are all there.
    stages: Option<&'a StageCell>,
    options: ScoreOptions,
    /// Shape of the batch, and where its completion tokens are.
    shape: [i64; 2],
    completion: Tensor,
}

/// Tensors that a pass keeps for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape {
    blocks: Vec<BlockTape>,
    last: Tensor,
    last_scale: Tensor,
    logits: KeptLogits,
    /// The tokens of the alternatives.
    alternatives: Option<Tensor>,
}

/// Tensors that are kept of a block.
#[derive(Debug)]
enum BlockTape {
    All(SavedBlock),
    /// Its input `[tokens, hidden]`, from which the rest is computed once more.
    Input(Tensor),
}

#[cfg(test)]
impl Tape {
    /// Numbers that are kept of the blocks.
    pub(crate) fn numbers(&self) -> usize {
        let of = |block: &BlockTape| match block {
            BlockTape::All(saved) => saved.numbers(),
            BlockTape::Input(input) => input.numel(),
        };
        self.blocks.iter().map(of).sum()
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        config: &'a ModelConfig,
        weights: &'a Weights,
        batch: &TokenBatch,
        compute: Kind,
        options: &ScoreOptions,
    ) -> Self {
        let device = weights.embedding.device();
        let rows = if shares_prompts(config, weights, compute, options) {
            RaggedLayout::sharing(batch, device)
        } else {
            RaggedLayout::new(batch, device)
        };
        let flat = batch.tokens().to_device(device).reshape([-1]);
        let completion = upload(&batch.completion_positions(), device);
        let angles = Rotations::new(config, |config| {
            let (cos, sin) = rope::tables(config, rows.longest, statistics_kind(compute), device);
            let of_tokens = |table: Tensor| table.index_select(0, &rows.positions).unsqueeze(1);
            (of_tokens(cos), of_tokens(sin))
        });
        Self {
            config,
            weights,
            angles,
            ids: flat.index_select(0, &rows.order),
            targets: flat.index_select(0, &completion),
            alternatives: batch.alternatives().map(|tokens| tokens.to_device(device)),
            rows,
            compute,
            checkpoints: false,
            stages: None,
            options: *options,
            shape: [size(batch.batch()), size(batch.seq())],
            completion,
        }
    }

    /// Keeps only the inputs of blocks, and computes the rest again in the backward pass.
    pub(crate) fn with_checkpoints(mut self, checkpoints: bool) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Lets `stages` bring the weights of each stage of [`Weights::gradient_stages`].
    pub(crate) fn with_stage_weights(mut self, stages: &'a StageCell) -> Self {
        self.stages = Some(stages).filter(|stages| stages.is_set());
        self
    }

    /// Scores, without gradient.
    pub(crate) fn scores(&self) -> Result<TokenScores, PolicyError> {
        Ok(tch::no_grad(|| self.run(false))?.0)
    }

    /// Scores whose log-probabilities are a leaf that requires grad, and the tensors for
    /// [`Pass::backward`].
    pub(crate) fn forward(&self) -> Result<(TokenScores, Tape), PolicyError> {
        let (scores, kept) = tch::no_grad(|| self.run(true))?;
        let kept = kept.expect("it was asked for");
        let leaf = |tensor: Tensor| tensor.set_requires_grad(true);
        let alternatives = scores
            .alternatives
            .map(|scored| Alternatives { logprobs: leaf(scored.logprobs), ..scored });
        Ok((TokenScores { logprobs: leaf(scores.logprobs), alternatives, ..scores }, kept))
    }

    fn run(&self, keep: bool) -> Result<(TokenScores, Option<Tape>), PolicyError> {
        let layers = self.weights.layers.len();
        self.gather(layers + 1)?;
        let embedding = self.weights.embedding.index_select(0, &self.ids);
        let mut x = embedding.to_kind(self.compute);
        if let Some(scale) = self.config.embedding_scale(self.compute) {
            x = x.g_mul_scalar_(scale);
        }
        let mut blocks = Vec::new();
        for (index, block) in self.blocks().enumerate() {
            self.gather(layers - index)?;
            let input = (keep && self.checkpoints).then(|| x.shallow_clone());
            let (y, saved) = block.apply(x);
            x = y;
            blocks.extend(keep.then(|| input.map_or(BlockTape::All(saved), BlockTape::Input)));
        }
        self.gather(0)?;
        let last = x.index_select(0, &self.rows.predicting);
        let norm = self.norm();
        let (hidden, last_scale) = norm.normalized(&last);
        let keep_logits = keep && !self.checkpoints;
        let HeadScores { logprobs, entropies, alternatives, kept: logits } =
            self.head().apply(&hidden, &self.options, keep_logits);
        self.release();
        let tokens = alternatives.as_ref().map(|scored| scored.tokens.shallow_clone());
        let scores = TokenScores {
            logprobs: self.spread(&logprobs),
            entropy: entropies.map(|e| self.spread(&e)),
            alternatives,
        };
        let tape = Tape { blocks, last, last_scale, logits, alternatives: tokens };
        Ok((scores, keep.then_some(tape)))
    }

    /// Adds to the gradients of the parameters, given the gradients of the scores. Announces the stages of
    /// [`Weights::gradient_stages`].
    pub(crate) fn backward(
        &self,
        mut kept: Tape,
        gradients: &ScoreGradients,
        announce: &mut dyn FnMut(Range<usize>),
    ) -> Result<(), PolicyError> {
        tch::no_grad(|| {
            announce(0..1);
            self.gather(0)?;
            let dy = gradients.logprobs.reshape([-1]).index_select(0, &self.completion);
            let alternatives = kept.alternatives.as_ref().zip(gradients.alternatives.as_ref());
            let norm = self.norm();
            let hidden = norm.apply(&kept.last, &kept.last_scale);
            let of_hidden = self.head().backward(&hidden, kept.logits, &dy, alternatives);
            let of_last = norm.backward(&kept.last, &kept.last_scale, &of_hidden);
            let shape = [self.ids.size()[0], of_last.size()[1]];
            let mut dx = Tensor::zeros(shape, (of_last.kind(), of_last.device()));
            let predicting = &self.rows.predicting;
            // The last token of a shared prompt predicts several others, every other token at most one.
            dx = if self.rows.shares {
                dx.index_add_(0, predicting, &of_last)
            } else {
                dx.index_copy_(0, predicting, &of_last)
            };
            for (block, stage) in self.blocks().collect::<Vec<_>>().iter().rev().zip(1..) {
                announce(stage..stage + 1);
                self.gather(stage)?;
                let saved = match kept.blocks.pop().expect("one for each block") {
                    BlockTape::All(saved) => saved,
                    BlockTape::Input(input) => block.apply(input).1,
                };
                dx = block.backward(&saved, &dx);
            }
            // The gradient of an embedding does not depend on its values.
            self.release();
            let last = self.weights.layers.len() + 1;
            announce(last..last + 1);
            if let Some(scale) = self.config.embedding_scale(self.compute) {
                dx = dx.g_mul_scalar_(scale);
            }
            grad::add_rows(&self.weights.embedding, &self.ids, &dx);
            Ok(())
        })
    }

    /// Brings the weights of a stage.
    fn gather(&self, stage: usize) -> Result<(), PolicyError> {
        let Some(stages) = self.stages else { return Ok(()) };
        // Copies in the compute kind would outlast the weights.
        self.weights.drop_casts();
        stages.gather(stage..stage + 1)
    }

    /// Lets all weights go.
    fn release(&self) {
        if let Some(stages) = self.stages {
            self.weights.drop_casts();
            stages.release();
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        self.weights.layers.iter().enumerate().map(move |(index, layer)| Block {
            plan: self.config.layer(index),
            layer,
            rows: &self.rows,
            angles: &self.angles,
            dropout_seed: self.options.dropout_seed,
        })
    }

    fn norm(&self) -> Norm<'_> {
        Norm { plan: self.config.norm(), weight: &self.weights.norm }
    }

    fn head(&self) -> Head<'_> {
        Head {
            weight: self.weights.head(),
            cast: &self.weights.head_cast,
            targets: &self.targets,
            alternatives: self.alternatives.as_ref(),
            plan: self.config.logits(),
            temperature: self.options.temperature,
        }
    }

    /// Values of the completion tokens at their places in the batch, 0 elsewhere.
    fn spread(&self, values: &Tensor) -> Tensor {
        Tensor::zeros([self.shape[0] * self.shape[1]], (values.kind(), values.device()))
            .index_copy_(0, &self.completion, values)
            .view(self.shape)
    }
}

/// Whether rows share the tokens of equal prompts. A gated delta-net and kernels of a GPU need whole rows. The tokens of
/// a row drop other inputs than those of its neighbor. In a format of few digits, the sums over a group would round more.
fn shares_prompts(
    config: &ModelConfig,
    weights: &Weights,
    compute: Kind,
    options: &ScoreOptions,
) -> bool {
    let is_attention = |layer: &LayerPlan| matches!(layer.mixer, MixerPlan::Attention(_));
    weights.embedding.device() == Device::Cpu
        && matches!(compute, Kind::Float | Kind::Double)
        && config.layers().iter().all(is_attention)
        && !(options.dropout_seed.is_some() && weights.drops_inputs())
}
