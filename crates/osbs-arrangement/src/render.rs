//! Rendering of the arrangements 1 to 5: the client puts the site's and the request's values into plugin arguments, and takes
//! away what does not apply (`reactor.md` 2.4, `client-and-koji.md` 2.4, 2.7).
//!
//! Two rules are ours, because there is a local record of NVRs: without a Koji hub `bump_release` stays (unless a
//! release is given), and `koji_upload` stays and only stores the worker's metadata.

use crate::customize::Customization;
use crate::error::ArrangementError;
use crate::lists::{PluginLists, Removal};
use crate::names::{isolated_release, tag_suffixes};
use crate::secrets::{Mounts, SecretMount};
use crate::worker_request::{build_kwargs, config_kwargs};
use crate::{is_custom_base_image, templates};
use osbs_config::{GeneralConfig, InstanceConfig, RegistryUri, UserParams};
use osbs_types::{Architecture, BuildType, Platform};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All that rendering depends on.
#[derive(Debug, Clone, Copy)]
pub struct RenderInput<'a> {
    /// Whose lists.
    pub build_type: BuildType,
    /// 1 to 5.
    pub arrangement_version: u32,
    /// The request; `image_tag` and `base_image` are filled in already.
    pub params: &'a UserParams,
    /// The effective `osbs.conf`.
    pub config: &'a InstanceConfig,
    /// Its `[general]`.
    pub general: &'a GeneralConfig,
    /// Its platform sections.
    pub platforms: &'a BTreeMap<Platform, Architecture>,
    /// The build was started by a trigger.
    pub is_auto: bool,
    /// The build has triggers, and the repository allows autorebuilds.
    pub triggers: bool,
    /// The reactor finds its configuration in `REACTOR_CONFIG`, without `reactor_config_secret`.
    pub config_in_environment: bool,
    /// The site's changes.
    pub customization: Option<&'a Customization>,
}

/// Lists ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The lists.
    pub lists: PluginLists,
    /// What was taken away, and why.
    pub removed: Vec<Removal>,
    /// The secrets the build needs.
    pub secrets: Vec<SecretMount>,
}

/// Renders `template` (see [`crate::template`]) for one request.
///
/// # Errors
/// A request that contradicts itself, and Pulp without a login.
pub fn render(template: PluginLists, input: &RenderInput<'_>) -> Result<Rendered, ArrangementError> {
    if !(1..templates::LATEST).contains(&input.arrangement_version) {
        return Err(ArrangementError::UnknownVersion { version: input.arrangement_version });
    }
    check_kind(input.params, input.is_auto)?;
    let mut work = Work { lists: template, removed: Vec::new(), mounts: Mounts::default(), input };
    if let Some(customization) = input.customization {
        work.removed = customization.apply(&mut work.lists)?;
    }
    work.scratch_and_triggers();
    work.orchestration();
    work.parents();
    work.dockerfile();
    work.sources();
    work.publication();
    work.pulp()?;
    work.koji();
    work.exit();
    for secret in &input.config.token_secrets {
        work.mounts.mount(&secret.secret, secret.path.as_deref());
    }
    Ok(Rendered { lists: work.lists, removed: work.removed, secrets: work.mounts.into_inner() })
}

/// Scratch, autorebuild and isolated exclude each other, and an isolated build names its release.
pub(crate) fn check_kind(params: &UserParams, is_auto: bool) -> Result<(), ArrangementError> {
    let kinds = [(params.scratch, "scratch"), (is_auto, "an autorebuild"), (params.isolated, "isolated")];
    let given: Vec<&'static str> = kinds.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    if let [first, second, ..] = given[..] {
        return Err(ArrangementError::Exclusive { first, second });
    }
    if params.isolated && !params.release.as_deref().is_some_and(isolated_release) {
        return Err(ArrangementError::IsolatedRelease { release: params.release.clone() });
    }
    Ok(())
}

/// The suffixes of a request.
pub(crate) fn suffixes(build_type: BuildType, params: &UserParams) -> Value {
    let unique = params.image_tag.as_deref().and_then(|tag| tag.rsplit_once(':')).map_or("latest", |(_, tag)| tag);
    let kind = (params.scratch, params.isolated);
    tag_suffixes(build_type, unique, kind, params.tags_from_yaml, &params.additional_tags)
}

/// Plugins that want the Koji certificates, with the argument that names their folder.
const KOJI_CERTS: [(&str, &str); 11] = [
    ("koji_promote", "koji_ssl_certs"),
    ("koji_import", "koji_ssl_certs"),
    ("koji_tag_build", "koji_ssl_certs"),
    ("koji_upload", "koji_ssl_certs_dir"),
    ("add_filesystem", "koji_ssl_certs_dir"),
    ("bump_release", "koji_ssl_certs_dir"),
    ("koji", "koji_ssl_certs_dir"),
    ("koji_parent", "koji_ssl_certs_dir"),
    ("fetch_maven_artifacts", "koji_ssl_certs_dir"),
    ("inject_parent_image", "koji_ssl_certs_dir"),
    ("sendmail", "koji_ssl_certs_dir"),
];

const KOJI_KERBEROS: [&str; 6] =
    ["fetch_maven_artifacts", "koji_promote", "koji_upload", "koji_import", "koji_tag_build", "sendmail"];

/// A registry in an argument: its host; with its scheme where the site wrote `http://`, which is spoken for no other reason.
fn argument_uri(registry: &RegistryUri) -> String {
    if registry.is_plain_http() { registry.uri() } else { registry.host.clone() }
}

struct Work<'a> {
    lists: PluginLists,
    removed: Vec<Removal>,
    mounts: Mounts,
    input: &'a RenderInput<'a>,
}

impl Work<'_> {
    fn drop(&mut self, plugins: &[&str], reason: &str) {
        for plugin in plugins {
            self.lists.remove(plugin, reason, &mut self.removed);
        }
    }

    fn drop_if(&mut self, condition: bool, plugins: &[&str], reason: &str) {
        if condition {
            self.drop(plugins, reason);
        }
    }

    /// Sets the argument of a plugin, if it is there, to where its secret appears.
    fn mount_for(&mut self, plugin: &str, argument: &str, secret: Option<&str>) {
        if let Some(secret) = secret.filter(|_| self.lists.contains(plugin)) {
            let path = self.mounts.mount(secret, None);
            self.lists.set(plugin, argument, json!(path));
        }
    }

    fn is_custom_base(&self) -> bool {
        self.input.params.base_image.as_deref().is_some_and(is_custom_base_image)
    }

    fn scratch_and_triggers(&mut self) {
        let (params, version) = (self.input.params, self.input.arrangement_version);
        let why = if params.scratch {
            "a scratch build has no triggers"
        } else if params.isolated {
            "an isolated build has no triggers"
        } else if self.is_custom_base() {
            "a base image has no parent whose change could start it"
        } else {
            "no triggers"
        };
        let none = params.scratch || params.isolated || self.is_custom_base() || !self.input.triggers;
        self.drop_if(none, &["check_and_set_rebuild", "stop_autorebuild_if_disabled"], why);
        if !params.scratch {
            return;
        }
        let scratch = [
            "koji_parent",
            "compress",
            "pulp_pull",
            "koji_upload",
            "fetch_worker_metadata",
            "compare_components",
            "import_image",
            "koji_promote",
            "koji_import",
            "koji_tag_build",
            "remove_worker_metadata",
        ];
        self.drop(&scratch, "scratch build");
        self.drop_if(version < 4, &["tag_from_config"], "scratch build");
        self.lists.set("tag_by_labels", "unique_tag_only", json!(true));
    }

    fn orchestration(&mut self) {
        let input = self.input;
        let config = input.config;
        let no_config = config.reactor_config_secret.is_none() && !input.config_in_environment;
        self.drop_if(no_config, &["reactor_config"], "no reactor configuration is named");
        self.mount_for("reactor_config", "config_path", config.reactor_config_secret.as_deref());
        let platforms = &input.params.platforms;
        self.drop_if(platforms.is_empty(), &["orchestrate_build"], "no platforms");
        if self.lists.contains("orchestrate_build") {
            let names: Vec<&str> = platforms.iter().map(Platform::as_str).collect();
            self.lists.set("orchestrate_build", "platforms", json!(names));
            let kwargs = build_kwargs(input.params, input.arrangement_version);
            self.lists.set("orchestrate_build", "build_kwargs", Value::Object(kwargs));
            let overrides = config_kwargs(config, input.general);
            self.lists.set("orchestrate_build", "config_kwargs", Value::Object(overrides));
            self.mount_for("orchestrate_build", "osbs_client_config", config.client_config_secret.as_deref());
        }
    }

    fn parents(&mut self) {
        let (params, config) = (self.input.params, self.input.config);
        if self.is_custom_base() {
            let plugins = ["pull_base_image", "koji_parent", "inject_parent_image"];
            self.drop(&plugins, "the base image is made by this build");
        } else {
            self.drop(&["add_filesystem"], "the base image is not koji/image-build");
        }
        self.lists.set_some("add_filesystem", "koji_hub", config.koji_hub.clone());
        self.lists.set("add_filesystem", "repos", json!(params.yum_repourls));
        if self.input.build_type == BuildType::Worker {
            self.lists.set_some("add_filesystem", "from_task_id", params.filesystem_koji_task_id);
            self.lists.set_some("add_filesystem", "architecture", params.platform.as_ref().map(Platform::as_str));
        } else {
            let names: Vec<&str> = params.platforms.iter().map(Platform::as_str).collect();
            self.lists.set("add_filesystem", "architectures", json!(names));
        }
        // Whether its certificate is verified is for the configuration to say, not for a template (6.3, X7).
        let source = config.source_registry.as_ref();
        self.lists.set_some("pull_base_image", "parent_registry", source.map(argument_uri));
        // Beyond the published templates, which leave a worker's parent to its tag: the orchestrator's digests are used.
        let digests = (!params.parent_images_digests.is_empty()).then(|| json!(params.parent_images_digests));
        self.lists.set_some("pull_base_image", "parent_images_digests", digests);
        let no_parent = params.koji_parent_build.is_none() || config.koji_hub.is_none();
        self.drop_if(no_parent, &["inject_parent_image"], "no koji_parent_build, or no Koji hub");
        self.lists.set_some("inject_parent_image", "koji_parent_build", params.koji_parent_build.clone());
        self.lists.set_some("inject_parent_image", "koji_hub", config.koji_hub.clone());
        self.drop_if(config.koji_hub.is_none(), &["koji_parent"], "no Koji hub");
        self.lists.set_some("koji_parent", "koji_hub", config.koji_hub.clone());
    }

    fn dockerfile(&mut self) {
        let (params, config) = (self.input.params, self.input.config);
        self.drop_if(params.release.is_some(), &["bump_release"], "the request gives the release");
        self.lists.set_some("bump_release", "hub", config.koji_hub.clone());
        if params.flatpak {
            self.lists.set("bump_release", "append", json!(true));
            self.drop(&["squash"], "flatpak build");
        } else {
            let plugins = ["resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"];
            self.drop(&plugins, "not a flatpak build");
        }
        self.lists.set_some("resolve_module_compose", "odcs_url", config.odcs_url.clone());
        self.lists.set_some("resolve_module_compose", "pdc_url", config.pdc_url.clone());
        self.lists.set_some("flatpak_create_dockerfile", "base_image", config.flatpak_base_image.clone());
        self.mount_for("resolve_module_compose", "odcs_openidc_secret_path", config.odcs_openidc_secret.as_deref());
        let label = [
            ("vendor", &config.vendor),
            ("authoritative-source-url", &config.authoritative_registry),
            ("distribution-scope", &config.distribution_scope),
            ("release", &params.release),
        ];
        let mut labels = self
            .lists
            .find("add_labels_in_dockerfile")
            .and_then(|entry| entry.args.get("labels"))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        labels.extend(label.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))));
        self.lists.set("add_labels_in_dockerfile", "labels", Value::Object(labels));
        self.lists.set_some("add_labels_in_dockerfile", "info_url_format", config.info_url_format.clone());
        if !config.equal_labels.is_empty() {
            self.lists.set("add_labels_in_dockerfile", "equal_labels", json!(config.equal_labels));
        }
    }

    fn sources(&mut self) {
        let (params, config) = (self.input.params, self.input.config);
        let hub_and_root = config.koji_hub.is_some() && config.koji_root.is_some();
        let repos = !params.yum_repourls.is_empty();
        self.drop_if(config.odcs_url.is_none(), &["resolve_composes"], "no ODCS");
        self.drop_if(repos, &["resolve_composes", "koji"], "the request gives yum repositories");
        self.drop_if(params.koji_target.is_none(), &["koji"], "no Koji target");
        // fetch_maven_artifacts stays: artifacts by URL need no Koji, and those out of Koji are told to be missing (M38).
        self.drop_if(!hub_and_root, &["koji"], "no Koji hub or no Koji root");
        self.drop_if(config.sources_command.is_none(), &["distgit_fetch_artefacts"], "no sources_command");
        self.lists.set_some("resolve_composes", "koji_target", params.koji_target.clone());
        self.lists.set("resolve_composes", "compose_ids", json!(params.compose_ids));
        self.lists.set_some("resolve_composes", "signing_intent", params.signing_intent.clone());
        self.lists.set_some("resolve_composes", "odcs_url", config.odcs_url.clone());
        self.lists.set_some("distgit_fetch_artefacts", "command", config.sources_command.clone());
        self.lists.set_some("fetch_maven_artifacts", "koji_hub", config.koji_hub.clone());
        self.lists.set_some("fetch_maven_artifacts", "koji_root", config.koji_root.clone());
        if !config.artifacts_allowed_domains.is_empty() {
            let domains = json!(config.artifacts_allowed_domains);
            self.lists.set("fetch_maven_artifacts", "allowed_domains", domains);
        }
        self.lists.set_some("koji", "target", params.koji_target.clone());
        self.lists.set_some("koji", "hub", config.koji_hub.clone());
        self.lists.set_some("koji", "root", config.koji_root.clone());
        self.lists.set_some("koji", "proxy", config.yum_proxy.clone());
        self.lists.set("add_yum_repo_by_url", "repourls", json!(params.yum_repourls));
        self.lists.set_some("add_yum_repo_by_url", "inject_proxy", config.yum_proxy.clone());
    }

    fn publication(&mut self) {
        let input = self.input;
        if input.arrangement_version >= 4 {
            self.lists.set("tag_from_config", "tag_suffixes", suffixes(input.build_type, input.params));
        }
        let mut registries = Map::new();
        let wanted = self.lists.contains("tag_and_push") || self.lists.contains("group_manifests");
        for (uri, secret) in input.config.registries.iter().filter(|_| wanted) {
            let mut entry = Map::from_iter([("insecure".to_owned(), json!(uri.is_plain_http()))]);
            if let Some(secret) = secret {
                entry.insert("secret".to_owned(), json!(self.mounts.mount(secret, None)));
            }
            registries.insert(argument_uri(uri), Value::Object(entry));
        }
        self.lists.set("tag_and_push", "registries", Value::Object(registries.clone()));
        self.lists.set("group_manifests", "registries", Value::Object(registries));
        self.lists.set("group_manifests", "group", json!(input.config.group_manifests));
        let goarch = input.platforms.iter().map(|(platform, arch)| (platform.to_string(), json!(arch.name)));
        self.lists.set("group_manifests", "goarch", Value::Object(goarch.collect()));
    }

    fn pulp(&mut self) -> Result<(), ArrangementError> {
        let config = self.input.config;
        let plugins = ["pulp_push", "pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull", "delete_from_registry"];
        let Some(name) = &config.pulp_registry_name else {
            self.drop(&plugins, "no Pulp registry");
            return Ok(());
        };
        let reason = "Docker v1 content is not made any more, image archives not asked for";
        self.drop_if(!config.pulp_image_archives, &["pulp_push", "pulp_tag"], reason);
        let Some((first, secret)) = config.registries.first() else {
            self.drop(&["pulp_sync", "delete_from_registry"], "no registry to sync from");
            return self.pulp_logins(name);
        };
        let same = config.source_registry.as_ref().is_some_and(|source| source.host == first.host);
        self.drop_if(same, &["delete_from_registry"], "it is also the source registry");
        self.lists.set("pulp_sync", "docker_registry", json!(first.uri()));
        self.mount_for("pulp_sync", "registry_secret_path", secret.as_deref());
        if self.lists.contains("delete_from_registry") {
            let mut entry = Map::from_iter([("insecure".to_owned(), json!(first.is_plain_http()))]);
            if let Some(secret) = secret {
                entry.insert("secret".to_owned(), json!(self.mounts.mount(secret, None)));
            }
            self.lists.set("delete_from_registry", "registries", json!({ argument_uri(first): entry }));
        }
        self.pulp_logins(name)
    }

    fn pulp_logins(&mut self, name: &str) -> Result<(), ArrangementError> {
        let config = self.input.config;
        for plugin in ["pulp_push", "pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull"] {
            let Some(entry) = self.lists.find(plugin) else { continue };
            if config.pulp_secret.is_none() && !entry.args.contains_key("username") {
                let (name, plugin) = (name.to_owned(), plugin.to_owned());
                return Err(ArrangementError::PulpWithoutLogin { name, plugin });
            }
            self.lists.set(plugin, "pulp_registry_name", json!(name));
            self.mount_for(plugin, "pulp_secret_path", config.pulp_secret.as_deref());
        }
        Ok(())
    }

    fn koji(&mut self) {
        let (params, config) = (self.input.params, self.input.config);
        let no_hub = config.koji_hub.is_none();
        self.drop_if(no_hub, &["koji_promote", "koji_import", "koji_tag_build"], "no Koji hub");
        self.drop_if(params.koji_target.is_none(), &["koji_tag_build"], "no Koji target");
        for plugin in ["koji_promote", "koji_import", "koji_upload", "koji_tag_build"] {
            self.lists.set_some(plugin, "kojihub", config.koji_hub.clone());
        }
        self.lists.set_some("koji_tag_build", "target", params.koji_target.clone());
        self.lists.set_some("koji_upload", "koji_upload_dir", params.koji_upload_dir.clone());
        self.lists.set_some("koji_upload", "platform", params.platform.as_ref().map(Platform::as_str));
        for (plugin, argument) in KOJI_CERTS {
            self.mount_for(plugin, argument, config.koji_certs_secret.as_deref());
        }
        let kerberos = (&config.koji_kerberos_principal, &config.koji_kerberos_keytab);
        if let ((Some(principal), Some(keytab)), true) = (kerberos, config.koji_use_kerberos) {
            for plugin in KOJI_KERBEROS {
                self.lists.set(plugin, "koji_principal", json!(principal));
                self.lists.set(plugin, "koji_keytab", json!(keytab));
            }
        }
    }

    fn exit(&mut self) {
        let (params, config) = (self.input.params, self.input.config);
        self.drop_if(params.imagestream_name.is_none(), &["import_image"], "no image stream");
        self.lists.set_some("import_image", "imagestream", params.imagestream_name.clone());
        let (Some(host), Some(from)) = (&config.smtp_host, &config.smtp_from) else {
            return self.drop(&["sendmail"], "no smtp_host or no smtp_from");
        };
        let arguments = [
            ("smtp_host", json!(host)),
            ("from_address", json!(from)),
            ("additional_addresses", json!(config.smtp_additional_addresses)),
            ("error_addresses", json!(config.smtp_error_addresses)),
            ("email_domain", json!(config.smtp_email_domain)),
            ("to_koji_submitter", json!(config.smtp_to_submitter)),
            ("to_koji_pkgowner", json!(config.smtp_to_pkgowner)),
        ];
        for (argument, value) in arguments {
            self.lists.set("sendmail", argument, value);
        }
    }
}
