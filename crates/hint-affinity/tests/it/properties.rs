//! Algebra of Affinity on random updates.
#![expect(clippy::float_cmp, reason = "the compared values are exact by construction")]

use hint_affinity::{Affinity, AffinityAccumulator, AffinityVariant, ClipRange, affinity};
use proptest::prelude::*;

fn clip() -> ClipRange {
    ClipRange::symmetric(0.2).expect("0.2 is valid")
}

/// Tokens as `(log_ratio, weight)`, about half of them inside the band.
fn tokens() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-0.4..0.4_f64, 0.0..3.0_f64), 1..60)
}

fn measure(tokens: &[(f64, f64)]) -> Affinity {
    let (log_ratios, weights): (Vec<f64>, Vec<f64>) = tokens.iter().copied().unzip();
    affinity(&log_ratios, &weights, clip()).expect("valid tokens")
}

fn close(actual: f64, expected: f64) -> Result<(), TestCaseError> {
    // UC is a square root: a variance of rounding size 1e-33 shows as 1e-17 when all deviations are equal.
    prop_assert!(
        (actual - expected).abs() <= 1e-12 * expected.abs() + 1e-15,
        "{actual} is not {expected}"
    );
    Ok(())
}

fn all_close(actual: Affinity, expected: Affinity) -> Result<(), TestCaseError> {
    close(actual.eur(), expected.eur())?;
    close(actual.uc(), expected.uc())?;
    close(actual.value(), expected.value())
}

proptest! {
    #[test]
    fn affinity_lies_between_zero_and_one(tokens in tokens()) {
        let got = measure(&tokens);
        prop_assert!((0.0..=1.0).contains(&got.value()));
        prop_assert!((0.0..=1.0).contains(&got.eur()));
        prop_assert!(got.value() <= got.eur());
        prop_assert!(got.uc() >= 0.0);
    }

    #[test]
    fn on_policy_affinity_is_exactly_one(weights in prop::collection::vec(0.0..3.0_f64, 1..60)) {
        let tokens: Vec<_> = weights.iter().map(|weight| (0.0, weight + 1e-3)).collect();
        prop_assert_eq!(measure(&tokens).value(), 1.0);
    }

    #[test]
    fn off_policy_affinity_is_below_one(tokens in tokens(), far in 0.3..2.0_f64) {
        let mut tokens = tokens;
        tokens.push((far, 1.0));
        prop_assert!(measure(&tokens).value() < 1.0);
    }

    #[test]
    fn scaling_all_weights_changes_nothing(tokens in tokens(), scale in 1e-3..1e3_f64) {
        let scaled: Vec<_> = tokens.iter().map(|&(d, w)| (d, w * scale)).collect();
        all_close(measure(&scaled), measure(&tokens))?;
    }

    #[test]
    fn a_token_without_weight_changes_nothing(tokens in tokens(), log_ratio in -1.0..1.0_f64) {
        let mut longer = tokens.clone();
        longer.push((log_ratio, 0.0));
        prop_assert_eq!(measure(&longer), measure(&tokens));
    }

    #[test]
    fn more_spread_in_the_band_never_raises_affinity(tokens in tokens(), factor in 0.0..1.0_f64) {
        let wide: Vec<_> = tokens.iter().filter(|(d, _)| clip().contains(*d)).copied().collect();
        let narrow: Vec<_> = wide.iter().map(|&(d, w)| (d * factor, w)).collect();
        prop_assert!(measure(&wide).value() <= measure(&narrow).value() + 1e-15);
    }

    #[test]
    fn order_and_splits_do_not_matter(
        tokens in tokens(),
        order in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        v1 in any::<bool>(),
    ) {
        let variant = if v1 { AffinityVariant::V1 } else { AffinityVariant::Weighted };
        let mut whole = AffinityAccumulator::with_variant(clip(), variant);
        for &(d, w) in &tokens {
            whole.push(d, w).expect("valid");
        }
        let mut shuffled = tokens.clone();
        shuffled.rotate_left(order.index(tokens.len()));
        shuffled.reverse();
        let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
        let mut first = AffinityAccumulator::with_variant(clip(), variant);
        let mut second = first.clone();
        for (part, tokens) in [(&mut first, left), (&mut second, right)] {
            let (log_ratios, weights): (Vec<f64>, Vec<f64>) = tokens.iter().copied().unzip();
            part.extend(&log_ratios, &weights).expect("valid");
        }
        second.merge(&first).expect("same settings");
        prop_assert_eq!(second.tokens(), tokens.len());
        all_close(second.affinity(), whole.affinity())?;
    }
}
