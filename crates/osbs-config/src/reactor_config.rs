//! `config.yaml`, the reactor's environment configuration (`reactor.md` 5.1): the whole schema, read and checked even where
//! nothing uses a key yet, so that a site learns of a mistake before a build does.

mod hidden;
mod pulp;
mod run;
mod services;
mod smtp;

pub use pulp::{PulpAuth, PulpConfig};
pub use run::{RunConfig, RunUserNamespace};
pub use services::{
    ClusterAuth, FetchConfig, KojiAuth, KojiConfig, OdcsAuth, OdcsConfig, OmpsConfig, OpenshiftConfig, SigningIntent,
};
pub use smtp::{SmtpAuth, SmtpConfig, SmtpTls};

use crate::container_yaml::{BUILD_METHODS, BuildMethod};
use crate::fields::{Checker, Fields};
use crate::node::{Key, Node};
use crate::problem::{ConfigError, Parsed, ProblemKind, Severity};
use crate::registry_uri::{RegistryUri, RegistryUriError};
use crate::shape::{Fact, LABEL_NAME, METHOD_NAME, PLATFORM_NAME, Shape};
use osbs_types::{Architecture, ErrorKind, Platform, without_logins};
use std::collections::BTreeMap;

/// `clusters.PLATFORM[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEntry {
    /// The section of the worker `osbs.conf`.
    pub name: String,
    /// Its capacity. 0 means that it takes no builds.
    pub max_concurrent_builds: u32,
    /// Whether it is used at all.
    pub enabled: bool,
}

/// A cluster that may take the worker build of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterChoice {
    /// The section of the worker `osbs.conf`.
    pub name: String,
    /// Its place in the list with the disabled ones counted: 0 is preferred.
    pub priority: usize,
    /// Its capacity.
    pub max_concurrent_builds: u32,
}

/// `registries[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryEntry {
    /// Scheme and host.
    pub uri: RegistryUri,
    /// Do not verify its certificate. Plain HTTP is another thing: write `http://`.
    pub insecure: bool,
    /// Folder of its credentials.
    pub cfg_path: Option<String>,
    /// File with the certificates (PEM) of authorities it may be signed by, beside those of the system. A key of ours.
    pub ca_file: Option<String>,
    /// Media types `verify_media` wants to find there.
    pub expected_media_types: Vec<String>,
}

/// `source_registry`: where parents may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRegistry {
    /// Scheme and host.
    pub uri: RegistryUri,
    /// Do not verify its certificate.
    pub insecure: bool,
    /// Folder of its credentials.
    pub cfg_path: Option<String>,
    /// File with the certificates (PEM) of authorities it may be signed by, beside those of the system. A key of ours.
    pub ca_file: Option<String>,
}

/// `hide_files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HideFiles {
    /// Where they are moved during the build.
    pub tmpdir: String,
    /// Which.
    pub files: Vec<String>,
}

/// The configuration. Fields are named as their keys.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named and documented as the keys of config.yaml")]
pub struct ReactorConfig {
    pub clusters: BTreeMap<Platform, Vec<ClusterEntry>>,
    pub clusters_client_config_dir: Option<String>,
    pub koji: Option<KojiConfig>,
    pub pulp: Option<PulpConfig>,
    pub odcs: Option<OdcsConfig>,
    pub omps: Option<OmpsConfig>,
    pub smtp: Option<SmtpConfig>,
    /// Overrides the workers' arrangement.
    pub arrangement_version: Option<u32>,
    /// Empty: no restriction.
    pub artifacts_allowed_domains: Vec<String>,
    /// Empty: no restriction.
    pub yum_repo_allowed_domains: Vec<String>,
    pub image_labels: BTreeMap<String, String>,
    pub image_label_info_url_format: Option<String>,
    pub image_equal_labels: Vec<Vec<String>>,
    pub openshift: Option<OpenshiftConfig>,
    /// `None`: not said; see [`ReactorConfig::groups_manifests`].
    pub group_manifests: Option<bool>,
    pub platform_descriptors: BTreeMap<Platform, Architecture>,
    pub prefer_schema1_digest: Option<bool>,
    pub content_versions: Vec<String>,
    pub registries_organization: Option<String>,
    pub registries: Vec<RegistryEntry>,
    pub source_registry: Option<SourceRegistry>,
    pub yum_proxy: Option<String>,
    /// Whether packages' signatures are verified, whatever a repo file says; `None`: as it says. A key of ours.
    pub yum_repo_gpgcheck: Option<bool>,
    /// The same of the certificates of repositories. A key of ours.
    pub yum_repo_sslverify: Option<bool>,
    pub sources_command: Option<String>,
    pub skip_koji_check_for_base_image: bool,
    pub deep_manifest_list_inspection: bool,
    pub fail_on_digest_mismatch: bool,
    pub hide_files: Option<HideFiles>,
    pub fetch: FetchConfig,
    pub run: RunConfig,
    /// Images take the commit's time for all that is later. A key of ours.
    pub reproducible: bool,
    pub required_secrets: Vec<String>,
    pub worker_token_secrets: Vec<String>,
    pub build_image_override: BTreeMap<Platform, String>,
    pub default_image_build_method: Option<BuildMethod>,
    pub buildstep_alias: BTreeMap<String, BuildMethod>,
    pub flatpak_base_image: Option<String>,
    pub package_comparison_exceptions: Vec<String>,
    raw: serde_json::Value,
}

impl Default for ReactorConfig {
    /// `{version: 1}`: what every getter uses when there is no configuration.
    fn default() -> Self {
        let parsed = Self::parse("version: 1", "built-in config.yaml").expect("the built-in configuration is valid");
        parsed.value
    }
}

impl ReactorConfig {
    /// Reads the text of a `config.yaml` or of `REACTOR_CONFIG`; `file` is the name that positions carry.
    ///
    /// # Errors
    /// All problems of the file, of kind [`ErrorKind::Policy`]: its administrator mends them.
    pub fn parse(text: &str, file: &str) -> Result<Parsed<Self>, ConfigError> {
        let read = || Self::read(&Node::parse(text, file)?, file);
        read().map_err(|error| error.with_kind(ErrorKind::Policy))
    }

    /// From JSON, such as a request's `reactor_config_override`.
    ///
    /// # Errors
    /// As [`ReactorConfig::parse`], with paths instead of lines.
    pub fn from_json(json: &serde_json::Value, name: &str) -> Result<Parsed<Self>, ConfigError> {
        Self::read(&Node::from_json(json), name).map_err(|error| error.with_kind(ErrorKind::Policy))
    }

    fn read(node: &Node, file: &str) -> Result<Parsed<Self>, ConfigError> {
        let checker = Checker::new(file);
        let value = read_fields(&checker, node);
        Parsed::from_problems(Some(value), checker.into_problems())
    }

    /// What the reader asks for.
    pub(crate) fn shape() -> Shape {
        Checker::describe(read_fields)
    }

    /// The configuration as JSON, unknown keys and all, for `reactor_config_override`. Not for logs.
    pub fn raw(&self) -> &serde_json::Value {
        &self.raw
    }

    /// The same with passwords and tokens replaced by `***`, for logs (`reactor.md` 6.3, X1).
    pub fn redacted(&self) -> serde_json::Value {
        redact(&self.raw, "")
    }

    /// The enabled clusters of a platform, preferred first.
    pub fn enabled_clusters(&self, platform: &Platform) -> Vec<ClusterChoice> {
        let entries = self.clusters.get(platform).into_iter().flatten().enumerate();
        entries
            .filter(|(_, entry)| entry.enabled)
            .map(|(priority, entry)| ClusterChoice {
                name: entry.name.clone(),
                priority,
                max_concurrent_builds: entry.max_concurrent_builds,
            })
            .collect()
    }

    /// The platforms with at least one enabled cluster.
    pub fn enabled_platforms(&self) -> Vec<Platform> {
        self.clusters.keys().filter(|platform| !self.enabled_clusters(platform).is_empty()).cloned().collect()
    }

    /// The image architecture of a platform: as described, else by its name.
    pub fn architecture(&self, platform: &Platform) -> Architecture {
        self.platform_descriptors.get(platform).cloned().unwrap_or_else(|| platform.architecture())
    }

    /// One default for the whole pipeline: true (`reactor.md` 6.2, M14).
    pub fn groups_manifests(&self) -> bool {
        self.group_manifests.unwrap_or(true)
    }

    /// The method a build asks for, after `buildstep_alias`. `buildah_bud` without an alias is refused, as in OSBS.
    ///
    /// # Errors
    /// The refused method, for whoever knows the position of the request.
    pub fn build_method(&self, requested: Option<BuildMethod>) -> Result<BuildMethod, BuildMethod> {
        let aliased = |method: BuildMethod| self.buildstep_alias.get(method.as_str()).copied().unwrap_or(method);
        let default = aliased(self.default_image_build_method.unwrap_or(BuildMethod::DockerApi));
        let method = requested.map_or(default, aliased);
        if [default, method].contains(&BuildMethod::BuildahBud) { Err(BuildMethod::BuildahBud) } else { Ok(method) }
    }
}

const MEDIA_TYPES: [&str; 6] = [
    "application/json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

fn read_fields(checker: &Checker, node: &Node) -> ReactorConfig {
    let root = Fields::new(checker, node, "");
    root.tell("version", Fact::Just(1));
    if let Some(version) = root.require("version").and_then(|_| root.whole_number("version", 0)).filter(|v| *v != 1) {
        let node = root.get("version").unwrap_or(node);
        checker.bad_value(node, "version", &version.to_string(), "1, the only version there is");
    }
    let config = ReactorConfig {
        clusters: clusters(&root),
        clusters_client_config_dir: root.text("clusters_client_config_dir"),
        koji: root.object("koji").and_then(services::koji),
        pulp: root.object("pulp").and_then(pulp::pulp),
        odcs: root.object("odcs").and_then(services::odcs),
        omps: root.object("omps").and_then(services::omps),
        smtp: root.object("smtp").and_then(smtp::smtp),
        arrangement_version: arrangement_version(&root),
        artifacts_allowed_domains: root.texts("artifacts_allowed_domains").unwrap_or_default(),
        yum_repo_allowed_domains: root.texts("yum_repo_allowed_domains").unwrap_or_default(),
        image_labels: root
            .text_map("image_labels", |key| is_word(key, ".-"), &LABEL_NAME, "letters, digits, '_', '.' and '-'")
            .unwrap_or_default(),
        image_label_info_url_format: root.text("image_label_info_url_format"),
        image_equal_labels: equal_labels(&root),
        openshift: root.object("openshift").and_then(services::openshift),
        group_manifests: root.boolean("group_manifests"),
        platform_descriptors: platform_descriptors(&root),
        prefer_schema1_digest: obsolete_schema1(&root),
        content_versions: content_versions(&root),
        registries_organization: root.text("registries_organization"),
        registries: root.objects("registries").unwrap_or_default().into_iter().filter_map(registry).collect(),
        source_registry: root.object("source_registry").and_then(source_registry),
        yum_proxy: root.text("yum_proxy"),
        yum_repo_gpgcheck: root.boolean("yum_repo_gpgcheck"),
        yum_repo_sslverify: root.boolean("yum_repo_sslverify"),
        sources_command: root.text("sources_command"),
        skip_koji_check_for_base_image: root.boolean("skip_koji_check_for_base_image").unwrap_or(false),
        deep_manifest_list_inspection: root.boolean("deep_manifest_list_inspection").unwrap_or(true),
        fail_on_digest_mismatch: root.boolean("fail_on_digest_mismatch").unwrap_or(true),
        hide_files: root.object("hide_files").and_then(hidden::hide_files),
        fetch: root.object("fetch").map(services::fetch).unwrap_or_default(),
        run: root.object("run").map(run::run).unwrap_or_default(),
        reproducible: root.boolean("reproducible").unwrap_or(false),
        required_secrets: root.texts("required_secrets").unwrap_or_default(),
        worker_token_secrets: root.texts("worker_token_secrets").unwrap_or_default(),
        build_image_override: build_image_override(&root),
        default_image_build_method: root.choice("default_image_build_method", BUILD_METHODS),
        buildstep_alias: buildstep_alias(&root),
        flatpak_base_image: root.object("flatpak").and_then(|flatpak| {
            let image = flatpak.text("base_image");
            flatpak.finish(Severity::Error);
            image
        }),
        package_comparison_exceptions: root.texts("package_comparison_exceptions").unwrap_or_default(),
        raw: node.to_json(),
    };
    root.finish(Severity::Warning);
    config
}

fn is_word(text: &str, besides: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || besides.contains(c))
}

fn platform(checker: &Checker, key: &Key, path: &str) -> Option<Platform> {
    let platform = key.name.parse().ok();
    if platform.is_none() {
        let expected = "a platform name: letters, digits and _ only".to_owned();
        checker.error(key.at, path, ProblemKind::BadValue { value: key.name.clone(), expected });
    }
    platform
}

fn clusters(root: &Fields<'_>) -> BTreeMap<Platform, Vec<ClusterEntry>> {
    let checker = root.checker;
    let Some(node) = root.get("clusters") else { return BTreeMap::new() };
    let mut clusters = BTreeMap::new();
    for (key, list) in checker.named(node, "clusters", &PLATFORM_NAME) {
        let Some(platform) = platform(checker, key, "clusters") else { continue };
        let path = format!("clusters.{platform}");
        let items = checker.items(list, &path).iter().enumerate();
        let entries = items.filter_map(|(index, item)| cluster(Fields::new(checker, item, format!("{path}[{index}]"))));
        clusters.insert(platform, entries.collect());
    }
    clusters
}

fn cluster(fields: Fields<'_>) -> Option<ClusterEntry> {
    let name = fields.required_text("name");
    let max_concurrent_builds =
        fields.require("max_concurrent_builds").and_then(|_| fields.small_number("max_concurrent_builds"));
    let enabled = fields.boolean("enabled").unwrap_or(true);
    fields.finish(Severity::Error);
    Some(ClusterEntry { name: name?, max_concurrent_builds: max_concurrent_builds?, enabled })
}

fn arrangement_version(root: &Fields<'_>) -> Option<u32> {
    root.tell("arrangement_version", Fact::Whole(1, Some(6)));
    let version = root.small_number("arrangement_version")?;
    if !(1..=6).contains(&version) {
        let node = root.get("arrangement_version")?;
        root.checker.bad_value(node, "arrangement_version", &version.to_string(), "1 to 6");
        return None;
    }
    Some(version)
}

fn equal_labels(root: &Fields<'_>) -> Vec<Vec<String>> {
    let Some(node) = root.get("image_equal_labels") else { return Vec::new() };
    let groups = root.checker.items(node, "image_equal_labels").iter().enumerate();
    groups.map(|(index, group)| root.checker.texts(group, &format!("image_equal_labels[{index}]"))).collect()
}

fn platform_descriptors(root: &Fields<'_>) -> BTreeMap<Platform, Architecture> {
    let mut descriptors = BTreeMap::new();
    for fields in root.objects("platform_descriptors").unwrap_or_default() {
        fields.tell("platform", Fact::Pattern(PLATFORM_NAME.pattern));
        let (name, architecture) = (fields.required_text("platform"), fields.required_text("architecture"));
        if let (Some(name), Some(architecture)) = (name, architecture) {
            if let Ok(platform) = name.parse::<Platform>() {
                descriptors.insert(platform, Architecture::new(&architecture));
            } else {
                let node = fields.get("platform").unwrap_or(fields.node);
                let path = fields.path_of("platform");
                fields.checker.bad_value(node, &path, &name, "a platform name: letters, digits and _ only");
            }
        }
        // Known from the time of Docker v1 content, without effect now.
        let _ = fields.get("enable_v1");
        fields.finish(Severity::Error);
    }
    descriptors
}

fn obsolete_schema1(root: &Fields<'_>) -> Option<bool> {
    let value = root.boolean("prefer_schema1_digest");
    if let (Some(true), Some(node)) = (value, root.get("prefer_schema1_digest")) {
        let advice = "is accepted without effect: schema 1 manifests are not made any more";
        let kind = ProblemKind::Obsolete { key: "prefer_schema1_digest".to_owned(), advice };
        root.checker.note(node.at, "prefer_schema1_digest", kind, None, Severity::Warning);
    }
    value
}

/// `v1` is told about and ignored (`reactor.md` 6.1, O1), anything else but `v2` refused.
fn content_versions(root: &Fields<'_>) -> Vec<String> {
    let Some(node) = root.get("content_versions") else { return Vec::new() };
    root.tell("content_versions[0]", Fact::Words(vec!["v1".to_owned(), "v2".to_owned()]));
    let mut versions = root.checker.texts(node, "content_versions");
    for version in versions.iter().filter(|version| *version != "v2") {
        if version == "v1" {
            let advice = "is ignored: Docker v1 content is not made any more";
            let kind = ProblemKind::Obsolete { key: "v1".to_owned(), advice };
            root.checker.note(node.at, "content_versions", kind, None, Severity::Warning);
        } else {
            root.checker.bad_value(node, "content_versions", version, "v2");
        }
    }
    versions.retain(|version| version == "v2");
    versions
}

/// What is said of both kinds of registry in the same way.
struct RegistryAccess {
    uri: Option<RegistryUri>,
    insecure: bool,
    cfg_path: Option<String>,
    ca_file: Option<String>,
}

/// `url`, `insecure`, `auth.cfg_path` and `ca_file`.
fn registry_access(fields: &Fields<'_>) -> RegistryAccess {
    let uri = fields.required_text("url").and_then(|text| {
        let node = fields.get("url").unwrap_or(fields.node);
        let problem = |error: RegistryUriError| {
            fields.checker.error(node.at, &fields.path_of("url"), ProblemKind::Syntax { detail: error.to_string() });
        };
        text.parse().map_err(problem).ok()
    });
    let insecure = fields.boolean("insecure").unwrap_or(false);
    let cfg_path = fields.object("auth").and_then(|auth| {
        let cfg_path = auth.required_text("cfg_path");
        auth.finish(Severity::Error);
        cfg_path
    });
    RegistryAccess { uri, insecure, cfg_path, ca_file: fields.text("ca_file") }
}

fn registry(fields: Fields<'_>) -> Option<RegistryEntry> {
    let RegistryAccess { uri, insecure, cfg_path, ca_file } = registry_access(&fields);
    fields.tell("expected_media_types[0]", Fact::Words(MEDIA_TYPES.map(str::to_owned).to_vec()));
    let expected_media_types = fields.texts("expected_media_types").unwrap_or_default();
    for media_type in expected_media_types.iter().filter(|media_type| !MEDIA_TYPES.contains(&media_type.as_str())) {
        let node = fields.get("expected_media_types").unwrap_or(fields.node);
        let expected = format!("one of {}", MEDIA_TYPES.join(", "));
        fields.checker.bad_value(node, &fields.path_of("expected_media_types"), media_type, expected);
    }
    fields.finish(Severity::Error);
    Some(RegistryEntry { uri: uri?, insecure, cfg_path, ca_file, expected_media_types })
}

fn source_registry(fields: Fields<'_>) -> Option<SourceRegistry> {
    let RegistryAccess { uri, insecure, cfg_path, ca_file } = registry_access(&fields);
    fields.finish(Severity::Error);
    Some(SourceRegistry { uri: uri?, insecure, cfg_path, ca_file })
}

fn build_image_override(root: &Fields<'_>) -> BTreeMap<Platform, String> {
    let is_platform = |key: &str| key.parse::<Platform>().is_ok();
    let map = root.text_map("build_image_override", is_platform, &PLATFORM_NAME, "a platform name").unwrap_or_default();
    map.into_iter().filter_map(|(name, image)| Some((name.parse().ok()?, image))).collect()
}

fn buildstep_alias(root: &Fields<'_>) -> BTreeMap<String, BuildMethod> {
    let map = root
        .text_map("buildstep_alias", |key| is_word(key, ""), &METHOD_NAME, "letters, digits and _")
        .unwrap_or_default();
    let words = BUILD_METHODS.iter().filter(|(_, method)| *method != BuildMethod::BuildahBud);
    let words = words.map(|(word, _)| (*word).to_owned()).collect();
    root.tell(&format!("buildstep_alias.{}", METHOD_NAME.sample), Fact::Words(words));
    let mut aliases = BTreeMap::new();
    for (name, method) in map {
        if let Some((_, method)) =
            BUILD_METHODS.iter().find(|(word, method_)| *word == method && *method_ != BuildMethod::BuildahBud)
        {
            aliases.insert(name, *method);
        } else {
            let node = root.get("buildstep_alias").unwrap_or(root.node);
            let path = format!("buildstep_alias.{name}");
            root.checker.bad_value(node, &path, &method, "one of docker_api, imagebuilder");
        }
    }
    aliases
}

/// Copies without secrets: values of keys that name one, and passwords inside URLs.
fn redact(value: &serde_json::Value, key: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), redact(value, key))).collect(),
        Json::Array(items) => items.iter().map(|item| redact(item, key)).collect(),
        Json::Null | Json::Bool(_) => value.clone(),
        _ if names_a_secret(key) => Json::from("***"),
        Json::String(text) => Json::String(without_logins(text)),
        Json::Number(_) => value.clone(),
    }
}

fn names_a_secret(key: &str) -> bool {
    // Names and folders of secrets are no secrets.
    const NAMES: [&str; 3] = ["required_secrets", "worker_token_secrets", "omps_secret_dir"];
    let key = key.to_lowercase();
    let part = ["password", "passwd", "token", "secret", "api_key", "apikey", "private_key"];
    !NAMES.contains(&key.as_str()) && part.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests;
