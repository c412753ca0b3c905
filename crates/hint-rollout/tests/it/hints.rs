//! Hint providers and the trigger.

use hint_rollout::data::HintLevel;
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::prompt::HintTemplate;
use hint_rollout::{
    DatasetHints, Hint, HintProvider, HintRequest, Problem, RolloutError, hints_from_fn,
};

#[test]
fn dataset_hints_come_from_the_hint_field_or_a_named_column() {
    let mut problem = Problem::new("p", "q", "a").with_hint("field").with_solution("steps");
    problem.columns.insert("tips".to_owned(), "column".into());
    let request = HintRequest::new(&problem);
    let hint = |provider: DatasetHints| provider.hint(&request);
    assert_eq!(hint(DatasetHints::new()).expect("no error"), Some(Hint::new("field")));
    assert_eq!(hint(DatasetHints::column("tips")).expect("no error"), Some(Hint::new("column")));
    // The reader takes these columns for the fields.
    let solution = hint(DatasetHints::column("solution")).expect("no error");
    assert_eq!(solution, Some(Hint::new("steps")));
    assert_eq!(
        hint(DatasetHints::levels(vec!["abstract_hint".to_owned(), "tips".to_owned()]))
            .expect("no error"),
        Some(Hint::new("field\ncolumn"))
    );
    for source in [
        HintSourceConfig::Dataset { columns: vec!["solution".to_owned(), "hint".to_owned()] },
        HintSourceConfig::Demonstration { column: Some("solution".to_owned()) },
    ] {
        assert!(source.available(&problem).into_iter().all(|is_there| is_there), "{source:?}");
    }
    let error = hint(DatasetHints::column("tip")).expect_err("there is no such column");
    assert!(matches!(&error, RolloutError::HintColumn { available, .. } if available == "tips"));
}

#[test]
fn a_problem_without_a_hint_gets_none() {
    let problem = Problem::new("p", "q", "a");
    assert_eq!(DatasetHints::new().hint(&HintRequest::new(&problem)).expect("no error"), None);
}

#[test]
fn closures_see_the_problem() {
    let provider = hints_from_fn("id", |request| Some(Hint::new(request.problem.id.clone())));
    let problem = Problem::new("p", "q", "a");
    let hint = provider.hint(&HintRequest::new(&problem)).expect("no error");
    assert_eq!(hint, Some(Hint::new("p")));
}

#[test]
fn the_default_template_is_that_of_the_paper() {
    let hint = Hint::new("Count.");
    assert_eq!(
        HintTemplate::default().render("1 + 1?", Some(&hint)),
        "1 + 1?\nHere are some key pieces of information to assist your reasoning without \
         revealing the solution directly:\nCount."
    );
    assert_eq!(HintTemplate::default().render("1 + 1?", None), "1 + 1?");
}

#[test]
fn levels_are_shares_and_numbers() {
    for (share, count, number) in [
        (0.0, 4, 0),
        (0.25, 4, 1),
        (0.26, 4, 2),
        (1.0, 4, 4),
        (0.5, 1, 1),
        (1.0, 1, 1),
        (0.5, 0, 0),
    ] {
        assert_eq!(HintLevel::new(share).of(count), number, "{share} of {count}");
    }
    for count in 1..50 {
        for number in 0..=count {
            assert_eq!(HintLevel::number(number, count).of(count), number, "{number} of {count}");
        }
    }
    assert_eq!(HintLevel::new(7.0), HintLevel::FULL);
    assert_eq!(HintLevel::new(f64::NAN).share(), 0.0);
}
