//! JSON over HTTP with bounded waits, retries and a key that shows up nowhere.

use std::time::Duration;

use serde_json::Value;

use crate::error::HttpError;
use crate::net::api_key::ApiKey;
use crate::net::retry::Failure;

/// A server that speaks JSON.
#[derive(Clone)]
pub(crate) struct JsonServer {
    agent: ureq::Agent,
    base: String,
    key: Option<ApiKey>,
    timeout: Duration,
}

impl std::fmt::Debug for JsonServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonServer").field("base", &shown(&self.base)).finish_non_exhaustive()
    }
}

impl JsonServer {
    /// A server at `base`, each of whose requests may take `timeout`.
    pub(crate) fn new(base: &str, timeout: Duration, key: Option<ApiKey>) -> Self {
        let agent = ureq::Agent::config_builder()
            // The body of an error says what was wrong.
            .http_status_as_error(false)
            // A key must not follow a redirect to another host.
            .max_redirects(0)
            // The proxy of the environment would be ambient state.
            .proxy(None)
            .timeout_global(Some(timeout))
            .max_idle_connections_per_host(64)
            .max_idle_connections(64)
            .build()
            .into();
        Self { agent, base: base.trim_end_matches('/').to_owned(), key, timeout }
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
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = match &self.key {
            Some(key) => request.header("Authorization", format!("Bearer {}", key.secret())),
            None => request,
        };
        self.read(path, request.send_json(body))
    }

    /// An error about the body of an answer that was valid JSON.
    pub(crate) fn unexpected(&self, path: &str, reason: impl Into<String>) -> HttpError {
        HttpError::Body { url: self.url(path), reason: self.hide_key(reason.into()) }
    }

    fn url(&self, path: &str) -> String {
        shown(&format!("{}{path}", self.base))
    }

    /// JSON of an answer; `Null` for an empty one.
    fn read(
        &self,
        path: &str,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Failure> {
        const LIMIT: u64 = 1 << 30;
        let fail = |error| Failure { error, retry_after: None };
        let mut response = response.map_err(|error| fail(self.transport(path, &error)))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let text = response.body_mut().with_config().limit(LIMIT).read_to_string();
        if !(200..300).contains(&status) {
            let message = shortened(&self.hide_key(text.unwrap_or_default()));
            let error = HttpError::Status { url: self.url(path), status, message };
            return Err(Failure { error, retry_after });
        }
        let text = text.map_err(|error| fail(self.transport(path, &error)))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            let shown = shortened(&self.hide_key(text));
            let reason = format!("expected JSON ({error}), found `{shown}`");
            fail(HttpError::Body { url: self.url(path), reason })
        })
    }

    fn transport(&self, path: &str, error: &ureq::Error) -> HttpError {
        let url = self.url(path);
        match error {
            ureq::Error::Timeout(_) => HttpError::Timeout { url, timeout: self.timeout },
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
            error => HttpError::Transport { url, reason: self.hide_key(error.to_string()) },
        }
    }

    /// Servers quote the key they refuse.
    pub(crate) fn hide_key(&self, text: String) -> String {
        match &self.key {
            Some(key) if !key.secret().is_empty() => text.replace(key.secret(), "…"),
            _ => text,
        }
    }
}

/// An address without user, query and fragment, any of which may hold a secret.
pub(crate) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => bare.to_owned(),
    }
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
    fn addresses_are_shown_without_user_query_and_fragment() {
        assert_eq!(shown("http://u:p@host:1/v1?key=s#f"), "http://host:1/v1");
        assert_eq!(shown("http://host"), "http://host");
        assert_eq!(shown("host/x?y"), "host/x");
    }

    #[test]
    fn keys_are_hidden_in_debug_output_and_messages() {
        let key = ApiKey::new(" sk-1\n");
        let server = JsonServer::new("http://h?k=sk-1", Duration::from_secs(1), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!(!format!("{server:?}").contains("sk-1"));
        assert_eq!(server.hide_key("bad key sk-1".to_owned()), "bad key …");
    }
}
