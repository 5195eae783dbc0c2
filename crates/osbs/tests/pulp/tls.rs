//! Pulp behind nginx, which has a certificate of the site's own authority and wants one of the client's, whom it then
//! presents to Pulp under a name of its own.

use crate::canary::Canary;
use crate::mail_server::{self, MailServer};
use crate::pulp_server::RealPulp;
use crate::world::canaries::base64;
use crate::world::registries::{Authority, Valid};
use crate::world::{Done, World, check_nothing_left, free_port, wait_for};
use crate::{digest_of_annotation, served};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

struct Nginx {
    host: String,
    folder: PathBuf,
    child: Child,
}

impl Nginx {
    fn start(world: &World, pulp: &RealPulp) -> Self {
        let folder = world.path("tls");
        let authority = Authority::new(&folder);
        for name in ["server", "client"] {
            authority.tls(name, Valid::Now);
        }
        let host = format!("127.0.0.1:{}", free_port());
        let (api, content) = (pulp.address("api"), pulp.address("content"));
        let login = base64(format!("{}:{}", pulp.address("username"), pulp.address("password")).as_bytes());
        let at = folder.display();
        let text = format!(
            "user root; daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\nevents {{}}\n\
             http {{\n access_log {at}/access.log; client_max_body_size 0;\n\
             client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;\n\
             uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
             server {{\n listen {host} ssl; ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;\n\
             ssl_client_certificate {at}/ca.crt; ssl_verify_client on;\n\
             proxy_set_header Host $http_host;\n\
             location ~ ^/pulp/(content|container)/ {{ proxy_pass {content}; }}\n\
             location / {{ proxy_pass {api}; proxy_redirect {content}/ https://{host}/;\n\
             proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;\n\
             proxy_set_header Authorization \"Basic {login}\"; }}\n}}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), text).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-e").arg(folder.join("start.log")).arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("nginx starts: apt-get install nginx-light");
        let (address, log) = (host.clone(), folder.join("start.log"));
        wait_for(&format!("nginx listens, see {}", log.display()), 60, || TcpStream::connect(&address).is_ok());
        Self { host, folder, child }
    }

    fn access(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with its master only when that is asked.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A build by way of TLS; one without the authority's certificate, and one without the client's.
pub fn check(pulp: &RealPulp) {
    mail_server::check_needs();
    let (world, output) = (World::new(), World::bare());
    let nginx = Nginx::start(&world, pulp);
    let mail = MailServer::start(&world.path("mail"), "none", None, None);
    let file = |name: &str| fs::read_to_string(nginx.folder.join(name)).expect("read");
    let key = file("client.key");
    let line = key.lines().nth(1).expect("a line of the key").to_owned();
    let canary = Canary::new(pulp).and("the client's key", &line);
    assert_eq!(canary.sings_in(key.as_bytes()), Some("the client's key"));
    world.put_secret("pulp-client", &[("pulp.cer", &file("client.pem")), ("pulp.key", &key)]);
    world.put_secret("pulp-nobody", &[("username", pulp.address("username")), ("password", pulp.address("password"))]);
    let build = |what: &str, secret: &str, more: &str| -> Done {
        world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
        let text = format!(
            "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\n\
             registries: [{{url: 'http://{}'}}]\nsource_registry: {{url: 'http://{}', insecure: true}}\n\
             group_manifests: true\nrequired_secrets: [{secret}]\n\
             smtp: {{host: '{}', from_address: osbs@example.org, additional_addresses: [al@example.org]}}\n\
             pulp: {{name: test, url: 'https://{}', auth: {{ssl_certs_dir: /var/run/secrets/atomic-reactor/{secret}}}{more}}}\n",
            output.registry, world.registry, mail.address, nginx.host
        );
        fs::write(world.path("config.yaml"), text).expect("written");
        let done = world
            .build(&world.layered("tls", &format!("RUN echo {what} >/what; env; cat /run/secrets/*/* || true")), &[]);
        canary.hear(&done);
        done
    };
    let trusting = format!(", ca_file: '{}'", nginx.folder.join("ca.crt").display());

    let done = build("distrusting", "pulp-client", "");
    assert_eq!(done.code, 4, "{}\n{}", done.out, done.err);
    assert!(done.err.contains("pulp_sync") && done.err.contains("`ca_file` in `pulp` of config.yaml"), "{}", done.err);
    assert_eq!(nginx.access(), "", "a server that is not trusted is told nothing");
    let done = build("unknown", "pulp-nobody", &trusting);
    assert_eq!(done.code, 4, "{}\n{}", done.out, done.err);
    assert!(done.err.contains("pulp_sync") && done.err.contains("status 400"), "{}", done.err);
    let before = nginx.access().lines().count();

    let done = build("known", "pulp-client", &trusting);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let digest = digest_of_annotation(&world.record(&world.newest("tls").expect("a build")), &nginx.host);
    for tag in ["1-3", "1", "latest"] {
        assert_eq!(served(pulp, &format!("test/tls:{tag}")).as_ref(), Some(&digest), "{tag}");
    }
    assert!(
        done.out.contains(&format!("{}/test/tls:1-3", nginx.host)) || done.err.contains(&nginx.host),
        "{}",
        done.out
    );
    let asked = nginx.access();
    let through: Vec<_> = asked.lines().skip(before).collect();
    assert!(through.iter().any(|line| line.contains("/sync/")), "{asked}");
    assert!(
        through.iter().any(|line| line.contains("GET /pulp/container/")),
        "configurations come by TLS too: {asked}"
    );
    assert!(through.iter().all(|line| !line.contains("\" 400 ")), "{asked}");

    let mails = mail.mails();
    assert_eq!(mails.len(), 3, "{mails:#?}");
    for mail in mails {
        canary.check("a mail", mail.to_string().as_bytes());
    }
    canary.check_world(&world, &[&output.path("registry")]);
    check_nothing_left(&world);
}
