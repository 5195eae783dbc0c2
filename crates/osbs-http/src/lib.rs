//! The one HTTP transport: retry by class, deadlines, streaming both ways, TLS, redaction, address rules.
//!
//! Rank 1: knows nothing of what is sent. A registry, Koji or Pulp client makes a [`Request`] and judges the
//! [`Response`]; everything that may go wrong on the way is an [`HttpError`] with a kind. Start at [`Transport::send`].
//!
//! Rules kept here and nowhere else: credentials never follow a redirect to another origin; plain HTTP only when the
//! request allows it; addresses are judged after name resolution, on every hop; no error or record shows a credential,
//! a query string or user information of a URL; proxies come from the configuration, never from the environment.

mod address;
mod body;
mod challenge;
mod config;
mod error;
mod login_file;
mod redirect;
mod request;
mod response;
mod retry;
mod tls;
mod transport;

pub use address::{AddressRule, Resolver};
pub use body::{BodyStream, RequestBody};
pub use bytes::Bytes;
pub use challenge::{Challenge, parse_challenges};
pub use config::{RetryPolicy, Timeouts, TransportConfig};
pub use error::{HttpError, shown};
pub use login_file::{LoginFileError, read_login_file};
pub use osbs_types::{AddressListError, AddressLists, Network};
pub use redirect::same_origin;
pub use request::{Request, UrlRule};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
pub use response::Response;
pub use retry::{Retried, is_transient};
pub use transport::Transport;
pub use url::Url;
