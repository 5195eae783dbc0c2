//! osbs.conf, config.yaml, container.yaml, user parameters: text in, checked values with positions out.
//!
//! Rank 1. Nothing here reads the environment, opens a file or looks at the clock: callers pass texts and the names to
//! show for them. Every reader reports *all* problems of its file together ([`ConfigError`]), each with a position and
//! with what is allowed. Start reading at [`Settings`] for `osbs.conf` and at [`ReactorConfig`] for `config.yaml`.

mod artifacts;
mod container_yaml;
mod fields;
mod ini;
mod nearest;
mod node;
mod osbs_conf;
mod problem;
mod reactor_config;
mod registry_uri;
mod repository_files;
mod schema;
mod shape;
mod user_params;

pub use artifacts::{ArchivePattern, Checksums, KojiArtifacts, UrlArtifact, parse_koji_artifacts, parse_url_artifacts};
pub use container_yaml::{BuildMethod, Compose, ContainerYaml, GoModule, PlatformRule};
pub use ini::{BrokenInterpolation, Ini, IniEntry, IniSection};
pub use osbs_conf::{
    BuildFrom, Effective, GeneralConfig, HomeVolume, InstanceConfig, KeyInfo, KeyKind, Origin, OsbsConf,
    PlatformSection, PodConfig, PodSecurity, Setting, Settings, TokenSecret, known_keys,
};
pub use problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
pub use reactor_config::{
    ClusterAuth, ClusterChoice, ClusterEntry, FetchConfig, HideFiles, KojiAuth, KojiConfig, OdcsAuth, OdcsConfig,
    OmpsConfig, OpenshiftConfig, PulpAuth, PulpConfig, ReactorConfig, RegistryEntry, RunConfig, RunUserNamespace,
    SigningIntent, SmtpAuth, SmtpConfig, SmtpTls, SourceRegistry,
};
pub use registry_uri::{RegistryUri, RegistryUriError, Scheme};
pub use repository_files::{
    ContentSets, ImageBuildConf, RepoConfig, parse_additional_tags, parse_content_sets, parse_image_build_conf,
    parse_repo_config,
};
pub use schema::SchemaOf;
pub use user_params::UserParams;
