//! Address of the Hub and folder of its cache, from the environment variables.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::HubError;

/// Address of the Hub, and its cache.
#[derive(Clone)]
pub struct HubSettings {
    /// Its address.
    pub endpoint: String,
    /// The folder with `models--OWNER--NAME` and `datasets--OWNER--NAME`, which other programs share.
    pub cache: PathBuf,
    /// The token of a user.
    pub token: Option<String>,
    /// Whether nothing is asked and the cache has to do.
    pub offline: bool,
    /// The pause before a request is made again; it doubles each time.
    pub backoff: Duration,
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, cache, token, offline, backoff } = self;
        f.debug_struct("HubSettings")
            .field("endpoint", endpoint)
            .field("cache", cache)
            .field("token", &token.as_ref().map(|_| "…"))
            .field("offline", offline)
            .field("backoff", backoff)
            .finish()
    }
}

impl HubSettings {
    /// The settings of `huggingface_hub` and `transformers`: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, and the token that `hf auth login` keeps.
    ///
    /// # Errors
    ///
    /// [`HubError::NoCacheFolder`] if none of them names a folder, and there is no `HOME`.
    pub fn of_user() -> Result<Self, HubError> {
        #[expect(clippy::disallowed_methods, reason = "a program reads the user's environment")]
        let read = |name: &str| std::env::var_os(name);
        Self::from_variables(read)
    }

    /// As [`HubSettings::of_user`], with the values of the variables.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_variables(read: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let value = |name: &str| read(name).filter(|value| !value.is_empty());
        let text = |name: &str| value(name).map(|value| value.to_string_lossy().trim().to_owned());
        let path = |name: &str| value(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| Some(home.as_ref()?.join("hub")));
        let cache = cache.ok_or(HubError::NoCacheFolder)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let kept = || std::fs::read_to_string(token_file?).ok();
        let token = text("HF_TOKEN").or_else(kept).map(|token| token.trim().to_owned());
        let is_on = |name: &str| {
            text(name).is_some_and(|value| {
                matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            })
        };
        let endpoint = text("HF_ENDPOINT");
        let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: std::path::absolute(&cache).unwrap_or(cache),
            token: token.filter(|token| !token.is_empty()),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            backoff: Duration::from_secs(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let read = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        HubSettings::from_variables(read).unwrap()
    }

    #[test]
    fn variables_mean_what_they_mean_elsewhere() {
        let plain = settings(&[("HOME", "/h")]);
        assert_eq!(plain.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!((&*plain.endpoint, plain.offline), ("https://huggingface.co", false));
        let xdg = settings(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HUB_OFFLINE", "yes")]);
        assert_eq!((xdg.cache, xdg.offline), (PathBuf::from("/x/huggingface/hub"), true));
        let home = settings(&[
            ("HF_HOME", "/f"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!(home.cache, PathBuf::from("/f/hub"));
        assert_eq!((&*home.endpoint, home.offline), ("http://mirror", false));
        let cache = settings(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c"), ("HF_TOKEN", " hf_1\n")]);
        assert_eq!((cache.cache.as_path(), cache.token.as_deref()), ("/c".as_ref(), Some("hf_1")));
        assert!(!format!("{cache:?}").contains("hf_1"));
        assert!(matches!(HubSettings::from_variables(|_| None), Err(HubError::NoCacheFolder)));
    }

    #[test]
    fn the_token_of_a_login_is_taken() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_2\n").unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", path)]).token.as_deref(), Some("hf_2"));
        assert_eq!(
            settings(&[("HF_HOME", path), ("HF_TOKEN", "hf_3")]).token.as_deref(),
            Some("hf_3")
        );
        let file = format!("{path}/token");
        assert_eq!(
            settings(&[("HOME", "/h"), ("HF_TOKEN_PATH", &file)]).token.as_deref(),
            Some("hf_2")
        );
    }
}
