//! TLS, and logins by certificate, with certificates of OpenSSL and the official client.

use crate::harness::TestHub;
use crate::koji_client::{Said, can_run, koji};
use osbs_hub::{Hub, HubConfig, HubError, TlsFiles};
use std::path::Path;
use std::process::Command;

/// Runs OpenSSL in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and its certificate.
fn authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name} \
             -keyout {name}.key -out {name}.crt -addext basicConstraints=critical,CA:TRUE"
        ),
    );
}

/// A certificate of an authority, with its key in one file: NAME.pem.
fn certificate(folder: &Path, authority: &str, name: &str, subject: &str, extension: &str) {
    std::fs::write(folder.join("extension"), format!("{extension}\nbasicConstraints=CA:FALSE\n")).unwrap();
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 30 \
             -extfile extension -out {name}.crt"
        ),
    );
    let both = ["key", "crt"].map(|ending| std::fs::read_to_string(folder.join(format!("{name}.{ending}"))).unwrap());
    std::fs::write(folder.join(format!("{name}.pem")), both.concat()).unwrap();
}

struct Secured {
    folder: tempfile::TempDir,
    hub: TestHub,
}

impl Secured {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        authority(at, "ours");
        authority(at, "theirs");
        certificate(at, "ours", "hub", "/CN=hub", "subjectAltName=IP:127.0.0.1");
        certificate(at, "ours", "mwells", "/O=Example/CN=mwells", "extendedKeyUsage=clientAuth");
        certificate(at, "ours", "web", "/O=Example/CN=web", "extendedKeyUsage=clientAuth");
        // One name that looks like the whole subject of another.
        certificate(at, "ours", "sly", "/CN=web,O=Example", "extendedKeyUsage=clientAuth");
        certificate(at, "theirs", "stranger", "/O=Example/CN=kojiadmin", "extendedKeyUsage=clientAuth");
        let tls =
            TlsFiles { certificate: at.join("hub.crt"), key: at.join("hub.key"), client_ca: Some(at.join("ours.crt")) };
        let hub = TestHub::start_with(|config| {
            config.tls = Some(tls);
            config.settings.proxy_subjects = vec!["CN=web,O=Example".to_owned()];
        });
        Self { folder, hub }
    }

    fn koji(&self, options: &str, arguments: &[&str]) -> Said {
        let at = self.folder.path().display();
        let conf = format!(
            "server = https://{}/kojihub\nserverca = {at}/ours.crt\nmax_retries = 1\nretry_interval = 1\n{}",
            self.hub.address,
            options.replace("AT", &at.to_string())
        );
        koji(self.folder.path(), &conf, arguments)
    }

    fn check(&self, options: &str, arguments: &[&str], ok: bool, part: &str) {
        let said = self.koji(options, arguments);
        let all = format!("{}{}", said.out, said.err);
        assert!(said.ok == ok && all.contains(part), "{options} {arguments:?}: {all}");
    }
}

#[test]
fn certificates_log_in() {
    if !can_run() {
        return;
    }
    let secured = Secured::start();
    let by = |name: &str| format!("authtype = ssl\ncert = AT/{name}.pem\n");
    secured.check("", &["--noauth", "call", "getAPIVersion"], true, "1");
    secured.check(&by("mwells"), &["hello"], true, "mwells");
    secured.check(&by("mwells"), &["hello"], true, "Authenticated via client certificate");
    secured.check(&by("mwells"), &["add-tag", "x"], false, "requires tag or admin privileges");
    // Of an authority that is not believed, though it says to be the administrator.
    secured.check(&by("stranger"), &["hello"], false, "");
    secured.check(&by("web"), &["--runas", "kojiadmin", "hello"], true, "kojiadmin");
    secured.check(&by("mwells"), &["--runas", "kojiadmin", "hello"], false, "is not authorized to login other users");
    secured.check(
        "authtype = password\n",
        &["--user", "kojiadmin", "--password", "PASSWORD", "hello"],
        true,
        "kojiadmin",
    );
    let users: i64 = secured.hub.database().query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
    assert_eq!(users, 2, "kojiadmin, and mwells, whom the certificate made");
}

#[test]
fn files_that_are_no_certificates_are_told() {
    let check = |certificate: &str, key: &str, part: &str| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("a"), certificate).unwrap();
        std::fs::write(at.join("b"), key).unwrap();
        let mut config = HubConfig::new(at.join("koji"));
        config.tls = Some(TlsFiles { certificate: at.join("a"), key: at.join("b"), client_ca: None });
        match Hub::open(config) {
            Err(HubError::Tls(error)) => assert!(error.to_string().contains(part), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    check("", "", "holds no certificate in PEM form");
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "holds no private key in PEM form");
}
