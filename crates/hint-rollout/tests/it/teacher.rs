//! A teacher behind a chat endpoint, on real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use hint_rollout::data::HintLevel;
use hint_rollout::error::TeacherError;
use hint_rollout::hint::leak::{LeakAction, LeakDetector, LeakGuard};
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::hint::source::teacher::{
    TeacherFallback, TeacherHints, TeacherOptions, TeacherPrompt,
};
use hint_rollout::hint::{HintWriter, WriteRequest};
use hint_rollout::net::ApiKey;
use hint_rollout::{Hint, HintProvider, HintRequest, Problem, RolloutError};
use serde_json::{Value, json};

mod processes;

/// What a server does with a request.
enum Answer {
    /// A hint.
    Says(String),
    /// A status, further header lines, and a body.
    Status(u16, &'static str, String),
    /// Nothing for this long, then a hint.
    Late(Duration),
    /// A broken connection.
    Breaks,
}

/// A chat endpoint on this machine.
struct Chat {
    address: String,
    /// Bodies and keys of the requests.
    log: Arc<Mutex<Vec<(Value, String)>>>,
    /// Most requests that were open at once.
    most: Arc<AtomicUsize>,
}

impl Chat {
    /// `script` sees the number of the request, from 0, and its body.
    fn start(script: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}/v1", listener.local_addr().expect("a bound socket"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, peak, script) = (Arc::clone(&log), Arc::clone(&most), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (seen, peak, open) = (Arc::clone(&seen), Arc::clone(&peak), Arc::clone(&open));
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    let Some((body, key)) = read_request(&stream) else { return };
                    peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let number = {
                        let mut seen = seen.lock().expect("no test panics here");
                        seen.push((body.clone(), key));
                        seen.len() - 1
                    };
                    let answer = script(number, &body);
                    // Before the answer, after which the client may ask again.
                    open.fetch_sub(1, Ordering::SeqCst);
                    match answer {
                        Answer::Says(text) => respond(&mut stream, 200, "", &chat(&text)),
                        Answer::Status(status, headers, body) => {
                            respond(&mut stream, status, headers, &body);
                        }
                        Answer::Late(wait) => {
                            std::thread::sleep(wait);
                            respond(&mut stream, 200, "", &chat("late"));
                        }
                        Answer::Breaks => {}
                    }
                });
            }
        });
        Self { address, log, most }
    }

    fn asked(&self) -> usize {
        self.log.lock().expect("no test panics here").len()
    }

    fn options(&self) -> TeacherOptions {
        let mut options = TeacherOptions::new(&self.address, "big-model");
        options.backoff_s = 0.001;
        options
    }
}

fn read_request(stream: &TcpStream) -> Option<(Value, String)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /v1/chat/completions "), "{line}");
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((serde_json::from_slice(&body).ok()?, key))
}

fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n");
    // A client that has given up is no concern of the server.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// An answer as OpenAI documents it.
fn chat(text: &str) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "big-model",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
    })
    .to_string()
}

fn problems(count: usize) -> Vec<Problem> {
    let problem =
        |index: usize| Problem::new(format!("p{index}"), format!("What is {index}?"), "4");
    (0..count).map(problem).collect()
}

/// A teacher asks nobody else.
struct NoWriter;

impl HintWriter for NoWriter {
    fn write(&mut self, _requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        Err(RolloutError::other("hint writer", "a teacher needs none"))
    }
}

fn ask(teacher: &TeacherHints, problems: &[Problem]) -> Result<Vec<Option<Hint>>, RolloutError> {
    let requests = problems.iter().map(HintRequest::new).collect::<Vec<_>>();
    teacher.hints(&requests, &mut NoWriter)
}

fn teacher(options: TeacherOptions) -> TeacherHints {
    TeacherHints::new(options, None).expect("the options are valid")
}

/// A server that names the problem in its hint.
fn echo() -> Chat {
    Chat::start(|_, body| {
        let text = body["messages"][1]["content"].as_str().expect("a text");
        let question = text.split("What is ").nth(1).and_then(|rest| rest.split('?').next());
        Answer::Says(format!("Think of {}.", question.expect("a question")))
    })
}

#[test]
fn hints_come_in_order_several_at_a_time_and_no_question_is_asked_twice() {
    // Each request waits for others to meet, so four are open at once however slow the machine is.
    let meeting = Barrier::new(4);
    let chat = Chat::start(move |_, body| {
        meeting.wait();
        let text = body["messages"][1]["content"].as_str().expect("a text");
        Answer::Says(text.split("What is ").nth(1).expect("a question")[..1].to_owned())
    });
    let teacher = teacher(TeacherOptions { parallel: 4, ..chat.options() });
    let mut problems = problems(8);
    problems.push(problems[0].clone());
    let hints = ask(&teacher, &problems).expect("the server answers");
    let texts = hints.iter().flatten().map(|hint| hint.text.as_str()).collect::<Vec<_>>();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "0"]);
    assert_eq!(chat.asked(), 8);
    assert_eq!(chat.most.load(Ordering::SeqCst), 4);
    // A connection that the server had closed is opened again, and counts as one more request.
    let (requests, tokens) = teacher.spent();
    assert!(requests >= 8, "{requests}");
    assert_eq!(tokens, 800);
    ask(&teacher, &problems).expect("everything is known");
    assert_eq!(chat.asked(), 8);
}

/// Judges solutions by whether they say the answer.
struct Judge;

impl HintWriter for Judge {
    fn write(&mut self, _requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        Err(RolloutError::other("hint writer", "a teacher needs none"))
    }

    fn is_correct(&mut self, problem: &Problem, solution: &str) -> Result<bool, RolloutError> {
        Ok(solution.contains(&problem.answer))
    }
}

#[test]
fn a_teacher_that_solves_gives_hints_from_its_correct_solutions_alone() {
    let chat = Chat::start(|_, body| {
        let text = body["messages"][0]["content"].as_str().expect("a text");
        Answer::Says(match text {
            "Solve: What is 0?" => "It is 4.".to_owned(),
            "Solve: What is 1?" => "It is 5.".to_owned(),
            _ => format!("From <{text}>."),
        })
    });
    let ask_for = |user: &str| TeacherPrompt { system: String::new(), user: user.to_owned() };
    let mut options = chat.options();
    options.solve = Some(ask_for("Solve: {question}"));
    options.prompt = ask_for("{question} {solution}");
    let teacher = teacher(options.clone());
    // What the data set knows is not what the teacher found.
    let problems = problems(2).into_iter().map(|one| one.with_solution("4, by the book"));
    let problems = problems.collect::<Vec<_>>();
    let requests = problems.iter().map(HintRequest::new).collect::<Vec<_>>();
    let hints = teacher.hints(&requests, &mut Judge).expect("the server answers");
    let texts = hints.iter().map(|hint| hint.as_ref().map(|hint| hint.text.as_str()));
    assert_eq!(texts.collect::<Vec<_>>(), [Some("From <What is 0? It is 4.>."), None]);
    assert_eq!(chat.asked(), 3, "two solutions, one hint");
    // A hint that is asked for again is one of the same solution.
    teacher.hints(&[requests[0].with_retry(1)], &mut Judge).expect("the server answers");
    assert_eq!(chat.asked(), 4);
    // A state continues without asking, and a collector must judge.
    let resumed = self::teacher(options.clone());
    resumed.load_state(&teacher.state()).expect("its own state");
    assert_eq!(resumed.hints(&requests, &mut Judge).expect("all is known"), hints);
    assert_eq!(chat.asked(), 4);
    let error = resumed.hints(&requests, &mut NoWriter).expect_err("nobody judges");
    let cause = std::error::Error::source(&error).expect("the cause").to_string();
    assert!(cause.contains("needs a collector"), "{cause}");
    options.solve = Some(ask_for("{question} {answer}"));
    let error = TeacherHints::new(options, None).expect_err("it is told").to_string();
    assert!(error.contains("source.solve") && error.contains("{answer}"), "{error}");
}

#[test]
fn requests_are_what_the_interface_documents() {
    let chat = echo();
    let mut options = chat.options();
    options.extra.insert("top_p".to_owned(), json!(0.9));
    let key = Some(ApiKey::new("sk-test"));
    let teacher = TeacherHints::new(options, key).expect("the options are valid");
    let problem = Problem::new("p", "What is 7?", "seven").with_solution("7 is seven");
    teacher.hint(&HintRequest::new(&problem)).expect("the server answers");
    let log = chat.log.lock().expect("no test panics here");
    let (body, key) = &log[0];
    assert_eq!(key, "Bearer sk-test");
    assert_eq!(body["model"], "big-model");
    assert_eq!((&body["max_tokens"], &body["top_p"]), (&json!(2048), &json!(0.9)));
    assert_eq!(
        (&body["messages"][0]["role"], &body["messages"][1]["role"]),
        (&json!("system"), &json!("user"))
    );
    let user = body["messages"][1]["content"].as_str().expect("a text");
    assert!(user.contains("What is 7?") && user.contains("Reference solution: 7 is seven"));
}

#[test]
fn busy_failing_and_breaking_servers_are_asked_again() {
    let chat = Chat::start(|number, _| match number {
        0 => Answer::Status(429, "Retry-After: 1\r\n", "slow down".to_owned()),
        1 => Answer::Status(500, "", "oops".to_owned()),
        2 => Answer::Breaks,
        3 => Answer::Status(200, "", "<html>no JSON".to_owned()),
        4 => Answer::Status(200, "", json!({"choices": []}).to_string()),
        _ => Answer::Says("<think>It is 4, so...</think>\n Count. ".to_owned()),
    });
    let teacher = teacher(TeacherOptions { attempts: 6, ..chat.options() });
    #[expect(clippy::disallowed_methods, reason = "the test measures a wait")]
    let started = std::time::Instant::now();
    let hints = ask(&teacher, &problems(1)).expect("the sixth attempt succeeds");
    assert_eq!(hints, [Some(Hint::new("Count."))]);
    assert_eq!(chat.asked(), 6);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1), "the server asked for a second: {waited:?}");
    assert_eq!(teacher.spent().0, 6, "each attempt is a request");
}

#[test]
fn a_server_that_does_not_answer_in_time_is_an_error_with_problem_and_attempts() {
    let chat = Chat::start(|_, _| Answer::Late(Duration::from_secs(5)));
    let options = TeacherOptions { attempts: 2, timeout_s: 0.1, ..chat.options() };
    let error = ask(&teacher(options), &problems(1)).expect_err("it is too late");
    let text = format!("{error:?}");
    assert!(
        matches!(&error, RolloutError::Teacher(TeacherError::Request { problem, attempts: 2, .. }) if problem == "p0"),
        "{text}"
    );
    assert!(text.contains("Timeout"), "{text}");
}

#[test]
fn refusals_end_the_run_at_once_and_the_key_is_nowhere() {
    let secret = "sk-very-secret";
    let chat = Chat::start(move |_, _| {
        Answer::Status(401, "", format!("{{\"error\": \"bad key {secret}\"}}"))
    });
    let options = TeacherOptions {
        parallel: 1,
        on_failure: TeacherFallback::NoHint,
        api_key_env: Some("SECRET".to_owned()),
        ..chat.options()
    };
    let source = HintSourceConfig::Teacher(Box::new(options.clone()));
    let text = serde_json::to_string(&source).expect("options serialize");
    assert!(!text.contains(secret));
    let missing = source.build(|_| None).err().expect("the variable is not set");
    assert!(missing.to_string().contains("`SECRET`"), "{missing}");
    source.build(|name| (name == "SECRET").then(|| ApiKey::new(secret))).expect("it is set now");

    let teacher = TeacherHints::new(options, Some(ApiKey::new(secret))).expect("valid");
    let error = ask(&teacher, &problems(5)).expect_err("the key is wrong");
    assert_eq!(chat.asked(), 1, "no other question would fare better");
    let shown = format!("{error} {error:?} {teacher:?} {}", teacher.state());
    assert!(!shown.contains(secret) && shown.contains("401"), "{shown}");
}

#[test]
fn a_key_that_a_server_repeats_reaches_no_file() {
    let chat = Chat::start(|_, _| Answer::Says("Your key is sk-echo.".to_owned()));
    let folder = tempfile::tempdir().expect("a folder");
    let options = TeacherOptions { cache: Some(folder.path().to_path_buf()), ..chat.options() };
    let teacher = TeacherHints::new(options, Some(ApiKey::new("sk-echo"))).expect("valid");
    let hints = ask(&teacher, &problems(1)).expect("the server answers");
    assert_eq!(hints, [Some(Hint::new("Your key is …."))]);
    for file in files(folder.path()) {
        assert!(!std::fs::read_to_string(file).expect("a text").contains("sk-echo"));
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_second_run_with_the_same_cache_asks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let chat = echo();
    let options = TeacherOptions { cache: Some(folder.path().to_path_buf()), ..chat.options() };
    let first = ask(&teacher(options.clone()), &problems(3)).expect("the server answers");
    assert_eq!(chat.asked(), 3);
    let again = teacher(options.clone());
    assert_eq!(ask(&again, &problems(3)).expect("all is known"), first);
    assert_eq!((chat.asked(), again.spent()), (3, (0, 0)));
    // Another model, prompt or parameter is another question.
    ask(&teacher(TeacherOptions { temperature: 0.1, ..options.clone() }), &problems(1))
        .expect("ok");
    ask(&teacher(TeacherOptions { model: "other".to_owned(), ..options }), &problems(1))
        .expect("ok");
    assert_eq!(chat.asked(), 5);
    assert_eq!(files(folder.path()).len(), 5, "nothing but answers is left behind");
}

#[test]
fn a_resumed_run_goes_on_with_the_same_hints_and_what_is_left_of_the_budget() {
    // Each answer differs, so that asking again would show.
    let chat = Chat::start(|number, _| Answer::Says(format!("hint {number}")));
    let mut options = TeacherOptions { parallel: 1, ..chat.options() };
    options.budget.requests = Some(3);
    options.on_exhausted = TeacherFallback::NoHint;
    let first = teacher(options.clone());
    let hints = ask(&first, &problems(2)).expect("within the budget");
    let resumed = teacher(options);
    resumed.load_state(&first.state()).expect("its own state");
    assert_eq!(ask(&resumed, &problems(2)).expect("all is known"), hints);
    let more = ask(&resumed, &problems(4)).expect("one request is left");
    assert_eq!(more[2..], [Some(Hint::new("hint 2")), None]);
    assert_eq!((chat.asked(), resumed.spent()), (3, (3, 300)));
    assert!(resumed.load_state(&json!({"spent": 1})).is_err());
}

#[test]
fn a_budget_that_is_used_up_is_an_error_or_falls_back() {
    let chat = echo();
    let mut options = TeacherOptions { parallel: 1, ..chat.options() };
    options.budget.tokens = Some(150);
    let error = ask(&teacher(options.clone()), &problems(3)).expect_err("two answers use it up");
    assert!(
        matches!(
            error,
            RolloutError::Teacher(TeacherError::Budget { what: "tokens", limit: 150, .. })
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("source.budget.tokens"), "{error}");
    options.on_exhausted = TeacherFallback::Dataset;
    let mut problems = problems(3);
    problems[2].hint = Some("own".to_owned());
    let hints = ask(&teacher(options), &problems).expect("it falls back");
    assert_eq!(hints[2], Some(Hint::new("own")));
}

#[test]
fn costs_of_any_size_are_counted() {
    for usage in [
        json!({"total_tokens": u64::MAX}),
        json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX}),
        json!({"total_tokens": -5}),
    ] {
        let message = json!({"finish_reason": "stop", "message": {"content": "Think."}});
        let body = json!({"choices": [message], "usage": usage});
        let chat = Chat::start(move |_, _| Answer::Status(200, "", body.to_string()));
        let hints = ask(&teacher(chat.options()), &problems(3)).expect("the hints are fine");
        assert_eq!(hints[2], Some(Hint::new("Think.")));
    }
}

#[test]
fn an_answer_that_was_cut_off_is_a_failure() {
    let body = json!({"choices": [{"finish_reason": "length", "message": {"content": "Half a"}}]});
    let chat = Chat::start(move |_, _| Answer::Status(200, "", body.to_string()));
    let mut options = TeacherOptions { attempts: 2, ..chat.options() };
    let error = ask(&teacher(options.clone()), &problems(1)).expect_err("it is cut off");
    assert!(format!("{error:?}").contains("max_completion_len"), "{error:?}");
    options.on_failure = TeacherFallback::NoHint;
    assert_eq!(ask(&teacher(options), &problems(1)).expect("it falls back"), [None]);
}

#[test]
fn levels_and_rejected_hints_are_questions_of_their_own() {
    let chat = Chat::start(|_, body| {
        let user = body["messages"][1]["content"].as_str().expect("a text");
        let rejected = user.contains("An earlier hint");
        Answer::Says(if rejected { "Pair them.".to_owned() } else { "It is 4.".to_owned() })
    });
    let teacher = teacher(TeacherOptions { levels: 2, ..chat.options() });
    let problem = Problem::new("p", "What is two times two?", "4");
    let request = HintRequest::new(&problem);
    let guard = LeakGuard { action: LeakAction::Drop, retries: 2 };
    let guarded = guard
        .hints(&LeakDetector::new(), &teacher, &[request], &mut NoWriter)
        .expect("the server answers");
    assert_eq!(guarded[0].hint, Some(Hint::new("Pair them.")));
    assert_eq!((guarded[0].retries, chat.asked()), (1, 2));
    let half = request.with_level(HintLevel::new(0.5));
    teacher.hint(&half).expect("the server answers");
    let log = chat.log.lock().expect("no test panics here");
    let user = |index: usize| log[index].0["messages"][1]["content"].to_string();
    assert!(user(0).contains("2 of 2") && user(2).contains("1 of 2"), "{}", user(2));
}

#[test]
fn options_are_checked() {
    for (text, field) in [
        ("parallel = 0", "source.parallel"),
        ("timeout_s = 0", "source.timeout_s"),
        ("prompt = { user = \"{quest}\" }", "source.prompt"),
    ] {
        let mut options = serde_json::json!({"endpoint": "http://h/v1", "model": "m"});
        let (key, value) = text.split_once(" = ").expect("a pair");
        options[key] = match key {
            "prompt" => json!({"user": "{quest}"}),
            _ => value.parse::<i64>().expect("a number").into(),
        };
        let options = serde_json::from_value(options).expect("known keys");
        let error = TeacherHints::new(options, None).expect_err("out of range");
        assert!(matches!(error, RolloutError::Config(_)), "{error}");
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
    }
}

#[test]
fn a_teacher_is_named_in_a_configuration_and_unknown_keys_are_refused() {
    let mut value = json!({
        "type": "teacher", "endpoint": "http://h/v1", "model": "m", "budget": {"requests": 5}
    });
    let source: HintSourceConfig = serde_json::from_value(value.clone()).expect("known keys");
    let HintSourceConfig::Teacher(options) = &source else { panic!("a teacher") };
    assert_eq!((options.budget.requests, options.parallel), (Some(5), 8));
    let again = serde_json::to_value(&source).expect("options serialize");
    assert_eq!(serde_json::from_value::<HintSourceConfig>(again).expect("its own"), source);
    value["modle"] = json!("m");
    let error = serde_json::from_value::<HintSourceConfig>(value).expect_err("a misspelt key");
    assert!(error.to_string().contains("modle"), "{error}");
}
