//! Addresses of servers.

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

/// Whether a text is `http://HOST`, `https://HOST:PORT/PATH` and the like. Any other text would be tried
/// again and again as an unreachable address.
pub(crate) fn is_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    // An IPv6 address is in brackets, and has colons of its own.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let is_clean = !url.contains(|c: char| c.is_whitespace() || c.is_control());
    matches!(scheme, "http" | "https") && !name.is_empty() && is_port && is_clean
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
    fn malformed_addresses_are_none() {
        for good in
            ["http://127.0.0.1:8000/v1", "https://a.b/v1", "http://[::1]:80", "http://u:p@h"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "localhost:8000",
            "htp://h",
            "http://",
            "http://exa mple/v1",
            "http://h:x/v1",
            "http://h:99999",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
