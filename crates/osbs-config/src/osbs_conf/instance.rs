//! The values of one instance with their types.

use super::keys::{INSTANCE, KeyKind, NODE_SELECTOR_PREFIX};
use super::pods::{self, PodConfig};
use super::settings::{Effective, Origin, Settings};
use super::values::{self, BuildFrom, TokenSecret};
use crate::problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
use crate::registry_uri::RegistryUri;
use osbs_types::{ErrorKind, Position, Secret, quantity};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// `[general]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GeneralConfig {
    /// Folder with the site's arrangement templates; the built-in ones without it.
    pub build_json_dir: Option<String>,
    /// Debug logging.
    pub verbose: bool,
    /// Passed on to worker builds.
    pub openshift_required_version: Option<String>,
}

impl GeneralConfig {
    pub(super) fn resolve(settings: &Settings) -> Self {
        let text = |key| settings.lookup_general(key).map(|effective| effective.value).filter(|text| !text.is_empty());
        Self {
            build_json_dir: text("build_json_dir"),
            verbose: text("verbose").is_some_and(|text| values::boolean(&text).0),
            openshift_required_version: text("openshift_required_version"),
        }
    }
}

/// An instance. Fields are named as their keys; see `client-and-koji.md` 1.5 for their meaning.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "named and documented as the keys of osbs.conf")]
pub struct InstanceConfig {
    /// `openshift_uri` if set, else `openshift_url`. `None`: the local cluster of the home folder.
    pub openshift_url: Option<String>,
    pub namespace: String,
    pub verify_ssl: bool,
    /// Ours: PEM file with the certificates that may sign the server's.
    pub certificate_authority: Option<String>,
    /// Ours: the file that says where the cluster is and who one is there.
    pub kubeconfig: Option<String>,
    /// Ours: which context of `kubeconfig`; its current one when unset.
    pub kube_context: Option<String>,
    pub use_auth: Option<bool>,
    /// The token itself; of the same source it goes before `token_file`.
    pub token: Option<Secret>,
    /// Only when no `token` goes before it.
    pub token_file: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub use_kerberos: bool,
    pub kerberos_keytab: Option<String>,
    pub kerberos_principal: Option<String>,
    pub kerberos_ccache: Option<String>,
    pub client_cert: Option<String>,
    pub client_key: Option<String>,
    /// `use_auth` when unset.
    pub builder_use_auth: Option<bool>,
    /// `openshift_url` when unset.
    pub builder_openshift_url: Option<String>,
    /// `build_json_dir` when unset.
    pub builder_build_json_dir: Option<String>,
    pub git_url: Option<String>,
    pub git_commit: Option<String>,
    pub git_branch: Option<String>,
    pub user: Option<String>,
    pub tag: Option<String>,
    pub target: Option<String>,
    pub yum_repourls: Vec<String>,
    pub architecture: Option<String>,
    pub scratch: Option<bool>,
    pub flatpak: Option<bool>,
    pub module: Option<String>,
    /// From `build_from`, or from `build_image` or `build_imagestream`.
    pub build_from: Option<BuildFrom>,
    /// Ours: builds as pods.
    pub pods: PodConfig,
    pub koji_hub: Option<String>,
    pub koji_root: Option<String>,
    pub koji_certs_secret: Option<String>,
    pub koji_use_kerberos: bool,
    pub koji_kerberos_keytab: Option<String>,
    pub koji_kerberos_principal: Option<String>,
    /// `registry_uri`, each with the `registry_secret` of the same position.
    pub registries: Vec<(RegistryUri, Option<String>)>,
    pub source_registry: Option<RegistryUri>,
    pub pulp_registry_name: Option<String>,
    /// `pulp_secret`, else `source_secret` given as argument or option.
    pub pulp_secret: Option<String>,
    /// Ours: upload image archives to Pulp too.
    pub pulp_image_archives: bool,
    pub group_manifests: bool,
    pub prefer_schema1_digest: Option<bool>,
    pub vendor: Option<String>,
    pub authoritative_registry: Option<String>,
    pub distribution_scope: Option<String>,
    pub build_host: Option<String>,
    pub info_url_format: Option<String>,
    pub equal_labels: Vec<Vec<String>>,
    pub artifacts_allowed_domains: Vec<String>,
    pub sources_command: Option<String>,
    pub yum_proxy: Option<String>,
    pub smtp_host: Option<String>,
    pub smtp_from: Option<String>,
    pub smtp_additional_addresses: Vec<String>,
    pub smtp_error_addresses: Vec<String>,
    pub smtp_email_domain: Option<String>,
    pub smtp_to_submitter: bool,
    pub smtp_to_pkgowner: bool,
    pub can_orchestrate: bool,
    /// 1 to 6.
    pub arrangement_version: u32,
    pub reactor_config_secret: Option<String>,
    pub reactor_config_map: Option<String>,
    pub client_config_secret: Option<String>,
    pub token_secrets: Vec<TokenSecret>,
    /// Ours: orchestrator builds that a cluster runs at once.
    pub max_concurrent_builds: Option<u32>,
    pub low_priority_node_selector: BTreeMap<String, String>,
    pub explicit_build_node_selector: BTreeMap<String, String>,
    pub scratch_build_node_selector: BTreeMap<String, String>,
    pub auto_build_node_selector: BTreeMap<String, String>,
    pub isolated_build_node_selector: BTreeMap<String, String>,
    /// `node_selector.PLATFORM` by platform.
    pub node_selectors: BTreeMap<String, BTreeMap<String, String>>,
    pub cpu_limit: Option<String>,
    pub memory_limit: Option<String>,
    pub storage_limit: Option<String>,
    pub flatpak_base_image: Option<String>,
    pub odcs_url: Option<String>,
    pub odcs_insecure: bool,
    pub odcs_openidc_secret: Option<String>,
    pub odcs_ssl_secret: Option<String>,
    pub pdc_url: Option<String>,
    pub pdc_insecure: bool,
}

impl InstanceConfig {
    #[rustfmt::skip]
    pub(super) fn resolve(settings: &Settings) -> Result<Parsed<Self>, ConfigError> {
        let r = Resolver { settings, problems: RefCell::new(settings.broken_values()) };
        let (token, token_file) = r.token();
        let general = settings.general();
        let openshift_url = r.openshift_url();
        let use_auth = r.flag("use_auth");
        let config = Self {
            builder_use_auth: r.flag("builder_use_auth").or(use_auth),
            builder_openshift_url: r.text("builder_openshift_url").or_else(|| openshift_url.clone()),
            builder_build_json_dir: r.text("builder_build_json_dir").or(general.build_json_dir),
            openshift_url, use_auth, token, token_file,
            namespace: r.text("namespace").unwrap_or_default(), verify_ssl: r.verify_ssl(),
            certificate_authority: r.text("certificate_authority"), kubeconfig: r.text("kubeconfig"),
            kube_context: r.text("kube_context"),
            username: r.text("username"), password: r.text("password").map(Secret::new),
            use_kerberos: r.on("use_kerberos"), kerberos_keytab: r.text("kerberos_keytab"),
            kerberos_principal: r.text("kerberos_principal"), kerberos_ccache: r.text("kerberos_ccache"),
            client_cert: r.text("client_cert"), client_key: r.text("client_key"),
            git_url: r.text("git_url"), git_commit: r.text("git_commit"), git_branch: r.text("git_branch"),
            user: r.text("user"), tag: r.text("tag"), target: r.text("target"), yum_repourls: r.list("yum_repourls"),
            architecture: r.text("architecture"), scratch: r.flag("scratch"), flatpak: r.flag("flatpak"),
            module: r.text("module"), build_from: r.build_from(),
            pods: r.pods(),
            koji_hub: r.text("koji_hub"), koji_root: r.text("koji_root"), koji_certs_secret: r.text("koji_certs_secret"),
            koji_use_kerberos: r.on("koji_use_kerberos"), koji_kerberos_keytab: r.text("koji_kerberos_keytab"),
            koji_kerberos_principal: r.text("koji_kerberos_principal"),
            registries: r.registries(), source_registry: r.source_registry(),
            pulp_registry_name: r.text("pulp_registry_name"), pulp_secret: r.pulp_secret(),
            pulp_image_archives: r.on("pulp_image_archives"),
            group_manifests: r.on("group_manifests"), prefer_schema1_digest: r.flag("prefer_schema1_digest"),
            vendor: r.text("vendor"), authoritative_registry: r.text("authoritative_registry"),
            distribution_scope: r.text("distribution_scope"), build_host: r.text("build_host"),
            info_url_format: r.text("info_url_format"), equal_labels: r.equal_labels(),
            artifacts_allowed_domains: r.list("artifacts_allowed_domains"), sources_command: r.text("sources_command"),
            yum_proxy: r.text("yum_proxy"), smtp_host: r.text("smtp_host"), smtp_from: r.text("smtp_from"),
            smtp_additional_addresses: r.list("smtp_additional_addresses"),
            smtp_error_addresses: r.list("smtp_error_addresses"), smtp_email_domain: r.text("smtp_email_domain"),
            smtp_to_submitter: r.on("smtp_to_submitter"), smtp_to_pkgowner: r.on("smtp_to_pkgowner"),
            can_orchestrate: r.on("can_orchestrate"), arrangement_version: r.arrangement_version(),
            reactor_config_secret: r.text("reactor_config_secret"), reactor_config_map: r.text("reactor_config_map"),
            client_config_secret: r.text("client_config_secret"), token_secrets: r.token_secrets(),
            max_concurrent_builds: r.number("max_concurrent_builds", 1, u32::MAX),
            low_priority_node_selector: r.selector("low_priority_node_selector"),
            explicit_build_node_selector: r.selector("explicit_build_node_selector"),
            scratch_build_node_selector: r.selector("scratch_build_node_selector"),
            auto_build_node_selector: r.selector("auto_build_node_selector"),
            isolated_build_node_selector: r.selector("isolated_build_node_selector"),
            node_selectors: r.node_selectors(),
            cpu_limit: r.quantity("cpu_limit", &|text| quantity::thousandths(text).is_some()),
            memory_limit: r.quantity("memory_limit", &|text| quantity::bytes(text).is_some()),
            storage_limit: r.quantity("storage_limit", &|text| quantity::bytes(text).is_some()),
            flatpak_base_image: r.text("flatpak_base_image"), odcs_url: r.text("odcs_url"),
            odcs_insecure: r.on("odcs_insecure"), odcs_openidc_secret: r.text("odcs_openidc_secret"),
            odcs_ssl_secret: r.text("odcs_ssl_secret"), pdc_url: r.text("pdc_url"), pdc_insecure: r.on("pdc_insecure"),
        };
        r.warn_of_ignored(config.arrangement_version);
        Parsed::from_problems(Some(config), r.problems.into_inner()).map_err(|error| error.with_kind(ErrorKind::Policy))
    }
}

/// Converts, and notes what cannot be converted.
struct Resolver<'a> {
    settings: &'a Settings,
    problems: RefCell<Vec<Problem>>,
}

impl Resolver<'_> {
    fn note(&self, key: &str, origin: &Origin, kind: ProblemKind, severity: Severity) {
        let position = match origin {
            Origin::File(position) => position.clone(),
            other => Position { file: other.to_string(), line: 1, column: None },
        };
        let allowed = match &kind {
            ProblemKind::Obsolete { .. } | ProblemKind::Conflict { .. } => None,
            _ => super::keys::instance_key(key).map(|info| info.kind.allowed().to_owned()),
        };
        let path = format!("[{}] {key}", self.settings.instance());
        self.problems.borrow_mut().push(Problem { position, path, kind, allowed, severity });
    }

    /// An empty value is an unset one.
    fn value(&self, key: &str) -> Option<Effective<String>> {
        self.settings.lookup(key).filter(|effective| !effective.value.is_empty())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.value(key).map(|effective| effective.value)
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.text(key).map(|text| values::list(&text)).unwrap_or_default()
    }

    /// A boolean that may be unset. A spelling nobody agrees on counts as false, with a warning.
    fn flag(&self, key: &str) -> Option<bool> {
        let effective = self.settings.lookup(key)?;
        let (value, clear) = values::boolean(&effective.value);
        if !clear {
            let advice = "is spelt so that it counts as false: write true or false";
            let kind = ProblemKind::Obsolete { key: format!("{key} = {}", effective.value), advice };
            self.note(key, &effective.origin, kind, Severity::Warning);
        }
        Some(value)
    }

    fn on(&self, key: &str) -> bool {
        self.flag(key).unwrap_or(false)
    }

    /// The one boolean whose misspelling would weaken security: `verify_ssl = yes` must not turn checks off.
    fn verify_ssl(&self) -> bool {
        let Some(effective) = self.settings.lookup("verify_ssl") else { return true };
        let (value, clear) = values::boolean(&effective.value);
        if !clear {
            let kind = ProblemKind::BadValue { value: effective.value, expected: "true or false".to_owned() };
            self.note("verify_ssl", &effective.origin, kind, Severity::Error);
        }
        value || !clear
    }

    fn number(&self, key: &str, least: u32, most: u32) -> Option<u32> {
        let effective = self.value(key)?;
        let number = effective.value.trim().parse::<u32>().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let expected = if most == u32::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
            let kind = ProblemKind::BadValue { value: effective.value, expected };
            self.note(key, &effective.origin, kind, Severity::Error);
        }
        number
    }

    /// A quantity of Kubernetes, which stays a text: the cluster may be one.
    fn quantity(&self, key: &str, is_one: &dyn Fn(&str) -> bool) -> Option<String> {
        let effective = self.value(key)?;
        if is_one(&effective.value) {
            return Some(effective.value);
        }
        let expected = "a quantity such as 500m or 2 for processors, 512Mi or 2Gi for bytes".to_owned();
        self.note(key, &effective.origin, ProblemKind::BadValue { value: effective.value, expected }, Severity::Error);
        None
    }

    fn arrangement_version(&self) -> u32 {
        self.number("arrangement_version", 1, 6).unwrap_or(6)
    }

    /// Source by source, and within a source `token` before `token_file` (1.7).
    fn token(&self) -> (Option<Secret>, Option<String>) {
        for source in 0..3 {
            let of = |key| self.settings.layer(key, source).map(|effective| effective.value).filter(|v| !v.is_empty());
            if let Some(token) = of("token") {
                return (Some(Secret::new(token)), None);
            }
            if let Some(file) = of("token_file") {
                return (None, Some(file));
            }
        }
        (None, None)
    }

    fn openshift_url(&self) -> Option<String> {
        if let Some(old) = self.value("openshift_uri") {
            let advice = "is the old name of openshift_url, and wins over it";
            let kind = ProblemKind::Obsolete { key: "openshift_uri".to_owned(), advice };
            if matches!(old.origin, Origin::File(_)) {
                self.note("openshift_uri", &old.origin, kind, Severity::Warning);
            }
            return Some(old.value);
        }
        self.text("openshift_url")
    }

    fn build_from(&self) -> Option<BuildFrom> {
        let given: Vec<_> = ["build_from", "build_image", "build_imagestream"]
            .into_iter()
            .filter_map(|key| self.value(key).map(|effective| (key, effective)))
            .collect();
        if let [_, (key, second), ..] = &given[..] {
            let detail = "only one of build_from, build_image and build_imagestream may be set".to_owned();
            self.note(key, &second.origin, ProblemKind::Conflict { detail }, Severity::Error);
            return None;
        }
        let (key, effective) = given.into_iter().next()?;
        match key {
            "build_image" => Some(BuildFrom::Image(effective.value)),
            "build_imagestream" => Some(BuildFrom::ImageStream(effective.value)),
            _ => self.checked(key, &effective.origin, values::build_from(&effective.value)),
        }
    }

    fn pods(&self) -> PodConfig {
        let seconds = |key, least| self.number(key, least, u32::MAX);
        PodConfig {
            service_account: self.text("service_account"),
            pod_security: self.parsed("pod_security", pods::pod_security).unwrap_or_default(),
            home_volume: self.parsed("home_volume", pods::home_volume).unwrap_or_default(),
            image_pull_policy: self.parsed("image_pull_policy", pods::image_pull_policy),
            image_pull_secrets: self.list("image_pull_secrets"),
            priority_class_name: self.text("priority_class_name"),
            low_priority_class_name: self.text("low_priority_class_name"),
            active_deadline_seconds: seconds("active_deadline_seconds", 1),
            termination_grace_period_seconds: seconds("termination_grace_period_seconds", 1),
            ttl_seconds_after_finished: seconds("ttl_seconds_after_finished", 0),
        }
    }

    fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, ProblemKind>) -> Option<T> {
        let effective = self.value(key)?;
        self.checked(key, &effective.origin, parse(&effective.value))
    }

    fn checked<T>(&self, key: &str, origin: &Origin, value: Result<T, ProblemKind>) -> Option<T> {
        value.map_err(|kind| self.note(key, origin, kind, Severity::Error)).ok()
    }

    fn uris(&self, key: &str) -> Vec<RegistryUri> {
        let Some(effective) = self.value(key) else { return Vec::new() };
        let parsed = values::registries(&effective.value).map_err(|e| ProblemKind::Syntax { detail: e.to_string() });
        self.checked(key, &effective.origin, parsed).unwrap_or_default()
    }

    fn registries(&self) -> Vec<(RegistryUri, Option<String>)> {
        self.api_versions();
        let secrets = self.list("registry_secret");
        let secret = |index: usize| secrets.get(index).filter(|secret| !secret.is_empty()).cloned();
        self.uris("registry_uri").into_iter().enumerate().map(|(index, uri)| (uri, secret(index))).collect()
    }

    /// Only v2 is left; v1 is told about, and without v2 nothing could be pushed.
    fn api_versions(&self) {
        let key = "registry_api_versions";
        let Some(effective) = self.value(key) else { return };
        let versions = values::list(&effective.value);
        if !versions.iter().any(|version| version == "v2") {
            let kind = ProblemKind::BadValue { value: effective.value, expected: "a list with v2 in it".to_owned() };
            self.note(key, &effective.origin, kind, Severity::Error);
        } else if versions.iter().any(|version| version != "v2") {
            let advice = "is taken as v2: registry API v1 is not supported";
            let kind = ProblemKind::Obsolete { key: format!("{key} = {}", effective.value), advice };
            self.note(key, &effective.origin, kind, Severity::Warning);
        }
    }

    fn source_registry(&self) -> Option<RegistryUri> {
        self.uris("source_registry_uri").into_iter().next()
    }

    /// `source_secret` counts only as argument or option.
    fn pulp_secret(&self) -> Option<String> {
        let source = || self.settings.layer("source_secret", 0).or_else(|| self.settings.layer("source_secret", 1));
        self.text("pulp_secret").or_else(|| source().map(|effective| effective.value))
    }

    fn equal_labels(&self) -> Vec<Vec<String>> {
        let Some(effective) = self.value("equal_labels") else { return Vec::new() };
        self.checked("equal_labels", &effective.origin, values::equal_labels(&effective.value)).unwrap_or_default()
    }

    fn token_secrets(&self) -> Vec<TokenSecret> {
        let Some(effective) = self.value("token_secrets") else { return Vec::new() };
        let (secrets, problems) = values::token_secrets(&effective.value);
        for kind in problems {
            self.note("token_secrets", &effective.origin, kind, Severity::Error);
        }
        secrets
    }

    fn selector(&self, key: &str) -> BTreeMap<String, String> {
        let Some(effective) = self.value(key) else { return BTreeMap::new() };
        self.checked(key, &effective.origin, values::node_selector(&effective.value)).unwrap_or_default()
    }

    fn node_selectors(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let platforms = self.settings.selector_platforms().into_iter();
        platforms.map(|name| (name.clone(), self.selector(&format!("{NODE_SELECTOR_PREFIX}{name}")))).collect()
    }

    /// With arrangement 6 the reactor configuration holds these values.
    fn warn_of_ignored(&self, arrangement_version: u32) {
        if arrangement_version < 6 {
            return;
        }
        for info in INSTANCE.iter().filter(|info| info.until_arrangement_5 && info.kind != KeyKind::TokenSecrets) {
            if let Some(Effective { origin: origin @ Origin::File(_), .. }) = self.settings.lookup(info.name) {
                let advice = "is ignored with arrangement 6: its value belongs into config.yaml";
                let kind = ProblemKind::Obsolete { key: info.name.to_owned(), advice };
                self.note(info.name, &origin, kind, Severity::Warning);
            }
        }
    }
}
