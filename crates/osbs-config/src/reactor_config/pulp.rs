//! `pulp` of `config.yaml`: the Pulp 3 that takes images over, who we are there, and how it reaches our registry.

use crate::fields::Fields;
use crate::problem::{ProblemKind, Severity};
use crate::registry_uri::{RegistryUri, RegistryUriError};
use crate::shape::Fact;
use osbs_types::Secret;

/// How to log in to Pulp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PulpAuth {
    /// A folder with certificate and key, or with name and password.
    Ssl {
        /// The folder.
        certs_dir: String,
    },
    /// By name.
    Password {
        /// Who.
        username: String,
        /// Proof.
        password: Secret,
    },
}

/// `pulp`. The keys from `url` on are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulpConfig {
    /// A name for people, and where there is no `url`, the URL.
    pub name: String,
    /// Login.
    pub auth: PulpAuth,
    /// Of the client library of Pulp 2; without effect.
    pub loglevel: Option<String>,
    /// `http[s]://HOST[:PORT]`, or the whole URL of its API.
    pub url: Option<String>,
    /// Do not verify its certificate, nor that of its registry.
    pub insecure: bool,
    /// PEM file with certificates trusted beside those of the system.
    pub ca_file: Option<String>,
    /// Where clients pull; scheme and host of `url` unless said.
    pub registry: Option<RegistryUri>,
    /// Where Pulp reaches the registry this site pushes to; the first of `registries` unless said.
    pub sync_from: Option<RegistryUri>,
    /// PEM file with certificates by which Pulp verifies that registry.
    pub sync_ca_file: Option<String>,
    /// Put before the names of its repositories.
    pub repository_prefix: Option<String>,
    /// Seconds to wait for one task, and for its registry to show the image.
    pub timeout: Option<u32>,
    /// Upload the image archive too, as a file.
    pub image_archives: bool,
}

fn registry(fields: &Fields<'_>, key: &'static str) -> Option<RegistryUri> {
    let text = fields.text(key)?;
    let node = fields.get(key).unwrap_or(fields.node);
    let problem = |error: RegistryUriError| {
        let kind = ProblemKind::Syntax { detail: error.to_string() };
        fields.checker.error(node.at, &fields.path_of(key), kind);
    };
    text.parse().map_err(problem).ok()
}

pub(super) fn pulp(fields: Fields<'_>) -> Option<PulpConfig> {
    let name = fields.required_text("name");
    let auth = fields.required_object("auth").and_then(|auth| {
        let certs_dir = auth.text("ssl_certs_dir");
        let (username, password) = (auth.text("username"), auth.text("password").map(Secret::new));
        auth.checker.tell(&auth.path, Fact::Either(vec![vec!["ssl_certs_dir"], vec!["username", "password"]]));
        let found = match (certs_dir, username, password) {
            (Some(certs_dir), None, None) => Some(PulpAuth::Ssl { certs_dir }),
            (None, Some(username), Some(password)) => Some(PulpAuth::Password { username, password }),
            _ => {
                let detail = "give either ssl_certs_dir, or username and password".to_owned();
                auth.checker.error(auth.node.at, &auth.path, ProblemKind::Conflict { detail });
                None
            }
        };
        auth.finish(Severity::Error);
        found
    });
    let loglevel = fields.text("loglevel");
    let url = fields.text("url");
    let named = name.as_deref().is_some_and(|name| name.contains("://"));
    if url.is_none() && !named && name.is_some() && !fields.checker.is_describing() {
        let advice = "tells nobody where Pulp 3 is: add `url`, or builds that use it fail";
        let kind = ProblemKind::Obsolete { key: "name".to_owned(), advice };
        fields.checker.note(fields.node.at, &fields.path_of("name"), kind, None, Severity::Warning);
    }
    let config = PulpConfig {
        name: name.clone().unwrap_or_default(),
        auth: auth.clone().unwrap_or(PulpAuth::Ssl { certs_dir: String::new() }),
        loglevel,
        url,
        insecure: fields.boolean("insecure").unwrap_or(false),
        ca_file: fields.text("ca_file"),
        registry: registry(&fields, "registry"),
        sync_from: registry(&fields, "sync_from"),
        sync_ca_file: fields.text("sync_ca_file"),
        repository_prefix: fields.text("repository_prefix"),
        timeout: fields.small_number("timeout").filter(|seconds| *seconds > 0),
        image_archives: fields.boolean("image_archives").unwrap_or(false),
    };
    fields.finish(Severity::Error);
    name.and(auth).map(|_| config)
}
