//! `WWW-Authenticate`, parsed (RFC 9110 11.6.1).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way the server offers to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Lower case: `basic`, `bearer`.
    pub scheme: String,
    /// Parameters with lower-case names, in order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Every challenge of an answer; a header that cannot be parsed counts as none.
pub fn parse_challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.filter_map(|text| http_auth::parse_challenges(text).ok()).flatten().map(|found| own(&found)).collect()
}

fn own(found: &http_auth::ChallengeRef<'_>) -> Challenge {
    let parameters =
        found.params.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_unescaped())).collect();
    Challenge { scheme: found.scheme.to_ascii_lowercase(), parameters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_and_basic() {
        let mut headers = HeaderMap::new();
        let text = r#"Bearer realm="https://auth.example.com/token",service="r \"1\"",scope="repository:a/b:pull""#;
        headers.append(WWW_AUTHENTICATE, text.parse().expect("header"));
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().expect("header"));
        headers.append(WWW_AUTHENTICATE, ",,=".parse().expect("header"));
        let found = parse_challenges(&headers);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].parameter("realm"), Some("https://auth.example.com/token"));
        assert_eq!(found[0].parameter("service"), Some("r \"1\""));
        assert_eq!((found[1].scheme.as_str(), found[1].parameter("scope")), ("basic", None));
    }
}
