//! Asking a teacher.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::{Hint, Problem};
use crate::error::{HttpError, RolloutError, TeacherError, Violations};
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::source::teacher::budget::Spent;
use crate::hint::source::teacher::cache::{Cache, digest};
use crate::hint::source::teacher::options::{TeacherFallback, TeacherOptions};
use crate::hint::source::teacher::prompt::TeacherPrompt;
use crate::hint::writer::HintWriter;
use crate::net::{ApiKey, Backoff, JsonServer};
use crate::run::in_parallel;

const PATH: &str = "/chat/completions";

/// Bytes of an answer that are read at most.
const LONGEST_ANSWER: u64 = 1 << 24;

/// Hints that a teacher writes. Each problem is asked about once for each level. The teacher's
/// answer is kept in memory, in checkpoints, and on disk if the options name a folder.
///
/// Answers are asked for in the order of the requests, several at a time. Failures that may pass are
/// tried again with growing pauses. A hint that the [leak guard](crate::hint::leak::LeakGuard) rejects is asked for
/// again in other words, and that answer is kept on its own.
///
/// ```no_run
/// use hint_rollout::hint::source::teacher::{TeacherHints, TeacherOptions};
/// use hint_rollout::net::ApiKey;
///
/// let options = TeacherOptions::new("http://127.0.0.1:8000/v1", "a-model");
/// let hints = TeacherHints::new(options, None)?;
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug)]
pub struct TeacherHints {
    options: TeacherOptions,
    server: JsonServer,
    backoff: Backoff,
    cache: Option<Cache>,
    state: Mutex<State>,
}

/// The part that goes into checkpoints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    spent: Spent,
    /// Answers by request.
    hints: BTreeMap<String, String>,
}

/// One question to the teacher.
struct Question<'p> {
    problem: &'p Problem,
    digest: String,
    asked: Value,
}

/// Why a question has no answer.
enum Miss {
    Exhausted(&'static str, u64),
    Failed(usize, HttpError),
    Cache(TeacherError),
}

impl TeacherHints {
    /// A teacher; `key` is the value of the environment variable of the options.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for options that are out of range.
    pub fn new(options: TeacherOptions, key: Option<ApiKey>) -> Result<Self, RolloutError> {
        Violations::check(|at| at.within("source", |at| options.check(at)))?;
        let timeout = Duration::from_secs_f64(options.timeout_s);
        let first = Duration::from_secs_f64(options.backoff_s);
        Ok(Self {
            server: JsonServer::new(&options.endpoint, timeout, key).with_limit(LONGEST_ANSWER),
            backoff: Backoff { attempts: options.attempts, first },
            cache: options.cache.clone().map(Cache::new),
            state: Mutex::default(),
            options,
        })
    }

    /// Requests made and tokens spent so far, including the run that this one resumes.
    pub fn spent(&self) -> (u64, u64) {
        let spent = self.state().spent;
        (spent.requests, spent.tokens)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn question<'p>(
        &self,
        prompt: &TeacherPrompt,
        request: &HintRequest<'p>,
    ) -> Option<Question<'p>> {
        let options = &self.options;
        let level = request.level.of(options.levels);
        let (system, user) = prompt.render(request, level, options.levels)?;
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": user}));
        let mut body = serde_json::Map::new();
        body.insert("model".to_owned(), json!(options.model));
        body.insert("messages".to_owned(), json!(messages));
        body.insert("temperature".to_owned(), json!(options.temperature));
        if !options.extra.contains_key("max_completion_tokens") {
            body.insert("max_tokens".to_owned(), json!(options.max_completion_len));
        }
        body.extend(options.extra.clone());
        let problem = request.problem;
        let asked = json!({"problem": problem.id, "retry": request.retry, "request": body});
        Some(Question { problem, digest: digest(&asked), asked })
    }

    /// One answer to `prompt` for each request; `None` for a request without a question.
    fn answers(
        &self,
        prompt: &TeacherPrompt,
        requests: &[HintRequest<'_>],
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let questions = requests.iter().map(|r| self.question(prompt, r)).collect::<Vec<_>>();
        let mut missing: Vec<&Question<'_>> = Vec::new();
        for question in questions.iter().flatten() {
            let known = self.state().hints.contains_key(&question.digest)
                || missing.iter().any(|other| other.digest == question.digest);
            if known {
                continue;
            }
            let cached = match &self.cache {
                Some(cache) => cache.read(&question.digest, &question.asked)?,
                None => None,
            };
            match cached {
                Some(hint) => drop(self.state().hints.insert(question.digest.clone(), hint)),
                None => missing.push(question),
            }
        }
        let misses = self.ask(&missing);
        let mut hints = Vec::with_capacity(requests.len());
        for question in questions {
            let Some(question) = question else {
                hints.push(None);
                continue;
            };
            let known = self.state().hints.get(&question.digest).cloned();
            hints.push(match known {
                Some(text) => Some(Hint::new(text)),
                None => self.fallback(question.problem, misses.get(&question.digest))?,
            });
        }
        Ok(hints)
    }

    /// As [`Self::answers`] to the prompt of hints, from the teacher's own solutions of which the verifier approves.
    fn verified(
        &self,
        solve: &TeacherPrompt,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        // A hint that is asked for once more is one of the same solution.
        let first = requests.iter().map(|request| HintRequest { retry: 0, ..*request });
        let solutions = self.answers(solve, &first.collect::<Vec<_>>())?;
        let mut solved = Vec::with_capacity(requests.len());
        for (place, (request, solution)) in requests.iter().zip(solutions).enumerate() {
            if let Some(Hint { text, .. }) = solution
                && writer.is_correct(request.problem, &text)?
            {
                solved.push((place, request.problem.clone().with_solution(text)));
            }
        }
        let asked =
            solved.iter().map(|(place, problem)| HintRequest { problem, ..requests[*place] });
        let answers = self.answers(&self.options.prompt, &asked.collect::<Vec<_>>())?;
        let mut hints = vec![None; requests.len()];
        for ((place, _), hint) in solved.iter().zip(answers) {
            hints[*place] = hint;
        }
        Ok(hints)
    }

    fn fallback(
        &self,
        problem: &Problem,
        miss: Option<&Miss>,
    ) -> Result<Option<Hint>, TeacherError> {
        let problem_id = problem.id.clone();
        let (fallback, error) = match miss {
            Some(Miss::Exhausted(what, limit)) => {
                let error = TeacherError::Budget { what, limit: *limit, problem: problem_id };
                (self.options.on_exhausted, error)
            }
            Some(Miss::Failed(attempts, source)) => {
                let (attempts, source) = (*attempts, source.clone());
                let fallback = if concerns_everything(&source) {
                    TeacherFallback::Error
                } else {
                    self.options.on_failure
                };
                (fallback, TeacherError::Request { problem: problem_id, attempts, source })
            }
            Some(Miss::Cache(TeacherError::Cache { path, source })) => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                (TeacherFallback::Error, TeacherError::Cache { path: path.clone(), source })
            }
            // Not asked, because an earlier question had ended in an error.
            _ => return Ok(None),
        };
        match fallback {
            TeacherFallback::Error => Err(error),
            TeacherFallback::NoHint => Ok(None),
            TeacherFallback::Dataset => Ok(problem.hint.as_ref().map(Hint::new)),
        }
    }

    /// Asks, several at a time and in order, until all are asked or one ends in an error.
    fn ask(&self, questions: &[&Question<'_>]) -> BTreeMap<String, Miss> {
        let ask = |place: usize| match self.ask_one(questions[place]) {
            Ok(()) => Ok(None),
            Err(miss) if self.fallback(questions[place].problem, Some(&miss)).is_err() => {
                Err((place, miss))
            }
            Err(miss) => Ok(Some(miss)),
        };
        let (finished, failure) = in_parallel(questions.len(), self.options.parallel, ask);
        let misses = finished.into_iter().filter_map(|(place, miss)| Some((place, miss?)));
        let misses = misses.chain(failure);
        misses.map(|(place, miss)| (questions[place].digest.clone(), miss)).collect()
    }

    fn ask_one(&self, question: &Question<'_>) -> Result<(), Miss> {
        // Another process may have asked it since this one looked.
        if let Some(cache) = &self.cache
            && let Some(hint) =
                cache.read(&question.digest, &question.asked).map_err(Miss::Cache)?
        {
            self.state().hints.insert(question.digest.clone(), hint);
            return Ok(());
        }
        let body = &question.asked["request"];
        let mut exhausted = None;
        let answer = self.backoff.retry(|_| {
            let charged = self.state().spent.request(&self.options.budget);
            if let Err((what, limit)) = charged {
                exhausted = Some(Miss::Exhausted(what, limit));
                return Ok(None);
            }
            let answer = self.server.post(PATH, body)?;
            self.state().spent.add_tokens(tokens(body, &answer));
            let text = hint(&answer).map_err(|reason| self.server.unexpected(PATH, reason))?;
            Ok(Some(text))
        });
        let answer = answer.map_err(|(attempts, error)| Miss::Failed(attempts, error))?;
        let Some(text) = answer else { return exhausted.map_or(Ok(()), Err) };
        let mut text = self.server.hide_key(text);
        if let Some(cache) = &self.cache {
            text = cache.write(&question.digest, &question.asked, text).map_err(Miss::Cache)?;
        }
        self.state().hints.insert(question.digest.clone(), text);
        Ok(())
    }
}

/// Whether no other question would fare better.
fn concerns_everything(error: &HttpError) -> bool {
    matches!(error, HttpError::Status { status: 401 | 403 | 404 | 405, .. })
}

/// The hint of an answer: the text behind the reasoning, if that is shown.
fn hint(answer: &Value) -> Result<String, String> {
    let choice = &answer["choices"][0];
    let text = content(&choice["message"]["content"]);
    let text = text.rsplit_once("</think>").map_or(&*text, |(_, text)| text).trim();
    match choice["finish_reason"].as_str() {
        _ if text.contains("<think>") => {
            Err("reasoning without an end; raise `source.max_completion_len`".to_owned())
        }
        Some("length") => {
            Err("an answer that was cut off; raise `source.max_completion_len`".to_owned())
        }
        _ if text.is_empty() => {
            let shown = serde_json::to_string(choice).unwrap_or_default();
            let shown = shown.chars().take(200).collect::<String>();
            Err(format!("expected a text in `choices[0].message.content`, found `{shown}`"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// The text of a message: a string, or the joined parts of type `text`.
fn content(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten();
    let texts = parts.filter_map(|part| part["text"].as_str());
    content.as_str().map_or_else(|| texts.collect(), str::to_owned)
}

/// Cost of an answer, by the server's account, or else a token for every four bytes.
fn tokens(body: &Value, answer: &Value) -> u64 {
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64();
    let counted = count("total_tokens").or_else(|| {
        // A server may say anything.
        Some(count("prompt_tokens")?.saturating_add(count("completion_tokens")?))
    });
    counted.unwrap_or_else(|| {
        let bytes = body["messages"].to_string().len() + answer["choices"].to_string().len();
        (bytes as u64).div_ceil(4)
    })
}

impl HintProvider for TeacherHints {
    fn name(&self) -> String {
        self.options.name()
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        if self.options.solve.is_some() {
            let message = "a teacher that solves is judged; ask through `HintProvider::hints`";
            return Err(RolloutError::other("hint provider", message));
        }
        let requests = std::slice::from_ref(request);
        Ok(self.answers(&self.options.prompt, requests)?.pop().flatten())
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        match &self.options.solve {
            Some(solve) => self.verified(solve, requests, writer),
            None => self.answers(&self.options.prompt, requests),
        }
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        Some(self.options.levels)
    }

    fn state(&self) -> Value {
        json!(*self.state())
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        *self.state() = crate::run::state::read("teacher", state)?;
        Ok(())
    }
}
