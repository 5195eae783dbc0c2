//! The recorded exchanges with a real hub, as `tests/recorded/index.json` lists them.

use osbs_http::Url;
use osbs_koji::xmlrpc::decode_call;
use osbs_koji::{Fault, SessionMark, SessionStyle, Value, wire};
use osbs_types::Secret;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// One exchange of the index.
#[derive(Clone)]
pub struct Recorded(Json);

impl Recorded {
    pub fn all() -> Vec<Self> {
        let index: Vec<Json> = serde_json::from_slice(&fs::read(folder().join("index.json")).unwrap()).unwrap();
        index.into_iter().map(Self).collect()
    }

    pub fn number(&self) -> u64 {
        self.0["n"].as_u64().unwrap()
    }

    pub fn body(&self, of: &str) -> Vec<u8> {
        fs::read(folder().join(self.0[of].as_str().unwrap())).unwrap()
    }

    pub fn params(&self) -> Vec<Value> {
        decode_call(&self.body("request_file")).unwrap().params
    }

    pub fn path(&self) -> &str {
        self.0["http"]["path"].as_str().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.0["http"]["request_headers"][name].as_str()
    }

    /// The session that it was sent with.
    pub fn mark(&self) -> Option<SessionMark> {
        let url = Url::parse("http://k.io").unwrap().join(self.path()).unwrap();
        let of_query = |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
        let of_header = |name: &str| self.header(name).map(str::to_owned);
        let (style, [id, key, callnum]) = match self.header("Koji-Session-Id") {
            Some(_) => {
                let names = ["Koji-Session-Id", "Koji-Session-Key", "Koji-Session-Callnum"];
                (SessionStyle::Headers, names.map(of_header))
            }
            None => (SessionStyle::Url, ["session-id", "session-key", "callnum"].map(of_query)),
        };
        let (id, callnum) = (id?.parse().unwrap(), callnum.unwrap().parse().unwrap());
        Some(SessionMark { id, key: Secret::new(key.unwrap()), callnum, style })
    }

    pub fn method(&self) -> &str {
        self.0["method"].as_str().unwrap()
    }

    pub fn fault(&self) -> Option<i64> {
        self.0["fault"].as_i64()
    }

    pub fn status(&self) -> u16 {
        u16::try_from(self.0["http"]["status"].as_u64().unwrap()).unwrap()
    }

    /// Those that are compared, names in lower case.
    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.0["http"]["request_headers"].as_object().unwrap();
        let compared = headers.iter().filter(|(name, _)| !matches!(name.as_str(), "User-Agent" | "Content-Length"));
        compared.map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned())).collect()
    }

    pub fn answer(&self) -> Result<Value, Fault> {
        wire::answer(self.status(), &self.body("response_file")).unwrap()
    }
}
