//! Rewards, verifiers and their composition.

use std::sync::Arc;

use hint_reward::{
    ExactMatch, Judgment, Reward, RewardError, RewardInput, Rubric, Verdict, Verifier, from_fn,
    verifier_from_fn,
};

const GROUP: usize = 3;

fn group() -> [RewardInput<'static>; GROUP] {
    [
        RewardInput::new(r"\boxed{4}", "4"),
        RewardInput::new(r"\boxed{5}", "4"),
        RewardInput::new("", "4"),
    ]
}

fn constant(name: &str, value: f64) -> impl Reward + 'static {
    from_fn(name, move |_| value)
}

#[test]
fn traits_are_dyn_compatible() {
    let _: Option<Box<dyn Reward>> = None;
    let _: Option<Box<dyn Verifier>> = None;
}

#[test]
fn pointers_forward_name_score_and_group() -> Result<(), RewardError> {
    struct Pair;
    impl Reward for Pair {
        fn name(&self) -> &'static str {
            "pair"
        }
        fn score(&self, _: &RewardInput<'_>) -> Result<f64, RewardError> {
            Ok(1.0)
        }
        fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
            Ok(vec![7.0; inputs.len()])
        }
    }
    let boxed: Box<dyn Reward> = Box::new(Arc::new(Pair));
    let reference: &dyn Reward = &boxed;
    assert_eq!(reference.name(), "pair");
    assert_eq!(reference.score(&group()[0])?.to_string(), "1");
    assert_eq!(Box::new(reference).score_group(&group())?, [7.0; GROUP]);
    Ok(())
}

#[test]
fn the_value_is_the_weighted_sum_of_the_unweighted_parts() -> Result<(), RewardError> {
    let rubric = Rubric::new(ExactMatch::new())
        .with_verifier_weight(2.0)
        .with(0.5, constant("a", 3.0))
        .with(-1.0, constant("b", 0.25));
    let scores = rubric.score_group(&group())?;
    let values: Vec<f64> = scores.iter().map(|score| score.value).collect();
    // 2·correct + 0.5·3 − 0.25; all exact in binary.
    assert_eq!(values, [3.25, 1.25, 1.25]);
    let verdicts: Vec<Verdict> = scores.iter().map(|score| score.verdict).collect();
    assert_eq!(verdicts, [Verdict::Correct, Verdict::Incorrect, Verdict::NoAnswer]);
    assert_eq!(scores[0].parts, [("correct".into(), 1.0), ("a".into(), 3.0), ("b".into(), 0.25)]);
    Ok(())
}

#[test]
fn shaping_never_moves_the_verdict() -> Result<(), RewardError> {
    let shaped =
        Rubric::new(ExactMatch::new()).with(10.0, constant("bonus", 1.0)).score_group(&group())?;
    assert!(shaped[1].value > 1.0 && shaped[1].verdict.is_wrong());
    Ok(())
}

#[test]
fn a_failure_verdict_scores_zero_and_stays_a_failure() -> Result<(), RewardError> {
    let failing = verifier_from_fn("late", |_| Judgment::new(Verdict::Timeout));
    let scores = Rubric::new(failing).with(1.0, constant("bonus", 1.0)).score_group(&group())?;
    assert!(
        scores
            .iter()
            .all(|score| score.verdict.is_failure() && score.value.abs() < f64::MIN_POSITIVE)
    );
    Ok(())
}

#[test]
fn a_single_reward_is_a_rubric() -> Result<(), RewardError> {
    let rubric: Rubric = from_fn("length", |input| input.completion.len() as f64 - 5.0).into();
    let verdicts: Vec<Verdict> =
        rubric.score_group(&group())?.iter().map(|score| score.verdict).collect();
    assert_eq!(verdicts, [Verdict::Correct, Verdict::Correct, Verdict::Incorrect]);
    Ok(())
}

#[test]
fn parts_that_are_not_finite_or_not_one_per_completion_are_errors() {
    struct Short;
    impl Reward for Short {
        fn name(&self) -> &'static str {
            "short"
        }
        fn score(&self, _: &RewardInput<'_>) -> Result<f64, RewardError> {
            Ok(0.0)
        }
        fn score_group(&self, _: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
            Ok(vec![0.0])
        }
    }
    let rubric = || Rubric::new(ExactMatch::new());
    let nan = rubric().with(1.0, constant("bad", f64::NAN)).score_group(&group());
    assert!(matches!(nan, Err(RewardError::NotFinite { name, .. }) if name == "bad"));
    let short = rubric().with(1.0, Short).score_group(&group());
    assert!(matches!(short, Err(RewardError::GroupLength { found: 1, expected: GROUP, .. })));
    let twice = rubric().with(1.0, constant("correct", 1.0)).score_group(&group());
    assert!(matches!(twice, Err(RewardError::DuplicatePart { name }) if name == "correct"));
}

#[test]
fn an_error_of_a_reward_is_an_error_of_the_rubric() {
    struct Broken;
    impl Reward for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn score(&self, _: &RewardInput<'_>) -> Result<f64, RewardError> {
            Err(RewardError::Other { part: "broken".into(), source: "no answer".into() })
        }
    }
    assert!(matches!(Rubric::from(Broken).score_group(&group()), Err(RewardError::Other { .. })));
}

#[test]
fn a_panic_of_a_part_costs_the_completion_it_is_about() {
    let panics = from_fn("panics", |input| {
        assert!(input.completion.is_empty(), "only nothing is for me");
        0.5
    });
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, panics);
    let scores = rubric.score_each(&group(), |_| {}).expect("the parts have different names");
    let message =
        |score: &Result<_, RewardError>| score.as_ref().map(drop).map_err(ToString::to_string);
    let panicked = Err("reward `panics` panicked: only nothing is for me".to_owned());
    let expected = [panicked.clone(), panicked, Ok(())];
    assert_eq!(scores.iter().map(message).collect::<Vec<_>>(), expected);

    let verifier = verifier_from_fn("fragile", |input| {
        assert!(!input.completion.is_empty(), "nothing is not for me");
        Judgment::new(Verdict::Correct)
    });
    let scores = Rubric::new(verifier).score_each(&group(), |_| {}).expect("one part");
    let expected = [Ok(()), Ok(()), Err("reward `correct` panicked: nothing is not for me".into())];
    assert_eq!(scores.iter().map(message).collect::<Vec<_>>(), expected);
}

#[test]
fn verdict_names_are_the_serialized_names() {
    for verdict in Verdict::ALL {
        assert_eq!(
            serde_json::to_string(&verdict).expect("serializes"),
            format!("\"{}\"", verdict.name())
        );
        let kinds = [verdict.is_correct(), verdict.is_wrong(), verdict.is_failure()];
        assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "{verdict}");
    }
}
