//! Chat templates as transformers renders them.

use hint_policy::Tokenizer;
use hint_policy::tokenizer::ChatMessage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::golden::golden_dir;

/// A case of `templates.json`, which `gen/templates.py` writes.
#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    messages: Vec<ChatMessage>,
    variables: Map<String, Value>,
    expected: String,
}

fn tokenizer(template: &str) -> Tokenizer {
    let json = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null, "truncation": null, "padding": null,
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;
    Tokenizer::from_json_str(json)
        .expect("the tokenizer parses")
        .with_special_token("bos_token", "<s>")
        .with_special_token("eos_token", "</s>")
        .with_chat_template(template)
}

#[test]
fn templates_render_as_in_transformers() {
    let text = std::fs::read_to_string(golden_dir().0.join("templates.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 80, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let rendered = tokenizer(&case.template)
            .with_template_variables(case.variables.clone())
            .apply_chat_template(&case.messages, true);
        match rendered {
            Ok(text) if text == case.expected => {}
            Ok(text) => {
                wrong.push(format!("{}: {text:?}, expected {:?}", case.name, case.expected));
            }
            Err(error) => wrong.push(format!("{}: {error:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn variables_of_a_call_come_before_those_of_the_tokenizer() {
    let object = |value: Value| value.as_object().cloned().unwrap();
    let tokenizer = tokenizer("{{ a }}{{ b }}{{ add_generation_prompt }}")
        .with_template_variables(object(json!({"a": 1, "b": 2})));
    let rendered = tokenizer.apply_chat_template_with(&[], false, &object(json!({"b": 3})));
    assert_eq!(rendered.unwrap(), "13False");
}

#[test]
fn the_date_is_fixed_until_another_one_is_set() {
    let tokenizer = tokenizer("{{ strftime_now('%d %B %Y') }}");
    assert_eq!(tokenizer.apply_chat_template(&[], false).unwrap(), "26 July 2024");
    let tokenizer = tokenizer.with_template_date("2026-11-28").unwrap();
    assert_eq!(tokenizer.apply_chat_template(&[], false).unwrap(), "28 November 2026");
    assert!(tokenizer.with_template_date("today").is_err());
}

#[test]
fn two_tokenizers_are_compared_token_by_token() {
    let of = |vocab: &str| {
        let json = format!(
            r#"{{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null, "truncation": null, "padding": null,
            "model": {{"type": "WordLevel", "vocab": {vocab}, "unk_token": "a"}}}}"#
        );
        Tokenizer::from_json_str(&json).expect("the tokenizer parses")
    };
    let own = of(r#"{"a": 0, "b": 1, "c": 2}"#);
    let difference = |other: &str| own.first_difference(&of(other));
    assert_eq!(difference(r#"{"c": 2, "b": 1, "a": 0}"#), None);
    assert_eq!(difference(r#"{"a": 0, "b": 2, "c": 1}"#).as_deref(), Some("b"));
    assert_eq!(difference(r#"{"a": 0, "b": 1, "c": 2, "d": 3}"#).as_deref(), Some("d"));
    assert_eq!(difference(r#"{"a": 0}"#).as_deref(), Some("b"));
}
