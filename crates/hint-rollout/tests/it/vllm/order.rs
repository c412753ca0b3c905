//! The order in which servers get requests.

use hint_rollout::RolloutEngine;
use serde_json::json;

use super::{Recorded, connect_with, request};

#[test]
fn requests_that_are_expected_to_be_long_are_sent_first() {
    let dir = tempfile::tempdir().unwrap();
    // Names each answer by its number.
    let mut asked = 0;
    let server = Recorded::start(Box::new(move |path| {
        (path == "/v1/completions").then(|| {
            asked += 1;
            let logprobs = json!({"token_logprobs": [-0.5]});
            let choice = |index: usize| {
                json!({
                    "index": index, "token_ids": [asked], "finish_reason": "length", "logprobs": logprobs,
                })
            };
            (200, json!({"choices": [choice(0), choice(1)]}).to_string())
        })
    }));
    let mut engine = connect_with(&[&server], dir.path(), 1).0.unwrap();
    let expected = [Some(3.0), None, Some(90.0), Some(6.0)];
    let made = |(index, expected_tokens): (u32, Option<f64>)| {
        let mut made = request(1);
        made.prompt.push(index);
        made.expected_tokens = expected_tokens;
        made
    };
    let groups = engine.generate(&(0..).zip(expected).map(made).collect::<Vec<_>>()).unwrap();
    let bodies = server.bodies.lock().unwrap();
    let sent = bodies.iter().filter_map(|body| body["prompt"][5].as_u64());
    // What is not known counts as the mean.
    assert_eq!(sent.collect::<Vec<_>>(), [2, 1, 3, 0]);
    let answered = groups.iter().map(|group| group[0].tokens[0]);
    assert_eq!(answered.collect::<Vec<_>>(), [4, 2, 1, 3], "answers stand where they were asked");
}
