//! An API key, hidden in every text.

/// A secret that is sent to a server and never shown: it has no `Display`, and `Debug` hides it.
///
/// Libraries read no environment: a program reads the variable and hands the value over.
///
/// ```
/// let key = hint_rollout::net::ApiKey::new("sk-secret");
/// assert_eq!(format!("{key:?}"), "ApiKey(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key; white space around it, such as the line end of a key file, is left out.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into().trim().to_owned())
    }

    /// The key itself, for a header.
    #[cfg(any(feature = "vllm", feature = "teacher"))]
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}
