//! The judge over HTTP, against a server of one canned answer per connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use hint_reward::{
    ExactMatch, Reward, RewardError, RewardInput, Rubric, Verdict, Verifier, judge::HttpJudge,
};

/// Answers one request with each of the responses and returns the requests.
fn server(responses: Vec<(u16, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/judge", listener.local_addr().expect("an address"));
    let handle = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for (status, body) in responses {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            // The JSON body ends with its brace.
            while !request.ends_with(b"}") {
                let read = stream.read(&mut chunk).expect("a request");
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&chunk[..read]);
            }
            requests.push(String::from_utf8_lossy(&request).into_owned());
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
            );
            stream
                .write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
                .expect("a response");
        }
        requests
    });
    (url, handle)
}

fn judge(url: &str) -> HttpJudge {
    HttpJudge::new("style", url)
        .with_backoff(Duration::ZERO)
        .with_timeout(Duration::from_secs(5))
        .with_token("secret")
}

#[test]
fn a_score_is_read_after_a_retry() {
    let (url, server) = server(vec![(503, "{}"), (200, r#"{"score": 0.25}"#)]);
    let score =
        judge(&url).score(&RewardInput::new("text", "4").with_problem_id("p1")).expect("a score");
    assert!((score - 0.25).abs() < f64::EPSILON);
    let requests = server.join().expect("the server ends");
    assert_eq!(requests.len(), 2);
    let body: String = requests[1].chars().filter(|c| !c.is_whitespace()).collect();
    assert!(body.contains("\"completion\":\"text\"") && body.contains("\"problem_id\":\"p1\""));
    assert!(requests[1].to_lowercase().contains("authorization: bearer secret"));
}

#[test]
fn failures_are_typed_and_bounded() {
    let (url, _server) = server(vec![(500, "{}"), (500, "{}"), (500, "{}")]);
    let error = judge(&url).score(&RewardInput::new("", "")).expect_err("the judge is down");
    assert!(matches!(error, RewardError::Judge { attempts: 3, .. }), "{error}");
    let (url, _server) = self::server(vec![(200, r#"{"grade": 1}"#)]);
    let error = judge(&url).score(&RewardInput::new("", "")).expect_err("there is no score");
    assert!(matches!(error, RewardError::Judge { attempts: 1, .. }), "{error}");
    let (url, _server) = self::server(vec![(404, "{}")]);
    let error = judge(&url).score(&RewardInput::new("", "")).expect_err("not found");
    assert!(matches!(error, RewardError::Judge { attempts: 1, .. }), "{error}");
}

#[test]
fn a_server_that_never_answers_is_given_up_on() {
    // It accepts connections, by its backlog, and never reads them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/judge", listener.local_addr().expect("an address"));
    let judge = judge(&url).with_timeout(Duration::from_millis(100)).with_attempts(2);
    let error = judge.score(&RewardInput::new("", "")).expect_err("nobody answers");
    assert!(matches!(error, RewardError::Judge { attempts: 2, .. }), "{error}");
}

#[test]
fn in_a_rubric_a_failure_costs_one_completion_and_no_score_is_asked_for_twice() {
    let (url, server) =
        server(vec![(200, r#"{"score": 0.5}"#), (404, "{}"), (200, r#"{"score": 0.25}"#)]);
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, judge(&url).with_parallel(1));
    let inputs = ["a", "b", r"\boxed{4}"].map(|text| RewardInput::new(text, "4"));
    let mut parts = Vec::new();
    let scores = rubric.score_each(&inputs, |part| parts.push(part.to_owned()));
    let scores = scores.expect("the parts have different names");
    let values = scores.iter().map(|score| score.as_ref().ok().map(|score| score.value));
    assert_eq!(values.collect::<Vec<_>>(), [Some(0.5), None, Some(1.25)]);
    assert!(matches!(&scores[1], Err(RewardError::Judge { name, .. }) if name == "style"));
    assert_eq!(parts, ["correct", "style"]);
    assert_eq!(server.join().expect("the server ends").len(), 3);
}

#[test]
fn as_a_verifier_a_failure_is_a_verdict_of_that_completion_alone() {
    let (url, _server) =
        server(vec![(200, r#"{"score": 0.9}"#), (404, "{}"), (200, r#"{"score": 0.1}"#)]);
    let inputs = [RewardInput::new("a", ""), RewardInput::new("b", ""), RewardInput::new("c", "")];
    // One at a time: the server's answers have an order.
    let judge = judge(&url).with_parallel(1);
    let scores = Rubric::new(judge).score_group(&inputs).expect("verdicts");
    let verdicts: Vec<Verdict> = scores.iter().map(|score| score.verdict).collect();
    assert_eq!(verdicts, [Verdict::Correct, Verdict::Error, Verdict::Incorrect]);
}

#[test]
fn a_threshold_decides_the_verdict() {
    let (url, _server) = server(vec![(200, r#"{"score": 0.6}"#), (200, r#"{"score": 0.6}"#)]);
    let verdict =
        |threshold| judge(&url).with_threshold(threshold).verify(&RewardInput::new("", "")).verdict;
    assert_eq!(verdict(0.7), Verdict::Incorrect);
    assert_eq!(verdict(0.5), Verdict::Correct);
}

#[test]
fn the_token_is_neither_shown_nor_sent_to_another_address() {
    let judge = judge("http://user:secret@host/judge?key=secret");
    assert!(!format!("{judge:?}").contains("secret"), "{judge:?}");
    // A redirect is a failure after one attempt: the server of one answer would hang on a second request.
    let (url, server) = server(vec![(307, "{}")]);
    let error = self::judge(&url).score(&RewardInput::new("", "")).expect_err("a redirect");
    assert!(matches!(error, RewardError::Judge { attempts: 1, .. }), "{error}");
    assert_eq!(server.join().expect("the server ends").len(), 1);
}

#[test]
fn columns_of_the_problem_are_sent() {
    let (url, server) = server(vec![(200, r#"{"score": 1}"#)]);
    let columns = std::collections::BTreeMap::from([("tests".to_owned(), serde_json::json!([1]))]);
    judge(&url).score(&RewardInput::new("", "").with_columns(&columns)).expect("a score");
    let requests = server.join().expect("the server ends");
    let body: String = requests[0].chars().filter(|c| !c.is_whitespace()).collect();
    assert!(body.contains(r#""columns":{"tests":[1]}"#), "{body}");
}

/// Answers each request when `count` of them are there, each on a connection of its own.
fn server_of_a_group(count: usize) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/judge", listener.local_addr().expect("an address"));
    let handle = std::thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..count {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !request.ends_with(b"}") {
                let read = stream.read(&mut chunk).expect("a request");
                request.extend_from_slice(&chunk[..read]);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let score = text.split("text ").nth(1).map_or("0", |rest| &rest[..1]).to_owned();
            streams.push((stream, score));
        }
        for (mut stream, score) in streams {
            let body = format!("{{\"score\": {score}}}");
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).expect("a response");
        }
    });
    (url, handle)
}

#[test]
fn the_completions_of_a_problem_are_judged_at_once_and_in_order() {
    let texts = (0..6).map(|index| format!("text {index}")).collect::<Vec<_>>();
    let inputs = texts.iter().map(|text| RewardInput::new(text, "4")).collect::<Vec<_>>();
    // One after the other, the first request would wait for the others until it times out.
    let (url, server) = server_of_a_group(6);
    let scores = judge(&url).score_group(&inputs).expect("scores");
    assert_eq!(scores, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    server.join().expect("the server ends");
    let (url, server) = server_of_a_group(6);
    let rubric = Rubric::new(judge(&url).with_threshold(2.5));
    let verdicts = rubric.score_group(&inputs).expect("scores");
    let correct = verdicts.iter().map(|score| score.verdict.is_correct()).collect::<Vec<_>>();
    assert_eq!(correct, [false, false, false, true, true, true]);
    server.join().expect("the server ends");
}
