//! Requests to the API server: sent again while the server is away, and what its errors mean here.
//!
//! Whoever sends a request that must not take effect twice makes it so by its content (a resource version, a record that is
//! compared); nothing here knows what is sent.

use crate::KubernetesCluster;
use crate::names::invalid;
use crate::reach::certificate_problem;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ListParams, ObjectList};
use kube::{Api, Resource};
use osbs_cluster::{Cause, ClusterError};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// How long one answer may take. The API server itself gives up after 60 s, and its storage may stand still for 30.
const ANSWER: Duration = Duration::from_secs(40);
/// First and longest pause before a request is sent again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// Objects of one page of a list.
const PAGE: u32 = 500;

/// What is asked of which resource, in RBAC's words: an error names both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub verb: &'static str,
    pub resource: &'static str,
}

/// `asked("create", "jobs.batch")`.
pub(crate) const fn asked(verb: &'static str, resource: &'static str) -> Asked {
    Asked { verb, resource }
}

/// The status code of an answer that is an error; `None`: there was no answer.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Somebody was quicker.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

/// Whether the same request may get another answer soon.
fn passes(error: &kube::Error) -> bool {
    match error {
        // Neither does a certificate become another one.
        error if certificate_problem("", error).is_some() => false,
        kube::Error::Api(status) => matches!(status.code, 408 | 429 | 500 | 502..=504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// What the server, or the way to it, said. The texts of kube's own errors hold the whole status as Rust writes it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

fn said(error: &kube::Error) -> Cause {
    let text = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => {
            let mut text = match other {
                kube::Error::Service(source) => source.to_string(),
                other => other.to_string(),
            };
            let mut source = std::error::Error::source(other).and_then(std::error::Error::source);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    };
    Box::new(Said(text))
}

/// Pauses that double, each between half of it and all of it, so that many who wait do not come back together.
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub fn new() -> Self {
        Self(PAUSES.0)
    }

    /// A short one, for conflicts: the other one has finished already.
    pub fn short() -> Self {
        Self(Duration::from_millis(10))
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// How long after it was away a server may need to know who may do what.
const START: Duration = Duration::from_secs(30);

impl KubernetesCluster {
    /// Objects of the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client().clone(), self.namespace_name())
    }

    /// Sends a request until there is an answer, or patience is at its end.
    pub(crate) async fn send<T, F>(&self, request: impl Fn() -> F) -> Result<T, kube::Error>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let begun = Instant::now();
        let mut pauses = Pauses::new();
        loop {
            let error = match tokio::time::timeout(ANSWER, request()).await {
                Ok(Ok(answer)) => {
                    self.has_answered();
                    return Ok(answer);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    let text = format!("no answer for {} s", ANSWER.as_secs());
                    kube::Error::Service(Box::new(Said(text)))
                }
            };
            if code(&error).is_some() {
                self.has_answered();
            }
            let refused = matches!(code(&error), Some(401 | 403));
            if code(&error).is_none() && passes(&error) {
                self.was_away().lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
            }
            let again = passes(&error) || (refused && self.came_back_just_now());
            if !again || begun.elapsed() >= self.patience() {
                return Err(error);
            }
            pauses.wait().await;
        }
    }

    /// A server that has just started knows no Roles and no accounts for a moment, and refuses everybody.
    fn came_back_just_now(&self) -> bool {
        let away = *self.was_away().lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|last| last.elapsed() < START)
    }

    /// All objects with these labels.
    pub(crate) async fn list_all<K>(&self, resource: &'static str, labels: &str) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        'anew: loop {
            let mut found = Vec::new();
            let mut more: Option<String> = None;
            loop {
                let mut params = ListParams::default().labels(labels).limit(PAGE);
                params.continue_token.clone_from(&more);
                let page: ObjectList<K> = match self.send(|| api.list(&params)).await {
                    Ok(page) => page,
                    // The server forgets what a list began with after some minutes.
                    Err(error) if code(&error) == Some(410) && more.is_some() => continue 'anew,
                    Err(error) => return Err(self.failed(asked("list", resource), None)(error)),
                };
                found.extend(page.items);
                more = page.metadata.continue_.filter(|token| !token.is_empty());
                if more.is_none() {
                    return Ok(found);
                }
            }
        }
    }

    /// What an error means.
    pub(crate) fn failed(&self, asked: Asked, name: Option<&str>) -> impl Fn(kube::Error) -> ClusterError + use<> {
        let (url, namespace) = (self.address().to_owned(), self.namespace_name().to_owned());
        let (Asked { verb, resource }, name) = (asked, name.map(ToOwned::to_owned));
        move |error| {
            if let Some(problem) = certificate_problem(&url, &error) {
                return problem;
            }
            let (url, namespace, name, source) = (url.clone(), namespace.clone(), name.clone(), said(&error));
            match code(&error) {
                Some(401) => ClusterError::LoginRefused { url, source },
                Some(403) => ClusterError::Forbidden { url, verb, resource, namespace, source },
                Some(413 | 422) => invalid(resource, name.as_deref().unwrap_or_default(), &source.to_string()),
                Some(408 | 429 | 500..) => ClusterError::Unreachable { url, source },
                None if passes(&error) => ClusterError::Unreachable { url, source },
                _ => ClusterError::Answer { url, verb, resource, name, source },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PodOptions;
    use kube::client::Body;
    use osbs_types::ErrorKind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A cluster whose server gives these answers, the last one for ever.
    fn answering(answers: Vec<(u16, &'static str)>) -> (KubernetesCluster, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let place = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let (code, reason) = answers[place];
            let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": format!("said {code}")});
            let answer = http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(answer)
        });
        let client = kube::Client::new(service, "osbs");
        (KubernetesCluster::new(client, "osbs", "https://k.example.com", PodOptions::default()), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn errors_name_verb_resource_and_server() {
        let check = async |answers: Vec<(u16, &'static str)>, kind: ErrorKind, requests: usize, text: &str| {
            let (cluster, count) = answering(answers.clone());
            let error = osbs_cluster::Cluster::list_config_maps(&cluster).await.expect_err("an error");
            let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            let whole = format!("{error} | {cause}");
            assert!(whole.contains(text), "{whole}");
            assert_eq!(error.kind(), kind, "{whole}");
            let seen = count.load(Ordering::SeqCst);
            assert!(if requests == 0 { seen > 3 } else { seen == requests }, "{seen} requests: {whole}");
        };
        let forbidden = "k.example.com does not allow to list configmaps in namespace osbs";
        check(vec![(403, "Forbidden")], ErrorKind::Policy, 1, forbidden).await;
        check(vec![(403, "Forbidden")], ErrorKind::Policy, 1, "| said 403").await;
        check(vec![(401, "Unauthorized")], ErrorKind::Policy, 1, "token or certificate").await;
        check(vec![(503, "ServiceUnavailable")], ErrorKind::Remote, 0, "https://k.example.com does not answer").await;
        check(vec![(400, "BadRequest")], ErrorKind::Remote, 1, "could not list configmaps").await;
        check(vec![(429, ""), (500, ""), (403, "")], ErrorKind::Policy, 3, "list configmaps").await;
    }

    /// A pod goes on asking whether its build is cancelled, without haste.
    #[tokio::test(start_paused = true)]
    async fn a_refused_watch_is_asked_for_again() {
        let (cluster, count) = answering(vec![(403, "Forbidden")]);
        let name = "web-1".parse().expect("a name");
        let minutes = 10;
        let watched = cluster.cancel_requested(name);
        tokio::time::timeout(Duration::from_mins(minutes), watched).await.expect_err("nobody cancels it");
        let (asked, minutes) = (count.load(Ordering::SeqCst), usize::try_from(minutes).expect("few"));
        assert!(asked > minutes && asked < 4 * minutes, "{asked} times in {minutes} minutes");
    }
}
