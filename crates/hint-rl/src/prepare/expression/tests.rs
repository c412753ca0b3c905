//! Tests of expressions.

use super::*;

fn variables() -> Variables {
    [("n", "12"), ("frac", "1/3"), ("price", "0.75"), ("unit", "week")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::read(value)))
        .collect()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let value = Expression::parse(text).unwrap().evaluate(&variables()).unwrap();
    assert_eq!(value.to_text().as_deref(), Some(expected), "{text}");
}

#[track_caller]
fn holds(text: &str, expected: bool) {
    let expression = Expression::parse(text).unwrap();
    assert_eq!(expression.is_true(&variables()).unwrap(), expected, "{text}");
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    let error = Expression::parse(text)
        .and_then(|expression| expression.evaluate(&variables()))
        .unwrap_err()
        .to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn arithmetic_follows_python() {
    check("2 + 3 * 4", "14");
    check("-n // 5", "-3");
    check("(0-n) % 5", "3");
    check("2 ** 3 ** 2", "512");
    check("-2 ** 2", "-4");
    check("n * frac", "4");
    check("n / 5", "2.4");
    check("1 - frac", "2/3");
    check("n * price", "9");
    check("int(n * price / 2)", "4");
    check("round(price * 0.5, 2)", "0.38");
    check("Fraction(n / 16)", "3/4");
    check("7 if unit == \"week\" else 30", "7");
    check("plural(1, 'coin', 'coins')", "coin");
}

#[test]
fn conditions_follow_python() {
    holds("1 < n <= 12 < 13", true);
    holds("not divides(n, 5)", true);
    holds("divides(n, 0)", false);
    holds("is_int(n * frac) and not is_int(n * frac / 3)", true);
    holds("n % 5 == 2 or n > 100", true);
    holds("unit != 'week'", false);
}

#[test]
fn lists_and_tuples_nest() {
    let value = Expression::parse("[('a', 1), (\"b\", 2,)]").unwrap();
    let Value::List(items) = value.evaluate(&variables()).unwrap() else { panic!("no list") };
    assert_eq!(items[1], Value::List(vec![Value::read("b"), Value::read("2")]));
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    fails("n + missing", "`missing` is not defined");
    fails("n / (n - 12)", "division by zero");
    fails("open('x')", "unknown function `open`");
    fails("ensure_int(n / 5)", "2.4 is not whole");
    fails("unit + 1", "is no number");
    fails("n[1]", "after the expression");
    fails("2 +", "ends too early");
    fails("'abc", "a quote is not closed");
    fails("9 ** 99 ** 9", "overflow");
    fails(&"(".repeat(1000), "nested deeper");
    fails(&"2**".repeat(1000), "nested deeper");
    fails(&"1+".repeat(5000), "more than 2000 tokens");
    fails("n $ 2", "unexpected `$`");
}
