//! Metadata of a content generator's import: facts in, JSON out (`reactor.md` 3.6, `client-and-koji.md` 6).
//!
//! Pure. Must not know how facts are found or where the metadata goes.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The name under which our builds are imported; the hub must have granted it to our user.
pub(crate) const CONTENT_GENERATOR: &str = "atomic-reactor";
/// The type of an operator's manifests: in `typeinfo`, and of the output.
pub(crate) const OPERATOR_MANIFESTS: &str = "operator-manifests";

/// The whole build (3.6.2, 3.6.3).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BuildFacts {
    /// Label `com.redhat.component`.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release: String,
    /// `URL#COMMIT`, without a login.
    pub(crate) source: String,
    /// Seconds since the epoch. Of a reserved build the hub takes its own.
    pub(crate) start_time: i64,
    /// Seconds since the epoch.
    pub(crate) end_time: i64,
    /// Who the Koji task belongs to; without one the build is the importing user's.
    pub(crate) owner: Option<String>,
    /// Of a reserved build.
    pub(crate) build_id: Option<i64>,
    /// No archive comes with it (`koji_promote`).
    pub(crate) metadata_only: bool,
    /// The task that asked for the build.
    pub(crate) task_id: Option<i64>,
    /// The task that made the base file systems.
    pub(crate) filesystem_task_id: Option<i64>,
    /// Who imports.
    pub(crate) submitter: Option<String>,
    /// File name of an operator's manifests.
    pub(crate) operator_manifests: Option<String>,
    pub(crate) image: ImageFacts,
}

/// `build.extra.image`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ImageFacts {
    pub(crate) autorebuild: bool,
    pub(crate) isolated: bool,
    /// Build of the base image.
    pub(crate) parent_build_id: Option<i64>,
    /// Parent -> `{"id", "nvr"}` or null, where parents were looked up.
    pub(crate) parent_image_builds: Option<Map<String, Value>>,
    /// Every FROM.
    pub(crate) parent_images: Vec<String>,
    pub(crate) media_types: BTreeSet<String>,
    /// A file name, or null: there is no help. `None`: the step did not run.
    pub(crate) help: Option<Value>,
    pub(crate) yum_repourls: Vec<String>,
    /// `go` of container.yaml.
    pub(crate) go: Option<Value>,
    /// Of the index, if one was made.
    pub(crate) index: Option<IndexFacts>,
}

/// `build.extra.image.index`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct IndexFacts {
    pub(crate) tags: Vec<String>,
    pub(crate) floating_tags: Vec<String>,
    pub(crate) unique_tags: Vec<String>,
    /// By digest, then by tag.
    pub(crate) pull: Vec<String>,
    /// Media type -> digest.
    pub(crate) digests: BTreeMap<String, String>,
}

/// A file of the import, as `output[]` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Its name in Koji.
    pub(crate) filename: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Hex.
    pub(crate) md5: String,
}

impl FileFacts {
    /// The members that every output with a file has.
    pub(crate) fn describe(&self, output: &mut Value) {
        output["filename"] = self.filename.as_str().into();
        output["filesize"] = self.size.into();
        output["checksum"] = self.md5.as_str().into();
        output["checksum_type"] = "md5".into();
    }

    /// The output of a log.
    pub(crate) fn log(&self, buildroot: &Value, arch: &str) -> Value {
        let mut output = json!({"type": "log", "arch": arch, "buildroot_id": buildroot});
        self.describe(&mut output);
        output
    }
}

/// `build`.
pub(crate) fn build(facts: &BuildFacts) -> Value {
    let mut build = json!({
        "name": facts.name,
        "version": facts.version,
        "release": facts.release,
        "source": facts.source,
        "start_time": facts.start_time,
        "end_time": facts.end_time,
        "owner": facts.owner,
        "extra": extra(facts),
    });
    if let Some(id) = facts.build_id {
        build["build_id"] = id.into();
    }
    if facts.metadata_only {
        build["metadata_only"] = true.into();
    }
    build
}

fn extra(facts: &BuildFacts) -> Value {
    let mut extra = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            extra.insert(key.to_owned(), value);
        }
    };
    put("container_koji_task_id", facts.task_id.map(Value::from));
    put("filesystem_koji_task_id", facts.filesystem_task_id.map(Value::from));
    put("submitter", facts.submitter.clone().map(Value::from));
    if let Some(archive) = &facts.operator_manifests {
        put("operator_manifests_archive", Some(archive.as_str().into()));
        put("typeinfo", Some(json!({ OPERATOR_MANIFESTS: {"archive": archive} })));
    }
    put("image", Some(image(&facts.image)));
    Value::Object(extra)
}

fn image(facts: &ImageFacts) -> Value {
    let mut image = Map::new();
    image.insert("autorebuild".to_owned(), facts.autorebuild.into());
    image.insert("isolated".to_owned(), facts.isolated.into());
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            image.insert(key.to_owned(), value);
        }
    };
    put("parent_build_id", facts.parent_build_id.map(Value::from));
    put("parent_image_builds", facts.parent_image_builds.clone().map(Value::Object));
    put("parent_images", Some(json!(facts.parent_images)));
    put("media_types", (!facts.media_types.is_empty()).then(|| json!(facts.media_types)));
    put("help", facts.help.clone());
    put("yum_repourls", (!facts.yum_repourls.is_empty()).then(|| json!(facts.yum_repourls)));
    put("go", facts.go.clone());
    put("index", facts.index.as_ref().map(index));
    Value::Object(image)
}

fn index(facts: &IndexFacts) -> Value {
    json!({
        "tags": facts.tags,
        "floating_tags": facts.floating_tags,
        "unique_tags": facts.unique_tags,
        "pull": facts.pull,
        "digests": facts.digests,
    })
}

/// The import of several workers: their fragments joined, platform by platform, and the orchestrator's logs.
pub(crate) fn combined(facts: &BuildFacts, fragments: &BTreeMap<String, Value>, logs: &[FileFacts]) -> Value {
    let (mut buildroots, mut output) = (Vec::new(), Vec::new());
    for (platform, fragment) in fragments {
        let id = |old: &Value| Value::from(format!("{platform}-{}", plain(old)));
        let items = |key: &str| fragment[key].as_array().cloned().unwrap_or_default();
        buildroots.extend(items("buildroots").into_iter().map(|mut buildroot| {
            buildroot["id"] = id(&buildroot["id"]);
            buildroot
        }));
        output.extend(items("output").into_iter().map(|mut file| {
            file["buildroot_id"] = id(&file["buildroot_id"]);
            file
        }));
    }
    let first = buildroots.first().map_or(Value::Null, |buildroot| buildroot["id"].clone());
    output.extend(logs.iter().map(|log| log.log(&first, "noarch")));
    metadata(Some(facts), buildroots, output)
}

/// The top level; without `build` a worker's fragment.
pub(crate) fn metadata(facts: Option<&BuildFacts>, buildroots: Vec<Value>, output: Vec<Value>) -> Value {
    let mut metadata = json!({"metadata_version": 0});
    if let Some(facts) = facts {
        metadata["build"] = build(facts);
    }
    metadata["buildroots"] = buildroots.into();
    metadata["output"] = output.into();
    metadata
}

fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// The final names of a build without an index, for the one image that is in it (3.6.3, M15: whatever its platform).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FinalNames {
    pub(crate) tags: Vec<String>,
    pub(crate) floating_tags: Vec<String>,
    pub(crate) unique_tags: Vec<String>,
    /// The tag in place of the worker's in pull specs.
    pub(crate) pull_tag: Option<String>,
    /// Media type -> digest.
    pub(crate) digests: BTreeMap<String, String>,
}

/// Puts the final names into the only image of the metadata.
pub(crate) fn name_only_image(metadata: &mut Value, names: &FinalNames) {
    let outputs = metadata["output"].as_array_mut();
    for image in outputs.into_iter().flatten().filter(|output| output["type"] == "docker-image") {
        let docker = &mut image["extra"]["docker"];
        docker["tags"] = json!(names.tags);
        docker["floating_tags"] = json!(names.floating_tags);
        docker["unique_tags"] = json!(names.unique_tags);
        if !names.digests.is_empty() {
            docker["digests"] = json!(names.digests);
        }
        let Some(tag) = &names.pull_tag else { continue };
        for spec in docker["repositories"].as_array_mut().into_iter().flatten() {
            let Some(text) = spec.as_str().filter(|text| !text.contains('@')) else { continue };
            *spec = with_tag(text, tag).into();
        }
    }
}

/// `registry:5000/ns/repo:old` with another tag.
fn with_tag(spec: &str, tag: &str) -> String {
    let name_at = spec.rfind('/').map_or(0, |slash| slash + 1);
    let end = spec[name_at..].find(':').map_or(spec.len(), |colon| name_at + colon);
    format!("{}:{tag}", &spec[..end])
}

/// Packages without those that are there twice: the hub takes each but once (`client-and-koji.md` 6.4).
pub(crate) fn each_once(components: Vec<Value>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let key = |component: &Value| {
        ["name", "version", "release", "arch"].map(|key| component[key].as_str().unwrap_or_default().to_owned())
    };
    components.into_iter().filter(|component| seen.insert(key(component))).collect()
}

/// The key of a media type's digest, as digest records have it, to the media type.
pub(crate) fn media_type(version: &str) -> &'static str {
    use osbs_image::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST};
    match version {
        "oci" => OCI_MANIFEST,
        "oci_index" => OCI_INDEX,
        "v2_list" => DOCKER_MANIFEST_LIST,
        _ => DOCKER_MANIFEST,
    }
}

#[cfg(test)]
mod tests;
