//! The parts of `config.yaml` that tell of other servers: Koji, ODCS, OMPS, mail, OpenShift, and those ADD may reach.

use crate::fields::Fields;
use crate::node::Value;
use crate::problem::{ProblemKind, Severity};
use crate::shape::Fact;
use osbs_types::AddressLists;

/// `fetch`: what ADD of URLs and git repositories may reach, beside public addresses. A key of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchConfig {
    /// `allow` and `deny`: what may be reached though it is inside, and what may not though it is public.
    pub addresses: AddressLists,
    /// Most bytes of one file or repository.
    pub max_size: Option<u64>,
    /// Longest time for one of them, in seconds.
    pub timeout: Option<u32>,
}

pub(super) fn fetch(fields: Fields<'_>) -> FetchConfig {
    let list = |key: &'static str| {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let mut entries = fields.checker.texts(node, &fields.path_of(key));
        // One at a time, so that all mistakes are told.
        entries.retain(|entry| {
            let one = std::slice::from_ref(entry);
            let (allow, deny) = if key == "allow" { (one, &[][..]) } else { (&[][..], one) };
            let problem = AddressLists::new(allow, deny).err();
            if let Some(problem) = &problem {
                fields.checker.bad_value(node, &fields.path_of(key), entry, problem.to_string());
            }
            problem.is_none()
        });
        entries
    };
    let config = FetchConfig {
        addresses: AddressLists::new(&list("allow"), &list("deny")).unwrap_or_default(),
        max_size: fields.whole_number("max_size", 1).and_then(|size| size.try_into().ok()),
        timeout: fields.small_number("timeout").filter(|seconds| *seconds > 0),
    };
    fields.finish(Severity::Error);
    config
}

/// How to log in to the Koji hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KojiAuth {
    /// A folder with `cert`, `ca` and `serverca`.
    Ssl {
        /// The folder.
        certs_dir: String,
    },
    /// Kerberos.
    Kerberos {
        /// Whose ticket.
        principal: String,
        /// Its keytab.
        keytab_path: String,
        /// Credential cache.
        cache_path: Option<String>,
    },
    /// By name, for a hub that has passwords. A key of ours.
    Password {
        /// Who.
        username: String,
        /// A file with the password, or a folder with a file `password`.
        password_path: String,
    },
    /// No login: what needs none can be asked.
    Anonymous,
}

/// `koji`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KojiConfig {
    /// XML-RPC endpoint.
    pub hub_url: String,
    /// Storage.
    pub root_url: String,
    /// Login.
    pub auth: KojiAuth,
    /// Log in as this user.
    pub proxyuser: Option<String>,
    /// Upload method; true unless said.
    pub use_fast_upload: bool,
    /// Reserve the NVR; true unless said (`reactor.md` M26).
    pub reserve_build: bool,
    /// PEM file with certificates trusted beside those of the system. A key of ours.
    pub ca_file: Option<String>,
}

/// How to log in to ODCS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OdcsAuth {
    /// A folder with the file `cert`.
    Ssl {
        /// The folder.
        certs_dir: String,
    },
    /// A folder with the file `token`.
    OpenIdConnect {
        /// The folder.
        dir: String,
    },
}

/// `odcs.signing_intents[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningIntent {
    /// Its name.
    pub name: String,
    /// Keys it admits.
    pub keys: Vec<String>,
    /// 0 = least restrictive = last of the list.
    pub restrictiveness: usize,
}

/// `odcs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OdcsConfig {
    /// With API version.
    pub api_url: String,
    /// Do not verify its certificate.
    pub insecure: bool,
    /// Login.
    pub auth: OdcsAuth,
    /// Most restrictive first.
    pub signing_intents: Vec<SigningIntent>,
    /// One of them.
    pub default_signing_intent: String,
}

impl OdcsConfig {
    /// The first intent, in the order of the file, whose keys contain all of `keys` (which are not empty), or are the same
    /// set (`reactor.md` 3.1.1).
    pub fn intent_of_keys(&self, keys: &[String]) -> Option<&SigningIntent> {
        self.signing_intents.iter().find(|intent| {
            let all_in = keys.iter().all(|key| intent.keys.contains(key));
            let same = all_in && intent.keys.iter().all(|key| keys.contains(key));
            same || (all_in && !keys.is_empty())
        })
    }
}

/// `omps`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named and documented as the keys of config.yaml")]
pub struct OmpsConfig {
    pub omps_url: String,
    pub omps_namespace: String,
    pub omps_secret_dir: String,
    pub appregistry_url: String,
    pub koji_insecure: bool,
    pub insecure: bool,
}

/// How to log in to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAuth {
    /// Kerberos.
    Kerberos {
        /// Whose ticket.
        principal: String,
        /// Its keytab.
        keytab_path: String,
        /// Credential cache.
        cache_path: Option<String>,
    },
    /// A folder with certificates.
    Ssl {
        /// The folder.
        certs_dir: String,
    },
    /// The build's own account.
    ServiceAccount,
}

/// `openshift`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenshiftConfig {
    /// Root URL.
    pub url: String,
    /// Do not verify its certificate.
    pub insecure: bool,
    /// Folder with arrangement templates.
    pub build_json_dir: Option<String>,
    /// Login, if `auth` is there.
    pub auth: Option<ClusterAuth>,
    /// `auth.enable`.
    pub auth_enabled: bool,
}

/// Certificates, Kerberos or nothing: one of them (5.1).
struct Login {
    certs_dir: Option<String>,
    kerberos: Option<(Option<String>, Option<String>, Option<String>)>,
}

fn login(auth: &Fields<'_>) -> Login {
    let certs_dir = auth.text("ssl_certs_dir");
    let keys = ["krb_principal", "krb_keytab_path", "krb_cache_path"];
    let kerberos = (auth.text("krb_principal"), auth.text("krb_keytab_path"), auth.text("krb_cache_path"));
    auth.require_together(&keys, &["krb_principal", "krb_keytab_path"]);
    let any = keys.iter().any(|key| auth.has(key));
    let kerberos = any.then_some(kerberos);
    auth.checker.tell(&auth.path, Fact::Apart(vec!["ssl_certs_dir"], keys.to_vec()));
    if certs_dir.is_some() && any {
        conflict(auth, "give either ssl_certs_dir or the krb_ keys, not both");
    }
    Login { certs_dir, kerberos }
}

fn conflict(fields: &Fields<'_>, detail: &str) {
    fields.checker.error(fields.node.at, &fields.path, ProblemKind::Conflict { detail: detail.to_owned() });
}

pub(super) fn koji(fields: Fields<'_>) -> Option<KojiConfig> {
    let (hub_url, root_url) = (fields.required_text("hub_url"), fields.required_text("root_url"));
    let auth = fields.required_object("auth").and_then(|auth| {
        let proxyuser = auth.text("proxyuser");
        let login = login(&auth);
        let password = password(&auth);
        auth.finish(Severity::Error);
        let auth = match (login, password) {
            (_, Some((username, password_path))) => {
                KojiAuth::Password { username: username?, password_path: password_path? }
            }
            (Login { certs_dir: Some(certs_dir), .. }, None) => KojiAuth::Ssl { certs_dir },
            (Login { kerberos: Some((principal, keytab, cache_path)), .. }, None) => {
                KojiAuth::Kerberos { principal: principal?, keytab_path: keytab?, cache_path }
            }
            (Login { .. }, None) => KojiAuth::Anonymous,
        };
        Some((auth, proxyuser))
    });
    let use_fast_upload = fields.boolean("use_fast_upload").unwrap_or(true);
    let reserve_build = fields.boolean("reserve_build").unwrap_or(true);
    let ca_file = fields.text("ca_file");
    fields.finish(Severity::Error);
    let (auth, proxyuser) = auth?;
    let (hub_url, root_url) = (hub_url?, root_url?);
    Some(KojiConfig { hub_url, root_url, auth, proxyuser, use_fast_upload, reserve_build, ca_file })
}

/// Name and password, which exclude any other login.
fn password(auth: &Fields<'_>) -> Option<(Option<String>, Option<String>)> {
    let (keys, others) = (["username", "password_path"], ["ssl_certs_dir", "krb_principal", "krb_keytab_path"]);
    let found = (auth.text("username"), auth.text("password_path"));
    auth.require_together(&keys, &keys);
    let any = |keys: &[&'static str]| keys.iter().any(|key| auth.has(key));
    auth.checker.tell(&auth.path, Fact::Apart(keys.to_vec(), others.to_vec()));
    if any(&keys) && any(&others) {
        conflict(auth, "give either username and password_path, or ssl_certs_dir, or the krb_ keys");
    }
    any(&keys).then_some(found)
}

pub(super) fn odcs(fields: Fields<'_>) -> Option<OdcsConfig> {
    let api_url = fields.required_text("api_url");
    let insecure = fields.boolean("insecure").unwrap_or(false);
    let auth = fields.required_object("auth").and_then(|auth| {
        auth.checker.tell(&auth.path, Fact::Either(vec![vec!["ssl_certs_dir"], vec!["openidc_dir"]]));
        let found = match (auth.text("ssl_certs_dir"), auth.text("openidc_dir")) {
            (Some(certs_dir), None) => Some(OdcsAuth::Ssl { certs_dir }),
            (None, Some(dir)) => Some(OdcsAuth::OpenIdConnect { dir }),
            _ => {
                conflict(&auth, "give either ssl_certs_dir or openidc_dir");
                None
            }
        };
        auth.finish(Severity::Error);
        found
    });
    let _ = fields.require("signing_intents");
    let signing_intents = signing_intents(&fields);
    let default = fields.required_text("default_signing_intent");
    if let (Some(name), Some(node)) = (&default, fields.get("default_signing_intent"))
        && !signing_intents.iter().any(|intent| intent.name == *name)
    {
        let names: Vec<&str> = signing_intents.iter().map(|intent| intent.name.as_str()).collect();
        let expected = format!("one of the signing intents: {}", names.join(", "));
        fields.checker.bad_value(node, &fields.path_of("default_signing_intent"), name, expected);
    }
    fields.finish(Severity::Error);
    Some(OdcsConfig { api_url: api_url?, insecure, auth: auth?, signing_intents, default_signing_intent: default? })
}

fn signing_intents(fields: &Fields<'_>) -> Vec<SigningIntent> {
    let items = fields.objects("signing_intents").unwrap_or_default();
    let count = items.len();
    let mut intents = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let name = item.required_text("name");
        // An empty list is a value, so that null alone is a missing one.
        let keys = item.require("keys").map(|node| item.checker.texts(node, &item.path_of("keys")));
        item.finish(Severity::Error);
        if let (Some(name), Some(keys)) = (name, keys) {
            intents.push(SigningIntent { name, keys, restrictiveness: count - 1 - index });
        }
    }
    intents
}

pub(super) fn omps(fields: Fields<'_>) -> Option<OmpsConfig> {
    let omps_url = fields.required_text("omps_url");
    let omps_namespace = fields.required_text("omps_namespace");
    let omps_secret_dir = fields.required_text("omps_secret_dir");
    let appregistry_url = fields.required_text("appregistry_url");
    let koji_insecure = fields.boolean("koji_insecure").unwrap_or(false);
    let insecure = fields.boolean("insecure").unwrap_or(false);
    fields.finish(Severity::Error);
    Some(OmpsConfig {
        omps_url: omps_url?,
        omps_namespace: omps_namespace?,
        omps_secret_dir: omps_secret_dir?,
        appregistry_url: appregistry_url?,
        koji_insecure,
        insecure,
    })
}

pub(super) fn openshift(fields: Fields<'_>) -> Option<OpenshiftConfig> {
    let url = fields.required_text("url");
    let insecure = fields.boolean("insecure").unwrap_or(false);
    let build_json_dir = fields.text("build_json_dir");
    let mut auth_enabled = false;
    let auth = fields.object("auth").and_then(|auth| {
        auth_enabled = auth.boolean("enable").unwrap_or(false);
        let login = login(&auth);
        auth.finish(Severity::Error);
        Some(match login {
            Login { certs_dir: Some(certs_dir), .. } => ClusterAuth::Ssl { certs_dir },
            Login { kerberos: Some((principal, keytab, cache_path)), .. } => {
                ClusterAuth::Kerberos { principal: principal?, keytab_path: keytab?, cache_path }
            }
            Login { .. } => ClusterAuth::ServiceAccount,
        })
    });
    debug_assert!(!matches!(fields.node.value, Value::Null), "null reads as absent");
    fields.finish(Severity::Error);
    Some(OpenshiftConfig { url: url?, insecure, build_json_dir, auth, auth_enabled })
}
