//! The taught rows of a micro-batch under their teacher, where the loss has a divergence from it.

use hint_policy::{Alternatives, Policy, ScoreOptions, TokenBatch};
use tch::{Device, Kind, Tensor};

use super::column::{TokenColumn, dim, responses};
use super::sample::{Context, Sample, token_batch};
use crate::error::GrpoError;
use crate::objective::{Credit, Divergence, Support};
use crate::tensor::upload;

/// The taught rows of a micro-batch, and their scores under the teacher once it was asked.
#[derive(Debug)]
pub(super) struct TeacherScores {
    pub(super) divergence: Divergence,
    /// The positions of the rows in the micro-batch.
    rows: Vec<usize>,
    /// The tokens of these rows among all completion tokens of the micro-batch. `[taught tokens]`, `Int64`.
    ranks: Tensor,
    /// The same tokens in the flattened `[batch * seq]` order.
    places: Tensor,
    /// The number of tokens of each row.
    lens: Vec<usize>,
    teacher: Option<Alternatives>,
    /// Log-probabilities of the tokens under the teacher, `[taught tokens]`, once it was asked.
    pub(super) logprobs: Option<Tensor>,
}

impl TeacherScores {
    /// Room for the taught ones among `rows`, whose tokens are `tokens`. None without such rows, and where the
    /// credit has no divergence.
    pub(super) fn new(
        credit: &dyn Credit,
        rows: &[&Sample],
        tokens: &TokenBatch,
        device: Device,
    ) -> Option<Self> {
        let divergence = credit.divergence().filter(|one| one.coef != 0.0)?;
        let (mut taught, mut lens) = (Vec::new(), Vec::new());
        let (mut ranks, mut places, mut rank) = (Vec::new(), Vec::new(), 0);
        for (row, (sample, place)) in rows.iter().zip(responses(tokens)).enumerate() {
            let next = rank + place.len();
            if sample.is_taught() && !place.is_empty() {
                taught.push(row);
                lens.push(place.len());
                ranks.extend((rank..next).map(dim));
                places.extend(place.map(dim));
            }
            rank = next;
        }
        (!taught.is_empty()).then(|| Self {
            divergence,
            ranks: upload(&ranks, device),
            places: upload(&places, device),
            lens,
            teacher: None,
            logprobs: None,
            rows: taught,
        })
    }

    /// Whether the support is the teacher's, so that it is scored before the policy.
    pub(super) fn has_support(&self) -> bool {
        self.divergence.support == Support::Teacher
    }

    /// Scores the responses of `rows` under the teacher, with `alternatives` for all completion tokens, `[tokens, k]`,
    /// or the teacher's own likeliest ones.
    pub(super) fn score(
        &mut self,
        teacher: &dyn Policy,
        rows: &[&Sample],
        alternatives: Option<&Tensor>,
        options: ScoreOptions,
    ) -> Result<(), GrpoError> {
        let taught = self.rows.iter().map(|&row| rows[row]).collect::<Vec<_>>();
        let mut batch = token_batch(&taught, Context::Teacher, teacher.device())
            .map_err(|error| error.renumbered(&self.rows))?;
        if let Some(tokens) = alternatives {
            batch = batch.with_alternatives(&tokens.index_select(0, &self.ranks))?;
        }
        let options = ScoreOptions { top_k: self.divergence.top_k, ..options };
        let scores = tch::no_grad(|| teacher.score(&batch, &options))
            .map_err(|error| error.renumbered(&self.rows))?;
        let places = responses(&batch).flatten().map(dim).collect::<Vec<_>>();
        let places = upload(&places, scores.logprobs.device());
        let logprobs = scores.logprobs.reshape([-1]).index_select(0, &places);
        let device = self.ranks.device();
        self.logprobs = Some(logprobs.to_device(device));
        self.teacher = scores.alternatives.map(|Alternatives { tokens, logprobs }| Alternatives {
            tokens: tokens.to_device(device),
            logprobs: logprobs.to_device(device),
        });
        Ok(())
    }

    /// The teacher's likeliest tokens, spread to all completion tokens of the micro-batch; 0 elsewhere.
    pub(super) fn alternatives(&self, tokens: &TokenBatch) -> Option<Tensor> {
        let chosen = &self.teacher.as_ref()?.tokens;
        let shape = [dim(tokens.completion_tokens()), chosen.size()[1]];
        let all = Tensor::zeros(shape, (Kind::Int64, chosen.device()));
        Some(all.index_copy(0, &self.ranks, chosen))
    }

    /// Log-probabilities of the tokens under the teacher, in the shape `[batch, seq]` and kind of `like`; 0 where nothing
    /// is taught.
    pub(super) fn spread_logprobs(&self, like: &Tensor) -> Result<Tensor, GrpoError> {
        let logprobs = self.logprobs.as_ref().ok_or_else(missing)?;
        Ok(self.spread(&logprobs.to_kind(like.kind()), like))
    }

    /// Values of the tokens, which were read from `[taught tokens]`, by row of a micro-batch of `rows` rows.
    pub(super) fn by_row(&self, mut values: &[f64], rows: usize) -> TokenColumn {
        let mut column = TokenColumn::new(rows);
        for (&row, &len) in self.rows.iter().zip(&self.lens) {
            let (own, others) = values.split_at(len.min(values.len()));
            column.set(row, own.iter().copied());
            values = others;
        }
        column
    }

    /// The divergence of each token, in the shape `[batch, seq]` and kind of `like`; 0 where nothing is taught.
    pub(super) fn values(
        &self,
        student: Option<&Alternatives>,
        like: &Tensor,
    ) -> Result<Tensor, GrpoError> {
        let student = student.ok_or_else(missing)?.logprobs.index_select(0, &self.ranks);
        let teacher = &self.teacher.as_ref().ok_or_else(missing)?.logprobs;
        let values = self.divergence.per_token(&student, teacher).to_kind(like.kind());
        Ok(self.spread(&values, like))
    }

    /// Values of the tokens, `[taught tokens]`, in the shape `[batch, seq]` of `like`, whose kind they have.
    fn spread(&self, values: &Tensor, like: &Tensor) -> Tensor {
        let all = Tensor::zeros([dim(like.numel())], (like.kind(), like.device()));
        all.index_copy(0, &self.places, values).view(like.size().as_slice())
    }
}

fn missing() -> GrpoError {
    GrpoError::MissingInput {
        name: "alternatives",
        fix: "let `Policy::score` return `TokenScores::alternatives`, as its documentation says",
    }
}
