//! Auditing reference answers.

use hint_reward::{MathVerifier, audit::AuditFinding};

#[test]
fn usable_references_pass() {
    let usable = [
        "12",
        r"\frac{3}{4}",
        "-0.5",
        r"x = 2 \text{ or } x = 3",
        "(1, 2)",
        "[0, 1)",
        r"\{1, 2\}",
        "5 cm",
        "25%",
        "B",
        "yes",
        "Paris",
        r"x^2 + y^2 = 1",
        r"\sqrt{2}",
        "101_2",
        "3:4",
        "12:30",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        "$90^\\circ$",
        "1,000",
        r"\$25",
        r"1 \pm \sqrt{5}",
        r"\pi r^2",
        r"\sum_{k=1}^n a_k",
        r"(-\infty, 2) \cup (3, \infty)",
        "n!",
        r"x \in \mathbb{R}",
        r"k\pi, k \in \mathbb{Z}",
        "So the answer is 5.",
        r"The area is $12$.",
        r"\log_3 x",
        r"f(x)=2x",
    ];
    let report = MathVerifier::new().audit(usable);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.summary(), format!("audit: {} references, all usable", usable.len()));
}

#[test]
fn unusable_references_are_named_with_their_index() {
    let report = MathVerifier::new().audit(["1", "", r"\frac{1}{", r"\oint x\,dx"]);
    assert_eq!(report.checked, 4);
    let indices: Vec<usize> = report.findings.iter().map(|finding| finding.0).collect();
    assert_eq!(indices, [1, 2, 3]);
    assert!(matches!(report.findings[0].2, AuditFinding::Empty));
    assert!(
        report
            .summary()
            .starts_with("audit: 3 of 4 references are unusable; the first is number 1")
    );
}

#[test]
fn a_budget_too_small_is_found() {
    let finding = MathVerifier::new().with_fuel(10).audit_reference("x^2");
    assert!(matches!(finding, Some(AuditFinding::NotItself { .. })), "{finding:?}");
}

#[test]
fn a_report_counts_by_reason_and_knows_the_usable_rows() {
    let references = ["1", "", r"\frac{1}{", "  ", r"\oint x\,dx"];
    let report = MathVerifier::new().audit(references);
    let table = report.table();
    assert!(table.contains("| empty | 2 | 40.0 % | 1: ``, 3: `  ` |"), "{table}");
    assert!(table.contains("| unreadable: an unknown command | 1 | 20.0 % |"), "{table}");
    let usable: Vec<usize> = (0..5).filter(|index| report.is_usable(*index)).collect();
    assert_eq!(usable, [0]);
}

#[test]
fn references_of_words_alone_are_named() {
    let report = MathVerifier::new().audit(["proof", "12", "yes", "B", "x^2"]);
    assert!(report.is_clean());
    assert_eq!(report.words_only.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
    let table = report.table_by(|index| format!("row-{index}"));
    assert!(
        table.contains("| usable, word for word only | 1 | 20.0 % | row-0: `proof`"),
        "{table}"
    );
    let unusable = MathVerifier::new().audit(["1", ""]);
    assert!(unusable.summary_by(|index| format!("row-{index}")).contains("the first is row-1,"));
}

#[test]
fn commands_damaged_by_json_are_repaired_and_named() {
    let report = MathVerifier::new().audit(["\u{c}rac{3}{4}", "5 \times 2", "\u{c}", "7"]);
    assert_eq!(report.repaired.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(report.findings.iter().map(|finding| finding.0).collect::<Vec<_>>(), [2]);
    let table = report.table();
    let row = "| usable, repaired: a command damaged by a JSON escape | 2 | 50.0 % | 0: `\u{fffd}rac{3}{4}`";
    assert!(table.contains(row), "{table}");
}
