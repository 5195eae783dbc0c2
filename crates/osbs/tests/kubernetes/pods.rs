//! What a site may give its pods beyond the usual: workers in the orchestrator's own namespace, privilege, a folder of the
//! node, a builder image from a registry that wants a login.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use crate::run;
use crate::world::done;
use crate::world::registries::{RED, RegistryServer, Setup};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

pub fn pods_get_what_the_site_gives_them(site: &KubernetesSite) {
    let registry = RegistryServer::start(&site.world, "private", &Setup { login: Some(RED), ..Setup::default() });
    let image = format!("{}/osbs-buildroot:1", registry.host);
    let archive = format!("docker-archive:{}", site.world.path("buildroot.tar").display());
    let login = format!("{}:{}", RED.user, RED.password);
    run(
        "skopeo",
        &["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &login, &archive, &format!("docker://{image}")],
    );
    check_image_without_login(site, &image);
    let (server, user) = (format!("--docker-server={}", registry.host), format!("--docker-username={}", RED.user));
    let password = format!("--docker-password={}", RED.password);
    let in_namespace = ["--namespace", ORCHESTRATOR];
    let secret = ["create", "secret", "docker-registry", "pull", &server, &user, &password];
    site.server.kubectl(&[&secret[..], &in_namespace].concat());
    let account = format!("--serviceaccount={ORCHESTRATOR}:osbs-build");
    let binding = ["create", "rolebinding", "osbs-workers", "--role=osbs-client", &account];
    site.server.kubectl(&[&binding[..], &in_namespace].concat());
    let folder = site.world.path("folder-of-the-node");
    std::fs::create_dir(&folder).expect("made");
    std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).expect("root may");

    let of_node = format!("hostPath:{}", folder.display());
    for (security, home) in [("rootless", &*of_node), ("privileged", "emptyDir")] {
        let more = format!("pod_security = {security}\nhome_volume = {home}\n{}", pulled(&image));
        one_namespace(site, &more);
        check_build(site, security, (home != "emptyDir").then_some(&folder));
    }
    let kept = run("du", &["-s", "--block-size=1K", &folder.display().to_string()]);
    println!("in the folder of the node: {} KiB", kept.split_whitespace().next().expect("a size"));
    assert!(folder.read_dir().expect("read").next().is_some(), "the store of images is there");
    site.server.kubectl(&[&["delete", "rolebinding", "osbs-workers"][..], &in_namespace].concat());
    site.configure(2);
}

/// Lines of `osbs.conf` for an image that is fetched with a login.
fn pulled(image: &str) -> String {
    format!("build_image = {image}\nimage_pull_policy = Always\nimage_pull_secrets = pull\n")
}

/// Worker builds are made by the orchestrator build's pod, in its namespace; all pods fetch their image.
fn one_namespace(site: &KubernetesSite, more: &str) {
    let mut inner = String::new();
    for name in WORKERS {
        let way = format!("openshift_url = kubernetes://in-cluster\nnamespace = {ORCHESTRATOR}\n");
        let _ = write!(inner, "[{name}]\n{way}service_account = osbs-build\n{more}");
    }
    let file = site.world.path("site/osbs.conf");
    std::fs::write(&file, inner).expect("written");
    site.put(ORCHESTRATOR, &["secret", "generic"], "osbsconf", &file);
    let own = more.split_once("build_image").expect("it names an image").1;
    let text = format!(
        "[default]\n{}can_orchestrate = true\nreactor_config_map = reactor-config\nservice_account = osbs-build\nbuild_image{own}",
        site.by_token("")
    );
    std::fs::write(site.world.path("private.conf"), text).expect("written");
}

#[track_caller]
fn check_image_without_login(site: &KubernetesSite, image: &str) {
    let text = format!("[default]\n{}build_image = {image}\nimage_pull_policy = Always\n", site.by_token(""));
    std::fs::write(site.world.path("private.conf"), text).expect("written");
    let told = site.run("private.conf", &["deploy", "check", "--pull"]);
    assert_eq!(told.code, 3, "{}\n{}", told.out, told.err);
    let line = told.out.lines().find(|line| line.contains("LACKS")).unwrap_or_else(|| panic!("{}", told.out));
    assert!(line.contains(image), "{}", told.out);
    println!("{}", told.out);
}

#[track_caller]
fn check_build(site: &KubernetesSite, security: &str, folder: Option<&Path>) {
    let url = format!("{}/hello", site.git_url);
    let args = ["build", "--git-url", &url, "--git-branch", "main", "--user", "test", "--platforms", "x86_64"];
    let told = done(site.command("private.conf", &args).output().expect("osbs starts"));
    assert_eq!(told.code, 0, "{security}\n{}\n{}", told.out, told.err);
    let name = crate::name_of(&told.err);
    let pods = site.objects(ORCHESTRATOR, "pods");
    let of = |build: &str| -> &Value {
        let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["osbs/build"] == build);
        &pod.unwrap_or_else(|| panic!("{build} has no pod in {ORCHESTRATOR}"))["spec"]
    };
    for build in [name.clone(), format!("{name}-x86-64")] {
        assert_eq!(of(&build)["imagePullSecrets"], json!([{"name": "pull"}]), "{build}");
        assert_eq!(of(&build)["containers"][0]["imagePullPolicy"], "Always", "{build}");
    }
    let worker = of(&format!("{name}-x86-64"));
    let is_privileged = worker["containers"][0]["securityContext"]["privileged"] == true;
    assert_eq!(is_privileged, security == "privileged", "{worker}");
    assert_eq!(of(&name)["containers"][0]["securityContext"]["privileged"], Value::Null, "the orchestrator needs none");
    let mounted: Vec<_> = worker["volumes"].as_array().expect("volumes").iter().collect();
    let of_node: Vec<_> = mounted.iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
    let expected: Vec<_> = folder.map(|folder| folder.to_str().expect("UTF-8")).into_iter().collect();
    assert_eq!(of_node, expected, "{security}");
    println!("{name}: {security}, in one namespace");
}
