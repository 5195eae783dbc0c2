//! Parents of an image: from registries, from OCI folders.

use osbs_builder::{BuildError, ParentImages};
use osbs_http::{Transport, TransportConfig};
use osbs_image::{ImageRef, Store, StoredImage, read_oci_layout};
use osbs_registry::{Credentials, Progress, Registry, RegistryConfig};
use osbs_types::{Architecture, ErrorKind, Failure, PullSpec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The registry of names without one, as Docker has it.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Pulls what a Dockerfile names. Called from threads of the builder, never from a task; the builder asks once for an
/// image, and for several at a time.
pub(super) struct Parents {
    store: Store,
    replaced: BTreeMap<String, String>,
    insecure: bool,
    handle: Handle,
}

/// One transport for all registries of this run.
fn transport() -> Transport {
    static SHARED: OnceLock<Transport> = OnceLock::new();
    SHARED.get_or_init(|| Transport::new(TransportConfig::default())).clone()
}

/// Where podman, buildah, skopeo and docker keep a user's logins, in the order they look.
fn login_files() -> impl Iterator<Item = PathBuf> {
    let below = |variable: &str, path: &str| std::env::var_os(variable).map(|folder| PathBuf::from(folder).join(path));
    let files = [
        std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from),
        below("XDG_RUNTIME_DIR", "containers/auth.json"),
        below("HOME", ".config/containers/auth.json"),
        below("DOCKER_CONFIG", "config.json"),
        below("HOME", ".docker/config.json"),
    ];
    files.into_iter().flatten().filter(|path| path.is_file())
}

/// A registry by host, with the user's own login if there is one.
pub(super) fn registry(host: &str, insecure: bool) -> Result<Registry, Failure> {
    let mut config = RegistryConfig::new(host, insecure).map_err(|e| Failure::new(ErrorKind::User, &e))?;
    if insecure {
        config = config.or_plain_http();
    }
    if let Some(file) = login_files().next() {
        let credentials = Credentials::read(&file)
            .map_err(|e| Failure::new(e.kind(), &e).with_hint(format!("mend {} or log in again", file.display())))?;
        config = config.with_credentials(credentials);
    }
    Ok(Registry::new(transport(), config))
}

impl Parents {
    pub(super) fn new(store: Store, replaced: Vec<(String, String)>, insecure: bool) -> Self {
        Self { store, replaced: replaced.into_iter().collect(), insecure, handle: Handle::current() }
    }

    fn find(
        &self,
        name: &str,
        architecture: &Architecture,
        cancel: &CancellationToken,
    ) -> Result<StoredImage, Failure> {
        if let Some(path) = name.strip_prefix("oci:") {
            let (path, reference) = match path.rsplit_once(':') {
                Some((path, reference)) if !reference.contains('/') => (path, Some(reference)),
                _ => (path, None),
            };
            return read_oci_layout(&self.store, Path::new(path), reference, architecture)
                .map_err(|e| Failure::new(e.kind(), &e));
        }
        let mut spec: PullSpec = name.parse().map_err(|e| Failure::new(ErrorKind::User, &e))?;
        if spec.registry().is_none() {
            let library = if spec.namespace().is_none() { "library/" } else { "" };
            spec =
                format!("{DEFAULT_REGISTRY}/{library}{spec}").parse().map_err(|e| Failure::new(ErrorKind::User, &e))?;
        }
        let registry = registry(spec.registry().unwrap_or(DEFAULT_REGISTRY), self.insecure)?;
        let pull = osbs_registry::pull(&registry, &spec, architecture, &self.store, cancel, Progress::none());
        let pulled = self.handle.block_on(pull).map_err(|e| Failure::new(e.kind(), &e))?;
        // Kept for the next build; gc takes it when nothing uses it.
        let image = ImageRef { descriptor: pulled.image.manifest.clone() };
        self.store
            .set_ref(&format!("parent/{spec}"), &image, "osbs image build")
            .map_err(|e| Failure::new(e.kind(), &e))?;
        Ok(pulled.image)
    }
}

impl ParentImages for Parents {
    fn parent(
        &self,
        name: &str,
        platform: &Architecture,
        cancel: &CancellationToken,
    ) -> Result<StoredImage, BuildError> {
        let place = self.replaced.get(name).map_or(name, String::as_str);
        self.find(place, platform, cancel).map_err(|failure| BuildError::parent(name, failure))
    }
}
