//! Tests of the families: answers by a solver that is independent of the generators, leaks, levels and
//! seeds.

use std::collections::HashSet;

/// The most abstract first.
const DEGREES: [Degree; 3] = [Degree::Abstract, Degree::Medium, Degree::Direct];

use hint_policy::{LoadOptions, LoadedModel, Policy as _};
use hint_reward::{ExactMatch, RewardInput, Rubric};
use hint_rollout::hint::leak::{LeakDetector, LeakKind};
use hint_rollout::{Hint, read_problems};

use super::*;
use crate::tiny::tiny_model;

const UP: [&str; 4] = ["gain", "find", "earn", "lift"];
const DOWN: [&str; 4] = ["drop", "lose", "spend", "sink"];

/// The answer of a question, from its text alone.
fn solve(question: &str) -> String {
    let (thing, rest) = question.trim_end_matches('.').split_once(' ').unwrap();
    let (start, steps) = rest.split_once(": ").unwrap();
    let steps = steps.split(' ').collect::<Vec<_>>();
    let steps = steps.chunks(2).map(|step| (step[0], step[1].parse::<i32>().unwrap()));
    match thing {
        "Dial" => {
            let sum = steps.fold(start.parse::<i32>().unwrap(), |sum, (verb, by)| match verb {
                up if UP.contains(&up) => sum + by,
                down if DOWN.contains(&down) => sum - by,
                _ => sum + 10 * by,
            });
            format!("{:02}", sum.rem_euclid(100))
        }
        "Board" => {
            let (columns, rows) = ("abcdefghij", "0123456789");
            let mut at = (columns.find(&start[..1]).unwrap(), rows.find(&start[1..]).unwrap());
            for (verb, by) in steps {
                for _ in 0..by {
                    at = match verb {
                        up if UP.contains(&up) => (at.0, (at.1 + 1) % 10),
                        down if DOWN.contains(&down) => (at.0, (at.1 + 9) % 10),
                        _ => ((at.0 + 1) % 10, at.1),
                    };
                }
            }
            format!("{}{}", &columns[at.0..=at.0], &rows[at.1..=at.1])
        }
        other => panic!("`{other}` is of no family"),
    }
}

#[test]
fn every_answer_is_what_an_independent_solver_finds_and_every_solution_is_correct() {
    let rubric = Rubric::new(ExactMatch::new());
    for family in FAMILIES {
        let (train, held_out) =
            (problems(family, false, 500).unwrap(), problems(family, true, 300).unwrap());
        for problem in train.iter().chain(&held_out) {
            assert_eq!(problem.answer, solve(&problem.question), "{}", problem.question);
        }
        for problem in &held_out {
            let solution = problem.solution.as_deref().unwrap();
            let score = rubric.score_group(&[RewardInput::new(solution, &problem.answer)]).unwrap();
            assert!(score[0].verdict.is_correct(), "{solution}");
        }
    }
}

#[test]
fn the_completion_that_follows_the_verbs_ends_in_the_answer() {
    for family in FAMILIES {
        let task = Task::draw(family, 3, &HARD, Seed::new(1));
        let answer = solve(&task.question());
        for (style, end) in [(Style::Named, ""), (Style::Equations, ".")] {
            let worked = task.worked(style, &task.strategies());
            assert!(worked.ends_with(&format!("{answer}{end} \\boxed{{{answer}}}")), "{worked}");
        }
    }
}

#[test]
fn no_hint_gives_the_answer_away_and_only_a_direct_one_gives_a_step_away() {
    for family in FAMILIES {
        let mut steps = 0;
        for problem in problems(family, false, 200).unwrap() {
            for degree in DEGREES {
                let column = problem.text_of(degree.column());
                let text = column.or_else(|| problem.hint.clone()).unwrap();
                assert!(!text.contains(&problem.answer), "{text} of {}", problem.answer);
                let leaks = LeakDetector::new().leaks(&problem, &Hint::new(&text));
                let count = |kind| leaks.iter().filter(|leak| leak.kind == kind).count();
                assert_eq!(count(LeakKind::Answer), 0, "{text}: {leaks:?}");
                steps += count(LeakKind::Step);
                assert!(degree == Degree::Direct || leaks.is_empty(), "{text}: {leaks:?}");
                let states = text.chars().filter(char::is_ascii_digit).count();
                assert!(degree == Degree::Direct || states == 0, "{text}");
            }
        }
        assert!(family.name() != "chains" || steps > 100, "{steps} direct hints give a step away");
    }
}

#[test]
fn hints_are_about_their_problem() {
    let (problems, _) = split(FAMILIES[0], 1).unwrap();
    let hints = |level: usize| {
        let of_level = problems.iter().filter(move |one| one.level == Some(level.to_string()));
        of_level.map(|problem| problem.hint.clone()).collect::<HashSet<_>>().len()
    };
    assert_eq!(hints(1), 3);
    // Two verbs of each strategy: of the 3⁵ hints, those that name none more than twice.
    assert_eq!(hints(5), 90);
}

#[test]
fn levels_have_more_steps_and_hard_ones_other_verbs() {
    for family in FAMILIES {
        for (problem, number) in problems(family, true, 100).unwrap().iter().zip(0..) {
            let level = 1 + number % 5;
            assert_eq!(problem.level, Some(level.to_string()));
            let words = problem.question.split(' ').skip(2).step_by(2).collect::<Vec<_>>();
            let pool = if level <= 2 { EASY } else { HARD }.map(|verb| verb.word);
            assert!(words.len() == level && words.iter().all(|word| pool.contains(word)));
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), level, "{words:?}");
        }
    }
}

/// The picks are right by chance in 3⁻ⁿ of the completions, and never for another reason.
#[test]
fn only_the_strategies_of_the_verbs_end_in_the_answer() {
    for family in FAMILIES {
        for problem in problems(family, true, 50).unwrap() {
            let (start, steps) = problem.question.trim_end_matches('.').split_once(": ").unwrap();
            let amounts = steps.split(' ').skip(1).step_by(2).collect::<Vec<_>>();
            let verbs = [UP[0], DOWN[0], "fold"];
            let right = (0..3_usize.pow(u32::try_from(amounts.len()).unwrap())).filter(|pick| {
                let step =
                    |(at, by): (u32, &&str)| format!("{} {by}", verbs[pick / 3_usize.pow(at) % 3]);
                let steps = (0..).zip(&amounts).map(step).collect::<Vec<_>>().join(" ");
                solve(&format!("{start}: {steps}.")) == problem.answer
            });
            assert_eq!(right.count(), 1, "{}", problem.question);
        }
    }
}

#[test]
fn a_level_that_has_no_further_problems_is_named() {
    let error = problems(FAMILIES[0], true, 4000).unwrap_err().to_string();
    assert!(error.contains("held-out problems of level 1"), "{error}");
}

#[test]
fn the_same_command_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut sums = Vec::new();
    for family in FAMILIES {
        let write = |name: &str, count| {
            let path = folder.path().join(name);
            write::write(&path, &problems(family, true, count).unwrap()).unwrap();
            std::fs::read(path).unwrap()
        };
        let (once, again, fewer) = (write("a", 50), write("b", 50), write("c", 20));
        assert_eq!(once, again);
        assert!(once.starts_with(&fewer));
        let read = read_problems(folder.path().join("a")).unwrap();
        assert_eq!(read, problems(family, true, 50).unwrap());
        let train = folder.path().join("train");
        write::write(&train, &problems(family, false, 50).unwrap()).unwrap();
        sums.extend([once, std::fs::read(train).unwrap()].map(|bytes| crc32fast::hash(&bytes)));
    }
    let message = "a change of the problems makes older runs incomparable";
    assert_eq!(sums, [1_653_385_917, 901_966_730, 4_091_749_568, 1_872_960_484], "{message}");
}

#[test]
fn training_and_held_out_problems_are_disjoint() {
    for family in FAMILIES {
        let (train, held_out) = split(family, 400).unwrap();
        let asked = train.iter().map(|problem| &problem.question).collect::<HashSet<_>>();
        assert_eq!((asked.len(), held_out.len()), (TRAIN_PROBLEMS, 400));
        assert!(held_out.iter().all(|problem| !asked.contains(&problem.question)));
    }
}

#[test]
fn texts_survive_the_tokenizer_and_words_are_one_token() {
    let tokenizer = model::tokenizer().unwrap();
    for family in FAMILIES {
        let task = Task::draw(family, 5, &HARD, Seed::new(3));
        let strategies = task.strategies();
        for (style, most) in [(Style::Named, 31), (Style::Equations, 53)] {
            let text = task.worked(style, &strategies);
            let tokens = tokenizer.encode(&text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
            assert!(tokens.len() <= most, "{} tokens: {text}", tokens.len());
        }
        for degree in DEGREES {
            let text = format!("\nHint: {}\nA:", task.hint(degree, &strategies));
            let tokens = tokenizer.encode(&text).unwrap();
            assert!(tokens.len() <= 24, "{} tokens: {text}", tokens.len());
        }
    }
}

#[test]
fn the_checkpoint_has_the_tokenizer_of_the_families() {
    let load = |folder| LoadedModel::load(folder, &LoadOptions::default()).unwrap().tokenizer;
    assert!(model::is_own(&load(model::model())));
    assert!(!model::is_own(&load(tiny_model())));
}

#[test]
fn the_checkpoint_has_a_million_parameters() {
    let model = LoadedModel::load(model::model(), &LoadOptions::default()).unwrap();
    let sizes = model.policy.parameters().into_iter().map(|parameter| parameter.tensor.numel());
    assert_eq!(sizes.sum::<usize>(), 1_009_824);
}
