//! A judge behind an HTTP address.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::parallel::map_in_parallel;
use crate::reward::Reward;
use crate::verifier::{Judgment, Verdict, Verifier};

/// Longest pause between two attempts, also when a server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Bytes of an answer that are read at most.
const MAX_ANSWER: u64 = 1 << 20;

/// A reward computed by a service: an LLM judge, a sandbox, a proof checker.
///
/// Completions of one problem are asked about several at a time, see [`HttpJudge::with_parallel`], and their scores are
/// in order. Each is posted as JSON, `{"prompt", "completion", "reference", "accepted", "problem_id", "columns"}`
/// without unknown entries. The service answers `{"score": NUMBER}`. A request is tried again, up to a bound, if it
/// times out, cannot connect or has status 408, 425, 429, 5xx. Then the completion has an error, never a score.
///
/// The token goes to this address only: redirects are not followed, and no proxy of the environment is used. Neither
/// `Debug` nor an error shows the token, or the user and query of the address.
///
/// As a [`Verifier`] it returns [`Verdict::Correct`] above its threshold. A completion that cannot be judged
/// has the verdict [`Verdict::Error`], for itself alone, so that a training loop can drop it.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use hint_reward::{Reward, RewardInput, judge::HttpJudge};
///
/// let judge = HttpJudge::new("style", "http://localhost:8000/judge")
///     .with_timeout(Duration::from_secs(20))
///     .with_attempts(5);
/// let score = judge.score(&RewardInput::new("a completion", "a reference"))?;
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Clone)]
pub struct HttpJudge {
    name: String,
    url: String,
    token: Option<String>,
    attempts: u32,
    backoff: Duration,
    threshold: f64,
    parallel: usize,
    agent: ureq::Agent,
}

impl fmt::Debug for HttpJudge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpJudge")
            .field("name", &self.name)
            .field("url", &shown(&self.url))
            .field("attempts", &self.attempts)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

/// One failed request.
struct Failure {
    reason: String,
    /// Whether trying again may help, and the pause the server asks for.
    again: Option<Duration>,
}

impl Failure {
    fn last(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: None }
    }

    fn transient(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: Some(Duration::ZERO) }
    }
}

impl HttpJudge {
    /// Returns the judge of this name at this address. It has 30 seconds per request and 3 attempts, with a pause
    /// of half a second before the second one. The pause doubles each time.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            token: None,
            attempts: 3,
            backoff: Duration::from_millis(500),
            threshold: 0.5,
            parallel: 8,
            agent: agent(Duration::from_secs(30)),
        }
    }

    /// Sets the bearer token to send. White space around it, such as the line end of a key file, is left out.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into().trim().to_owned());
        self
    }

    /// Sets how long one request may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.agent = agent(timeout);
        self
    }

    /// Sets how often a request is made at most; 0 counts as 1.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the pause before the second attempt. It doubles each time, up to a minute.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the score above which a completion is correct, for use as a verifier. Default 0.5.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets how many completions of one problem are asked about at once. Default 8; 0 counts as 1.
    #[must_use]
    pub fn with_parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel.max(1);
        self
    }

    /// One request: a score, or the error.
    fn request(&self, body: &Value) -> Result<f64, Failure> {
        let mut request = self.agent.post(&self.url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.send_json(body).map_err(|error| match error {
            // The messages of these quote the address.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::last("the address is not valid, expected `http://HOST:PORT/PATH`")
            }
            ureq::Error::TooManyRedirects => {
                Failure::last("the service redirects; configure the address it leads to")
            }
            error => Failure::transient(error.to_string()),
        })?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let header = |name| response.headers().get(name)?.to_str().ok();
            let asked = header("retry-after").and_then(|asked| pause(asked, header("date")));
            let transient = matches!(status, 408 | 425 | 429 | 500..=599);
            let again = transient.then(|| asked.unwrap_or_default());
            return Err(Failure { reason: format!("status {status}"), again });
        }
        let answer: Value = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_json()
            .map_err(|error| Failure::transient(error.to_string()))?;
        answer["score"].as_f64().ok_or_else(|| Failure::last("the response has no number `score`"))
    }

    /// A reason without the token, which servers and clients may quote.
    fn scrubbed(&self, reason: String) -> String {
        match &self.token {
            Some(token) if !token.is_empty() => reason.replace(token.as_str(), "…"),
            _ => reason,
        }
    }
}

impl Reward for HttpJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let mut body = json!({
            "prompt": input.prompt,
            "completion": input.completion,
            "reference": input.reference,
            "problem_id": input.problem_id,
        });
        if let Some(columns) = input.columns {
            body["columns"] = json!(columns);
        }
        if !input.accepted.is_empty() {
            body["accepted"] = json!(input.accepted);
        }
        let mut pause = self.backoff;
        let mut attempts = 1;
        loop {
            let failure = match self.request(&body) {
                Ok(score) => return Ok(score),
                Err(failure) => failure,
            };
            let Some(asked) = failure.again.filter(|_| attempts < self.attempts) else {
                let (name, reason) = (self.name.clone(), self.scrubbed(failure.reason));
                return Err(RewardError::Judge { name, attempts, reason });
            };
            std::thread::sleep(pause.max(asked).min(LONGEST_PAUSE));
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempts += 1;
        }
    }

    fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
        self.score_each(inputs).into_iter().collect()
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score_each(&self, inputs: &[RewardInput<'_>]) -> Vec<Result<f64, RewardError>> {
        map_in_parallel(inputs, self.parallel, |input| self.score(input))
    }
}

impl Verifier for HttpJudge {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        match self.score(input) {
            Ok(score) => {
                let is_correct = score > self.threshold;
                let verdict = if is_correct { Verdict::Correct } else { Verdict::Incorrect };
                Judgment::new(verdict).with_reason(format!("the judge's score is {score}"))
            }
            Err(error) => Judgment::new(Verdict::Error).with_reason(error.to_string()),
        }
    }

    fn verify_group(&self, inputs: &[RewardInput<'_>]) -> Vec<Judgment> {
        map_in_parallel(inputs, self.parallel, |input| self.verify(input))
    }
}

/// The pause that `Retry-After` asks for: seconds, or a date. A date is measured from the answer's own so that no
/// clock is read.
fn pause(asked: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = asked.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| httpdate::parse_http_date(text.trim()).ok();
    moment(asked)?.duration_since(moment(date?)?).ok()
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A token must not follow a redirect to another host.
        .max_redirects(0)
        // The proxy of the environment would be ambient state.
        .proxy(None)
        .timeout_global(Some(timeout))
        .build()
        .into()
}

/// An address without user, query and fragment, any of which may hold a secret.
fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}
