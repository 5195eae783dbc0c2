//! From an instance of `osbs.conf` to its Kubernetes cluster: the files it names, and what a pod is told by its environment.

use crate::commands::get_token::login_file;
use crate::commands::run_pod;
use osbs_client::{ClientError, KubernetesServer, TokenSource};
use osbs_cluster::ClusterError;
use osbs_cluster_kubernetes::{HomeVolume, KubernetesCluster, PodOptions, PodSecurity, Reach, Server, Token};
use osbs_config::{InstanceConfig, Origin, PodConfig, Settings};
use osbs_types::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where every pod finds who it is.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long a server that has never answered is tried while somebody waits for the prompt.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Whether this process runs in the pod of a build, or in one that is told to act like one.
pub(crate) fn in_pod() -> bool {
    std::env::var_os("OSBS_CLUSTER").is_some_and(|value| value == "kubernetes")
}

/// The API server of the pod's cluster.
fn in_cluster_url() -> Result<String, ClusterError> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(host), Some(port)) = (named("KUBERNETES_SERVICE_HOST"), named("KUBERNETES_SERVICE_PORT")) else {
        return Err(access(
            "kubernetes://in-cluster",
            "this process runs in no pod: KUBERNETES_SERVICE_HOST is not set",
            "write https://HOST[:PORT] in openshift_url, or set kubeconfig",
        ));
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(format!("https://{host}:{port}"))
}

fn access(url: &str, problem: &str, hint: &str) -> ClusterError {
    ClusterError::Access {
        url: url.to_owned(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
        kind: ErrorKind::Policy,
        source: None,
    }
}

/// `~/` is the caller's home folder, as kubectl's users write it.
fn path(text: &str) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

/// The way to the server, with what `osbs.conf` says of it.
pub(crate) fn reach(
    section: &str,
    instance: &InstanceConfig,
    server: &KubernetesServer,
) -> Result<Reach, ClusterError> {
    let account = Path::new(SERVICE_ACCOUNT);
    let in_cluster = *server == KubernetesServer::InCluster;
    let mut reach = Reach::to(match server {
        KubernetesServer::Url(url) => Server::Url(url.clone()),
        KubernetesServer::InCluster => Server::Url(in_cluster_url()?),
        KubernetesServer::Kubeconfig { path: file, context } => {
            Server::Kubeconfig { path: path(file), context: context.clone() }
        }
    });
    let url = instance.openshift_url.as_deref().or(instance.kubeconfig.as_deref()).unwrap_or("kubernetes://in-cluster");
    reach.verify = instance.verify_ssl;
    reach.anonymous = instance.use_auth == Some(false);
    reach.certificate_authority = instance.certificate_authority.as_deref().map(path);
    reach.certificate = match (&instance.client_cert, &instance.client_key) {
        (Some(certificate), Some(key)) => Some((path(certificate), path(key))),
        (None, None) => None,
        _ => return Err(access(url, "only one of client_cert and client_key is set", "set both, or none")),
    };
    reach.token = match TokenSource::of(instance) {
        TokenSource::Given(token) => Some(Token::Given(token)),
        TokenSource::File(file) => Some(Token::File(path(&file))),
        TokenSource::Login if matches!(server, KubernetesServer::Url(_)) => {
            login_file(section).ok().filter(|file| file.exists()).map(Token::File)
        }
        TokenSource::Login => None,
    };
    let wanted = in_cluster || instance.use_auth == Some(true);
    let has_own = matches!(server, KubernetesServer::Kubeconfig { .. }) || reach.certificate.is_some();
    if reach.token.is_none() && wanted && !reach.anonymous && !has_own {
        let token = account.join("token");
        if !token.exists() {
            let hint = "set token_file, client_cert and client_key, or kubeconfig; osbs login keeps a token too";
            return Err(access(url, "there is nothing to log in with", hint));
        }
        reach.token = Some(Token::File(token));
        reach.certificate_authority.get_or_insert_with(|| account.join("ca.crt"));
    }
    let obtains = instance.username.is_some() || instance.use_kerberos;
    if obtains && reach.token.is_none() && !has_own && !reach.anonymous {
        let hint = "log in with oc login and name its file in kubeconfig, or set token_file";
        return Err(access(url, "username, password and Kerberos obtain no token here", hint));
    }
    Ok(reach)
}

/// The namespace: as configured, else the one that the kubeconfig's context or the pod has.
fn namespace(settings: &Settings, instance: &InstanceConfig, of_context: Option<String>, in_cluster: bool) -> String {
    let is_said = settings.lookup("namespace").is_some_and(|effective| effective.origin != Origin::Default);
    if is_said {
        return instance.namespace.clone();
    }
    let of_pod = || {
        let text = std::fs::read_to_string(Path::new(SERVICE_ACCOUNT).join("namespace")).ok()?;
        Some(text.trim().to_owned()).filter(|text| in_cluster && !text.is_empty())
    };
    of_context.or_else(of_pod).unwrap_or_else(|| instance.namespace.clone())
}

/// The cluster. `image` is that of builds that name none.
pub(crate) fn open(
    settings: &Settings,
    instance: &InstanceConfig,
    server: &KubernetesServer,
    image: Option<&str>,
) -> Result<KubernetesCluster, ClientError> {
    let reached = reach(settings.instance(), instance, server)?.open()?;
    let namespace = namespace(settings, instance, reached.namespace, *server == KubernetesServer::InCluster);
    let mut options = pod_options(&instance.pods, instance.storage_limit.clone());
    options.image = image.map(str::to_owned);
    let cluster = KubernetesCluster::new(reached.client, namespace, reached.url, options);
    Ok(if in_pod() { cluster } else { cluster.with_first_patience(FIRST_PATIENCE) })
}

fn pod_options(pods: &PodConfig, storage: Option<String>) -> PodOptions {
    let seconds = |number: Option<u32>| number.map(|number| Duration::from_secs(u64::from(number)));
    let usual = PodOptions::default();
    let grace = seconds(pods.termination_grace_period_seconds).unwrap_or(usual.grace);
    PodOptions {
        image_pull_policy: pods.image_pull_policy.clone(),
        image_pull_secrets: pods.image_pull_secrets.clone(),
        service_account: pods.service_account.clone(),
        security: match pods.pod_security {
            osbs_config::PodSecurity::Rootless => PodSecurity::UserNamespace,
            osbs_config::PodSecurity::Privileged => PodSecurity::Privileged,
        },
        deadline: seconds(pods.active_deadline_seconds),
        grace,
        env: [(run_pod::GRACE.to_owned(), grace.as_secs().to_string())].into(),
        ttl: seconds(pods.ttl_seconds_after_finished),
        priority_class: pods.priority_class_name.clone(),
        low_priority_class: pods.low_priority_class_name.clone(),
        home: match &pods.home_volume {
            osbs_config::HomeVolume::EmptyDir => HomeVolume::EmptyDir { size_limit: storage },
            osbs_config::HomeVolume::HostPath(path) => HomeVolume::HostPath { path: path.clone() },
        },
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_config::OsbsConf;
    use std::collections::BTreeMap;

    fn instance(lines: &str) -> (Settings, InstanceConfig) {
        let conf = OsbsConf::parse(&format!("[default]\n{lines}\n"), "osbs.conf").expect("valid").value;
        let settings = Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new());
        let instance = settings.resolve().expect("valid").value;
        (settings, instance)
    }

    fn by_url() -> KubernetesServer {
        KubernetesServer::Url("https://api.example.com:6443/x".to_owned())
    }

    #[test]
    fn what_the_keys_say() {
        let (_, config) = instance("token_file = /t\nverify_ssl = false\nclient_cert = /c\nclient_key = /k");
        let way = reach("default", &config, &by_url()).expect("a way");
        assert_eq!((way.token, way.verify), (Some(Token::File("/t".into())), false));
        assert_eq!(way.certificate, Some(("/c".into(), "/k".into())));
        let (_, config) = instance("token = x\nuse_auth = false\ncertificate_authority = /ca");
        let way = reach("default", &config, &by_url()).expect("a way");
        assert!(way.anonymous && way.certificate_authority == Some("/ca".into()));
    }

    #[test]
    fn what_cannot_be_meant() {
        for (lines, part) in [
            ("client_cert = /c", "only one of client_cert"),
            ("use_auth = true", "nothing to log in with"),
            ("username = me\npassword = x", "obtain no token"),
        ] {
            let (_, config) = instance(lines);
            let error = reach("nobody-logged-in-here", &config, &by_url()).expect_err(lines);
            assert!(error.to_string().contains(part) && error.hint().is_some(), "{lines}: {error}");
            assert_eq!(error.kind(), ErrorKind::Policy);
        }
    }

    #[test]
    fn namespaces() {
        let (settings, config) = instance("namespace = said");
        assert_eq!(namespace(&settings, &config, Some("context".to_owned()), false), "said");
        let (settings, config) = instance("");
        assert_eq!(namespace(&settings, &config, Some("context".to_owned()), false), "context");
        assert_eq!(namespace(&settings, &config, None, false), "default");
    }
}
