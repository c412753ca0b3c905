//! Algebra of equivalence, and robustness against any text.

use hint_reward::{Extraction, MathVerifier, RewardInput, Verdict, Verifier, equivalent};
use proptest::prelude::*;

/// Expressions in LaTeX, at most a few levels deep.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0..40_i32).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["x", "y", "n", "\\pi", "e"]).prop_map(ToOwned::to_owned),
        (1..20_i32, 1..20_i32).prop_map(|(n, d)| format!("\\frac{{{n}}}{{{d}}}")),
        (0..30_i32, 0..100_i32).prop_map(|(whole, part)| format!("{whole}.{part:02}")),
    ];
    leaf.prop_recursive(3, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) + ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) - ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) \\cdot ({b})")),
            (inner.clone(), 1..4_i32).prop_map(|(a, n)| format!("\\left({a}\\right)^{{{n}}}")),
            inner.clone().prop_map(|a| format!("\\sin({a})")),
            inner.clone().prop_map(|a| format!("\\sqrt{{({a})^2 + 1}}")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    })
}

/// Answers of any kind.
fn answer() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => expression(),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("({a}, {b})")),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("\\{{{a}, {b}\\}}")),
        1 => expression().prop_map(|a| format!("z = {a}")),
        1 => expression().prop_map(|a| format!("z \\le {a}")),
        1 => (-9..9_i32, 10..20_i32).prop_map(|(a, b)| format!("[{a}, {b})")),
    ]
}

/// Pieces that meet in odd ways.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "1",
        "0.5",
        "x",
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "^",
        "_",
        "|",
        "!",
        "%",
        "$",
        "\\(",
        "\\)",
        "\\boxed{",
        "\\boxed{9} (да)",
        "\\boxed{9}(是)",
        "\\boxed{9} (μ",
        "\n",
        "\\sqrt",
        "\\sum_{k=1}^{9}",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        "\\",
        ",",
        "\\pm",
        "9^{9^{9^9}}",
        "\\text{",
        "<think>",
        "</think>",
        "####",
        "answer is",
        "é",
        "½",
        "²",
        "∪",
        " ",
        "\\cup",
        "\\le",
        "=",
        "\\log_",
        "\\binom",
        "1e300",
        "\u{0}",
        "ß",
        "\\in",
        "\\mathbb{R}",
        "e",
        "i",
        "\\left",
        "\\right",
    ]);
    let mixed = prop::collection::vec(piece.clone(), 0..40).prop_map(|pieces| pieces.concat());
    let repeated = (piece, 1..600_usize).prop_map(|(piece, times)| piece.repeat(times));
    prop_oneof![3 => mixed, 1 => repeated, 1 => ".{0,60}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equivalence_is_reflexive(answer in answer()) {
        prop_assert!(equivalent(&answer, &answer));
        let (sized, plain) = (format!(" \\left( {answer} \\right) "), format!("({answer})"));
        prop_assert!(equivalent(&sized, &plain));
    }

    #[test]
    fn equivalence_is_symmetric(a in answer(), b in answer()) {
        prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
    }

    #[test]
    fn rewriting_keeps_an_expression_equal(a in expression(), b in expression()) {
        for (left, right) in [
            (format!("({a}) + ({b})"), format!("({b}) + ({a})")),
            (format!("(({a}) + ({b}))^2"), format!("({a})^2 + 2({a})({b}) + ({b})^2")),
            (format!("({a}) - ({b}) + ({b})"), a.clone()),
        ] {
            prop_assert!(equivalent(&left, &right), "{} {}", left, right);
        }
    }

    #[test]
    fn a_shifted_expression_differs(a in expression(), shift in 1..1000_i32) {
        let shifted = format!("({a}) + {shift}");
        let scaled = format!("({a}) + \\frac{{{shift}}}{{10^{{30}}}}");
        prop_assert!(!equivalent(&a, &shifted), "{} {}", a, shifted);
        // Functions are distinguished by 20 digits, and a decimal by those it is written with.
        if !a.contains("sin") && !a.contains("sqrt") && !a.contains('.') {
            prop_assert!(!equivalent(&a, &scaled), "{} {}", a, scaled);
        }
    }

    #[test]
    fn an_answer_equals_what_it_was_read_as(answer in answer()) {
        let rendered = MathVerifier::new().compare("no answer", &answer).compared.unwrap_or_default();
        prop_assert!(equivalent(&rendered, &answer), "{} was read as {}", answer, rendered);
    }

    #[test]
    fn a_boxed_answer_is_found_and_correct(answer in answer()) {
        let completion = format!("Some work. $1 + 1 = 2$. So \\boxed{{{answer}}}.");
        prop_assert_eq!(MathVerifier::new().verify(&RewardInput::new(&completion, &answer)).verdict, Verdict::Correct);
    }

    #[test]
    fn no_text_makes_the_verifier_panic_or_disagree_with_itself(a in hostile(), b in hostile()) {
        let verifier = MathVerifier::new();
        let _ = Extraction::default().extract(&a);
        let once = verifier.verify(&RewardInput::new(&a, &b));
        prop_assert_eq!(&once, &verifier.verify(&RewardInput::new(&a, &b)));
        let (forward, back) = (verifier.compare(&a, &b).verdict, verifier.compare(&b, &a).verdict);
        prop_assert_eq!(forward.is_correct(), back.is_correct());
    }
}
