//! A build as JSON for programs and as blocks of text for people.
//!
//! Environments stay out: they hold the site's configuration.

use crate::terminal::Paint;
use osbs_cluster::Build;
use serde_json::{Value, json};

/// The JSON of a build in `--output json`.
pub(crate) fn build_record(build: &Build) -> Value {
    let annotations: serde_json::Map<_, _> =
        build.annotations.iter().map(|(key, value)| (key.clone(), annotation_value(value))).collect();
    json!({
        "name": build.name,
        "namespace": build.namespace,
        "type": build.build_type,
        "build_config": build.build_config,
        "status": build.state,
        "reason": build.reason,
        "platform": build.platform,
        "parent": build.parent,
        "image": build.output_image,
        "source": {"uri": build.source.uri, "ref": build.source.git_ref},
        "created": build.created,
        "started": build.started,
        "finished": build.finished,
        // A worker's id belongs to the PID namespace of its orchestrator build: nobody here can use it.
        "pid": if build.parent.is_none() { build.pid } else { None },
        "labels": build.labels,
        "annotations": annotations,
        "failure": build.failure,
    })
}

/// Annotations are texts, and most of them hold JSON.
fn annotation_value(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The text of `osbs get-build` (`client-and-koji.md` 3.4): headings, each followed by its value.
pub(crate) fn build_text(build: &Build, paint: Paint) -> String {
    let mut out = String::new();
    for (label, value) in [
        ("BUILD ID", build.name.to_string()),
        ("STATUS", build.state.to_string()),
        ("IMAGE", build.output_image.clone()),
        ("DATE", build.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("SOURCE", format!("{}#{}", build.source.uri, build.source.git_ref)),
        ("REASON", build.reason.clone().unwrap_or_default()),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("{}: {value}\n", paint.bold(label)));
        }
    }
    let annotation = |key: &str| build.annotations.get(key).cloned().unwrap_or_default();
    for (heading, value) in [
        ("DOCKERFILE", annotation("dockerfile")),
        ("BASE IMAGE NAME", annotation("base-image-name")),
        ("BASE IMAGE ID", annotation("base-image-id")),
        ("IMAGE ID", annotation("image-id")),
        ("COMMIT", annotation("commit_id")),
        ("REPOSITORIES", indented(&annotation("repositories"))),
        ("DIGESTS", indented(&annotation("digests"))),
        ("WORKER BUILDS", indented(&annotation("worker-builds"))),
        ("PLUGINS METADATA", indented(&annotation("plugins-metadata"))),
        ("KOJI BUILD ID", build.labels.get("koji-build-id").cloned().unwrap_or_default()),
    ] {
        if !value.trim().is_empty() {
            out.push_str(&format!("\n{}\n\n{}\n", paint.bold(heading), value.trim_end()));
        }
    }
    out
}

fn indented(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.as_array().is_none_or(|list| !list.is_empty()) => {
            serde_json::to_string_pretty(&value).unwrap_or_else(|_| text.to_owned())
        }
        _ => String::new(),
    }
}
