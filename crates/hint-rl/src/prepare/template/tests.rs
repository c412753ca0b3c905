//! Tests of templates.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const TEXT: &str = r#"
question = "Ana buys six boxes of 4 pens at $2.5 a box. How much does she pay, and how many pens are there?"
answer = """
She pays 6 * 2.5 = $<<6*2.5=15>>15.
#### 15
"""
question_annotated = """
{who,Ana} buys {n_txt,six} boxes of {k, 4} pens at {cur,$}{p,2.5} a box. How much does she pay, and how many pens are there?

#init:
- who = sample(names)
- cur = sample(["$", "€"])
- n_txt, n = range_str(2, 9, 1, numbers)
- $k = range(2, 6)
- $p = arange(0.5, 3, 0.5)

#conditions:
- is_int(n * p)
- k < n

#answer: n * p
"""
answer_annotated = """
She pays {n} * {p} = {cur}<<{n}*{p}={n*p}>>{n*p}.
#### {n*p}
"""
"#;

const LISTS: &str = r#"{"names": ["Bo", "Cy"],
    "numbers": ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]}"#;

fn parse(text: &str) -> Result<Template, SourceError> {
    let lists = parse_replacements(Path::new("lists.json"), LISTS)?;
    Template::parse("0001", Path::new("0001.toml"), text, &lists)
}

#[test]
fn original_values_reproduce_the_original() {
    let template = parse(TEXT).unwrap();
    assert_eq!(template.unsupported(), None);
    let lists = parse_replacements(Path::new("lists.json"), LISTS).unwrap();
    let file: TemplateFile = toml::from_str(TEXT).unwrap();
    let (recipe, defaults) = Recipe::parse(&file, &lists).unwrap();
    assert_eq!(recipe.instance(&defaults).unwrap(), template.base);
}

#[test]
fn drawn_instances_meet_the_conditions_and_depend_only_on_the_seed() {
    let template = parse(TEXT).unwrap();
    let draw = |count| template.draw(count, &mut ChaCha8Rng::seed_from_u64(7)).unwrap();
    let drawn = draw(20);
    assert_eq!(draw(5), drawn[..5]);
    for instance in &drawn {
        assert!(Number::parse(&instance.answer).unwrap().is_whole(), "{instance:?}");
        assert!(!instance.question.contains('{'), "{instance:?}");
        assert!(instance.solution.contains(&format!("={}>>", instance.answer)), "{instance:?}");
    }
}

#[test]
fn wish_for_more_instances_than_there_are_is_an_error() {
    let text = TEXT.replace("- k < n", "- n + k == 14\n- p == 1");
    let error = parse(&text).unwrap().draw(100, &mut ChaCha8Rng::seed_from_u64(7));
    assert!(matches!(error, Err(SourceError::Exhausted { .. })), "{error:?}");
}

#[test]
fn unusable_annotations_keep_the_problem_and_say_why() {
    #[track_caller]
    fn check(from: &str, to: &str, reason: &str) {
        let template = parse(&TEXT.replace(from, to)).unwrap();
        assert_eq!(template.base.answer, "15");
        let unsupported = template.unsupported().unwrap_or_default();
        assert!(unsupported.contains(reason), "{unsupported}");
    }
    check("sample(names)", "sample(cats)", "`cats` is not defined");
    check("{n*p}.", "{lambda n: n}.", "after the expression");
    check("#### {n*p}", "#### {n*p+1}", "gives 16 for the original values");
    check("$k = range(2, 6)", "$k = range(2, 6, 0)", "step 0");
    check("{n_txt,six}", "{n_txt,twelve}", "no value of `n` fits");
    check("#init:", "", "there is no `#init:`");
}

#[test]
fn malformed_file_is_an_error_naming_file_and_field() {
    for (from, field) in [("question = ", "(file)"), ("#### 15", "answer")] {
        let error = parse(&TEXT.replace(from, "x = ")).unwrap_err();
        assert!(matches!(&error, SourceError::Field { field: f, .. } if f == field), "{error}");
        assert!(error.to_string().contains("0001.toml"), "{error}");
    }
}

#[test]
fn long_numbers_are_grouped_and_sentences_capitalized() {
    assert_eq!(group_thousands("9999"), "9999");
    assert_eq!(group_thousands("1234567"), "1,234,567");
    assert_eq!(capitalize_sentences("red. blue 1.5 a. b"), "Red. Blue 1.5 a. B");
}
