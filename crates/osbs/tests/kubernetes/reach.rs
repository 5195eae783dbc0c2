//! Tokens, certificates and addresses by which a client reaches a cluster, and what it is told when it does not.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use crate::run;
use crate::world::done;
use std::fs;
use std::time::Duration;

pub fn tokens_expire_and_are_rotated(site: &KubernetesSite) {
    let token = |seconds: u32| {
        let token = site.server.short_token(ORCHESTRATOR, "osbs-client", seconds);
        fs::write(site.token_file(), token).expect("written");
    };
    // Those with which orchestrator builds reach the worker clusters come from a Secret that their pods mount.
    let worker_tokens = |seconds: u32| {
        let folder = site.world.path("site/tokens");
        for name in WORKERS {
            fs::write(folder.join(name), site.server.short_token(name, "osbs-client", seconds)).expect("written");
        }
        site.put(ORCHESTRATOR, &["secret", "generic"], "workertoken", &folder);
    };
    token(20);
    worker_tokens(20);
    site.repository("rotated", "RUN echo it works now && sleep 40");
    let build = site.start_build("rotated", &["--platforms", "x86_64"]);
    std::thread::sleep(Duration::from_secs(10));
    token(7200);
    worker_tokens(7200);
    let done = done(build.wait_with_output().expect("osbs ends"));
    assert_eq!(done.code, 0, "the new tokens were read: {}\n{}", done.out, done.err);

    fs::write(site.token_file(), "nobody's").expect("written");
    let refused = site.run("kube.conf", &["list-builds"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("does not accept the login") && refused.err.lines().count() < 12, "{}", refused.err);
    println!("{}", refused.err);
    token(7200);
    site.ok(&["list-builds"]);
}

pub fn what_keeps_a_client_away_is_told(site: &KubernetesSite) {
    let fact = |name: &str| site.server.fact(name).to_owned();
    let wrong = site.world.path("wrong.crt");
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=other",
            "-days",
            "2",
            "-keyout",
            "/dev/null",
            "-out",
            &wrong.display().to_string(),
        ],
    );
    let ca = fact("ca_file");
    let token = site.token_file().display().to_string();
    let by_certificate = format!(
        "openshift_url = {}\ncertificate_authority = {ca}\nclient_cert = {}\nclient_key = {}\nnamespace = {ORCHESTRATOR}\n",
        fact("server"),
        fact("client_certificate_file"),
        fact("client_key_file")
    );
    for (way, code, parts) in [
        (by_certificate, 0, &[][..]),
        (
            format!(
                "openshift_url = {}\nverify_ssl = false\ntoken_file = {token}\nnamespace = {ORCHESTRATOR}\n",
                fact("server")
            ),
            0,
            &[],
        ),
        (
            format!(
                "openshift_url = {}\ncertificate_authority = {}\ntoken_file = {token}\n",
                fact("server"),
                wrong.display()
            ),
            3,
            &["certificate", "certificate_authority"],
        ),
        (
            format!("openshift_url = {}\ncertificate_authority = {token}\ntoken_file = {token}\n", fact("server")),
            3,
            &["holds no certificate"],
        ),
        (
            format!("openshift_url = {}\ncertificate_authority = {ca}\nuse_auth = false\n", fact("server")),
            3,
            &["system:anonymous", "list jobs.batch"],
        ),
        (
            format!(
                "openshift_url = {}\ncertificate_authority = {ca}\ntoken_file = {token}\nnamespace = default\n",
                fact("server")
            ),
            3,
            &["list jobs.batch", "namespace default", "osbs-client"],
        ),
        (
            format!("openshift_url = http://{}\ntoken_file = {token}\n", fact("server").trim_start_matches("https://")),
            3,
            &["never sent over http"],
        ),
        (format!("kubeconfig = {}\nkube_context = nowhere\n", fact("kubeconfig")), 3, &["kubeconfig", "nowhere"]),
    ] {
        site.write_conf("way.conf", &way);
        let done = site.run("way.conf", &["list-builds"]);
        assert_eq!(done.code, code, "{way}\n{}", done.err);
        assert!(parts.iter().all(|part| done.err.contains(part)), "{parts:?} of {way}\n{}", done.err);
        assert!(done.err.lines().count() < 24, "one screen: {}", done.err);
        if code != 0 {
            println!("{}", done.err);
        }
    }
}
