//! What a finished build made, on one screen: images by platform, the index, where logs and records are.
//!
//! Gathered from the event stream and the annotations; rendering is pure.

use crate::commands::list_builds::run_time;
use crate::terminal::{Paint, duration, size};
use futures_util::StreamExt;
use osbs_cluster::{Build, Cluster, ClusterError};
use osbs_types::EventKind;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Steps quicker than this are not worth a word.
const SHORT: f64 = 0.05;

/// One platform's image.
#[derive(Debug, Default)]
struct PlatformSummary {
    build: String,
    facts: Map<String, Value>,
    durations: Vec<(String, f64)>,
}

/// All there is to tell.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    name: String,
    state: String,
    complete: bool,
    time: Option<Duration>,
    platforms: BTreeMap<String, PlatformSummary>,
    durations: Vec<(String, f64)>,
    repositories: Vec<String>,
    index_digest: Option<String>,
}

fn durations(metadata: &Value) -> Vec<(String, f64)> {
    let entries = metadata["durations"].as_object().into_iter().flatten();
    let mut steps: Vec<_> = entries.filter_map(|(name, seconds)| Some((name.clone(), seconds.as_f64()?))).collect();
    steps.retain(|(_, seconds)| *seconds >= SHORT);
    steps.sort_by(|a, b| b.1.total_cmp(&a.1));
    steps
}

fn json(build: &Build, annotation: &str) -> Value {
    build.annotations.get(annotation).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn texts(value: &Value) -> impl Iterator<Item = String> + '_ {
    value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned()))
}

/// Gathers the summary of a build that has ended.
pub(crate) async fn gather(cluster: &dyn Cluster, build: &Build) -> Result<Summary, ClusterError> {
    let mut summary = Summary {
        name: build.name.to_string(),
        state: build.state.to_string(),
        complete: build.state.is_success(),
        time: run_time(build),
        durations: durations(&json(build, "plugins-metadata")),
        ..Summary::default()
    };
    let mut events = cluster.events(&build.name, 0, false).await?;
    while let Some(stored) = events.next().await {
        if let EventKind::Result { platform: Some(platform), facts: Value::Object(facts) } = stored?.event.kind {
            summary.platforms.entry(platform).or_default().facts.extend(facts);
        }
    }
    for (platform, worker) in json(build, "worker-builds").as_object().into_iter().flatten() {
        let entry = summary.platforms.entry(platform.clone()).or_default();
        worker["build"]["build-name"].as_str().unwrap_or_default().clone_into(&mut entry.build);
        entry.durations = durations(&worker["plugins-metadata"]);
    }
    let repositories = json(build, "repositories");
    for kind in ["primary", "floating", "unique"] {
        summary.repositories.extend(texts(&repositories[kind]));
    }
    let digests = json(build, "digests");
    let is_index = |entry: &&Value| entry["version"].as_str().is_some_and(|v| v == "oci_index" || v == "v2_list");
    let index = digests.as_array().into_iter().flatten().find(is_index);
    summary.index_digest = index.and_then(|entry| {
        let text = |key: &str| entry[key].as_str();
        Some(format!("{}/{}@{}", text("registry")?, text("repository")?, text("digest")?))
    });
    Ok(summary)
}

fn steps(durations: &[(String, f64)]) -> String {
    let shown = durations
        .iter()
        .take(6)
        .map(|(name, seconds)| format!("{name} {}", duration(Duration::from_secs_f64(*seconds))));
    shown.collect::<Vec<_>>().join(", ")
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            let label = self.paint.dim(&format!("{label:>9}"));
            self.text.push_str(&format!("{label}  {text}\n"));
        }
    }
}

impl PlatformSummary {
    fn number(&self, key: &str) -> Option<u64> {
        self.facts.get(key)?.as_u64()
    }

    fn render(&self, page: &mut Page, platform: &str) {
        let mut parts = Vec::new();
        if let Some(bytes) = self.number("image_size") {
            parts.push(format!("{} in {} layers", size(bytes), self.number("layers").unwrap_or_default()));
        }
        if let Some(bytes) = self.number("new_layer_size") {
            parts.push(format!("the new one {}", size(bytes)));
        }
        if let Some(count) = self.number("rpm_count") {
            parts.push(format!("{count} RPMs"));
        }
        page.text.push('\n');
        page.line(platform, format!("{}  {}", page.paint.bold(&self.build), parts.join(", ")).trim_end());
        for spec in self.facts.get("pull_specs").into_iter().flat_map(texts) {
            page.line("", &spec);
        }
        let fact = |key: &str| self.facts.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        page.line("digest", &fact("digest"));
        if let Some(archive) = self.facts.get("archive").and_then(Value::as_object) {
            let bytes = archive.get("size").and_then(Value::as_u64).unwrap_or_default();
            page.line(
                "archive",
                &format!("{} ({})", archive.get("path").and_then(Value::as_str).unwrap_or_default(), size(bytes)),
            );
        }
        page.line("time", &steps(&self.durations));
    }
}

impl Summary {
    /// As text.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut page = Page { text: String::new(), paint };
        let state = if self.complete { paint.green(&self.state) } else { paint.red(&self.state) };
        let time = self.time.map(|time| format!(" in {}", duration(time))).unwrap_or_default();
        page.text.push_str(&format!("\n{} is {state}{time}\n", paint.bold(&self.name)));
        for (platform, summary) in &self.platforms {
            summary.render(&mut page, platform);
        }
        page.text.push('\n');
        if let Some(digest) = &self.index_digest {
            page.line("index", digest);
        }
        for (number, spec) in self.repositories.iter().enumerate() {
            page.line(if number == 0 { "tags" } else { "" }, spec);
        }
        page.line("time", &steps(&self.durations));
        page.line("log", &format!("osbs build-logs {} [--platform P]", self.name));
        page.line("record", &format!("osbs get-build {}", self.name));
        page.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_screen() {
        let facts = json!({
            "image_size": 41_200_000, "layers": 2, "new_layer_size": 1_300_000, "rpm_count": 62,
            "pull_specs": ["localhost:5000/hello:u1-x86_64"], "digest": "sha256:12",
            "archive": {"path": "/r/compressed.tar.gz", "size": 40_000_000},
        });
        let worker = PlatformSummary {
            build: "hello-1-x86_64".into(),
            facts: facts.as_object().cloned().unwrap_or_default(),
            durations: vec![("build".into(), 1.25)],
        };
        let summary = Summary {
            name: "hello-1".into(),
            state: "Complete".into(),
            complete: true,
            time: Some(Duration::from_millis(3200)),
            platforms: BTreeMap::from([("x86_64".to_owned(), worker)]),
            durations: vec![("orchestrate_build".into(), 2.9)],
            repositories: vec!["localhost:5000/hello:1-1".into(), "localhost:5000/hello:latest".into()],
            index_digest: Some("localhost:5000/hello@sha256:34".into()),
        };
        insta::assert_snapshot!(summary.render(Paint::OFF), @r"

        hello-1 is Complete in 3.2 s

           x86_64  hello-1-x86_64  41.2 MB in 2 layers, the new one 1.3 MB, 62 RPMs
                   localhost:5000/hello:u1-x86_64
           digest  sha256:12
          archive  /r/compressed.tar.gz (40.0 MB)
             time  build 1.2 s

            index  localhost:5000/hello@sha256:34
             tags  localhost:5000/hello:1-1
                   localhost:5000/hello:latest
             time  orchestrate_build 2.9 s
              log  osbs build-logs hello-1 [--platform P]
           record  osbs get-build hello-1
        ");
    }
}
