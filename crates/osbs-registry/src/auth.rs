//! Who we are to a registry: nobody, HTTP Basic, or a bearer token a scope.
//!
//! Believes a challenge only from the registry's own origin, so that a host it redirects to cannot ask for the password
//! (CVE-2020-15157), and sends a login only where [`RegistryConfig::may_send_login`] allows it.

use crate::request::{refresh_form, token_url};
use crate::response::{MAX_SMALL, TokenAnswer, error_detail};
use crate::{Login, RegistryConfig, RegistryError};
use osbs_http::{AddressRule, Challenge, HeaderValue, HttpError, Method, Request, Transport, Url, header};
use osbs_types::Secret;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How the registry wants to be addressed, learned from its challenges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// Mode and tokens of one client.
#[derive(Debug)]
pub(crate) struct Session {
    mode: Mutex<Mode>,
    /// Locked while a token is fetched: parallel transfers of one image need one token, not four.
    tokens: tokio::sync::Mutex<HashMap<Vec<String>, (Secret, Instant)>>,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self { mode: Mutex::new(Mode::Open), tokens: tokio::sync::Mutex::default() }
    }

    fn mode(&self) -> Mode {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the challenges ask for. Returns whether asking again may help: it does not when Basic was sent
    /// already.
    pub(crate) fn learn(&self, challenges: &[Challenge], base: &Url) -> bool {
        let Some(wanted) = wanted_mode(challenges, base) else { return false };
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated_basic = wanted == Mode::Basic && *mode == Mode::Basic;
        *mode = wanted;
        !repeated_basic
    }

    pub(crate) async fn forget(&self, scopes: &[String]) {
        self.tokens.lock().await.remove(scopes);
    }

    /// The value of `Authorization` for these scopes.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        config: &RegistryConfig,
        base: &Url,
        repository: &str,
        scopes: &[String],
    ) -> Result<Option<Secret>, RegistryError> {
        let login = config.credentials.find(config.host(), repository);
        match self.mode() {
            Mode::Open => Ok(None),
            Mode::Basic => Ok(login.filter(|_| config.may_send_login(base)).map(Login::basic)),
            Mode::Bearer { realm, service } => {
                let mut tokens = self.tokens.lock().await;
                if let Some((token, _)) = tokens.get(scopes).filter(|(_, until)| Instant::now() < *until) {
                    return Ok(Some(token.clone()));
                }
                let login = login.filter(|_| config.may_send_login(&realm));
                let ask = TokenRequest { config, base, realm: &realm, service: service.as_deref(), scopes, login };
                let (token, lives) = ask.send(transport).await?;
                let token = Secret::new(format!("Bearer {token}"));
                tokens.insert(scopes.to_vec(), (token.clone(), Instant::now() + lives));
                Ok(Some(token))
            }
        }
    }
}

/// Bearer before Basic. A realm must be https, unless the registry itself is spoken to in plain HTTP.
fn wanted_mode(challenges: &[Challenge], base: &Url) -> Option<Mode> {
    let bearer = challenges.iter().filter(|challenge| challenge.scheme == "bearer").find_map(|challenge| {
        let realm = base.join(challenge.parameter("realm")?).ok()?;
        let allowed = realm.scheme() == "https" || (realm.scheme() == "http" && base.scheme() == "http");
        let service = challenge.parameter("service").map(str::to_owned);
        (allowed && realm.host().is_some()).then_some(Mode::Bearer { realm, service })
    });
    bearer.or_else(|| challenges.iter().any(|challenge| challenge.scheme == "basic").then_some(Mode::Basic))
}

struct TokenRequest<'a> {
    config: &'a RegistryConfig,
    base: &'a Url,
    realm: &'a Url,
    service: Option<&'a str>,
    scopes: &'a [String],
    login: Option<&'a Login>,
}

impl TokenRequest<'_> {
    fn action(&self) -> String {
        format!("get a token for {} from {}", self.scopes.join(" "), osbs_http::shown(self.realm))
    }

    fn build(&self) -> Request {
        let same_host = self.realm.host() == self.base.host();
        let refresh = self.login.and_then(|login| login.identity_token.as_ref());
        let request = match refresh {
            Some(token) => {
                let form = refresh_form(self.service, self.scopes, token.reveal());
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                Request::new(Method::POST, self.realm.clone()).header(header::CONTENT_TYPE, kind).bytes(form)
            }
            None => Request::get(token_url(self.realm, self.service, self.scopes))
                .authorization(self.login.map(Login::basic)),
        };
        request
            .skip_verification(self.config.skip_verification && same_host)
            .allow_plain_http(self.realm.scheme() == "http")
            .addresses(if same_host { AddressRule::Any } else { AddressRule::NoLinkLocal })
            .deadline(Duration::from_mins(1))
    }

    async fn send(&self, transport: &Transport) -> Result<(String, Duration), RegistryError> {
        let registry = || self.config.host().to_owned();
        let failed =
            |source: HttpError| RegistryError::Transport { registry: registry(), action: self.action(), source };
        let response = transport.send(&self.build()).await.map_err(failed)?;
        let (status, attempts) = (response.status().as_u16(), response.attempts());
        if status != 200 {
            let detail = error_detail(&response.error_text(2000).await);
            let (registry, action) = (registry(), self.action());
            return Err(if matches!(status, 400 | 401 | 403) {
                let helper = self.config.credentials.helper().map(str::to_owned);
                RegistryError::Denied { registry, action, with_login: self.login.is_some(), helper, detail }
            } else {
                RegistryError::Status { registry, action, status, attempts, detail }
            });
        }
        let answer: TokenAnswer = response.json(MAX_SMALL).await.map_err(failed)?;
        answer.token().map_err(|problem| RegistryError::Protocol {
            registry: registry(),
            action: self.action(),
            problem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mode(base: &str, scheme: &str, realm: Option<&str>, expected: Option<&str>) {
        let parameters = realm.map(|realm| ("realm".to_owned(), realm.to_owned())).into_iter().collect();
        let challenge = Challenge { scheme: scheme.to_owned(), parameters };
        let mode = wanted_mode(&[challenge], &Url::parse(base).expect("valid"));
        let found = mode.map(|mode| match mode {
            Mode::Open => "open".to_owned(),
            Mode::Basic => "basic".to_owned(),
            Mode::Bearer { realm, .. } => realm.to_string(),
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn modes() {
        let https = "https://r.io/v2/";
        check_mode(https, "bearer", Some("https://auth.io/token"), Some("https://auth.io/token"));
        check_mode(https, "bearer", Some("/token"), Some("https://r.io/token"));
        check_mode(https, "bearer", Some("http://auth.io/token"), None);
        check_mode("http://r.io/v2/", "bearer", Some("http://auth.io/token"), Some("http://auth.io/token"));
        check_mode(https, "bearer", Some("file:///etc/passwd"), None);
        check_mode(https, "bearer", None, None);
        check_mode(https, "basic", Some("x"), Some("basic"));
        check_mode(https, "negotiate", None, None);
    }

    #[test]
    fn basic_is_asked_once() {
        let base = Url::parse("https://r.io/v2/").expect("valid");
        let challenge = [Challenge { scheme: "basic".into(), parameters: Vec::new() }];
        let session = Session::new();
        assert!(session.learn(&challenge, &base));
        assert!(!session.learn(&challenge, &base));
    }
}
