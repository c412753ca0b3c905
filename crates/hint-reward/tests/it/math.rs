//! The mathematical verifier: rules, switches, verdicts and budget.

use hint_reward::{
    Extraction, MathVerifier, RewardInput, Verdict, Verifier, equivalent,
    math::{Rule, Strictness},
};

#[track_caller]
fn same(a: &str, b: &str) {
    assert!(equivalent(a, b), "{a} should equal {b}: {:?}", MathVerifier::new().compare(a, b));
    assert!(equivalent(b, a), "{b} should equal {a}, as the other way round");
}

#[track_caller]
fn differ(a: &str, b: &str) {
    assert!(!equivalent(a, b), "{a} should differ from {b}");
    assert!(!equivalent(b, a), "{b} should differ from {a}, as the other way round");
}

#[test]
fn a_reference_that_cannot_be_computed_makes_no_answer_incorrect() {
    let verdict = |answer, reference| MathVerifier::new().compare(answer, reference).verdict;
    for reference in [
        r"\int_0^3\lfloor x\rfloor\,dx",
        r"\lim_{n\to\infty}\frac{\sqrt[n]{n!}}{n}",
        r"\lim_{n\to\infty}(-1)^n",
        r"\int_0^{\infty}\int_0^{\infty} e^{-(x+y)^2}\,dx\,dy",
    ] {
        assert!(verdict("7", reference).is_failure(), "{reference}");
        assert_eq!(verdict(reference, reference), Verdict::Correct, "{reference}");
        // The answer of a policy is wrong where it leaves the value to the reader.
        assert!(!verdict(reference, "7").is_correct(), "{reference}");
    }
    let integral = r"\int_0^{\infty}\int_0^{\infty} e^{-(x+y)^2}\,dx\,dy";
    assert_eq!(verdict("7", integral), Verdict::ReferenceUnparseable);
    assert_eq!(verdict("7", r"\int_0^2 x^2\,dx"), Verdict::Incorrect);
}

#[test]
fn decimals_are_as_precise_as_they_are_written() {
    same("1/3", "0.333333333333333");
    same("1/3", "0.3333333333333333333333333");
    differ("1/3", "0.3333333333");
    differ("0.3333333333333333", "0.3333333333333334");
    let loose = MathVerifier::new().with_relative_tolerance(1e-3).expect("in range");
    assert!(loose.compare("0.3333", "1/3").verdict.is_correct());
    // One unit in the last digit written is 0.1, but a thousandth of 1/3 is less.
    assert!(loose.compare("0.3", "1/3").verdict.is_wrong());
    // The tolerance allows 0.000333, but the last digit written is a millionth.
    assert!(loose.compare("0.333330", "1/3").verdict.is_wrong());
    assert!(MathVerifier::new().with_relative_tolerance(1.0).is_err());
}

#[test]
fn each_rule_has_a_switch() {
    let judge = |strictness: Strictness, a: &str, b: &str| {
        MathVerifier::new().with_strictness(strictness).compare(a, b).verdict.is_correct()
    };
    let strict = Strictness::default;
    let cases = [
        (Strictness { percent: Rule::Lenient, ..strict() }, r"9\%", "9"),
        (Strictness { units: Rule::Lenient, ..strict() }, "5 cm", "5 km"),
        (Strictness { bases: Rule::Lenient, ..strict() }, "101_2", "101"),
        (Strictness { bases: Rule::Lenient, ..strict() }, "101_2", "5"),
        (Strictness { ends: Rule::Lenient, ..strict() }, "[0,1)", "[0,1]"),
    ];
    for (lenient, a, b) in cases {
        assert!(!judge(strict(), a, b), "{a} and {b} differ under the strict rules");
        assert!(judge(lenient.clone(), a, b), "{a} and {b} agree under {lenient:?}");
        assert!(judge(lenient.clone(), b, a), "{b} and {a} agree under {lenient:?}");
        assert!(!judge(lenient, "1", "2"));
    }
}

#[test]
fn strictness_rejects_unknown_keys() {
    assert!(serde_json::from_str::<Strictness>(r#"{"percents":"lenient"}"#).is_err());
    let lenient: Strictness = serde_json::from_str(r#"{"percent":"lenient"}"#).expect("valid");
    assert_eq!(lenient, Strictness { percent: Rule::Lenient, ..Strictness::default() });
    assert!(serde_json::from_str::<Extraction>(r#"{"sources":["boxed","last_number"]}"#).is_ok());
    assert!(serde_json::from_str::<Extraction>(r#"{"sources":["box"]}"#).is_err());
}

#[test]
fn small_differences_of_large_values_are_seen() {
    differ("10^{40}+1", "10^{40}");
    differ(r"\pi^{100}+1", r"\pi^{100}");
    differ("x^2+10^{-40}", "x^2");
    differ(r"\sqrt{10^{40}+1}", "10^{20}");
    differ("2305843009213693951x", "0");
    differ("(x+1)^{1000}", "(x+1)^{1001}");
    same("(x+1)^{1000}(x+1)", "(x+1)^{1001}");
}

#[test]
fn roots_are_real_and_positive() {
    differ(r"\sqrt{x^2}", "x");
    same(r"\sqrt{x^2}", "|x|");
    same(r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}");
    same(r"\sqrt[3]{-27}", "-3");
    differ(r"\sqrt{2+\sqrt3}", r"-\frac{\sqrt6+\sqrt2}{2}");
    same(r"\sqrt{2+\sqrt3}", r"\frac{\sqrt6+\sqrt2}{2}");
}

#[test]
fn a_root_stays_itself_beside_large_numbers() {
    same(r"\sqrt{1157} - (13^9 - \sqrt{1226}) + (13^9 - \sqrt{1226})", r"\sqrt{1157}");
    same(r"10^{30} + \sqrt{947} - 10^{30}", r"\sqrt{947}");
    differ(r"10^{30} + \sqrt{947} - 10^{30}", r"\sqrt{947} + 10^{-9}");
}

#[test]
fn a_sum_that_runs_over_a_sequence_is_not_expanded() {
    differ(r"\sum_{k=0}^{2} a_k", r"\sum_{k=1}^{3} a_k");
    differ(r"\sum_{k=0}^{2} a_k", "3a_k");
    same(r"\sum_{k=0}^{2} a_k", r"\sum_{m=0}^{2} a_m");
    same(r"\sum_{k=0}^{2} f(k)", "f(0)+f(1)+f(2)");
}

#[test]
fn what_has_no_value_equals_nothing() {
    differ(r"\frac{1}{0}", r"\frac{2}{0}");
    differ("0^0", "1");
    differ(r"\frac{15}{0}", "0");
    differ(r"\infty-\infty", "0");
    differ(r"\ln 0", "0");
}

#[test]
fn unnamed_values_of_named_variables_keep_their_order() {
    same("x=1, y=2", "y=2, x=1");
    same("x=1, y=2", "(1,2)");
    differ("x=1, y=2", "2, 1");
    differ("x=1, y=2", r"\{1, 2\}");
    differ("1, 1, 2", r"\{1, 2\}");
    differ("1, 2", "[1, 2]");
    same("1, 2, 3", "[1, 2, 3]");
    same("x_1=1, x_2=2", "2, 1");
}

#[test]
fn verdicts_tell_what_went_wrong() {
    let verifier = MathVerifier::new();
    let verdict =
        |completion, reference| verifier.verify(&RewardInput::new(completion, reference)).verdict;
    assert_eq!(verdict(r"\boxed{4}", "4"), Verdict::Correct);
    assert_eq!(verdict(r"\boxed{5}", "4"), Verdict::Incorrect);
    assert_eq!(verdict("", "4"), Verdict::NoAnswer);
    assert_eq!(verdict(r"\boxed{4}", ""), Verdict::ReferenceUnparseable);
    assert_eq!(verdict(r"\boxed{4}", r"\frac{1}{"), Verdict::ReferenceUnparseable);
    let cut = RewardInput::new("We begin by", "4").with_truncated(true);
    assert_eq!(verifier.verify(&cut).verdict, Verdict::Truncated);
    let cut_late = RewardInput::new(r"\boxed{4}. To check", "4").with_truncated(true);
    assert_eq!(verifier.verify(&cut_late).verdict, Verdict::Correct);
    let strict = MathVerifier::new().with_extraction(Extraction::boxed_only());
    assert_eq!(strict.verify(&RewardInput::new("The answer is 4", "4")).verdict, Verdict::NoAnswer);
}

#[test]
fn a_truncated_completion_has_only_the_answers_that_are_complete() {
    let verdict = |completion| {
        let input = RewardInput::new(completion, "12").with_truncated(true);
        MathVerifier::new().verify(&input).verdict
    };
    assert_eq!(verdict("The answer is 12.\n\nTo check, we"), Verdict::Correct);
    assert_eq!(verdict("The answer is 12. To check, we"), Verdict::Correct);
    assert_eq!(verdict("<answer>12</answer> as"), Verdict::Correct);
    assert_eq!(verdict("#### 12\nThis"), Verdict::Correct);
    // Each of these could continue with another digit, or with something else altogether.
    for cut in
        ["The answer is 12", "#### 12", "<answer>12", "we have $x = 12$ and", "12", "\\boxed{12"]
    {
        assert_eq!(verdict(cut), Verdict::Truncated, "{cut}");
    }
}

#[test]
fn a_judgment_says_what_was_compared() {
    let judgment =
        MathVerifier::new().verify(&RewardInput::new(r"so \boxed{0.50}", r"x = \frac{2}{3}"));
    assert_eq!(judgment.extracted.as_deref(), Some("0.50"));
    assert_eq!(judgment.compared.as_deref(), Some(r"x = \frac{2}{3}"));
    assert_eq!(judgment.reason.as_deref(), Some("the answer differs from the reference"));
}

#[test]
fn work_beyond_the_budget_is_a_timeout() {
    let judgment = MathVerifier::new().with_fuel(100).compare("x^2+2x+1", "(x+1)^2");
    assert_eq!(judgment.verdict, Verdict::Timeout);
    let many: Vec<String> = (0..400).map(|index| format!("x_{{{index}}}+{index}")).collect();
    let reversed: Vec<String> = many.iter().rev().cloned().collect();
    let judgment = MathVerifier::new().compare(&many.join(","), &reversed.join(","));
    assert_eq!(judgment.verdict, Verdict::Timeout);
}

#[test]
fn the_search_for_the_answer_is_bounded_too() {
    for long in [
        r"\boxed{1}".repeat(120_000),
        format!(r"\boxed{{12}}{}", " the sum of the answer".repeat(120_000)),
        "x".repeat(5_000_000),
    ] {
        for verifier in [MathVerifier::new(), MathVerifier::strict()] {
            let judgment = verifier.verify(&RewardInput::new(&long, "12"));
            assert_eq!(judgment.verdict, Verdict::Timeout, "{}: {judgment:?}", &long[..30]);
        }
    }
    // What a completion may hold is far below the bound.
    let boxes = format!(r"{}\boxed{{12}}", r"\boxed{12}, ".repeat(2000));
    assert!(MathVerifier::strict().verify(&RewardInput::new(&boxes, "12")).verdict.is_correct());
}

#[test]
fn a_verifier_works_in_every_thread() {
    let verifier = MathVerifier::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let verifier = &verifier;
            scope.spawn(move || {
                let late = verifier.clone().with_fuel(100).compare("x^2+2x+1", "(x+1)^2");
                assert_eq!(late.verdict, Verdict::Timeout);
                let text = format!("\\boxed{{{thread}+x}}");
                let input = RewardInput::new(&text, "x");
                assert_eq!(verifier.verify(&input).verdict.is_correct(), thread == 0);
            });
        }
    });
}

#[test]
fn long_runs_and_deep_nests_end_without_overflow() {
    // Each of these once could nest as deep as it is long; tests run on a stack of two megabytes.
    let runs = [
        "°",
        "\\%",
        "!",
        "'",
        "\\bmod 7",
        "\\setminus\\{1\\}",
        "^2",
        "^\\circ^2",
        "/2",
        "-",
        "\\cup(1,2)\\cap(0,3)",
        "\\pm",
        "|",
        "_2",
        "^{2",
        "^2^",
        "(",
        "{",
        "\\{",
        "[",
        "\\left|",
        "f(",
        "\\sqrt",
        "\\sqrt{",
        "\\sin",
        "\\frac1",
        "\\frac{1}{1+",
        "=",
        "<1<",
        "\\in",
        "(k\\in",
        "x_",
        ":1",
        "\\\\",
        "\\begin{pmatrix}",
        "\\boxed{",
        "\\sum_{k=1}^{9}",
        "\\cdot-",
        "\\overline",
        "\\mod",
    ];
    let verifier = MathVerifier::new();
    for run in runs {
        for count in [40, 4000] {
            for text in [format!("5{}", run.repeat(count)), format!("x{}1", run.repeat(count))] {
                let judgment =
                    verifier.verify(&RewardInput::new(&format!("\\boxed{{{text}}}"), &text));
                assert_ne!(judgment.verdict, Verdict::Error, "{run} {count} times");
                let _ = verifier.compare(&text, "x");
            }
        }
    }
}
