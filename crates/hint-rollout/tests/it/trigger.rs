//! The trigger axis.

use hint_rollout::Seed;
use hint_rollout::collect::hinted::{HintTrigger, Trigger, TriggerInput};
use hint_rollout::run::{RunPoint, RunProgress, ValueSchedule};

#[test]
fn triggers_fire_on_counts() {
    let below = HintTrigger::SuccessRateBelow { rate: 0.5 };
    for (trigger, correct, total, expected) in [
        (HintTrigger::AllWrong, 0, 8, true),
        (HintTrigger::AllWrong, 1, 8, false),
        (HintTrigger::AllWrong, 0, 0, false),
        (HintTrigger::Never, 0, 8, false),
        (HintTrigger::Always, 8, 8, true),
        (below.clone(), 3, 8, true),
        (below.clone(), 4, 8, false),
        (below, 0, 0, false),
    ] {
        let fires = trigger.fires(&TriggerInput::new(correct, total));
        assert_eq!(fires, expected, "{trigger:?} {correct}/{total}");
    }
}

#[test]
fn all_wrong_after_a_share_of_the_run() {
    let start = RunPoint::Fraction { fraction: 0.15 };
    let trigger = HintTrigger::AllOf {
        triggers: vec![HintTrigger::AllWrong, HintTrigger::NotBefore { start }],
    };
    for (step, correct, expected) in [(14, 0, false), (15, 0, true), (99, 0, true), (99, 1, false)]
    {
        let input = TriggerInput::new(correct, 8).with_progress(RunProgress::new(step, 100));
        assert_eq!(trigger.fires(&input), expected, "step {step}, {correct} correct");
    }
}

#[test]
fn a_probability_is_annealed_over_the_run() {
    let over = RunPoint::Step { step: 10 };
    let probability = ValueSchedule::Linear { from: 1.0, to: 0.0, over, afterwards: None };
    let trigger = HintTrigger::WithProbability { probability };
    let share = |step: u64| {
        let input = TriggerInput::new(0, 8).with_progress(RunProgress::new(step, 20));
        let fires = |index| trigger.fires(&input.with_seed(Seed::new(5).child(index)));
        (0..1000).filter(|&index| fires(index)).count()
    };
    assert_eq!(share(0), 1000);
    // Standard error sqrt(0.25 · 1000) ≈ 16.
    assert!((440..560).contains(&share(5)), "{}", share(5));
    assert_eq!(share(10), 0);
    assert!(!trigger.looks_at_outcome());
}
