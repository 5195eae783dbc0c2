//! Requests over HTTP: calls, raw uploads, files (client-and-koji 5.1). Must not know methods.

use crate::dispatch;
use crate::hub::HubState;
use crate::sessions::{Caller, ClientCertificate, Credentials};
use crate::{KOJI_VERSION, files, uploads};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use osbs_koji::xmlrpc::{decode_call, encode_fault, encode_response};
use osbs_koji::{Fault, FaultCode, Value};
use std::net::IpAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub address: IpAddr,
    pub certificate: Option<ClientCertificate>,
}

/// Requests of up to this many bytes need not wait for their turn.
const SHORT: u64 = 64 * 1024;

/// Calls that answer with the content of files, and what may hold such calls.
const CONTENT: [&str; 3] = ["downloadTaskOutput", "multiCall", "system.multicall"];

/// Below it lie the files.
const FILES: &str = "/kojifiles";

/// Everything the hub answers, by verb, content type and path.
pub(crate) fn router(hub: Arc<HubState>) -> Router {
    Router::new().fallback(answer).with_state(hub)
}

async fn answer(State(hub): State<Arc<HubState>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let path = request.uri().path();
    let is_file = path == FILES || path.strip_prefix(FILES).is_some_and(|rest| rest.starts_with('/'));
    let mut response = if is_file && matches!(*request.method(), Method::GET | Method::HEAD) {
        files::serve(hub, request).await
    } else if request.method() != Method::POST {
        let allow = if is_file { "GET, HEAD" } else { "POST" };
        let text = "Method Not Allowed\nThis is an XML-RPC server. Only POST requests are accepted.\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)], text).into_response()
    } else {
        post(hub, peer, request).await
    };
    let version = HeaderValue::from_static(KOJI_VERSION);
    response.headers_mut().insert(HeaderName::from_static("koji-version"), version);
    response
}

async fn post(hub: Arc<HubState>, peer: Peer, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_upload = content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/octet-stream");
    let query = Query::of(head.uri.query());
    let caller = match caller(&hub, peer, &head.headers, &query, head.uri.path()) {
        Ok(caller) => caller,
        Err(fault) => return xml(encode_fault(&fault)),
    };
    let result = if is_upload {
        uploads::raw_upload(hub, caller, query.pairs, body).await
    } else {
        let announced = announced_length(&head.headers);
        // Held until the call is done.
        let _turn = match announced {
            Some(length) if length <= SHORT => None,
            _ => hub.long_requests.acquire().await.ok(),
        };
        match read(&hub, announced, body).await {
            Ok(call) if CONTENT.contains(&call.method.as_str()) => {
                let _turn = hub.long_answers.acquire().await.ok();
                return document(dispatch::call(hub.clone(), caller, call.method, call.params).await);
            }
            Ok(call) => dispatch::call(hub.clone(), caller, call.method, call.params).await,
            Err(response) => return response,
        }
    };
    document(result)
}

/// The answer to a call.
fn document(result: Result<Value, Fault>) -> Response {
    match result {
        Ok(value) => xml(encode_response(&value)),
        Err(fault) => xml(encode_fault(&fault)),
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a call within the bounds of length and time.
async fn read(hub: &HubState, announced: Option<u64>, body: Body) -> Result<osbs_koji::xmlrpc::Call, Response> {
    let most = hub.settings.max_request_length;
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("Request too long: {most} bytes at most\n"));
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_long());
    }
    let bytes = match tokio::time::timeout(hub.settings.read_timeout, Limited::new(body, most).collect()).await {
        Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "Request Timeout\n".to_owned())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long()),
        Ok(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "the request was cut off\n".to_owned())),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let decoded = tokio::task::spawn_blocking(move || decode_call(&bytes)).await;
    match decoded {
        Ok(Ok(call)) => Ok(call),
        Ok(Err(error)) => Err(refusal(StatusCode::BAD_REQUEST, format!("{error}\n"))),
        Err(_) => Err(refusal(StatusCode::BAD_REQUEST, "not an XML-RPC document\n".to_owned())),
    }
}

fn refusal(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn xml(document: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], document).into_response()
}

/// A query string: its pairs, and whether it is well-formed.
struct Query {
    pairs: Vec<(String, String)>,
    well_formed: bool,
}

impl Query {
    fn of(query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let well_formed = query.is_empty() || query.split('&').all(|pair| pair.contains('='));
        Self { pairs, well_formed }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn caller(hub: &HubState, peer: Peer, headers: &HeaderMap, query: &Query, path: &str) -> Result<Caller, Fault> {
    let credentials = if headers.contains_key("koji-session-id") {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Some(credentials(header("koji-session-id"), header("koji-session-key"), header("koji-session-callnum"))?)
    } else if hub.settings.disable_url_sessions || query.pairs.is_empty() && query.well_formed {
        None
    } else if query.well_formed {
        Some(credentials(query.get("session-id"), query.get("session-key"), query.get("callnum"))?)
    } else {
        return Err(Fault::new(FaultCode::Exception, "<class 'ValueError'>: bad query field"));
    };
    let at_ssl_login = path.trim_end_matches('/').ends_with("/ssllogin");
    let Peer { address, certificate } = peer;
    Ok(Caller { address, credentials, certificate, at_ssl_login, verified: None })
}

fn credentials(id: Option<&str>, key: Option<&str>, number: Option<&str>) -> Result<Credentials, Fault> {
    let missing = |name| Fault::new(FaultCode::AuthError, format!("{name} not specified in session args"));
    let malformed = |name| Fault::new(FaultCode::AuthError, format!("{name} is no number"));
    let id = id.ok_or_else(|| missing("session-id"))?;
    let key = key.ok_or_else(|| missing("session-key"))?.to_owned();
    let session_id = id.trim().parse().map_err(|_| malformed("session-id"))?;
    let number = number.map(str::trim).filter(|number| !number.is_empty() && *number != "None");
    let call_number = number.map(|number| number.parse().map_err(|_| malformed("callnum"))).transpose()?;
    Ok(Credentials { session_id, key, call_number })
}
