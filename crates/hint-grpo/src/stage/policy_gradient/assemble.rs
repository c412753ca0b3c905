//! From groups of rollouts to training samples. The only code that reads [`RatioScheme`].

use std::sync::Arc;

use hint_rollout::sample::{AppliedHint, RolloutSource};
use hint_rollout::{Rollout, RolloutGroup};

use crate::learner::{Contexts, Sample, SampleBatch};
use crate::objective::{LossConfig, RatioScheme, SftTerm};

/// The samples of `groups`, without the masked ones, and for each rollout the index of its sample.
pub(super) fn samples(
    groups: Vec<RolloutGroup>,
    advantages: &[Vec<f64>],
    loss: &LossConfig,
) -> (SampleBatch, Vec<Vec<Option<usize>>>) {
    let count = groups.len();
    let (mut samples, mut indices) = (Vec::new(), Vec::with_capacity(count));
    for (index, (group, advantages)) in groups.into_iter().zip(advantages).enumerate() {
        let plain = Arc::<[u32]>::from(group.prompt.as_slice());
        supervised(&group, index, &plain, loss.sft, &mut samples);
        let rewards = group.rewards();
        let zero_variance = rewards.iter().all(|reward| *reward == rewards[0]);
        let places = 0..group.rollouts.len();
        let is_taught = places.map(|place| group.teacher_of(place).is_some()).collect::<Vec<_>>();
        let teacher = group.teacher.map(|teacher| {
            let prompt = |hint: &Arc<AppliedHint>| Arc::<[u32]>::from(hint.prompt.as_slice());
            (prompt(&teacher.hint), teacher.contrast.as_ref().map(prompt))
        });
        let mut hinted = Prompts::default();
        let mut of_group = Vec::with_capacity(group.rollouts.len());
        for (place, (rollout, &advantage)) in group.rollouts.into_iter().zip(advantages).enumerate()
        {
            of_group.push((!rollout.is_masked).then_some(samples.len()));
            if rollout.is_masked {
                continue;
            }
            let source = rollout.source();
            let sampled = match &rollout.hint {
                Some(hint) => hinted.of(hint),
                None => Arc::clone(&plain),
            };
            let mut contexts = contexts(loss.ratio_scheme, &rollout, &plain, sampled);
            if let Some((prompt, contrast)) = teacher.as_ref().filter(|_| is_taught[place]) {
                contexts = contexts.with_teacher(Arc::clone(prompt), contrast.clone());
            }
            let completion = rollout.completion;
            let mut sample = Sample::new(
                index,
                Arc::clone(&plain),
                completion.tokens,
                completion.behavior_logprobs,
            )
            .with_source(source)
            .with_contexts(contexts)
            .with_loss_mask(completion.loss_mask)
            .with_advantage(advantage);
            sample.version = completion.version;
            sample.zero_variance = zero_variance;
            samples.push(sample);
        }
        indices.push(of_group);
    }
    (SampleBatch::new(count, samples), indices)
}

/// The prompts that a rollout is scored under.
fn contexts(
    scheme: RatioScheme,
    rollout: &Rollout,
    plain: &Arc<[u32]>,
    sampled: Arc<[u32]>,
) -> Contexts {
    let contexts = Contexts::plain(Arc::clone(plain)).with_sampled(Arc::clone(&sampled));
    if !rollout.is_hinted() {
        return contexts;
    }
    let plain = Arc::clone(plain);
    let (numerator, denominator) = match scheme {
        RatioScheme::Plain => (Arc::clone(&plain), Some(plain)),
        RatioScheme::Hinted => (Arc::clone(&sampled), Some(sampled)),
        RatioScheme::OffContext => (plain, Some(sampled)),
        RatioScheme::Demonstration => (plain, None),
    };
    contexts.with_ratio(numerator, denominator)
}

/// The prompts of hints, each made once: the rollouts of a group share one or few hints.
#[derive(Default)]
struct Prompts(Vec<(Arc<AppliedHint>, Arc<[u32]>)>);

impl Prompts {
    fn of(&mut self, hint: &Arc<AppliedHint>) -> Arc<[u32]> {
        if let Some((_, prompt)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, hint)) {
            return Arc::clone(prompt);
        }
        let prompt = Arc::<[u32]>::from(hint.prompt.as_slice());
        self.0.push((Arc::clone(hint), Arc::clone(&prompt)));
        prompt
    }
}

/// The samples of the supervised loss: demonstrations kept aside, and the prefix of prefixed rollouts, one
/// per group.
fn supervised(
    group: &RolloutGroup,
    index: usize,
    plain: &Arc<[u32]>,
    SftTerm { demonstration_coef, prefix_coef }: SftTerm,
    samples: &mut Vec<Sample>,
) {
    if demonstration_coef != 0.0 {
        samples.extend(group.supervised.iter().map(|rollout| {
            let response = rollout.completion.tokens.clone();
            Sample::demonstration(index, Arc::clone(plain), response, demonstration_coef)
                .with_loss_mask(rollout.completion.loss_mask.clone())
        }));
    }
    let hint = group.hint().filter(|hint| prefix_coef != 0.0 && hint.prefix_len > 0);
    if let Some(hint) = hint {
        let (prompt, prefix) = hint.prompt.split_at(hint.prompt.len() - hint.prefix_len);
        samples.push(
            Sample::demonstration(index, prompt, prefix.to_vec(), prefix_coef)
                .with_source(RolloutSource::Prefix),
        );
    }
}
