//! Hint reliance, gap and off-context weight against their definitions.
#![expect(clippy::float_cmp, reason = "the compared values are exact by construction")]

use hint_affinity::{AffinityError, HintTransfer};
use proptest::prelude::*;

/// Completions as pairs of plain and hinted log-probabilities.
fn completions() -> impl Strategy<Value = Vec<Vec<(f64, f64)>>> {
    prop::collection::vec(prop::collection::vec((-6.0..0.0_f64, -6.0..0.0_f64), 1..8), 1..8)
}

fn measure(completions: &[Vec<(f64, f64)>]) -> HintTransfer {
    let mut transfer = HintTransfer::new();
    for completion in completions {
        let (plain, hinted): (Vec<f64>, Vec<f64>) = completion.iter().copied().unzip();
        transfer.push(&plain, &hinted).expect("finite rows of one length");
    }
    transfer
}

/// All measures of it.
fn measures(transfer: &HintTransfer) -> [f64; 4] {
    [
        transfer.hint_reliance(),
        transfer.transfer_weight(0.5),
        transfer.gap(),
        transfer.off_context_weight(),
    ]
    .map(|measure| measure.expect("there are tokens"))
}

#[test]
fn the_measures_follow_their_definitions() {
    // By hand: shifts −2, 0 and 1, −1; means −1 and 0; ratios e^−2, 1, 1 (of e), e^−1.
    let transfer = measure(&[vec![(-3.0, -1.0), (-1.0, -1.0)], vec![(-1.0, -2.0), (-2.0, -1.0)]]);
    assert_eq!((transfer.completions(), transfer.tokens()), (2, 4));
    let ratios = ((-2.0_f64).exp() + 1.0 + 1.0 + (-1.0_f64).exp()) / 4.0;
    assert_eq!(measures(&transfer), [-0.5, (-1.0_f64).exp(), 0.5, ratios]);
    // Below the least weight, and a hint that hinders.
    assert_eq!(measures(&measure(&[vec![(-9.0, -1.0)]]))[3], 0.01);
    assert_eq!(measures(&measure(&[vec![(-1.0, -2.0)]]))[..2], [1.0, 1.0]);
}

#[test]
fn nothing_has_no_measure_and_bad_rows_change_nothing() {
    let mut transfer = HintTransfer::new();
    transfer.push(&[], &[]).unwrap();
    assert_eq!((transfer.hint_reliance(), transfer.gap()), (None, None));
    assert_eq!((transfer.off_context_weight(), transfer.transfer_weight(1.0)), (None, None));
    let short = transfer.push(&[-1.0], &[]).unwrap_err();
    assert!(matches!(short, AffinityError::LengthMismatch { found: 0, expected: 1, .. }));
    let wild = transfer.push(&[-1.0, f64::NEG_INFINITY], &[-1.0, -1.0]).unwrap_err();
    assert!(matches!(wild, AffinityError::NotFinite { name: "plain", index: 1, .. }));
    assert_eq!(transfer, HintTransfer::new());
    let narrow = HintTransfer::new().with_bounds(0.5, 2.0).unwrap();
    assert!(transfer.merge(&narrow).is_err());
    assert_eq!(measure(&[vec![(-1.0, -1.0)]]).transfer_weight(0.0), None);
    for (min, max) in [(-0.1, 1.0), (2.0, 1.0), (0.0, f64::INFINITY), (f64::NAN, 1.0)] {
        assert!(HintTransfer::new().with_bounds(min, max).is_err(), "{min}, {max}");
    }
}

proptest! {
    #[test]
    fn pieces_and_order_do_not_matter(completions in completions(), cut in 0..8_usize) {
        let whole = measures(&measure(&completions));
        let (first, second) = completions.split_at(cut.min(completions.len()));
        let mut merged = measure(second);
        merged.merge(&measure(first)).unwrap();
        for (one, other) in whole.iter().zip(measures(&merged)) {
            prop_assert!((one - other).abs() <= 1e-12 * one.abs().max(1e-3), "{one} and {other}");
        }
    }

    #[test]
    fn the_same_prompt_twice_has_no_gap(completions in completions()) {
        let same: Vec<Vec<(f64, f64)>> = completions
            .iter()
            .map(|rows| rows.iter().map(|(plain, _)| (*plain, *plain)).collect())
            .collect();
        prop_assert_eq!(measures(&measure(&same)), [0.0, 1.0, 0.0, 1.0]);
    }
}
