//! Verdicts where hints teach plain completions.

use hint_grpo::objective::CreditForm;
use hint_grpo::verdict::{Condition, RunVerdict};
use hint_grpo::{GrpoConfig, metrics};
use hint_rollout::collect::hinted::{CombineRule, Contrast, Taught};
use hint_rollout::hint::leak::LeakAction;
use hint_rollout::hint::source::HintSourceConfig;

use super::{conditions, history};

/// Hints teach every completion, and credit its tokens whatever the reward.
fn teaching() -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.rollout.combine =
        CombineRule::Teach { completions: Taught::All, contrast: Contrast::None, samples: false };
    config
}

#[test]
fn equal_rewards_are_no_lack_where_a_hint_credits_tokens() {
    use metrics::{HINT_HINTED_FRAC as HINTED, HINT_TAUGHT_FRAC as TAUGHT};
    for (name, condition) in [
        (metrics::ROLLOUT_ALL_WRONG_FRAC, Condition::Starved),
        (metrics::ROLLOUT_ALL_RIGHT_FRAC, Condition::Saturated),
    ] {
        let past = |taught: Option<f64>| {
            let mut values =
                vec![(name, 0.95), (metrics::FRAC_REWARD_ZERO_STD, 0.95), (HINTED, 0.0)];
            values.extend(taught.map(|taught| (TAUGHT, taught)));
            history(40, 40, &values)
        };
        assert!(!conditions(&past(Some(1.0))).is_empty(), "{name}");
        assert_eq!(RunVerdict::of(&past(Some(1.0)), &teaching()).findings, [], "{name}");
        // Dropped hints teach nothing, and neither does a weight of nothing.
        for taught in [None, Some(0.1)] {
            let found = RunVerdict::of(&past(taught), &teaching()).condition();
            assert_eq!(found, Some(condition), "{name} {taught:?}");
        }
        let mut weighs = teaching();
        weighs.loss.credit.form = CreditForm::Weight { min: 0.5, max: 2.0, inverse: false };
        let found = RunVerdict::of(&past(Some(1.0)), &weighs).condition();
        assert_eq!(found, Some(condition), "{name}");
    }
}

#[test]
fn groups_that_a_method_never_teaches_lack_a_signal() {
    let verdict = |config: &GrpoConfig, name: &'static str, share: f64, taught: f64| {
        let values = [
            (name, share),
            (metrics::FRAC_REWARD_ZERO_STD, share),
            (metrics::HINT_HINTED_FRAC, 0.0),
            (metrics::HINT_TAUGHT_FRAC, taught),
        ];
        RunVerdict::of(&history(40, 40, &values), config)
    };
    let mut peers = teaching();
    peers.rollout.source = HintSourceConfig::PeerSuccess;
    let starved = verdict(&peers, metrics::ROLLOUT_ALL_WRONG_FRAC, 0.7, 0.3);
    assert_eq!(starved.condition(), Some(Condition::Starved));
    let advice = &starved.findings[0].advice;
    assert!(advice.contains("a group without a success has no hint"), "{advice}");
    let mut wrong = teaching();
    wrong.rollout.combine =
        CombineRule::Teach { completions: Taught::Wrong, contrast: Contrast::None, samples: false };
    let saturated = verdict(&wrong, metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.85, 0.15);
    assert_eq!(saturated.condition(), Some(Condition::Saturated));
}

#[test]
fn a_teacher_whose_hints_are_dropped_leaves_a_run_starved() {
    let mut config = teaching();
    config.rollout.leak_guard.action = LeakAction::Drop;
    let values = [
        (metrics::ROLLOUT_ALL_WRONG_FRAC, 0.92),
        (metrics::HINT_HINTED_FRAC, 0.0),
        (metrics::HINT_LEAKING_ANSWER_FRAC, 1.0),
        (metrics::ROLLOUT_PASS_RATE, 0.03),
    ];
    let verdict = RunVerdict::of(&history(4, 4, &values), &config);
    let text =
        "STARVED: 92 % of the groups are all wrong; hints teach 0 % of the groups (steps 1–4)";
    assert_eq!(verdict.to_string(), text);
    let advice = &verdict.findings[0].advice;
    assert!(advice.contains("`rollout.leak_guard.action` to \"keep\""), "{advice}");
}
