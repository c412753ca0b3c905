//! Overlap, compatibility and teachability against numbers by hand.

use hint_affinity::{AffinityError, TeacherFit};

fn logs<const K: usize>(probabilities: [f64; K]) -> [f64; K] {
    probabilities.map(f64::ln)
}

fn close(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < 1e-15)
}

#[test]
fn the_measures_follow_their_definitions() {
    let mut fit = TeacherFit::new();
    fit.push(&logs([0.5, 0.25]), &logs([0.25, 0.5]), 2).unwrap();
    fit.push(&logs([0.5, 0.5]), &logs([0.125, 0.125]), 1).unwrap();
    assert_eq!((fit.positions(), fit.overlap()), (2, Some(0.75)));
    // By hand: 0.75 and 0.25; (0.5 − 0.25)·ln 2 and 2·ln 2.
    let divergences = [0.25 * 2.0_f64.ln(), 2.0 * 2.0_f64.ln()];
    assert!(close(fit.compatibility(), 0.5));
    assert!(close(fit.divergence(), f64::midpoint(divergences[0], divergences[1])));
    assert!(close(fit.teachability(), f64::midpoint(0.75 * divergences[0], 0.25 * divergences[1])));
}

#[test]
fn a_teacher_off_the_support_diverges_more_and_teaches_less() {
    let (policy, within, outside) = (logs([0.6, 0.3]), logs([0.1, 0.8]), logs([1e-4, 1e-4]));
    let fit = |teacher: &[f64]| {
        let mut fit = TeacherFit::new();
        fit.push(&policy, teacher, 2).unwrap();
        fit
    };
    let (within, outside) = (fit(&within), fit(&outside));
    assert!(outside.divergence() > within.divergence());
    assert!(outside.teachability() < within.teachability());
}

#[test]
fn the_tokens_outside_the_rows_keep_the_divergence_from_falling_below_zero() {
    let measure = |policy: [f64; 2], teacher: [f64; 2]| {
        let mut fit = TeacherFit::new();
        fit.push(&logs(policy), &logs(teacher), 2).unwrap();
        fit
    };
    // By hand: the teacher leaves nothing for the policy's other quarter.
    let whole = measure([0.5, 0.25], [0.5, 0.5]);
    let expected = 0.25 * 0.5_f64.ln() + 0.25 * (0.25 / 1e-7_f64).ln();
    assert!(whole.divergence().is_some_and(|found| (found - expected).abs() < 1e-9));
    assert!(whole.teachability() >= Some(0.0));
    // Each listed token is likelier under the teacher, and the bucket is less so.
    let part = measure([0.2, 0.1], [0.4, 0.2]);
    let expected = 0.3 * 0.5_f64.ln() + 0.7 * (0.7 / 0.4_f64).ln();
    assert!(close(part.divergence(), expected) && expected > 0.0);
    assert_eq!(measure([0.5, 0.5], [0.5, 0.5]).divergence(), Some(0.0));
}

#[test]
fn pieces_do_not_matter_and_bad_rows_change_nothing() {
    let rows = [logs([0.5, 0.25]), logs([0.25, 0.125]), logs([0.7, 0.1])];
    let measure = |rows: &[[f64; 2]]| {
        let mut fit = TeacherFit::new();
        for row in rows {
            fit.push(row, &logs([0.5, 0.5]), 1).unwrap();
        }
        fit
    };
    let mut merged = measure(&rows[..1]);
    merged.merge(&measure(&rows[1..]));
    assert_eq!(merged, measure(&rows));
    let before = merged.clone();
    let shared = merged.push(&[-1.0], &[-1.0], 2).unwrap_err();
    assert_eq!(shared, AffinityError::SharedTokens { found: 2, expected: 1 });
    assert!(merged.push(&[-1.0], &[], 0).is_err());
    let positive = merged.push(&[-1.0, -1.0], &[1e-6, 0.5], 0).unwrap_err();
    let expected = AffinityError::PositiveLogProbability { name: "teacher", index: 1, found: 0.5 };
    assert_eq!(positive, expected);
    assert!(merged.push(&[f64::NEG_INFINITY], &[-1.0], 0).is_err());
    assert_eq!(merged, before);
    assert_eq!(TeacherFit::new().overlap(), None);
}
