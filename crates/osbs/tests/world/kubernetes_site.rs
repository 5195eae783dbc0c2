//! A site on a real Kubernetes, as `deploy/` makes it: a namespace for orchestrator builds, two for worker builds that are
//! reached through two API servers with tokens of their own, the builder image by `osbs create-build-image`, a registry and
//! a git server that pods reach. Beside it the same site on this machine.

use crate::kubernetes::KubernetesServer;
use crate::world::{Done, OSBS, World, done, free_port, wait_for};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The namespace of orchestrator builds.
pub const ORCHESTRATOR: &str = "osbs";
/// The worker clusters: their names in `config.yaml`, which are their namespaces too.
pub const WORKERS: [&str; 2] = ["worker01", "worker02"];
/// The builder image.
pub const IMAGE: &str = "localhost/osbs-buildroot:1";

/// The site.
pub struct KubernetesSite {
    pub server: KubernetesServer,
    /// Its registry is the site's; its own cluster is on this machine.
    pub world: World,
    git: Child,
    pub git_url: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl KubernetesSite {
    #[track_caller]
    pub fn start() -> Self {
        let server = KubernetesServer::start();
        let mut world = World::bare();
        // Pods reach what listens there, and so does this machine.
        let address = server.fact("host_address").to_owned();
        world.stop_registry();
        world.registry = format!("{address}:{}", free_port());
        world.start_registry();
        fs::create_dir_all(world.path("git")).expect("made");
        let port = free_port();
        let git = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr"])
            .args([format!("--listen={address}"), format!("--port={port}")])
            .arg(format!("--base-path={}", world.path("git").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("git starts");
        let git_address = format!("{address}:{port}");
        wait_for("the git server listens", 60, || std::net::TcpStream::connect(&git_address).is_ok());
        let site = Self { server, world, git, git_url: format!("git://{git_address}") };
        site.world.write_conf("can_orchestrate = true\n", &local_clusters());
        site.import_builder_image();
        site.deploy();
        site.configure(2);
        site
    }

    /// Made of the program under test, without what only debuggers want.
    fn import_builder_image(&self) {
        let program = self.world.path("osbs");
        run(Command::new("strip").arg("-o").arg(&program).arg(OSBS));
        let archive = self.world.path("buildroot.tar");
        let (program, output) = (program.display().to_string(), format!("docker-archive:{}", archive.display()));
        let made = ["create-build-image", "--program", &program, "--tag", IMAGE, "--output", &output];
        self.world.ok(&[&made[..], &["--", "--compression", "none"]].concat());
        self.server.import(&archive, IMAGE);
    }

    /// The bases of `deploy/`, each in a namespace.
    fn deploy(&self) {
        let bases = root().join("deploy/bases");
        let up = "../".repeat(self.world.folder.path().components().count() + 1);
        let base = |name: &str| format!("{up}{}", bases.join(name).strip_prefix("/").expect("absolute").display());
        self.server.kubectl(&["apply", "--kustomize", &bases.join("cluster").display().to_string()]);
        for namespace in [&[ORCHESTRATOR][..], &WORKERS].concat() {
            let folder = self.world.path("deploy").join(namespace);
            fs::create_dir_all(&folder).expect("made");
            let names = ["namespace", "client", "build", "gc-before-1.21"].map(|name| format!("  - {}\n", base(name)));
            let (image, tag) = IMAGE.rsplit_once(':').expect("a tag");
            let text = format!(
                "namespace: {namespace}\nbases:\n{}resources: [namespace.yaml]\ngeneratorOptions: {{disableNameSuffixHash: true}}\n\
                 images: [{{name: osbs-buildroot, newName: {image}, newTag: \"{tag}\"}}]\n\
                 configMapGenerator: [{{name: osbs-gc, files: [osbs.conf=gc.conf]}}]\n",
                names.concat()
            );
            fs::write(folder.join("kustomization.yaml"), text).expect("written");
            let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
            fs::write(folder.join("namespace.yaml"), text).expect("written");
            let text = "[default]\nopenshift_url = kubernetes://in-cluster\nttl_seconds_after_finished = 0\n";
            fs::write(folder.join("gc.conf"), text).expect("written");
            self.server.kubectl(&["apply", "--kustomize", &folder.display().to_string()]);
            // It removes finished builds at once: only when a test says so.
            let patch = "{\"spec\": {\"suspend\": true}}";
            self.server.kubectl(&["patch", "cronjob", "osbs-gc", "--namespace", namespace, "--patch", patch]);
        }
    }

    /// The configuration inside, as a ConfigMap and Secrets, and that of who asks; a worker cluster takes so many builds.
    pub fn configure(&self, max_concurrent_builds: u32) {
        self.configure_at(max_concurrent_builds, ["server", "server2"].map(|server| self.server.fact(server)));
    }

    /// The same, with the worker clusters at these URLs.
    pub fn configure_at(&self, max_concurrent_builds: u32, servers: [&str; 2]) {
        let folder = self.world.path("site");
        fs::create_dir_all(folder.join("tokens")).expect("made");
        let mut inner = String::new();
        for (name, server) in WORKERS.into_iter().zip(servers) {
            let place = "/var/run/secrets/atomic-reactor/workertoken";
            let _ = write!(
                inner,
                "[{name}]\nopenshift_url = {server}\nnamespace = {name}\ncertificate_authority = {place}/ca.crt\n\
                 token_file = {place}/{name}\nbuild_image = {IMAGE}\nservice_account = osbs-build\n\
                 priority_class_name = osbs-build\nnode_selector.x86_64 = kubernetes.io/os=linux\n"
            );
            let token = self.server.short_token(name, "osbs-client", 7200);
            fs::write(folder.join("tokens").join(name), token).expect("written");
        }
        fs::copy(self.server.fact("ca_file"), folder.join("tokens/ca.crt")).expect("copied");
        fs::write(folder.join("osbs.conf"), inner).expect("written");
        let clusters =
            WORKERS.map(|name| format!("{{name: {name}, max_concurrent_builds: {max_concurrent_builds}}}")).join(", ");
        let text = format!(
            "version: 1\nclusters:\n  x86_64: [{clusters}]\n  aarch64: [{clusters}]\n\
             clusters_client_config_dir: /var/run/secrets/atomic-reactor/osbsconf\n\
             worker_token_secrets: [osbsconf, workertoken]\n{}",
            common(&self.world.registry)
        );
        fs::write(folder.join("config.yaml"), text).expect("written");
        self.put(ORCHESTRATOR, &["configmap"], "reactor-config", &folder.join("config.yaml"));
        self.put(ORCHESTRATOR, &["secret", "generic"], "osbsconf", &folder.join("osbs.conf"));
        self.put(ORCHESTRATOR, &["secret", "generic"], "workertoken", &folder.join("tokens"));
        fs::write(self.token_file(), self.server.short_token(ORCHESTRATOR, "osbs-client", 7200)).expect("written");
        self.write_conf("kube.conf", &self.by_token(""));
        let by_file = format!("kubeconfig = {}\nnamespace = {ORCHESTRATOR}\n", self.server.fact("kubeconfig"));
        self.write_conf("admin.conf", &by_file);
    }

    /// Adds lines to the configuration inside, until [`Self::configure`] takes them out again.
    pub fn add_to_config(&self, lines: &str) {
        let file = self.world.path("site/config.yaml");
        let text = fs::read_to_string(&file).expect("read") + lines;
        fs::write(&file, text).expect("written");
        self.put(ORCHESTRATOR, &["configmap"], "reactor-config", &file);
    }

    /// A ConfigMap or Secret of a file or a folder, whole.
    #[track_caller]
    pub fn put(&self, namespace: &str, kind: &[&str], name: &str, file: &Path) {
        let from = format!("--from-file={}", file.display());
        let made = [&["create"][..], kind, &[name, "--namespace", namespace, &from, "--dry-run=client", "-o", "yaml"]];
        self.server.apply(&self.server.kubectl(&made.concat()));
    }

    /// Where the client's token is.
    pub fn token_file(&self) -> PathBuf {
        self.world.path("token")
    }

    /// The way to the cluster by URL and token, and these further lines.
    pub fn by_token(&self, more: &str) -> String {
        self.by_token_at(self.server.fact("server"), more)
    }

    /// The same, at that URL.
    pub fn by_token_at(&self, server: &str, more: &str) -> String {
        format!(
            "openshift_url = {server}/lost/path\ncertificate_authority = {}\ntoken_file = {}\nnamespace = {ORCHESTRATOR}\n{more}",
            self.server.fact("ca_file"),
            self.token_file().display()
        )
    }

    /// An `osbs.conf` with that way to the cluster.
    pub fn write_conf(&self, name: &str, way: &str) {
        let text = format!(
            "[default]\n{way}can_orchestrate = true\nreactor_config_map = reactor-config\nbuild_image = {IMAGE}\n\
             service_account = osbs-build\npriority_class_name = osbs-build\nmemory_limit = 256Mi\n\
             termination_grace_period_seconds = 60\n"
        );
        fs::write(self.world.path(name), text).expect("written");
    }

    /// The program with one of the configurations.
    pub fn command(&self, conf: &str, args: &[&str]) -> Command {
        let mut command = Command::new(OSBS);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.world.folder.path()).env("OSBS_HOME", self.world.path("client"));
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::null());
        command.arg("--config").arg(self.world.path(conf)).args(args);
        command
    }

    pub fn run(&self, conf: &str, args: &[&str]) -> Done {
        done(self.command(conf, args).output().expect("osbs starts"))
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run("kube.conf", args);
        assert_eq!(done.code, 0, "osbs {args:?}\n{}\n{}", done.out, done.err);
        done.out
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Objects of a namespace.
    #[track_caller]
    pub fn objects(&self, namespace: &str, what: &str) -> Vec<Value> {
        let text = self.server.kubectl(&["get", what, "--namespace", namespace, "--output", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        list["items"].as_array().expect("items").clone()
    }

    /// `osbs build` of a repository, as the leader of a process group like in a shell.
    pub fn start_build(&self, repository: &str, more: &[&str]) -> Child {
        use std::os::unix::process::CommandExt;
        let url = format!("{}/{repository}", self.git_url);
        let mut command =
            self.command("kube.conf", &["build", "--git-url", &url, "--git-branch", "main", "--user", "test"]);
        command.args(more).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osbs starts")
    }

    /// `osbs build`, followed to its end.
    pub fn build(&self, repository: &str, more: &[&str]) -> Done {
        done(self.start_build(repository, more).wait_with_output().expect("osbs ends"))
    }

    #[track_caller]
    pub fn record(&self, name: &str) -> Value {
        self.json(&["get-build", name, "--output", "json"])
    }

    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.record(name)["status"].as_str().expect("a status").to_owned()
    }

    /// A repository on `example/base` with these further lines.
    pub fn repository(&self, name: &str, lines: &str) {
        let dockerfile = format!(
            "FROM example/base:latest\nLABEL name=test/{name} com.redhat.component={name}-container version=1\n{lines}\n"
        );
        self.world.repository(name, &[("Dockerfile", &dockerfile)]);
    }
}

impl Drop for KubernetesSite {
    fn drop(&mut self) {
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

/// The site on this machine, in its `config.yaml`.
pub fn local_clusters() -> String {
    "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 2}]\n  aarch64: [{name: local, max_concurrent_builds: 2}]\n\
     platform_descriptors:\n  - {platform: x86_64, architecture: amd64}\n  - {platform: aarch64, architecture: arm64}\n\
     group_manifests: true\nimage_labels: {vendor: Example}\n"
        .to_owned()
}

fn common(registry: &str) -> String {
    format!(
        "registries: [{{url: 'http://{registry}'}}]\nsource_registry: {{url: 'http://{registry}', insecure: true}}\n\
         platform_descriptors:\n  - {{platform: x86_64, architecture: amd64}}\n  - {{platform: aarch64, architecture: arm64}}\n\
         group_manifests: true\nimage_labels: {{vendor: Example}}\n"
    )
}
