//! An external scorer over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::reward::Reward;
use crate::verifier::Verifier;
use crate::verifier::{Judgment, Verdict};

/// A reward computed by a service: an LLM judge, a sandbox, a proof checker.
///
/// Each completion is posted as JSON, `{"prompt", "completion", "reference", "problem_id"}`, and the service answers
/// `{"score": NUMBER}`. A request that fails or answers with status 429 or 5xx is tried again, a bounded number of
/// times; then the completion has an error, never a score.
///
/// As a [`Verifier`] it says correct above its threshold; what cannot be judged has the verdict
/// [`Verdict::Error`], for that completion alone, so that a training loop can drop it and go on.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use hint_reward::{HttpJudge, Reward, RewardInput};
///
/// let judge = HttpJudge::new("style", "http://localhost:8000/judge")
///     .with_timeout(Duration::from_secs(20))
///     .with_attempts(5);
/// let score = judge.score(&RewardInput::new("a completion", "a reference"))?;
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpJudge {
    name: String,
    url: String,
    token: Option<String>,
    attempts: u32,
    backoff: Duration,
    threshold: f64,
    agent: ureq::Agent,
}

impl HttpJudge {
    /// Returns the judge of this name at this address: 30 seconds per request, 3 attempts, half a second before the
    /// second and twice as long before each further one.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            token: None,
            attempts: 3,
            backoff: Duration::from_millis(500),
            threshold: 0.5,
            agent: agent(Duration::from_secs(30)),
        }
    }

    /// Sets the bearer token that is sent along.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
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

    /// One request: a score, or what went wrong and whether trying again may help.
    fn request(&self, body: &Value) -> Result<f64, (String, bool)> {
        let mut request = self.agent.post(&self.url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = match request.send_json(body) {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(status)) => {
                return Err((format!("status {status}"), status == 429 || status >= 500));
            }
            Err(error) => return Err((error.to_string(), true)),
        };
        let answer: Value =
            response.body_mut().read_json().map_err(|error| (error.to_string(), true))?;
        match answer["score"].as_f64() {
            Some(score) => Ok(score),
            None => Err(("the response has no number `score`".to_owned(), false)),
        }
    }
}

impl Reward for HttpJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let body = json!({
            "prompt": input.prompt,
            "completion": input.completion,
            "reference": input.reference,
            "problem_id": input.problem_id,
        });
        let mut pause = self.backoff;
        let mut attempt = 1;
        loop {
            let (reason, again) = match self.request(&body) {
                Ok(score) => return Ok(score),
                Err(failure) => failure,
            };
            if !again || attempt >= self.attempts {
                return Err(RewardError::Judge {
                    name: self.name.clone(),
                    attempts: attempt,
                    reason,
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_mins(1));
            attempt += 1;
        }
    }
}

impl Verifier for HttpJudge {
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
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(timeout)).build().into()
}
