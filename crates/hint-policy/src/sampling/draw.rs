//! One token from one row of probabilities, on the host.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::sampling::mode::{Draw, SamplingMode};
use crate::sampling::params::SamplingParams;

/// A drawn token and its log-probability in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampledToken {
    pub(crate) token: u32,
    pub(crate) logprob: f64,
}

/// Draws from one row of [`host_rows`](super::probs::host_rows).
pub(super) fn draw_on_host(scores: &[f32], how: &Draw<'_>) -> Option<SampledToken> {
    if how.mode() == SamplingMode::Greedy {
        return greedy(scores);
    }
    draw(scores, how.params, how.uniform)
}

/// Draws from `probs`, which sum to 1 up to rounding, after the removals of `params`. `uniform` is
/// in `[0, 1)`. `None` if the probabilities are not finite.
fn draw(probs: &[f32], params: &SamplingParams, uniform: f64) -> Option<SampledToken> {
    if params.truncates() {
        let kept = kept_tokens(probs, params);
        let total: f64 = kept.iter().map(|candidate| f64::from(candidate.prob)).sum();
        return invert(kept.iter().map(|kept| (kept.token, f64::from(kept.prob))), total, uniform);
    }
    let all = (0..).zip(probs).map(|(token, &prob)| (token, f64::from(prob)));
    invert(all, block_total(probs), uniform)
}

/// The most probable token, the lowest id among equals. Its log-probability is 0: greedy decoding
/// draws from a distribution that has only this token. `None` if a value is NaN.
fn greedy(logits: &[f32]) -> Option<SampledToken> {
    let mut best = 0;
    for (index, value) in logits.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if *value > logits[best] {
            best = index;
        }
    }
    let finite = logits.get(best).is_some_and(|value| value.is_finite());
    finite.then(|| SampledToken { token: token_id(best), logprob: 0.0 })
}

/// Sum in eight independent lanes.
fn block_sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; 8];
    let chunks = values.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + f64::from(rest)
}

/// Draws from `(token, prob)` pairs whose probabilities sum to `total`, up to rounding. If rounding leaves
/// the target behind the last of them, its last possible token is drawn.
fn invert(
    candidates: impl Iterator<Item = (u32, f64)>,
    total: f64,
    uniform: f64,
) -> Option<SampledToken> {
    if !total.is_finite() || total <= 0.0 {
        return None;
    }
    let target = uniform * total;
    let mut cumulative = 0.0;
    let mut drawn = None;
    for candidate in candidates.filter(|(_, prob)| *prob > 0.0) {
        drawn = Some(candidate);
        cumulative += candidate.1;
        if cumulative > target {
            break;
        }
    }
    let (token, prob) = drawn?;
    Some(SampledToken { token, logprob: (prob / total).ln() })
}

/// A token that survives so far. Ordered by probability, then by lower id.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    prob: f32,
    token: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prob.total_cmp(&other.prob).then_with(|| other.token.cmp(&self.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Tokens that top-k, top-p and min-p keep, in order of token id. Empty if a probability is NaN.
fn kept_tokens(probs: &[f32], params: &SamplingParams) -> Vec<Candidate> {
    if probs.iter().any(|prob| prob.is_nan()) {
        return Vec::new();
    }
    let mut kept = match params.top_k {
        Some(k) if k < probs.len() => top_k(probs, k),
        _ => above_floor(probs, params),
    };
    if params.top_p < 1.0 {
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let total: f64 = kept.iter().map(|candidate| f64::from(candidate.prob)).sum();
        // Without top-k the floor has removed tokens that top-p would remove, so the total is that
        // of the row.
        let total = if params.top_k.is_some() { total } else { block_total(probs) };
        let mut cumulative = 0.0;
        let enough = kept.iter().position(|candidate| {
            cumulative += f64::from(candidate.prob);
            cumulative >= params.top_p * total
        });
        kept.truncate(enough.map_or(kept.len(), |index| index + 1));
    }
    if params.min_p > 0.0 {
        let best = kept.iter().map(|candidate| candidate.prob).fold(0.0, f32::max);
        kept.retain(|candidate| f64::from(candidate.prob) >= params.min_p * f64::from(best));
    }
    kept.sort_unstable_by_key(|candidate| candidate.token);
    kept
}

/// The `k` most probable tokens, by a heap of `k` instead of sorting the vocabulary.
fn top_k(probs: &[f32], k: usize) -> Vec<Candidate> {
    use std::cmp::Reverse;

    let mut heap: BinaryHeap<Reverse<Candidate>> = BinaryHeap::with_capacity(k + 1);
    let mut floor = f32::NEG_INFINITY;
    for (index, &prob) in probs.iter().enumerate() {
        // Among equals the lower id stays, so a later equal never replaces anything.
        if heap.len() < k || prob > floor {
            heap.push(Reverse(Candidate { prob, token: token_id(index) }));
            if heap.len() > k {
                heap.pop();
            }
            floor = heap.peek().map_or(floor, |Reverse(candidate)| candidate.prob);
        }
    }
    heap.into_iter().map(|Reverse(candidate)| candidate).collect()
}

/// All tokens except those that top-p or min-p remove for certain.
///
/// The tokens below `(1 − top_p) · total / vocab` have together less than `1 − top_p` of the total.
/// So top-p keeps none of them, and few remain to be sorted.
fn above_floor(probs: &[f32], params: &SamplingParams) -> Vec<Candidate> {
    let top_p_floor = (1.0 - params.top_p) * block_total(probs) / probs.len() as f64;
    let best = probs.iter().copied().fold(0.0, f32::max);
    // top-p always keeps the most probable token, so `min_p` can be applied early to it.
    let min_p_floor = params.min_p * f64::from(best);
    // Half of the bound stays clear of rounding.
    let floor = 0.5 * top_p_floor.max(if params.top_p < 1.0 { 0.0 } else { min_p_floor });
    probs
        .iter()
        .enumerate()
        .filter(|&(_, &prob)| f64::from(prob) >= floor)
        .map(|(index, &prob)| Candidate { prob, token: token_id(index) })
        .collect()
}

fn block_total(probs: &[f32]) -> f64 {
    probs.chunks(256).map(block_sum).sum()
}

fn token_id(index: usize) -> u32 {
    u32::try_from(index).expect("vocabularies are smaller than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
        let mut params = SamplingParams::default();
        change(&mut params);
        params
    }

    #[track_caller]
    fn check_kept(change: impl FnOnce(&mut SamplingParams), expected: &[u32]) {
        // Cumulative by rank: 3 → 0.4, 0 → 0.7, 1 → 0.8, 4 → 0.9, 2 → 1.0.
        let probs = [0.3, 0.1, 0.1, 0.4, 0.1];
        let kept = kept_tokens(&probs, &params(change));
        assert_eq!(kept.iter().map(|kept| kept.token).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn truncation_keeps_the_most_probable_tokens() {
        check_kept(|params| params.top_k = Some(1), &[3]);
        check_kept(|params| params.top_k = Some(3), &[0, 1, 3]);
        check_kept(|params| params.top_k = Some(99), &[0, 1, 2, 3, 4]);
        check_kept(|params| params.top_p = 0.39, &[3]);
        check_kept(|params| params.top_p = 0.5, &[0, 3]);
        check_kept(|params| params.top_p = 0.75, &[0, 1, 3]);
        check_kept(|params| params.min_p = 0.5, &[0, 3]);
        check_kept(|params| params.min_p = 1.0, &[3]);
        // After top-k 2 the total is 0.7: 0.4 / 0.7 is below 0.6, so both stay.
        check_kept(
            |params| {
                params.top_k = Some(2);
                params.top_p = 0.6;
            },
            &[0, 3],
        );
    }

    #[test]
    fn logprob_is_that_of_the_renormalized_distribution() {
        let drawn = draw(&[0.3, 0.1, 0.1, 0.4, 0.1], &params(|params| params.top_k = Some(2)), 0.0);
        let drawn = drawn.unwrap();
        assert_eq!(drawn.token, 0);
        assert!((drawn.logprob - (0.3_f64 / 0.7).ln()).abs() < 1e-7);
    }

    #[test]
    fn inversion_covers_the_unit_interval() {
        #[track_caller]
        fn check(uniform: f64, expected: u32) {
            let probs = [0.0, 0.25, 0.0, 0.5, 0.25, 0.0];
            let drawn = draw(&probs, &SamplingParams::default(), uniform).unwrap();
            assert_eq!(drawn.token, expected);
        }
        check(0.0, 1);
        check(0.249, 1);
        check(0.25, 3);
        check(0.749, 3);
        check(0.75, 4);
        check(1.0 - f64::EPSILON / 2.0, 4);
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        assert_eq!(greedy(&[1.0, 3.0, 3.0]).map(|drawn| drawn.token), Some(1));
        assert_eq!(greedy(&[f32::NAN, 1.0]), None);
        assert_eq!(greedy(&[1.0, f32::NAN]), None);
    }

    #[test]
    fn not_finite_probabilities_are_refused() {
        assert_eq!(draw(&[f32::NAN, 1.0], &SamplingParams::default(), 0.5), None);
        assert_eq!(draw(&[f32::NAN, 1.0], &params(|params| params.top_k = Some(1)), 0.5), None);
        assert_eq!(draw(&[0.0, 0.0], &SamplingParams::default(), 0.5), None);
    }
}
