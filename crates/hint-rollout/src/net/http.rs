//! JSON over HTTP with bounded waits, retries and a hidden key.

use std::time::Duration;

use serde_json::Value;

use crate::error::HttpError;
use crate::net::address::shown;
use crate::net::api_key::ApiKey;
use crate::net::redact::redacted;
use crate::net::retry::Failure;

/// A server that speaks JSON.
#[derive(Clone)]
pub(crate) struct JsonServer {
    agent: ureq::Agent,
    base: String,
    key: Option<ApiKey>,
    timeout: Duration,
    /// Bytes of an answer that are read at most.
    limit: u64,
}

/// An answer, or why there is none.
type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// Longest wait until a connection stands.
const CONNECT: Duration = Duration::from_secs(30);

/// Connections whose requests may take `timeout`.
fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        // The body of an error says what was wrong.
        .http_status_as_error(false)
        // A key must not follow a redirect to another host.
        .max_redirects(0)
        // The proxy of the environment would be ambient state.
        .proxy(None)
        .timeout_global(Some(timeout))
        .timeout_connect(Some(CONNECT.min(timeout)))
        .max_idle_connections_per_host(64)
        .max_idle_connections(64)
        .build()
        .into()
}

impl std::fmt::Debug for JsonServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonServer").field("base", &shown(&self.base)).finish_non_exhaustive()
    }
}

impl JsonServer {
    /// A server at `base`, each of whose requests may take `timeout`.
    pub(crate) fn new(base: &str, timeout: Duration, key: Option<ApiKey>) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { agent: agent(timeout), base, key, timeout, limit: 1 << 30 }
    }

    /// The same server, with connections of its own.
    #[cfg(feature = "vllm")]
    pub(crate) fn renewed(&self) -> Self {
        Self { agent: agent(self.timeout), ..self.clone() }
    }

    /// Closes all connections of this server and its clones: their requests end with an error, and so do later ones.
    #[cfg(feature = "vllm")]
    pub(crate) fn close(self) {
        self.agent.shutdown();
    }

    /// The same server, of whose answers at most `bytes` are read.
    #[cfg(feature = "teacher")]
    pub(crate) fn with_limit(self, bytes: u64) -> Self {
        Self { limit: bytes, ..self }
    }

    /// The address without query and user, for people.
    #[cfg(feature = "vllm")]
    pub(crate) fn name(&self) -> String {
        shown(&self.base)
    }

    #[cfg(feature = "vllm")]
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {}", key.secret())),
            None => request,
        };
        self.read(path, request.call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.read(path, self.send(path, body))
    }

    /// As `post`, for an answer that is no JSON.
    #[cfg(feature = "vllm")]
    pub(crate) fn post_for_text(&self, path: &str, body: &Value) -> Result<String, Failure> {
        self.text(path, self.send(path, body))
    }

    fn send(&self, path: &str, body: &Value) -> Response {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {}", key.secret())),
            None => request,
        };
        request.send_json(body)
    }

    /// An error about the body of an answer that was valid JSON.
    pub(crate) fn unexpected(&self, path: &str, reason: impl Into<String>) -> HttpError {
        HttpError::Body { url: self.url(path), reason: self.redacted(&reason.into()) }
    }

    /// The error of a request that took too long.
    #[cfg(feature = "vllm")]
    pub(crate) fn late(&self, path: &str) -> HttpError {
        HttpError::Timeout { url: self.url(path), timeout: self.timeout }
    }

    fn url(&self, path: &str) -> String {
        shown(&format!("{}{path}", self.base))
    }

    /// JSON of an answer; `Null` for an empty one.
    fn read(&self, path: &str, response: Response) -> Result<Value, Failure> {
        let text = self.text(path, response)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            let shown = shortened(&self.redacted(&text));
            let reason = format!("expected JSON ({error}), found `{shown}`");
            HttpError::Body { url: self.url(path), reason }.into()
        })
    }

    /// Text of an answer.
    fn text(&self, path: &str, response: Response) -> Result<String, Failure> {
        let fail = |error| Failure { error, retry_after: None };
        let mut response = response.map_err(|error| fail(self.transport(path, &error)))?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name)?.to_str().ok();
        let retry_after = header("retry-after").and_then(|asked| pause(asked, header("date")));
        let text = response.body_mut().with_config().limit(self.limit).read_to_string();
        if !(200..300).contains(&status) {
            let message = shortened(&self.redacted(&text.unwrap_or_default()));
            let error = HttpError::Status { url: self.url(path), status, message };
            return Err(Failure { error, retry_after });
        }
        text.map_err(|error| fail(self.transport(path, &error)))
    }

    fn transport(&self, path: &str, error: &ureq::Error) -> HttpError {
        let url = self.url(path);
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect) => {
                HttpError::Timeout { url, timeout: CONNECT.min(self.timeout) }
            }
            ureq::Error::Timeout(_) => HttpError::Timeout { url, timeout: self.timeout },
            ureq::Error::BodyExceedsLimit(bytes) => {
                HttpError::Body { url, reason: format!("more than {bytes} bytes") }
            }
            ureq::Error::TooManyRedirects => HttpError::Body {
                url,
                reason: "a redirect; configure the address that it leads to".to_owned(),
            },
            // A message of the client may quote the address, and that a key.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => HttpError::Transport {
                url,
                reason: "the address is not valid; expected `http://HOST:PORT` or a path below it"
                    .to_owned(),
            },
            error => HttpError::Transport { url, reason: self.redacted(&error.to_string()) },
        }
    }

    /// An answer without the key.
    #[cfg(feature = "teacher")]
    pub(crate) fn hide_key(&self, text: String) -> String {
        match &self.key {
            Some(key) if !key.secret().is_empty() => text.replace(key.secret(), "…"),
            _ => text,
        }
    }

    /// The beginning of an error message without the key: servers quote refused keys, whole, masked in the
    /// middle or encoded.
    fn redacted(&self, text: &str) -> String {
        redacted(self.key.as_ref().map_or("", ApiKey::secret), text)
    }
}

/// The pause that `Retry-After` asks for: seconds, or a date. A date is measured from the answer's own so
/// that no clock is read.
fn pause(asked: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = asked.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| httpdate::parse_http_date(text.trim()).ok();
    moment(asked)?.duration_since(moment(date?)?).ok()
}

/// One line of at most 300 characters.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(pause(" 7 ", None), Some(Duration::from_secs(7)));
        let later = "Wed, 21 Oct 2026 07:28:30 GMT";
        assert_eq!(pause(later, date), Some(Duration::from_secs(30)));
        // In the past, without a date to measure from, and nonsense: the pause is our own.
        assert_eq!(pause("Wed, 21 Oct 2020 07:28:00 GMT", date), None);
        assert_eq!(
            (pause(later, None), pause("-5", date), pause("soon", date)),
            (None, None, None)
        );
    }

    #[test]
    fn keys_are_hidden_in_debug_output_and_messages() {
        let key = ApiKey::new(" sk-1\n");
        let server = JsonServer::new("http://h?k=sk-1", Duration::from_secs(1), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!(!format!("{server:?}").contains("sk-1"));
        assert_eq!(server.redacted("bad key sk-1"), "bad key …");
    }
}
