//! Every key of `osbs.conf` with its type and default, as data (`client-and-koji.md` 1.4 to 1.6).

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// A text no listing shows.
    Secret,
    /// `true`, or a number that is not 0.
    Boolean,
    /// Items separated by commas.
    List,
    /// A whole number.
    Integer,
    /// `k=v, k=v` or `none`.
    NodeSelector,
    /// `secret` or `secret:path`, separated by white space.
    TokenSecrets,
    /// `a:b:c, d:e`.
    EqualLabels,
    /// Registries, comma separated.
    Registries,
}

impl KeyKind {
    /// What a value looks like, for error texts.
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "any text",
            Self::Boolean => "true or false",
            Self::List => "items separated by commas",
            Self::Integer => "a whole number",
            Self::NodeSelector => "none, or LABEL=VALUE separated by commas",
            Self::TokenSecrets => "SECRET or SECRET:PATH, separated by white space",
            Self::EqualLabels => "groups LABEL:LABEL[:...] separated by commas",
            Self::Registries => "[http://|https://]HOST[:PORT][/v2] separated by commas",
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name in the file and as an argument.
    pub name: &'static str,
    /// Its type.
    pub kind: KeyKind,
    /// The built-in default as it would be written.
    pub default: Option<&'static str>,
    /// With arrangement 6 the reactor configuration holds this value, and the key is ignored.
    pub until_arrangement_5: bool,
}

const fn key(name: &'static str, kind: KeyKind) -> KeyInfo {
    KeyInfo { name, kind, default: None, until_arrangement_5: false }
}

const fn or(name: &'static str, kind: KeyKind, default: &'static str) -> KeyInfo {
    KeyInfo { name, kind, default: Some(default), until_arrangement_5: false }
}

/// A key whose value moved to `config.yaml` with arrangement 6.
const fn old(name: &'static str, kind: KeyKind) -> KeyInfo {
    KeyInfo { name, kind, default: None, until_arrangement_5: true }
}

use KeyKind::{Boolean, EqualLabels, Integer, List, NodeSelector, Registries, Secret, Text, TokenSecrets};

/// `[general]`.
pub(super) const GENERAL: &[KeyInfo] =
    &[key("build_json_dir", Text), or("verbose", Boolean, "false"), key("openshift_required_version", Text)];

/// `[platform:NAME]`.
pub(super) const PLATFORM: &[KeyInfo] = &[key("architecture", Text), or("enable_v1", Boolean, "false")];

/// The prefix of the selectors of one platform.
pub(super) const NODE_SELECTOR_PREFIX: &str = "node_selector.";

/// Instance sections.
#[rustfmt::skip]
pub(super) const INSTANCE: &[KeyInfo] = &[
    // Connection
    key("openshift_url", Text), key("openshift_uri", Text), or("namespace", Text, "default"),
    or("verify_ssl", Boolean, "true"),
    // Ours, for clusters that are Kubernetes: as kubectl has them.
    key("certificate_authority", Text), key("kubeconfig", Text), key("kube_context", Text),
    // Authentication of the client
    key("use_auth", Boolean), key("token", Secret), key("token_file", Text), key("username", Text),
    key("password", Secret), or("use_kerberos", Boolean, "false"), key("kerberos_keytab", Text),
    key("kerberos_principal", Text), key("kerberos_ccache", Text), key("client_cert", Text), key("client_key", Text),
    // Inside the build
    old("builder_use_auth", Boolean), old("builder_openshift_url", Text), old("builder_build_json_dir", Text),
    // What to build
    key("git_url", Text), key("git_commit", Text), key("git_branch", Text), key("user", Text), key("tag", Text),
    key("target", Text), key("yum_repourls", List), key("architecture", Text), key("scratch", Boolean),
    key("flatpak", Boolean), key("module", Text),
    // Build image
    key("build_image", Text), key("build_imagestream", Text), key("build_from", Text),
    // Ours: the pods of builds on Kubernetes
    key("service_account", Text), or("pod_security", Text, "rootless"), or("home_volume", Text, "emptyDir"),
    key("image_pull_policy", Text), key("image_pull_secrets", List), key("priority_class_name", Text),
    key("low_priority_class_name", Text), key("active_deadline_seconds", Integer),
    key("termination_grace_period_seconds", Integer), key("ttl_seconds_after_finished", Integer),
    // Koji
    old("koji_hub", Text), old("koji_root", Text), old("koji_certs_secret", Text),
    KeyInfo { default: Some("false"), ..old("koji_use_kerberos", Boolean) }, old("koji_kerberos_keytab", Text),
    old("koji_kerberos_principal", Text),
    // Registries
    old("registry_uri", Registries), old("registry_secret", List),
    KeyInfo { default: Some("v2"), ..old("registry_api_versions", List) }, old("source_registry_uri", Registries),
    old("pulp_registry_name", Text), old("pulp_secret", Text), key("source_secret", Text),
    KeyInfo { default: Some("false"), ..old("pulp_image_archives", Boolean) },
    KeyInfo { default: Some("false"), ..old("group_manifests", Boolean) }, old("prefer_schema1_digest", Boolean),
    // Labels and sources
    old("vendor", Text), old("authoritative_registry", Text), old("distribution_scope", Text), key("build_host", Text),
    old("info_url_format", Text), old("equal_labels", EqualLabels), old("artifacts_allowed_domains", List),
    old("sources_command", Text), old("yum_proxy", Text),
    // Mail
    old("smtp_host", Text), old("smtp_from", Text), old("smtp_additional_addresses", List),
    old("smtp_error_addresses", List), old("smtp_email_domain", Text),
    KeyInfo { default: Some("false"), ..old("smtp_to_submitter", Boolean) },
    KeyInfo { default: Some("false"), ..old("smtp_to_pkgowner", Boolean) },
    // Orchestration
    or("can_orchestrate", Boolean, "false"), or("arrangement_version", Integer, "6"), key("reactor_config_secret", Text),
    key("reactor_config_map", Text), key("client_config_secret", Text), key("token_secrets", TokenSecrets),
    // Ours: how many orchestrator builds a cluster runs at once.
    key("max_concurrent_builds", Integer),
    // Node selectors
    key("low_priority_node_selector", NodeSelector), key("explicit_build_node_selector", NodeSelector),
    key("scratch_build_node_selector", NodeSelector), key("auto_build_node_selector", NodeSelector),
    key("isolated_build_node_selector", NodeSelector),
    // Limits
    key("cpu_limit", Text), key("memory_limit", Text), key("storage_limit", Text),
    // Flatpak and composes
    old("flatpak_base_image", Text), old("odcs_url", Text),
    KeyInfo { default: Some("false"), ..old("odcs_insecure", Boolean) }, old("odcs_openidc_secret", Text),
    old("odcs_ssl_secret", Text), old("pdc_url", Text),
    KeyInfo { default: Some("false"), ..old("pdc_insecure", Boolean) },
    old("nfs_server_path", Text), old("nfs_dest_dir", Text),
];

/// Published names that were never read, and what is.
pub(super) const NEVER_READ: &[(&str, &str)] = &[("git_ref", "git_commit"), ("koji_target", "target")];

/// All keys of an instance section; `node_selector.PLATFORM` besides.
pub fn known_keys() -> &'static [KeyInfo] {
    INSTANCE
}

/// A key of an instance section by name.
pub(super) fn instance_key(name: &str) -> Option<KeyInfo> {
    if name.len() > NODE_SELECTOR_PREFIX.len() && name.starts_with(NODE_SELECTOR_PREFIX) {
        return Some(key("node_selector.PLATFORM", NodeSelector));
    }
    INSTANCE.iter().find(|key| key.name == name).copied()
}
