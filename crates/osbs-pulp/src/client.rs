//! The thin sender: sends what `request.rs` makes, judges by `response.rs`.

use crate::PulpError;
use crate::request::{Kind, kind_url, object_url, page_url};
use crate::response::{Href, MAX_ANSWER, Page, StatusAnswer, error_detail};
use crate::server::{Login, Server};
use osbs_http::{AddressRule, HeaderValue, Method, Request, Response, Transport, header};
use osbs_types::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// Longest wait for one answer, all attempts together; what takes longer is a task.
const ANSWER: Duration = Duration::from_mins(2);
/// Most objects read of one list.
const MAX_OBJECTS: usize = 10_000;

/// A client of one Pulp. Cheap to clone. Dropping a future cancels the request, not the task it has started: tasks are
/// waited for with a [`crate::Wait`], which cancels them.
#[derive(Debug, Clone)]
pub struct Pulp {
    transport: Transport,
    server: Server,
    authorization: Option<Secret>,
    answer: Duration,
}

impl Pulp {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// The client certificate cannot be used.
    pub fn new(transport: Transport, server: Server, login: Option<&Login>) -> Result<Self, PulpError> {
        let transport =
            match login {
                Some(Login::Certificate { pem }) => transport.presenting(pem).map_err(|source| {
                    PulpError::Transport { action: "show its certificate".to_owned(), server: server.host(), source }
                })?,
                _ => transport,
            };
        Ok(Self { transport, server, authorization: login.and_then(Login::authorization), answer: ANSWER })
    }

    /// The same with a shorter wait for one answer: who waits a minute for a task need not wait two for a request.
    #[must_use]
    pub fn answering_within(mut self, limit: Duration) -> Self {
        self.answer = self.answer.min(limit);
        self
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// How many workers and content servers Pulp says are alive.
    ///
    /// # Errors
    /// No answer.
    pub async fn alive(&self) -> Result<(usize, usize), PulpError> {
        let action = "ask for its status";
        let status: StatusAnswer = self.get(action, kind_url(self.server.root(), Kind::Status)).await?;
        Ok((status.online_workers.len(), status.online_content_apps.len()))
    }

    pub(crate) fn kind_url(&self, kind: Kind) -> Url {
        kind_url(self.server.root(), kind)
    }

    pub(crate) fn object_url(&self, action: &str, href: &Href, then: &str) -> Result<Url, PulpError> {
        object_url(self.server.root(), href, then).map_err(|problem| self.protocol(action, problem))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, action: &str, url: Url) -> Result<T, PulpError> {
        self.answer(action, Request::get(url)).await
    }

    pub(crate) async fn object<T: DeserializeOwned>(&self, action: &str, href: &Href) -> Result<T, PulpError> {
        self.get(action, self.object_url(action, href, "")?).await
    }

    /// All objects of a kind that the filters let through.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        action: &str,
        kind: Kind,
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>, PulpError> {
        let mut found = Vec::new();
        loop {
            // Pages by number: `next` is made of a Host header that need not be the one we know.
            let page: Page<T> = self.get(action, page_url(self.server.root(), kind, filters, found.len())).await?;
            let was_empty = page.results.is_empty();
            found.extend(page.results);
            if was_empty || found.len() as u64 >= page.count {
                return Ok(found);
            }
            if found.len() > MAX_OBJECTS {
                return Err(self.protocol(action, format!("more than {MAX_OBJECTS} objects")));
            }
        }
    }

    /// Sends a JSON body and reads a JSON answer.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        action: &str,
        method: Method,
        url: Url,
        body: &Value,
    ) -> Result<T, PulpError> {
        let kind = HeaderValue::from_static("application/json");
        let request = Request::new(method, url).header(header::CONTENT_TYPE, kind).bytes(body.to_string());
        self.answer(action, request).await
    }

    /// Sends, and reads a JSON answer.
    pub(crate) async fn answer<T: DeserializeOwned>(&self, action: &str, request: Request) -> Result<T, PulpError> {
        let response = self.response(action, request).await?;
        let bytes = response.bytes(MAX_ANSWER).await.map_err(|source| self.failed(action, source))?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(action, format!("not the JSON expected: {error}")))
    }

    /// Sends, and gives an answer whose status says that it worked.
    pub(crate) async fn response(&self, action: &str, request: Request) -> Result<Response, PulpError> {
        let request = request
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .authorization(self.authorization.clone())
            .addresses(AddressRule::Any)
            .allow_plain_http(self.server.root().scheme() == "http")
            .skip_verification(self.server.insecure())
            .deadline(self.answer);
        let response = self.transport.send(&request).await.map_err(|source| self.failed(action, source))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(action, response).await) }
    }

    async fn refused(&self, action: &str, response: Response) -> PulpError {
        let status = response.status().as_u16();
        let (action, server) = (action.to_owned(), self.host());
        let detail = error_detail(&response.error_text(4000).await);
        match status {
            401 | 403 => PulpError::Denied { action, server, status, detail },
            _ => PulpError::Refused { action, server, status, detail },
        }
    }

    fn failed(&self, action: &str, source: osbs_http::HttpError) -> PulpError {
        PulpError::Transport { action: action.to_owned(), server: self.host(), source }
    }

    pub(crate) fn protocol(&self, action: &str, problem: String) -> PulpError {
        PulpError::Protocol { action: action.to_owned(), server: self.host(), problem }
    }
}
