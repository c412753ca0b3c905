//! Requests and answers of `/v1/completions`, tokens in and tokens out.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::contract::{Completion, GenerationRequest, PolicyVersion, StopReason};

/// The body of a request.
pub(super) fn body(model: &str, request: &GenerationRequest, stop_tokens: &[u32]) -> Value {
    let sampling = &request.sampling;
    let mut body = json!({
        "model": model,
        "prompt": request.prompt,
        "n": samples(request),
        "max_tokens": sampling.max_completion_len,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k.map_or(json!(-1), |top_k| json!(top_k)),
        "min_p": sampling.min_p,
        // Without them, the server takes those of the model's `generation_config.json`.
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        // The server wants a signed number, and gives child i the seed plus i.
        "seed": request.seed >> 2,
        "stop_token_ids": stop_tokens,
        // Completions end at our stop tokens, not at those of the server's own configuration.
        "ignore_eos": true,
        "logprobs": 0,
        "return_token_ids": true,
        "return_tokens_as_token_ids": true,
    });
    // Only where they are asked for: older servers know fewer fields.
    if sampling.min_completion_len > 0 {
        body["min_tokens"] = sampling.min_completion_len.into();
    }
    if !sampling.stop.is_empty() {
        body["stop"] = json!(sampling.stop);
        // Tokens and texts agree, and are cut together afterwards.
        body["include_stop_str_in_output"] = true.into();
    }
    if !sampling.banned_tokens.is_empty() {
        let biases = sampling.banned_tokens.iter().map(|token| (token.to_string(), json!(-100)));
        body["logit_bias"] = Value::Object(biases.collect());
    }
    body
}

/// Number of completions to ask for. A greedy prompt has one, and asking for more is refused.
fn samples(request: &GenerationRequest) -> usize {
    if request.sampling.temperature == 0.0 { 1 } else { request.num_completions }
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    token_ids: Option<Vec<u32>>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    token_logprobs: Vec<Option<f64>>,
}

/// The completions of an answer, by index, or its fault.
pub(super) fn completions(
    answer: Value,
    request: &GenerationRequest,
    version: PolicyVersion,
) -> Result<Vec<Completion>, String> {
    let mut answer: Answer = serde_json::from_value(answer).map_err(|error| error.to_string())?;
    answer.choices.sort_by_key(|choice| choice.index);
    let expected = samples(request);
    let indices = answer.choices.iter().map(|choice| choice.index);
    if !indices.eq(0..expected) {
        let found = answer.choices.len();
        return Err(format!("expected {expected} choices numbered from 0, found {found}"));
    }
    let mut completions = answer
        .choices
        .into_iter()
        .map(|c| completion(c, version))
        .collect::<Result<Vec<_>, _>>()?;
    if completions.len() < request.num_completions {
        // The greedy completion is the same each time.
        completions = vec![completions[0].clone(); request.num_completions];
    }
    Ok(completions)
}

fn completion(choice: Choice, version: PolicyVersion) -> Result<Completion, String> {
    let index = choice.index;
    let tokens = choice.token_ids.ok_or_else(|| format!("choice {index} has no `token_ids`"))?;
    let logprobs = choice.logprobs.ok_or_else(|| format!("choice {index} has no `logprobs`"))?;
    let logprobs = logprobs.token_logprobs;
    if logprobs.len() != tokens.len() {
        let (tokens, logprobs) = (tokens.len(), logprobs.len());
        return Err(format!("choice {index} has {tokens} tokens and {logprobs} log-probabilities"));
    }
    // A server writes null for what is no number in JSON, such as −∞. Such a token is context alone: nothing
    // is known of the distribution that drew it.
    if !logprobs.is_empty() && logprobs.iter().all(Option::is_none) {
        return Err(format!("choice {index} has null for every log-probability"));
    }
    let loss_mask = logprobs.iter().map(Option::is_some).collect();
    let logprobs = logprobs.into_iter().map(Option::unwrap_or_default).collect();
    let stop = match choice.finish_reason.as_deref() {
        Some("stop") => StopReason::Stop,
        Some("length") => StopReason::Length,
        other => {
            let other = other.unwrap_or("nothing");
            return Err(format!(
                "choice {index} ended with `{other}`, expected `stop` or `length`"
            ));
        }
    };
    Ok(Completion::new(tokens, logprobs, stop, version).with_loss_mask(loss_mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::contract::Sampling;

    fn request(sampling: Sampling) -> GenerationRequest {
        GenerationRequest::new(vec![1, 2], 1, 8, sampling)
    }

    #[test]
    fn no_setting_of_the_distribution_is_left_to_the_server() {
        // vLLM gives each of them a default of the model's folder where a request has none.
        let plain = body("m", &request(Sampling::default()), &[0]);
        for (setting, expected) in [
            ("repetition_penalty", json!(1.0)),
            ("presence_penalty", json!(0.0)),
            ("frequency_penalty", json!(0.0)),
            ("temperature", json!(0.9)),
            ("top_p", json!(1.0)),
            ("top_k", json!(-1)),
            ("min_p", json!(0.0)),
        ] {
            assert_eq!(plain[setting], expected, "{setting}");
        }
    }

    #[test]
    fn limits_of_completions_are_asked_for_where_there_are_any() {
        let plain = body("m", &request(Sampling::default()), &[0]);
        for field in ["stop", "min_tokens", "logit_bias", "include_stop_str_in_output"] {
            assert_eq!(plain[field], Value::Null, "{field}");
        }
        let sampling = Sampling {
            min_completion_len: 3,
            stop: vec!["\nQ:".to_owned()],
            banned_tokens: vec![7, 9],
            ..Sampling::default()
        };
        let body = body("m", &request(sampling), &[0]);
        assert_eq!((&body["min_tokens"], &body["stop"]), (&json!(3), &json!(["\nQ:"])));
        assert_eq!(body["logit_bias"], json!({"7": -100, "9": -100}));
        assert_eq!(body["include_stop_str_in_output"], true);
    }

    #[test]
    fn a_token_without_log_probability_does_not_train() {
        let answer = json!({"choices": [{
            "index": 0, "token_ids": [5, 6, 7], "finish_reason": "stop",
            "logprobs": {"token_logprobs": [-0.5, null, -1.0]},
        }]});
        let request = request(Sampling::default());
        let completions = completions(answer, &request, PolicyVersion(2)).expect("an answer");
        assert_eq!(completions[0].behavior_logprobs, [-0.5, 0.0, -1.0]);
        assert_eq!(completions[0].loss_mask, [true, false, true]);
    }
}
