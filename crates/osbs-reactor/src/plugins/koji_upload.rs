//! `koji_upload`: leaves the worker's part of the build metadata for the orchestrator (`reactor.md` 3.4.9, 3.6).
//!
//! Without a Koji hub nothing is uploaded; the fragment in the ConfigMap is what `fetch_worker_metadata` and
//! `compare_components` work on.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_cluster::TextMap;
use osbs_types::{BuildName, Phase, Platform, PullSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("koji_upload", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<KojiUpload>()?)))
        .purpose("Leaves this worker's part of the build's metadata for the orchestrator.")
        .argument("platform", "what the image is for; the build's own platform unless said")
        .accepts(&[
            "koji_upload_dir",
            "blocksize",
            "report_multiple_digests",
            "prefer_schema1_digest",
            "build_json_dir",
            "koji_keytab",
            "koji_principal",
            "koji_proxyuser",
            "koji_ssl_certs_dir",
            "kojihub",
            "url",
            "use_auth",
            "verify_ssl",
        ])
        .reads(&[
            "the built image, its archive by `compress`, its packages by `all_rpm_packages`",
            "names and digests by `tag_and_push`",
        ])
        .writes(&["ConfigMap BUILD-md", "annotations metadata_fragment, metadata_fragment_key"])
}

/// Key of the fragment in the ConfigMap.
const FRAGMENT_KEY: &str = "metadata.json";

/// The ConfigMap of a build's metadata.
pub(super) fn config_map_of(build: &BuildName) -> String {
    format!("{build}-md")
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiUpload {
    platform: Option<Platform>,
}

#[async_trait]
impl Plugin for KojiUpload {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.build_process_failed() {
            return Ok(Done::Skipped("the build has failed".to_owned()));
        }
        let platform = self.platform.clone().or_else(|| run.build.platform.clone()).unwrap_or_else(Platform::native);
        let mut output = vec![image_output(run, &platform)?];
        output.extend(manifests_output(run));
        let fragment = json!({
            "metadata_version": 0,
            "buildroots": [buildroot(run, &platform)],
            "output": output,
        });
        let name = config_map_of(&run.build.name);
        let data = TextMap::from([(FRAGMENT_KEY.to_owned(), fragment.to_string())]);
        run.services.cluster.put_config_map(&name, &data).await?;
        run.log().debug(format!("the metadata fragment is ConfigMap {name}"));
        Ok(Done::Value(json!({
            "metadata_fragment": format!("configmap/{name}"),
            "metadata_fragment_key": FRAGMENT_KEY,
        })))
    }
}

/// `buildroots[]` (3.6.4). There is no builder image and so no RPM packages of one.
fn buildroot(run: &Run, platform: &Platform) -> Value {
    json!({
        "id": 1,
        "host": {"os": std::env::consts::OS, "arch": Platform::native().as_str()},
        "content_generator": {"name": "atomic-reactor", "version": env!("CARGO_PKG_VERSION")},
        "container": {"type": "none", "arch": platform.as_str()},
        "tools": [{"name": "osbs", "version": env!("CARGO_PKG_VERSION")}],
        "components": [],
        "extra": {"osbs": {"build_id": run.build.name, "builder_image_id": ""}},
    })
}

/// The image in `output[]` (3.6.5).
fn image_output(run: &Run, platform: &Platform) -> Result<Value, PluginError> {
    let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to describe"))?;
    let components = run.image_components.clone().unwrap_or_else(|| {
        run.log().info("the components of the image are not known");
        Vec::new()
    });
    let mut docker = json!({
        "id": facts.image_id,
        "repositories": repositories(run),
        "tags": run.tags.all().filter_map(PullSpec::tag).collect::<Vec<_>>(),
        "layer_sizes": facts.layer_sizes.iter().map(|(id, size)| json!({"diff_id": id, "size": size})).collect::<Vec<_>>(),
        "digests": digests(run),
    });
    if let Some(parent) = &facts.parent_id {
        docker["parent_id"] = json!(parent);
    }
    if let Some(config) = run.pushed.first().and_then(|registry| registry.config.clone()) {
        docker["config"] = config;
    }
    let mut output = json!({
        "type": "docker-image",
        "arch": platform.as_str(),
        "buildroot_id": 1,
        "components": components,
        "extra": {"image": {"arch": platform.as_str()}, "docker": docker},
    });
    if let Some(archive) = run.exported_images.last() {
        let file = archive.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Of the file's name only: folders may hold dots (reactor.md M36).
        let extension = file.split_once('.').map_or("", |(_, extension)| extension);
        output["filename"] = format!("docker-image-{}.{platform}.{extension}", facts.image_id).into();
        output["filesize"] = json!(archive.size);
        output["checksum"] = json!(archive.md5sum);
        output["checksum_type"] = "md5".into();
    }
    Ok(output)
}

/// The operator's manifests in `output[]` (3.6.5).
fn manifests_output(run: &Run) -> Option<Value> {
    let archive = run.operator_manifests.as_ref()?;
    Some(json!({
        "type": "operator-manifests",
        "buildroot_id": 1,
        "filename": archive.path.file_name().map(|name| name.to_string_lossy()),
        "filesize": archive.size,
        "checksum": archive.md5sum,
        "checksum_type": "md5",
        "extra": {"typeinfo": {"operator-manifests": {}}},
    }))
}

/// The pull spec image by tag, then by each digest, for every registry.
fn repositories(run: &Run) -> Vec<String> {
    let primary = run.tags.class(TagClass::Primary).iter().find(|name| is_version_release(name));
    let Some(name) = primary.or_else(|| run.tags.class(TagClass::Unique).first()) else { return Vec::new() };
    let mut specs = Vec::new();
    for registry in &run.pushed {
        let full = name.with_registry(Some(&registry.host));
        specs.push(full.with_explicit_tag().to_string());
        let digests = registry.digests.get(&name.with_explicit_tag().to_string());
        specs.extend(
            digests.into_iter().flat_map(|d| d.values()).map(|digest| full.with_digest(digest.clone()).to_string()),
        );
    }
    specs
}

/// A dash at neither the first nor the last place.
fn is_version_release(name: &PullSpec) -> bool {
    name.tag().is_some_and(|tag| tag.trim_matches('-') == tag && tag.contains('-'))
}

/// Media type -> digest, of the first registry.
fn digests(run: &Run) -> Value {
    let Some(registry) = run.pushed.first() else { return json!({}) };
    let media_type = |version: &str| match version {
        "oci" => "application/vnd.oci.image.manifest.v1+json",
        "oci_index" => "application/vnd.oci.image.index.v1+json",
        "v2_list" => "application/vnd.docker.distribution.manifest.list.v2+json",
        _ => "application/vnd.docker.distribution.manifest.v2+json",
    };
    let all = registry.digests.values().flatten();
    Value::Object(all.map(|(version, digest)| (media_type(version).to_owned(), json!(digest))).collect())
}
