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

/// What stands for a value that is not there.
const UNSET: &str = "(unset)";

/// The text of `osbs get-build` (`client-and-koji.md` 3.4): four lines, two of ours, then headings, each followed by its
/// value.
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
    let mut block = |heading: &str, value: &str| {
        let value = if value.trim().is_empty() { UNSET } else { value.trim_end() };
        out.push_str(&format!("\n{}\n\n{value}\n", paint.bold(heading)));
    };
    let annotation = |key: &str| build.annotations.get(key).map_or("", String::as_str);
    block("DOCKERFILE", annotation("dockerfile"));
    block("COMMIT ID", annotation("commit_id"));
    let base = annotation("base-image-name");
    block(&format!("BASE IMAGE ID ({})", if base.is_empty() { UNSET } else { base }), annotation("base-image-id"));
    block("IMAGE ID", annotation("image-id"));
    block("KOJI BUILD ID", build.labels.get("koji-build-id").map_or("", String::as_str));
    let repositories: Value = serde_json::from_str(annotation("repositories")).unwrap_or_default();
    block("REPOSITORIES", &repositories_text(&repositories, paint));
    block("V2 DIGESTS", &digests_text(build.annotations.get("digests").map(String::as_str)));
    let workers: Value = serde_json::from_str(annotation("worker-builds")).unwrap_or_default();
    let workers = workers_text(&workers, paint);
    if !workers.is_empty() {
        block("WORKER BUILDS", &workers);
    }
    out
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Pull specs by kind.
fn repositories_text(repositories: &Value, paint: Paint) -> String {
    let kinds = [("Primary", "primary"), ("Unique", "unique"), ("Floating", "floating")];
    let blocks = kinds.into_iter().filter_map(|(heading, key)| {
        let specs = texts(&repositories[key]);
        (!specs.is_empty()).then(|| format!("{}\n\n{}\n", paint.bold(heading), specs.join("\n")))
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// `REGISTRY/REPOSITORY:TAG DIGEST` a line.
fn digests_text(text: Option<&str>) -> String {
    let Some(text) = text else { return UNSET.to_owned() };
    match serde_json::from_str::<Value>(text) {
        Ok(digests) => digest_lines(&digests).unwrap_or_else(|| "(invalid value)".to_owned()),
        Err(_) => "(invalid value)".to_owned(),
    }
}

/// `None`: this is no list of digests.
fn digest_lines(digests: &Value) -> Option<String> {
    let mut lines = Vec::new();
    for entry in digests.as_array()? {
        let field = |key: &str| entry[key].as_str();
        let (registry, repository, tag) = (field("registry")?, field("repository")?, field("tag")?);
        lines.push(format!("{registry}/{repository}:{tag} {}", field("digest")?));
    }
    Some(if lines.is_empty() { "(empty)".to_owned() } else { lines.join("\n") })
}

/// Name, cluster and digests of each platform's worker build.
fn workers_text(workers: &Value, paint: Paint) -> String {
    let blocks = workers.as_object().into_iter().flatten().map(|(platform, worker)| {
        let build = |key: &str| worker["build"][key].as_str().unwrap_or(UNSET).to_owned();
        let name = format!("{} on {} ({})", build("build-name"), build("cluster-url"), build("namespace"));
        let digests = digest_lines(&worker["digests"]).unwrap_or_else(|| UNSET.to_owned());
        let (heading, second) = (format!("{platform} WORKER BUILD"), format!("{platform} V2 DIGESTS"));
        format!("{}\n\n{name}\n\n{}\n\n{digests}\n", paint.bold(&heading), paint.bold(&second))
    });
    blocks.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        for (text, expected) in [
            (None, "(unset)"),
            (Some("[]"), "(empty)"),
            (Some("no json"), "(invalid value)"),
            (Some("{}"), "(invalid value)"),
            (Some(r#"[{"registry": "r"}]"#), "(invalid value)"),
            (
                Some(r#"[{"registry": "r:5", "repository": "a/b", "tag": "1", "digest": "sha256:0"}]"#),
                "r:5/a/b:1 sha256:0",
            ),
        ] {
            assert_eq!(digests_text(text), expected, "{text:?}");
        }
    }
}
