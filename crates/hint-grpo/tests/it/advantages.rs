//! The algebra of advantages.

use hint_grpo::advantage::{
    Baseline, BatchNormalized, GroupNormalized, LeaveOneOut, QuantileBaseline, ScoredGroup,
    Whitened,
};
use hint_grpo::{AdvantageEstimator, GrpoError};
use proptest::prelude::*;

fn estimate(estimator: &mut dyn AdvantageEstimator, rewards: &[f64]) -> Vec<f64> {
    estimator.estimate(&ScoredGroup::new("p", rewards)).expect("a group of two or more")
}

fn scaled() -> GroupNormalized {
    GroupNormalized::new(Baseline::Group)
}

fn centered() -> GroupNormalized {
    GroupNormalized::mean_only(Baseline::Group)
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
    }
}

#[test]
fn rewards_are_centered_and_scaled_by_the_sample_deviation() {
    // Mean 1/2, sample deviation sqrt(4 · 1/4 / 3) = 1/√3.
    let expected = 0.5 / (1.0 / 3.0_f64.sqrt() + 1e-4);
    let actual = estimate(&mut scaled(), &[1.0, 0.0, 0.0, 1.0]);
    assert_close(&actual, &[expected, -expected, -expected, expected], 1e-12);
}

#[test]
fn equal_rewards_give_exactly_zero() {
    assert_eq!(estimate(&mut scaled(), &[0.1; 7]), [0.0; 7]);
    assert_eq!(estimate(&mut centered(), &[0.1; 7]), [0.0; 7]);
}

#[test]
fn leave_one_out_subtracts_the_mean_of_the_others() {
    assert_close(&estimate(&mut LeaveOneOut, &[3.0, 1.0, 2.0]), &[1.5, -1.5, 0.0], 1e-12);
}

#[test]
fn the_union_baseline_gives_shared_success_a_positive_weight() {
    let group = ScoredGroup::new("p", &[1.0, 1.0]).with_replaced(&[0.0, 0.0]);
    let own = GroupNormalized::mean_only(Baseline::Group).estimate(&group).expect("two");
    assert_eq!(own, [0.0, 0.0]);
    let union = GroupNormalized::mean_only(Baseline::Union).estimate(&group).expect("two");
    assert_eq!(union, [0.5, 0.5]);
}

fn estimate_batch(estimator: &mut dyn AdvantageEstimator, groups: [&[f64]; 2]) -> Vec<Vec<f64>> {
    let groups = groups.map(|rewards| ScoredGroup::new("p", rewards));
    estimator.estimate_batch(&groups).expect("groups of two or more")
}

#[test]
fn batch_normalization_centers_by_group_and_scales_by_the_batch() {
    // Group means 1/2 and 2. The rewards 0, 1, 1, 3 have mean 5/4 and a sample variance of
    // (25/16 + 1/16 + 1/16 + 49/16) / 3 = 19/12.
    let actual =
        estimate_batch(&mut BatchNormalized::new(Baseline::Group), [&[0.0, 1.0], &[1.0, 3.0]]);
    let std = (19.0_f64 / 12.0).sqrt() + 1e-4;
    assert_close(&actual[0], &[-0.5 / std, 0.5 / std], 1e-12);
    assert_close(&actual[1], &[-1.0 / std, 1.0 / std], 1e-12);
}

#[test]
fn whitening_makes_a_uniformly_better_group_train() {
    // Rewards 0, 0, 1, 1: mean 1/2, sample deviation 1/√3.
    let expected = 0.5 / (1.0 / 3.0_f64.sqrt() + 1e-4);
    let actual = estimate_batch(&mut Whitened::new(), [&[0.0, 0.0], &[1.0, 1.0]]);
    assert_close(&actual[0], &[-expected, -expected], 1e-12);
    assert_close(&actual[1], &[expected, expected], 1e-12);
    let mut with_baseline = Whitened::with_group_baseline(Baseline::Group);
    let actual = estimate_batch(&mut with_baseline, [&[0.0, 0.0], &[1.0, 1.0]]);
    assert_eq!(actual, [[0.0, 0.0], [0.0, 0.0]]);
}

#[test]
fn whitening_after_the_group_mean_has_unit_deviation_over_the_batch() {
    // Centered rewards −1/2, 1/2, −1, 1: mean 0, sample deviation sqrt(2.5 / 3).
    let std = (2.5_f64 / 3.0).sqrt() + 1e-4;
    let mut estimator = Whitened::with_group_baseline(Baseline::Group);
    let actual = estimate_batch(&mut estimator, [&[0.0, 1.0], &[1.0, 3.0]]);
    assert_close(&actual[0], &[-0.5 / std, 0.5 / std], 1e-12);
    assert_close(&actual[1], &[-1.0 / std, 1.0 / std], 1e-12);
}

#[test]
fn whitening_takes_groups_of_one_completion() {
    let groups = [ScoredGroup::new("a", &[0.0]), ScoredGroup::new("b", &[2.0])];
    let actual = Whitened::new().estimate_batch(&groups).expect("no group is too small");
    let expected = 1.0 / (2.0_f64.sqrt() + 1e-4);
    assert_close(&actual.concat(), &[-expected, expected], 1e-12);
    assert_eq!(Whitened::new().estimate(&groups[1]).expect("one completion"), [0.0]);
}

#[test]
fn a_low_quantile_pushes_rare_successes_up_and_a_high_one_rare_failures_down() {
    let baseline = Baseline::Group;
    let mut quantile = QuantileBaseline::new(0.4, baseline).unscaled();
    // A quarter of successes: 0.4 · 4 = 1.6, the second smallest reward is 0.
    assert_eq!(estimate(&mut quantile, &[0.0, 1.0, 0.0, 0.0]), [0.0, 1.0, 0.0, 0.0]);
    // Three quarters of successes: the second smallest is 1.
    assert_eq!(estimate(&mut quantile, &[1.0, 1.0, 0.0, 1.0]), [0.0, 0.0, -1.0, 0.0]);
    // 0.3 · 10 is 3.0000000000000004 in binary, and yet the third smallest is meant.
    let rewards = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let mut third = QuantileBaseline::new(0.3, baseline).unscaled();
    assert_eq!(estimate(&mut third, &rewards), rewards);
    let mut maximum = QuantileBaseline::max(baseline);
    assert_eq!(estimate(&mut maximum, &[0.25, 1.0, 0.5]), [-0.75, 0.0, -0.5]);
    // Scaled by the sample deviation of 0, 1, 0, 0, which is 1/2.
    let scaled = estimate(&mut QuantileBaseline::new(0.4, baseline), &[0.0, 1.0, 0.0, 0.0]);
    assert_close(&scaled, &[0.0, 1.0 / (0.5 + 1e-4), 0.0, 0.0], 1e-12);
}

#[test]
fn the_default_batch_is_one_group_after_the_other() {
    let actual = estimate_batch(&mut LeaveOneOut, [&[0.0, 1.0], &[3.0, 1.0]]);
    assert_eq!(actual, [[-1.0, 1.0], [2.0, -2.0]]);
}

#[test]
fn a_single_completion_is_refused() {
    let baseline = Baseline::Group;
    let estimators: [Box<dyn AdvantageEstimator>; 5] = [
        Box::new(scaled()),
        Box::new(centered()),
        Box::new(LeaveOneOut),
        Box::new(BatchNormalized::new(baseline)),
        Box::new(QuantileBaseline::new(0.5, baseline)),
    ];
    for mut estimator in estimators {
        let error = estimator.estimate(&ScoredGroup::new("p", &[1.0])).expect_err("too small");
        assert!(matches!(error, GrpoError::GroupTooSmall { found: 1, min: 2, .. }));
    }
}

fn rewards() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-10.0..10.0_f64, 2..12)
}

proptest! {
    #[test]
    fn advantages_sum_to_zero(rewards in rewards()) {
        for estimator in [&mut scaled() as &mut dyn AdvantageEstimator, &mut centered(), &mut LeaveOneOut] {
            let sum = estimate(estimator, &rewards).iter().sum::<f64>();
            prop_assert!(sum.abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn a_constant_added_to_all_rewards_changes_nothing(rewards in rewards(), shift in -5.0..5.0_f64) {
        let shifted = rewards.iter().map(|reward| reward + shift).collect::<Vec<_>>();
        for estimator in [&mut scaled() as &mut dyn AdvantageEstimator, &mut centered(), &mut LeaveOneOut] {
            assert_close(&estimate(estimator, &shifted), &estimate(estimator, &rewards), 1e-6);
        }
    }

    #[test]
    fn scaling_rewards_scales_centered_advantages_and_not_scaled_ones(
        rewards in rewards(), factor in 0.5..4.0_f64,
    ) {
        let multiplied = rewards.iter().map(|reward| reward * factor).collect::<Vec<_>>();
        let expected = estimate(&mut centered(), &rewards);
        let expected = expected.iter().map(|value| value * factor).collect::<Vec<_>>();
        assert_close(&estimate(&mut centered(), &multiplied), &expected, 1e-9);
        let spread = rewards.iter().fold(0.0_f64, |most, reward| most.max((reward - rewards[0]).abs()));
        // The 1e-4 in the denominator breaks the invariance for tiny deviations.
        prop_assume!(spread > 1.0);
        assert_close(&estimate(&mut scaled(), &multiplied), &estimate(&mut scaled(), &rewards), 2e-3);
    }

    #[test]
    fn advantages_permute_with_their_completions(rewards in rewards(), shift in 0_usize..12) {
        let mut rotated = rewards.clone();
        rotated.rotate_left(shift % rewards.len());
        let mut expected = estimate(&mut scaled(), &rewards);
        expected.rotate_left(shift % rewards.len());
        assert_close(&estimate(&mut scaled(), &rotated), &expected, 1e-9);
    }

    #[test]
    fn whitened_advantages_have_mean_zero_over_the_batch(
        left in rewards(), right in rewards(), grouped in any::<bool>(),
    ) {
        let group = Whitened::with_group_baseline(Baseline::Group);
        let mut estimator = if grouped { group } else { Whitened::new() };
        let advantages = estimate_batch(&mut estimator, [&left, &right]).concat();
        prop_assert!(advantages.iter().sum::<f64>().abs() < 1e-9);
        let variance = advantages.iter().map(|value| value * value).sum::<f64>()
            / (advantages.len() as f64 - 1.0);
        // The 1e-4 in the denominator keeps it below 1.
        prop_assert!(variance <= 1.0 && variance > 0.99 || variance == 0.0, "{variance}");
    }

    #[test]
    fn nothing_is_above_the_maximum_baseline(rewards in rewards()) {
        let advantages = estimate(&mut QuantileBaseline::max(Baseline::Group), &rewards);
        prop_assert!(advantages.iter().all(|value| *value <= 0.0));
        prop_assert!(advantages.contains(&0.0));
    }
}
