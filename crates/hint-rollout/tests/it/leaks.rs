//! Hits and misses of the leak detector, and the guard's response to them.

use std::sync::Mutex;

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::data::AllowedLeak;
use hint_rollout::hint::leak::{LeakAction, LeakDetector, LeakGuard, LeakKind};
use hint_rollout::hint::source::{Demonstrations, MaskedSolution, PrefixUnit, SolutionPrefix};
use hint_rollout::{
    Collector, CollectorConfig, Hint, HintProvider, HintRequest, Problem, RolloutError, Seed,
};

use crate::scripted::{Bytes, Scripted};

/// `expected`: each leak as `answer:text` or `step:text`.
#[track_caller]
fn check(problem: &Problem, hint: &str, expected: &[&str]) {
    let leaks = LeakDetector::new().leaks(problem, &Hint::new(hint));
    for leak in &leaks {
        assert_eq!(&hint[leak.span.clone()], leak.text);
    }
    let found = leaks.iter().map(|leak| format!("{}:{}", leak.kind.name(), leak.text));
    assert_eq!(found.collect::<Vec<_>>(), expected, "{hint}");
}

fn shelf() -> Problem {
    Problem::new(
        "shelf",
        "A shelf has 6 boards with twenty-two books each; 100 are lent out. How many are left?",
        "32",
    )
    .with_solution("There are 6*22=<<6*22=132>>132 books. So 132-100=<<132-100=32>>32 are left.")
}

#[test]
fn the_answer_leaks_in_digits_words_and_formulas() {
    check(&shelf(), "It is 32.", &["answer:32"]);
    check(&shelf(), "You should arrive at thirty-two.", &["answer:thirty-two"]);
    check(&shelf(), "It is a power of two: 2^5.", &["answer:2^5"]);
    check(&shelf(), "The answer is 32 books.", &["answer:32 books"]);
    check(&shelf(), r"Check that you get \boxed{32}.", &["answer:32"]);
    check(&shelf(), r"Somebody claims $\boxed{32}$. Why?", &["answer:32"]);
}

#[test]
fn values_and_arithmetic_of_steps_leak() {
    check(&shelf(), "First get 132.", &["step:132"]);
    check(&shelf(), "There are a hundred and thirty-two books.", &["step:hundred and thirty-two"]);
    check(&shelf(), "Take 6 * 22 first.", &["step:6 * 22"]);
    check(&shelf(), "With 132 books, 132 - 100 are left.", &["step:132", "answer:132 - 100"]);
}

#[test]
fn what_the_problem_states_and_plain_guidance_do_not_leak() {
    check(&shelf(), "Multiply to find how many books there are; subtract the lent ones.", &[]);
    check(&shelf(), "There are 6 boards of 22 books, and 100 of them are lent.", &[]);
}

#[test]
fn numbers_that_state_no_value_do_not_leak() {
    let problem = Problem::new("p", "How many are there?", "3")
        .with_solution("The sum is 2 + 5 = 7, so 7 - 5 = 2, and 12 - 9 = 3 remain of 2019.");
    check(&problem, "1. Add them.\n2. Subtract.\n3. Compare.", &[]);
    check(&problem, "Step 2: look at step 3 again, then at part 7.", &[]);
    check(&problem, "(1) add, (2) subtract, (3) compare", &[]);
    check(&problem, "Look at the third, the 7th and the second one.", &[]);
    check(&problem, "There are two cases and three steps.", &[]);
    check(&problem, "In 2019, nobody counted twice, and no one halved it.", &[]);
    check(&problem, "Let x_2 and x_3 be the roots of 7x^2.", &[]);
    check(&problem, "There are three of them, and 7 before that.", &["answer:three", "step:7"]);
}

#[test]
fn a_half_is_an_answer_but_no_step() {
    let problem = |answer: &str| {
        Problem::new("p", "How likely is it?", answer).with_solution("50/100 = 1/2, so 1/4 = 0.25.")
    };
    check(&problem("1/4"), "Think of half of them, and halve that.", &[]);
    check(&problem("0.25"), "It is a quarter.", &["answer:quarter"]);
    check(
        &problem("25%"),
        "One fourth, or 25 percent, of them.",
        &["answer:One fourth", "answer:25"],
    );
}

#[test]
fn an_answer_that_the_problem_states_leaks_only_where_it_is_announced() {
    let problem = Problem::new("p", "Which of 7 and 9 divides 27?", "9");
    check(&problem, "Try 7 and 9 in turn.", &[]);
    check(&problem, "So the answer is 9.", &["answer:9"]);
    check(&problem, "Note that 27/3 divides it.", &["answer:27/3"]);
}

#[test]
fn a_year_is_an_answer_but_no_step() {
    let problem = Problem::new("p", "When did it open?", "1889").with_solution("1887 + 2 = 1889.");
    check(&problem, "It opened in 1889.", &["answer:1889"]);
    check(&problem, "Work began in 1887.", &[]);
}

#[test]
fn answers_that_are_no_numbers_are_found() {
    let formula = Problem::new("p", "Sum the first n numbers.", "n(n+1)/2");
    check(&formula, "Note that n(n + 1)/2 occurs.", &["answer:n(n + 1)/2"]);
    check(&formula, "It equals (n^2 + n)/2.", &["answer:(n^2 + n)/2"]);
    check(&formula, "Let n be odd, and pair the numbers.", &[]);
    let root = Problem::new("p", "How long is it?", r"2\sqrt{3}");
    check(&root, r"Its length is $\sqrt{12}$.", &[r"answer:\sqrt{12}"]);
    let day = Problem::new("p", "On which day do they meet?", "Tuesday");
    check(&day, "They cannot meet on a tuesday.", &["answer:tuesday"]);
    check(&day, "Count the days from the first meeting.", &[]);
    let choice = Problem::new("p", "(A) red (B) blue", "B");
    check(&choice, "A blue one behaves as b does.", &[]);
    let truth = Problem::new("p", "Is it prime?", "No");
    check(&truth, "There is no need to try large divisors.", &[]);
}

#[test]
fn formulas_and_moduli_of_general_facts_do_not_leak() {
    let problem = Problem::new("p", "For which n is n^2 + n + 41 prime?", "3")
        .with_solution("We get x = 2 and then y = 4, so z = 8 and n = 3.");
    check(&problem, "For positive x, x+1/x≥2, and (x+y)^2≥4xy.", &[]);
    check(&problem, "Use (x±y)^2=x^2±2xy+y^2, or b^2-4ac≤0.", &[]);
    check(&problem, "Look at n modulo 8: is it a multiple of 4, or divisible by 3?", &[]);
    check(&problem, "No two of the three actions happen between the two ends.", &[]);
    check(&problem, "Compare a_(n-2) with a_n and x_3.", &[]);
    check(&problem, "Then y = 4.", &["step:4"]);
    let zero = Problem::new("p", "How many real roots are there?", "0");
    check(&zero, "For x>0 the function is positive; at its minimum f'(x)=0.", &[]);
    check(&zero, "So the answer is 0.", &["answer:0"]);
}

#[test]
fn a_formula_to_be_rewritten_leaks_only_as_the_answer_writes_it() {
    let problem = Problem::new("p", "Factor x^4 - 1 over the integers.", "(x-1)(x+1)(x^2+1)");
    check(&problem, "Write it as (x^2)^2 - 1 first.", &[]);
    check(&problem, "You get (x-1)(x+1)(x^2+1) in the end.", &["answer:(x-1)(x+1)(x^2+1)"]);
}

#[test]
fn what_a_source_reveals_by_design_is_not_reported() {
    let problem = shelf();
    let request = HintRequest::new(&problem);
    let leaks = |provider: &dyn HintProvider| {
        let hint = provider.hint(&request).expect("no error").expect("there is a solution");
        LeakDetector::new().leaks(&problem, &hint).iter().map(|leak| leak.kind).collect::<Vec<_>>()
    };
    assert_eq!(leaks(&Demonstrations::new()), []);
    // All of the solution gives the answer, but its steps are meant to be seen.
    assert!(
        leaks(&SolutionPrefix::new(PrefixUnit::Word)).iter().all(|kind| *kind == LeakKind::Answer)
    );
    assert!(!leaks(&SolutionPrefix::new(PrefixUnit::Word).in_prompt()).is_empty());
    assert_eq!(leaks(&MaskedSolution::new()), []);
    let steps = Hint::new("There are 132 books.").allowing(AllowedLeak::Steps);
    assert_eq!(LeakDetector::new().leaks(&problem, &steps), []);
}

/// Gives these texts in turn, one for each retry.
struct InTurn {
    texts: Vec<&'static str>,
    asked: Mutex<Vec<(usize, Seed)>>,
}

impl HintProvider for InTurn {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        self.asked.lock().expect("no test panics here").push((request.retry, request.seed));
        Ok(self.texts.get(request.retry.min(self.texts.len() - 1)).map(|text| Hint::new(*text)))
    }
}

/// The prompts that were sampled, the counts of leaks, and how often the source was asked.
fn collect(guard: LeakGuard, texts: &[&'static str]) -> (Vec<String>, [usize; 4], usize) {
    let (engine, log) = Scripted::new(|_, _| "\\boxed{0}".to_owned());
    let config = CollectorConfig { group_size: 2, leak_guard: guard, ..CollectorConfig::default() };
    let provider = std::sync::Arc::new(InTurn { texts: texts.to_vec(), asked: Mutex::default() });
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
            .expect("the configuration is valid")
            .with_hints(std::sync::Arc::clone(&provider));
    let collected = collector.collect(&[&shelf()], Seed::new(1)).expect("the script works");
    let log = log.lock().expect("no test panics here");
    let hints = log.iter().filter_map(|(prompt, _)| prompt.split_once("directly:\n"));
    let hints = hints.map(|(_, hint)| hint.to_owned()).collect();
    let leaks = collected.stats.hinted.leaks;
    let asked = provider.asked.lock().expect("no test panics here");
    let mut seeds = asked.iter().map(|(_, seed)| seed.value()).collect::<Vec<_>>();
    seeds.dedup();
    assert_eq!(seeds.len(), asked.len(), "each retry has a seed of its own");
    (hints, [leaks.judged, leaks.leaking, leaks.dropped, leaks.masked], asked.len())
}

#[test]
fn leaking_hints_are_kept_dropped_or_masked() {
    let texts = ["First get 132, then 32."];
    let guard = |action| LeakGuard { action, retries: 0 };
    let kept = collect(guard(LeakAction::Keep), &texts);
    assert_eq!(kept, (vec![texts[0].to_owned()], [1, 1, 0, 0], 1));
    assert_eq!(collect(guard(LeakAction::Drop), &texts), (vec![], [1, 1, 1, 0], 1));
    let masked = collect(guard(LeakAction::Mask), &texts);
    assert_eq!(masked, (vec!["First get ___, then ___.".to_owned()], [1, 1, 0, 1], 1));
    assert_eq!(collect(guard(LeakAction::Mask), &["132"]), (vec![], [1, 1, 1, 0], 1));
    assert_eq!(collect(guard(LeakAction::Drop), &["Multiply."]).1, [1, 0, 0, 0]);
}

#[test]
fn rejected_hints_are_asked_for_again() {
    let guard = LeakGuard { action: LeakAction::Drop, retries: 3 };
    let texts = ["It is 32.", "Get 132.", "Multiply, then subtract."];
    assert_eq!(collect(guard, &texts), (vec![texts[2].to_owned()], [1, 0, 0, 0], 3));
    // The same hint again: asking once more would not help.
    assert_eq!(collect(guard, &texts[..1]), (vec![], [1, 1, 1, 0], 2));
    let keep = LeakGuard { action: LeakAction::Keep, retries: 3 };
    assert_eq!(collect(keep, &texts).2, 1);
}

#[test]
fn a_masked_prefix_ends_before_the_answer() {
    let (engine, log) = Scripted::new(|_, _| "\\boxed{0}".to_owned());
    let leak_guard = LeakGuard { action: LeakAction::Mask, retries: 0 };
    let config = CollectorConfig { group_size: 2, leak_guard, ..CollectorConfig::default() };
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
            .expect("the configuration is valid")
            .with_hints(SolutionPrefix::new(PrefixUnit::Word));
    let problem = Problem::new("p", "6 * 7 =", "42").with_solution("Well, it is 42.");
    collector.collect(&[&problem], Seed::new(1)).expect("the script works");
    let log = log.lock().expect("no test panics here");
    assert_eq!(log[1].0, "6 * 7 =Well, it is ");
}
