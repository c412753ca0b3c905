//! The effect of a hint on one problem, and the measures of how well it fits the policy.

use anyhow::{Context as _, Result};
use hint_affinity::{AffinityAccumulator, ClipRange, HintTransfer, TeacherFit};
use hint_policy::{Policy, ScoreOptions, TokenBatch, TokenRow, TokenScores};
use hint_rollout::{Rollout, RolloutGroup};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Largest distance of a ratio from 1, as in the clipped objective.
const CLIP: f64 = 0.2;

/// The policy's most likely tokens at a position that overlap and teachability look at.
const TOP_K: usize = 20;

/// A group of which some completions are plain and some hinted, and what the policy says of both.
pub(crate) struct Outcome {
    pub(super) plain: Vec<bool>,
    pub(super) hinted: Vec<bool>,
    /// Of hinted completions: the plain policy's ratio to the hinted one's.
    behavior: AffinityAccumulator,
    /// Of plain completions: the hinted policy's ratio to the plain one's.
    teacher: AffinityAccumulator,
    /// Of correct hinted completions.
    transfer: HintTransfer,
    /// Of plain completions, with the hinted policy as the teacher.
    fit: TeacherFit,
}

/// Measures of a hint that need a policy and no training. Nothing where no completion is of the kind that one looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measures {
    /// Hinted minus plain share of correct completions.
    pub(crate) accuracy_gap: f64,
    /// Of hinted completions: their ratio is the plain policy's to the hinted one's.
    pub(crate) affinity: f64,
    /// Of plain completions: their ratio is the hinted policy's to the plain one's.
    pub(crate) teacher_affinity: f64,
    /// Of correct hinted completions, as `HintTransfer` defines them.
    pub(crate) hint_reliance: Option<f64>,
    pub(crate) log_gap: Option<f64>,
    pub(crate) off_context_weight: Option<f64>,
    /// Of plain completions, as `TeacherFit` defines them.
    pub(crate) overlap: Option<f64>,
    pub(crate) compatibility: Option<f64>,
    pub(crate) teachability: Option<f64>,
}

impl Measures {
    /// Each measure by its name.
    pub(crate) fn named(&self) -> [(&'static str, Option<f64>); 9] {
        [
            ("accuracy gap", Some(self.accuracy_gap)),
            ("Affinity", Some(self.affinity)),
            ("Affinity of the teacher", Some(self.teacher_affinity)),
            ("hint reliance", self.hint_reliance),
            ("gap of log-probabilities", self.log_gap),
            ("off-context weight", self.off_context_weight),
            ("overlap", self.overlap),
            ("compatibility", self.compatibility),
            ("teachability", self.teachability),
        ]
    }
}

impl Outcome {
    /// Scores the plain completions under the hint and the hinted ones without it.
    ///
    /// # Errors
    ///
    /// A policy that cannot score them.
    pub(super) fn of(group: &RolloutGroup, policy: &dyn Policy, temperature: f64) -> Result<Self> {
        let side = |hinted: bool| -> Vec<&Rollout> {
            group.rollouts.iter().filter(|one| one.is_hinted() == hinted).collect()
        };
        let (plain, hinted) = (side(false), side(true));
        let verdicts = |side: &[&Rollout]| side.iter().map(|one| one.is_correct()).collect();
        let affinity = AffinityAccumulator::new(ClipRange::symmetric(CLIP)?);
        let mut outcome = Self {
            plain: verdicts(&plain),
            hinted: verdicts(&hinted),
            behavior: affinity.clone(),
            teacher: affinity,
            transfer: HintTransfer::new(),
            fit: TeacherFit::new(),
        };
        let Some(hint) = hinted.iter().find_map(|one| one.hint.as_ref()) else {
            return Ok(outcome);
        };
        let has_tokens = |one: &&&Rollout| !one.completion.tokens.is_empty();
        let plain = plain.iter().filter(has_tokens).copied().collect::<Vec<_>>();
        let hinted = hinted.iter().filter(has_tokens).copied().collect::<Vec<_>>();
        let options = ScoreOptions { temperature, ..ScoreOptions::default() };
        if !hinted.is_empty() {
            let without = score(policy, &group.prompt, &hinted, options, None)?;
            let rows = logprobs(&without, group.prompt.len(), &hinted)?;
            for (rollout, plain) in hinted.iter().zip(rows) {
                let drawn = &rollout.completion.behavior_logprobs;
                push(&mut outcome.behavior, &plain, drawn)?;
                if rollout.is_correct() {
                    outcome.transfer.push(&plain, drawn)?;
                }
            }
        }
        if !plain.is_empty() {
            let top_k = ScoreOptions { top_k: TOP_K, ..options };
            let likeliest = score(policy, &group.prompt, &plain, top_k, None)?;
            let listed = alternatives(&likeliest)?;
            let under = score(policy, &hint.prompt, &plain, options, Some(listed.0))?;
            let own = score(policy, &hint.prompt, &plain, top_k, None)?;
            let rows = logprobs(&under, hint.prompt.len(), &plain)?;
            for (rollout, taught) in plain.iter().zip(rows) {
                push(&mut outcome.teacher, &taught, &rollout.completion.behavior_logprobs)?;
            }
            outcome.fit = fit(listed, alternatives(&under)?.1, alternatives(&own)?.0)?;
        }
        Ok(outcome)
    }
}

/// The measures over some problems.
///
/// # Errors
///
/// None in practice: all outcomes have the same clip range.
pub(crate) fn measures(outcomes: &[&Outcome]) -> Result<Measures> {
    let clip = ClipRange::symmetric(CLIP)?;
    let (mut behavior, mut teacher) =
        (AffinityAccumulator::new(clip), AffinityAccumulator::new(clip));
    let (mut transfer, mut fit) = (HintTransfer::new(), TeacherFit::new());
    let mut gap = 0.0;
    for outcome in outcomes {
        behavior.merge(&outcome.behavior)?;
        teacher.merge(&outcome.teacher)?;
        transfer.merge(&outcome.transfer)?;
        fit.merge(&outcome.fit);
        gap += share(&outcome.hinted) - share(&outcome.plain);
    }
    Ok(Measures {
        accuracy_gap: gap / outcomes.len().max(1) as f64,
        affinity: behavior.affinity().value(),
        teacher_affinity: teacher.affinity().value(),
        hint_reliance: transfer.hint_reliance(),
        log_gap: transfer.gap(),
        off_context_weight: transfer.off_context_weight(),
        overlap: fit.overlap(),
        compatibility: fit.compatibility(),
        teachability: fit.teachability(),
    })
}

/// Share of correct completions.
pub(super) fn share(verdicts: &[bool]) -> f64 {
    let correct = verdicts.iter().filter(|verdict| **verdict).count();
    correct as f64 / verdicts.len().max(1) as f64
}

fn push(into: &mut AffinityAccumulator, other: &[f64], drawn: &[f64]) -> Result<()> {
    for (other, drawn) in other.iter().zip(drawn) {
        into.push(other - drawn, 1.0)?;
    }
    Ok(())
}

/// Scores completions after one prompt, and `alternatives` `[completion tokens, k]` beside them.
fn score(
    policy: &dyn Policy,
    prompt: &[u32],
    rollouts: &[&Rollout],
    options: ScoreOptions,
    alternatives: Option<&Tensor>,
) -> Result<TokenScores> {
    let rows = rollouts.iter().map(|one| TokenRow { prompt, completion: &one.completion.tokens });
    let rows = rows.collect::<Vec<_>>();
    let mut batch = TokenBatch::new(&rows, policy.device())?;
    if let Some(tokens) = alternatives {
        batch = batch.with_alternatives(tokens)?;
    }
    Ok(tch::no_grad(|| policy.score(&batch, &options))?)
}

/// Log-probabilities of the completions' tokens, a row per completion.
fn logprobs(scores: &TokenScores, prompt: usize, rollouts: &[&Rollout]) -> Result<Vec<Vec<f64>>> {
    let prompt = i64::try_from(prompt)?;
    let row = |(at, rollout): (i64, &&Rollout)| -> Result<Vec<f64>> {
        let count = i64::try_from(rollout.completion.tokens.len())?;
        let row = scores.logprobs.get(at).narrow(0, prompt, count);
        Ok(Vec::<f64>::try_from(row.to_kind(Kind::Double))?)
    };
    (0..).zip(rollouts).map(row).collect()
}

/// Tokens and log-probabilities of the alternatives, both `[completion tokens, k]`.
fn alternatives(scores: &TokenScores) -> Result<(&Tensor, &Tensor)> {
    let found = scores.alternatives.as_ref().context("the policy scores no alternatives")?;
    Ok((&found.tokens, &found.logprobs))
}

/// The fit of a teacher. Given are the policy's most likely tokens with their log-probabilities, and the teacher's
/// log-probabilities of them. Last come the teacher's own most likely tokens. All are `[completion tokens, k]`.
fn fit(
    (tokens, policy): (&Tensor, &Tensor),
    teacher: &Tensor,
    likeliest: &Tensor,
) -> Result<TeacherFit> {
    let numbers = |all: &Tensor| {
        Vec::<f64>::try_from(all.detach().to_kind(Kind::Double).contiguous().view([-1]))
    };
    let ids = |all: &Tensor| Vec::<i64>::try_from(all.contiguous().view([-1]));
    let k = usize::try_from(tokens.size()[1])?.max(1);
    let (tokens, likeliest) = (ids(tokens)?, ids(likeliest)?);
    let (policy, teacher) = (numbers(policy)?, numbers(teacher)?);
    let mut fit = TeacherFit::new();
    let rows = policy.chunks(k).zip(teacher.chunks(k));
    for ((policy, teacher), (tokens, own)) in rows.zip(tokens.chunks(k).zip(likeliest.chunks(k))) {
        let shared = tokens.iter().filter(|token| own.contains(token)).count();
        fit.push(policy, teacher, shared)?;
    }
    Ok(fit)
}
