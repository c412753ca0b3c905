//! The definition on a few tokens, by hand, and what is rejected.
#![expect(clippy::float_cmp, reason = "the compared values are exact by construction")]

use hint_affinity::{
    Affinity, AffinityAccumulator, AffinityError, AffinityVariant, ClipRange, affinity,
    affinity_masked,
};
use ndarray::array;

fn clip() -> ClipRange {
    ClipRange::symmetric(0.2).expect("0.2 is valid")
}

#[track_caller]
fn check_close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-14, "{actual} is not {expected}");
}

#[test]
fn weights_enter_share_mean_and_spread() {
    // Band: d = 0.1 (w 3) and d = -0.1 (w 1); outside: d = 1 (w 4).
    // EUR = 4/8; mean = (0.3 - 0.1)/4 = 0.05; var = (3*0.05² + 0.15²)/4 = 0.0075.
    let found = affinity(&[0.1, -0.1, 1.0], &[3.0, 1.0, 4.0], clip()).expect("valid");
    check_close(found.eur(), 0.5);
    check_close(found.uc(), 0.0075_f64.sqrt());
    check_close(found.value(), 0.5 * (-0.0075_f64.sqrt() / (1.2_f64.ln() / 2.0)).exp());
}

#[test]
fn first_variant_counts_tokens_and_uses_the_variance_of_the_ratio() {
    // Ratios 0.9 and 1.1 in the band, 2 outside: EUR = 2/3, population variance 0.01.
    let mut v1 = AffinityAccumulator::with_variant(clip(), AffinityVariant::V1);
    v1.extend(&[0.9_f64.ln(), 1.1_f64.ln(), 2.0_f64.ln()], &[7.0, 0.0, 1.0]).expect("valid");
    check_close(v1.affinity().eur(), 2.0 / 3.0);
    check_close(v1.affinity().uc(), (-0.01_f64).exp());
    check_close(v1.affinity().value(), 2.0 / 3.0 * (-0.01_f64).exp());
}

#[test]
fn both_ends_of_the_band_are_inside() {
    let band = clip().log_range();
    let ends = [*band.start(), *band.end()];
    assert_eq!(affinity(&ends, &[1.0, 1.0], clip()).expect("valid").eur(), 1.0);
    let beyond = [ends[0].next_down(), ends[1].next_up()];
    assert_eq!(affinity(&beyond, &[1.0, 1.0], clip()).expect("valid"), Affinity::ZERO);
}

#[test]
fn the_upper_distance_alone_sets_tau() {
    let clip = ClipRange::new(0.2, 0.28).expect("valid");
    check_close(clip.tau(), 1.28_f64.ln() / 2.0);
    check_close(*clip.log_range().start(), 0.8_f64.ln());
}

#[test]
fn no_weight_and_no_tokens_give_zero() {
    assert_eq!(affinity(&[], &[], clip()).expect("valid"), Affinity::ZERO);
    assert_eq!(affinity(&[0.0], &[0.0], clip()).expect("valid"), Affinity::ZERO);
}

#[test]
fn a_spread_far_below_the_mean_keeps_its_digits() {
    // Two tokens 2e-10 apart around 0.1; E[d²] - E[d]² in doubles would be rounding noise of 1e-18.
    let (low, high) = (0.1 - 1e-10, 0.1 + 1e-10);
    let found = affinity(&[low, high], &[1.0, 1.0], clip()).expect("valid").uc();
    let expected = (high - low) / 2.0;
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn bad_input_is_rejected_with_its_position() {
    let length = affinity(&[0.0], &[], clip());
    assert!(matches!(length, Err(AffinityError::LengthMismatch { found: 0, expected: 1, .. })));
    let not_finite = affinity(&[0.0, f64::NAN], &[1.0, 1.0], clip());
    assert!(matches!(
        not_finite,
        Err(AffinityError::NotFinite { name: "log_ratios", index: 1, .. })
    ));
    let negative = affinity(&[0.0], &[-1.0], clip());
    assert!(matches!(negative, Err(AffinityError::NegativeWeight { index: 0, .. })));
    let infinite = affinity(&[0.0], &[f64::INFINITY], clip());
    assert!(matches!(infinite, Err(AffinityError::NotFinite { name: "weights", .. })));
    let shape = affinity_masked(
        array![[0.0]].view(),
        array![[1.0, 1.0]].view(),
        array![[true]].view(),
        clip(),
    );
    assert!(matches!(shape, Err(AffinityError::ShapeMismatch { name: "weights", .. })));
    for (low, high) in [(0.0, 0.2), (1.0, 0.2), (0.2, 0.0), (f64::NAN, 0.2), (0.2, f64::INFINITY)] {
        assert!(
            matches!(ClipRange::new(low, high), Err(AffinityError::ClipRange { .. })),
            "{low} {high}"
        );
    }
}

#[test]
fn a_failed_call_leaves_the_accumulator_unchanged() {
    let mut accumulator = AffinityAccumulator::new(clip());
    accumulator.push(0.1, 1.0).expect("valid");
    let before = accumulator.clone();
    assert!(accumulator.extend(&[0.0, f64::NAN], &[1.0, 1.0]).is_err());
    assert_eq!(accumulator, before);
    let other = AffinityAccumulator::with_variant(clip(), AffinityVariant::V1);
    assert!(matches!(
        accumulator.merge(&other),
        Err(AffinityError::MergeMismatch { what: "variants" })
    ));
    assert_eq!(accumulator, before);
}

#[test]
fn settings_round_trip_and_reject_what_is_wrong() {
    let text = serde_json::to_string(&clip()).expect("serializes");
    assert_eq!(serde_json::from_str::<ClipRange>(&text).expect("parses"), clip());
    assert!(serde_json::from_str::<ClipRange>(r#"{"clip_low":2.0,"clip_high":0.2}"#).is_err());
    assert!(serde_json::from_str::<AffinityVariant>(r#"{"type":"v1","x":1}"#).is_err());
    let v1: AffinityVariant = serde_json::from_str(r#"{"type":"v1"}"#).expect("parses");
    assert_eq!(v1, AffinityVariant::V1);
}
