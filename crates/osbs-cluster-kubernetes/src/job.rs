//! A build as a Job and back, and its environment as a Secret. Pure.
//!
//! No field is set that Kubernetes 1.20 does not know.

use crate::names::{self, PREFIX, invalid};
use crate::record::{Record, StateRecord};
use crate::{HomeVolume, PodOptions, PodSecurity};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use osbs_cluster::{Build, ClusterError, TextMap, queue};
use osbs_types::{BuildName, BuildType, Timestamp};
use serde_json::{Value, json};

/// Where a build's home is mounted.
pub(crate) const HOME: &str = "/var/lib/osbs";
/// Its store of images.
pub(crate) const STORE: &str = "/var/lib/osbs/store";
/// The user of pods without privilege, and its group: `builder` of the builder image, to whom its subordinate ids belong.
const BUILDER: u32 = 1000;
/// The file that the reactor appends its events to.
pub(crate) const EVENTS: &str = "/var/lib/osbs/events.jsonl";
/// The pod's one container.
pub(crate) const CONTAINER: &str = "build";
/// Most that a Secret holds, less some for its other parts.
const LARGEST_ENVIRONMENT: usize = 1_000_000;
/// Longest `NAME=VALUE` the kernel passes to a program (MAX_ARG_STRLEN).
const LONGEST_VARIABLE: usize = 128 << 10;

/// What a Job says of its build.
#[derive(Debug, Clone)]
pub(crate) struct JobFacts {
    /// The build as recorded; its `env` is empty. `pod_reason` knows what its pod adds.
    pub build: Build,
    /// As recorded.
    pub state: StateRecord,
    /// The Job's uid.
    pub uid: String,
    /// The Job's version.
    pub resource_version: String,
    /// When the server made it: whole seconds.
    pub made: Option<Timestamp>,
    /// Its turn has come. Stays so, also while it is cancelled.
    pub granted: bool,
    /// The uid of the pod that runs it, or ran it.
    pub pod: Option<String>,
    /// What the Job controller says.
    pub status: JobStatus,
}

impl JobFacts {
    /// For lists, oldest first: clocks of clients differ, the server's tells whole seconds only.
    pub fn age(&self) -> (Option<Timestamp>, Timestamp, &str) {
        (self.made, self.build.created, self.build.name.as_str())
    }

    /// Something ended, and not by the runner: worth a closer look (`closing.rs`).
    pub fn looks_dead(&self) -> bool {
        if self.build.is_finished() {
            return false;
        }
        if !self.granted {
            return self.build.cancel_requested;
        }
        let status = &self.status;
        let over = |count: Option<i32>| count.is_some_and(|count| count > 0);
        let conditions = status.conditions.as_deref().unwrap_or_default();
        over(status.failed)
            || over(status.succeeded)
            || conditions.iter().any(|one| matches!(one.type_.as_str(), "Failed" | "Complete") && one.status == "True")
            || (self.build.cancel_requested && !over(status.active))
    }
}

/// Reads a Job.
///
/// # Errors
/// It is not as this program wrote it.
pub(crate) fn facts(job: &Job) -> Result<JobFacts, ClusterError> {
    let metadata = &job.metadata;
    let (name, namespace) = (metadata.name.clone().unwrap_or_default(), metadata.namespace.clone().unwrap_or_default());
    let place = || format!("Job {namespace}/{name}");
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let record: Record = annotation(&annotations, names::RECORD, &place)?;
    let state: StateRecord = annotation(&annotations, names::STATE, &place)?;
    let build_name: BuildName = name.parse().map_err(|reason: String| ClusterError::Corrupt {
        what: "the name",
        place: place(),
        source: reason.into(),
    })?;
    let own = |map: TextMap| map.into_iter().filter(|(key, _)| !key.starts_with(PREFIX)).collect();
    let labels = metadata.labels.clone().unwrap_or_default();
    let unpaused = job.spec.as_ref().is_some_and(|spec| spec.parallelism != Some(0));
    Ok(JobFacts {
        granted: unpaused || annotations.contains_key(names::GRANTED),
        build: record.into_build(namespace, build_name, state.clone(), own(labels), own(annotations)),
        pod: state.pod.clone(),
        state,
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        made: metadata.creation_timestamp.as_ref().map(|time| time.0),
        status: job.status.clone().unwrap_or_default(),
    })
}

fn annotation<T: serde::de::DeserializeOwned>(
    annotations: &TextMap,
    key: &'static str,
    place: &impl Fn() -> String,
) -> Result<T, ClusterError> {
    let text = annotations.get(key).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|source| ClusterError::Corrupt {
        what: key,
        place: place(),
        source: source.into(),
    })
}

/// The annotation's text.
pub(crate) fn to_text(value: &impl serde::Serialize) -> Result<String, ClusterError> {
    serde_json::to_string(value).map_err(|error| ClusterError::Internal(format!("a record is no JSON: {error}")))
}

/// Whether Kubernetes can run such a build.
///
/// # Errors
/// A name or value that it cannot take.
pub(crate) fn check(build: &Build) -> Result<(), ClusterError> {
    names::check_build(build.name.as_str())?;
    names::check_labels(&build.labels)?;
    names::check_keys("annotation", build.annotations.keys())?;
    let first = |b: u8| b.is_ascii_alphabetic() || b"-._".contains(&b);
    for (name, value) in &build.env {
        let named = name.bytes().next().is_some_and(first) && name.bytes().all(|b| first(b) || b.is_ascii_digit());
        let reason = if !named || name == "." || name.starts_with("..") || value.contains('\0') {
            "a name of letters, digits, '-', '_' and '.' that begins with no digit, and no NUL anywhere"
        } else if name.len() + value.len() + 2 > LONGEST_VARIABLE {
            "longer than 128 KiB, the most that Linux passes to a program"
        } else {
            continue;
        };
        return Err(invalid("environment variable", name, reason));
    }
    let size: usize = build.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > LARGEST_ENVIRONMENT {
        return Err(invalid("environment", &format!("{size} bytes"), "Kubernetes keeps at most 1 MiB of it"));
    }
    Ok(())
}

/// The Job of a new build, before its turn.
///
/// # Errors
/// Nobody says which image its pod is made from.
pub(crate) fn job(build: &Build, options: &PodOptions, owner: Option<OwnerReference>) -> Result<Job, ClusterError> {
    let mut labels = build.labels.clone();
    labels.extend(our_labels(build));
    let mut annotations = build.annotations.clone();
    annotations.insert(names::RECORD.to_owned(), to_text(&Record::of(build))?);
    annotations.insert(names::STATE.to_owned(), to_text(&StateRecord::new())?);
    annotations.insert(names::USER.to_owned(), queue::user_of(&build.output_image).to_owned());
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": build.name,
            "namespace": build.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "parallelism": 0,
            "completions": 1,
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": {names::BUILD: build.name, names::TYPE: build.build_type.as_str()}},
                "spec": pod_spec(build, options)?,
            },
        },
    });
    if let Some(ttl) = options.ttl {
        job["spec"]["ttlSecondsAfterFinished"] = ttl.as_secs().into();
    }
    if let Some(owner) = owner {
        job["metadata"]["ownerReferences"] = json!([owner]);
    }
    serde_json::from_value(job).map_err(|error| ClusterError::Internal(format!("what was made is no Job: {error}")))
}

fn our_labels(build: &Build) -> TextMap {
    let values = [
        (names::BUILD, Some(build.name.as_str())),
        (names::TYPE, Some(build.build_type.as_str())),
        (names::BUILD_CONFIG, build.build_config.as_deref()),
        (names::PARENT, build.parent.as_ref().map(BuildName::as_str)),
        (names::SLOTS, build.slots.as_ref().map(|slots| slots.group.as_str())),
        (names::FINISHED, Some("false")),
    ];
    let label = |(key, value): (&str, Option<&str>)| Some((key.to_owned(), names::label_value(value?)?));
    values.into_iter().filter_map(label).collect()
}

fn pod_spec(build: &Build, options: &PodOptions) -> Result<Value, ClusterError> {
    let Some(image) = build.build_image.as_ref().or(options.image.as_ref()) else {
        let reason = "neither the request nor the cluster's configuration names one";
        return Err(invalid("builder image", "", reason));
    };
    let is_worker = build.build_type == BuildType::Worker;
    let (mut volumes, mut mounts) = folders(&options.home, is_worker);
    for (index, secret) in build.secrets.iter().enumerate() {
        let name = format!("secret-{index}");
        volumes.push(json!({"name": name, "secret": {"secretName": secret.secret, "defaultMode": 0o400}}));
        mounts.push(json!({"name": name, "mountPath": secret.mount_path, "readOnly": true}));
    }
    let mut command = options.command.clone();
    command.push(build.name.to_string());
    let (of_pod, of_container) = security(build.build_type, options.security);
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "command": command,
        "env": environment(build, options),
        "envFrom": [{"secretRef": {"name": names::env_secret(&build.name)}}],
        "volumeMounts": mounts,
        "securityContext": of_container,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(policy) = &options.image_pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    let limits = limits(build);
    if !limits.is_empty() {
        container["resources"] = json!({"limits": limits});
    }
    let mut spec = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.grace.as_secs(),
        "enableServiceLinks": false,
        "securityContext": of_pod,
        "containers": [container],
        "volumes": volumes,
    });
    let pull_secrets: Vec<_> = options.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let optional = [
        ("activeDeadlineSeconds", options.deadline.map(|deadline| json!(deadline.as_secs().max(1)))),
        ("priorityClassName", priority_class(build, options).map(|name| json!(name))),
        ("serviceAccountName", options.service_account.as_ref().map(|name| json!(name))),
        ("nodeSelector", (!build.node_selector.is_empty()).then(|| json!(build.node_selector))),
        ("imagePullSecrets", (!pull_secrets.is_empty()).then(|| json!(pull_secrets))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            spec[key] = value;
        }
    }
    Ok(spec)
}

/// Scratch builds are those that only their author waits for.
fn priority_class<'a>(build: &Build, options: &'a PodOptions) -> Option<&'a String> {
    let low = options.low_priority_class.as_ref().filter(|_| build.flag("scratch"));
    low.or(options.priority_class.as_ref())
}

/// The home folder and `/tmp`, which go with the pod. What builds of a node share is the store of images, and nothing else
/// of the home folder; an orchestrator has none.
fn folders(home: &HomeVolume, is_worker: bool) -> (Vec<Value>, Vec<Value>) {
    let own = match home {
        HomeVolume::EmptyDir { size_limit: Some(limit) } => json!({"sizeLimit": limit}),
        _ => json!({}),
    };
    let mut volumes = vec![json!({"name": "home", "emptyDir": own}), json!({"name": "tmp", "emptyDir": {}})];
    let mut mounts = vec![json!({"name": "home", "mountPath": HOME}), json!({"name": "tmp", "mountPath": "/tmp"})];
    if let (HomeVolume::HostPath { path }, true) = (home, is_worker) {
        volumes.push(json!({"name": "store", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}));
        mounts.push(json!({"name": "store", "mountPath": STORE}));
    }
    (volumes, mounts)
}

/// Nothing secret: what the request brings is in the Secret.
fn environment(build: &Build, options: &PodOptions) -> Vec<Value> {
    let plain = [
        ("SOURCE_URI", build.source.uri.as_str()),
        ("SOURCE_REF", &build.source.git_ref),
        ("OUTPUT_IMAGE", &build.output_image),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", HOME),
        ("OSBS_HOME", HOME),
        ("OSBS_BUILD_TYPE", build.build_type.as_str()),
        ("OSBS_EVENTS", EVENTS),
        ("OSBS_CLUSTER", "kubernetes"),
        ("OSBS_NAMESPACE", &build.namespace),
    ];
    let from_pod = [("OSBS_POD", "metadata.name"), ("OSBS_POD_UID", "metadata.uid"), ("OSBS_NODE", "spec.nodeName")];
    let mut env: Vec<_> =
        plain.into_iter().map(|(name, value)| json!({"name": name, "value": literal(value)})).collect();
    env.extend(
        from_pod
            .into_iter()
            .map(|(name, field)| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})),
    );
    env.extend(options.env.iter().map(|(name, value)| json!({"name": name, "value": literal(value)})));
    env
}

/// Kubernetes puts values of variables for `$(NAME)`.
fn literal(value: &str) -> String {
    value.replace("$(", "$$(")
}

fn limits(build: &Build) -> TextMap {
    let limits = &build.limits;
    [("cpu", &limits.cpu), ("memory", &limits.memory), ("ephemeral-storage", &limits.storage)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect()
}

/// What the pod runs as, and what its container may do.
fn security(build_type: BuildType, security: PodSecurity) -> (Value, Value) {
    // The group may read secrets and write volumes.
    let builder = |seccomp: &str| {
        json!({
            "runAsNonRoot": true,
            "runAsUser": BUILDER,
            "runAsGroup": BUILDER,
            "fsGroup": BUILDER,
            "seccompProfile": {"type": seccomp},
        })
    };
    match (build_type, security) {
        (BuildType::Orchestrator, _) | (_, PodSecurity::Restricted) => {
            let container = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            (builder("RuntimeDefault"), container)
        }
        // newuidmap and newgidmap have their rights by file capabilities, which take no more than the container may have.
        // A user namespace mounts a /proc of its own, which the kernel allows where nothing of the outer one is covered.
        (_, PodSecurity::UserNamespace) => {
            let container = json!({
                "allowPrivilegeEscalation": true,
                "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
                "procMount": "Unmasked",
            });
            (builder("Unconfined"), container)
        }
        (_, PodSecurity::Privileged) => (json!({"runAsUser": 0}), json!({"privileged": true})),
    }
}

/// Ends what it belongs to with the Job.
pub(crate) fn owner(name: &BuildName, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: name.to_string(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    }
}

/// The environment that the request brings, and the Build object, which holds it too.
pub(crate) fn env_secret(build: &Build, uid: &str) -> Secret {
    let mut data: std::collections::BTreeMap<_, _> =
        build.env.iter().map(|(name, value)| (name.clone(), ByteString(value.clone().into_bytes()))).collect();
    data.insert("BUILD".to_owned(), ByteString(build.to_build_object().to_string().into_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(names::env_secret(&build.name)),
            namespace: Some(build.namespace.clone()),
            labels: Some([(names::BUILD.to_owned(), build.name.to_string())].into()),
            owner_references: Some(vec![owner(&build.name, uid)]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_cluster::{GitSource, Limits, NameRule, NewBuild, SecretMount, Slots};
    use std::time::Duration;

    fn request(name: &str, build_type: BuildType) -> Build {
        let config = (build_type == BuildType::Orchestrator).then_some("web-f40-9ab12");
        let rule = match config {
            Some(config) => NameRule::Config { build_config: config.to_owned() },
            None => NameRule::Exact(name.parse().expect("valid")),
        };
        let source = GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "f40".into() };
        let mut new = NewBuild::new(rule, build_type, source, "registry.example.com/alice/web:1");
        new.labels = [("git-branch".to_owned(), "f40".to_owned())].into();
        new.annotations = [("from".to_owned(), "{}".to_owned())].into();
        new.env = [("USER_PARAMS".to_owned(), r#"{"password": "hunter2"}"#.to_owned())].into();
        let created = "2024-01-02T03:04:05.678901234Z".parse().expect("valid");
        Build::from_new("osbs", name.parse().expect("valid"), config.map(|_| 7), new, created)
    }

    fn worker() -> Build {
        let mut build = request("web-f40-9ab12-7-x86-64", BuildType::Worker);
        build.platform = Some("x86_64".parse().expect("valid"));
        build.parent = Some("web-f40-9ab12-7".parse().expect("valid"));
        build.slots = Some(Slots { group: "worker:x86".into(), max: 4 });
        build.node_selector = [("beta.kubernetes.io/arch".to_owned(), "amd64".to_owned())].into();
        build.limits = Limits { cpu: Some("100m".into()), memory: Some("1Gi".into()), storage: Some("10Gi".into()) };
        build.build_image = Some("registry.example.com/buildroot:2".into());
        let mount_path = "/var/run/secrets/atomic-reactor/reg".to_owned();
        build.secrets = vec![SecretMount { secret: "reg".into(), mount_path }];
        build.source.git_ref = "$(OSBS_HOME)".into();
        build
    }

    fn options() -> PodOptions {
        PodOptions { image: Some("registry.example.com/buildroot:1".into()), ..PodOptions::default() }
    }

    #[test]
    fn an_orchestrator_as_a_job() {
        let build = request("web-f40-9ab12-7", BuildType::Orchestrator);
        insta::assert_json_snapshot!(job(&build, &options(), None).expect("a Job"));
    }

    #[test]
    fn a_worker_as_a_job_with_every_option() {
        let options = PodOptions {
            image_pull_policy: Some("IfNotPresent".into()),
            image_pull_secrets: vec!["pull".into()],
            service_account: Some("osbs-worker".into()),
            deadline: Some(Duration::from_hours(3)),
            ttl: Some(Duration::from_hours(24)),
            priority_class: Some("low".into()),
            home: HomeVolume::EmptyDir { size_limit: Some("20Gi".into()) },
            env: [("TZ".to_owned(), "UTC".to_owned())].into(),
            ..options()
        };
        let owner = owner(&"web-f40-9ab12-7".parse().expect("valid"), "4d5e");
        insta::assert_json_snapshot!(job(&worker(), &options, Some(owner)).expect("a Job"));
    }

    #[test]
    fn what_a_pod_may_do() {
        let of = |build_type, option| {
            let (pod, container) = security(build_type, option);
            (pod["runAsUser"].as_u64(), pod["seccompProfile"]["type"].clone(), container)
        };
        let restricted = of(BuildType::Worker, PodSecurity::Restricted);
        let expected = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        assert_eq!(restricted, (Some(1000), json!("RuntimeDefault"), expected));
        for option in [PodSecurity::UserNamespace, PodSecurity::Privileged] {
            assert_eq!(of(BuildType::Orchestrator, option), restricted, "an orchestrator needs nothing");
        }
        let rootless = of(BuildType::Worker, PodSecurity::UserNamespace);
        let capabilities = json!({"drop": ["ALL"], "add": ["SETUID", "SETGID"]});
        assert_eq!((rootless.0, &rootless.2["capabilities"]), (Some(1000), &capabilities));
        assert_eq!(rootless.2["privileged"], Value::Null);
        let privileged = of(BuildType::Worker, PodSecurity::Privileged);
        assert_eq!(privileged, (Some(0), Value::Null, json!({"privileged": true})));
    }

    #[test]
    fn builds_of_a_node_share_images_and_nothing_else() {
        let host = HomeVolume::HostPath { path: "/var/cache/osbs".into() };
        let (volumes, mounts) = folders(&host, true);
        assert_eq!(volumes[2]["hostPath"]["path"], "/var/cache/osbs");
        assert_eq!((&mounts[0]["mountPath"], &mounts[2]["mountPath"]), (&json!(HOME), &json!(STORE)));
        assert_eq!(folders(&host, false).0.len(), 2, "no folder of the node for an orchestrator");
    }

    #[test]
    fn the_environment_is_nowhere_but_in_the_secret() {
        let build = request("web-f40-9ab12-7", BuildType::Orchestrator);
        let job = serde_json::to_string(&job(&build, &options(), None).expect("a Job")).expect("JSON");
        assert!(!job.contains("hunter2"), "{job}");
        let secret = env_secret(&build, "4d5e");
        let data = secret.data.expect("data");
        assert_eq!(data.keys().collect::<Vec<_>>(), ["BUILD", "USER_PARAMS"]);
        assert_eq!(data["USER_PARAMS"].0, br#"{"password": "hunter2"}"#);
        assert_eq!(secret.metadata.owner_references.expect("an owner")[0].uid, "4d5e");
    }

    #[test]
    fn a_build_comes_back_from_its_job() {
        for build in [request("web-f40-9ab12-7", BuildType::Orchestrator), worker()] {
            let mut job = job(&build, &options(), None).expect("a Job");
            let read = facts(&job).expect("ours");
            assert_eq!(read.build, Build { env: TextMap::new(), ..build });
            assert!(!read.granted && !read.looks_dead());
            let annotations = job.metadata.annotations.as_mut().expect("some");
            annotations.insert(names::GRANTED.to_owned(), "2024-01-02T03:04:06Z".to_owned());
            assert!(facts(&job).expect("ours").granted);
            job.metadata.annotations.as_mut().expect("some").insert(names::STATE.to_owned(), "{".to_owned());
            let error = facts(&job).expect_err("damaged");
            assert!(error.to_string().contains("osbs/state in Job osbs/web-f40"), "{error}");
        }
    }

    #[test]
    fn what_looks_dead() {
        let check = |granted: bool, state: &str, status: Value, expect: bool| {
            let mut job = job(&worker(), &options(), None).expect("a Job");
            let annotations = job.metadata.annotations.as_mut().expect("some");
            if granted {
                annotations.insert(names::GRANTED.to_owned(), "x".to_owned());
            }
            annotations.insert(names::STATE.to_owned(), state.to_owned());
            job.status = Some(serde_json::from_value(status.clone()).expect("a status"));
            assert_eq!(facts(&job).expect("ours").looks_dead(), expect, "{granted} {state} {status}");
        };
        let (new, running) = (r#"{"state":"New"}"#, r#"{"state":"Running"}"#);
        let cancelled = r#"{"state":"New","cancel_requested":true}"#;
        check(false, new, json!({}), false);
        check(true, new, json!({}), false);
        check(true, running, json!({"active": 1}), false);
        check(true, running, json!({"failed": 1}), true);
        check(true, running, json!({"succeeded": 1}), true);
        check(true, running, json!({"conditions": [{"type": "Failed", "status": "True"}]}), true);
        check(true, r#"{"state":"Failed"}"#, json!({"failed": 1}), false);
        check(false, cancelled, json!({}), true);
        check(true, cancelled, json!({"active": 1}), false);
        check(true, cancelled, json!({}), true);
    }

    #[test]
    fn what_kubernetes_cannot_take_is_said_before() {
        let check = |change: fn(&mut Build), what: &str| {
            let mut build = request("web-f40-9ab12-7", BuildType::Orchestrator);
            change(&mut build);
            let error = check(&build).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        };
        check(|build| build.name = "Web".parse().expect("valid"), "build name \"Web\"");
        check(|build| drop(build.labels.insert("a".into(), "b/c".into())), "label value \"a=b/c\"");
        check(|build| drop(build.labels.insert("osbs/build".into(), "b".into())), "label \"osbs/build\"");
        check(|build| drop(build.annotations.insert("osbs/state".into(), "b".into())), "annotation \"osbs/state\"");
        check(|build| drop(build.env.insert("A=B".into(), String::new())), "environment variable \"A=B\"");
        check(|build| drop(build.env.insert("1".into(), String::new())), "environment variable \"1\"");
        check(|build| drop(build.env.insert("A".into(), "x".repeat(200_000))), "128 KiB");
        let nobody = job(&request("web-f40-9ab12-7", BuildType::Orchestrator), &PodOptions::default(), None);
        assert!(nobody.expect_err("no image").to_string().contains("builder image"));
    }
}
