//! Logins with Kerberos for real: MIT's KDC, curl, and a web server that verifies the ticket with GSS-API.

#![allow(clippy::unwrap_used)]

#[path = "support/realm.rs"]
mod realm;
mod support;

use osbs_koji::{Kerberos, Koji, KojiError, Login, Server, calls};
use osbs_types::ErrorKind;
use realm::{Realm, command, done, until};
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::quick;
use tokio_util::sync::CancellationToken;

const BUILDER: &str = "builder@TEST.INVALID";

fn can_run() -> bool {
    std::env::var_os("OSBS_TEST_SKIP_REAL").is_none()
}

/// A client of the realm's gate.
fn client(realm: &Realm, who: Option<&str>, cache: Option<&str>) -> Koji {
    let path = |name: &str| realm.folder.path().join(name);
    let mut kerberos = Kerberos::new(who.map(str::to_owned), who.map(|_| path("client.keytab"))).unwrap();
    kerberos.config = Some(path("krb5.conf").to_string_lossy().into_owned());
    kerberos.cache = cache.map(|name| path(name).to_string_lossy().into_owned());
    let server = Server::new(&format!("https://localhost:{}/kojihub", realm.gate)).unwrap();
    let server = server.trusting(fs::read(path("ca.pem")).unwrap());
    Koji::new(&support::transport(), server, Login::Kerberos(kerberos), quick()).unwrap()
}

async fn check_refused(realm: &Realm, who: Option<&str>, cache: Option<&str>, part: &str) {
    let error = client(realm, who, cache).log_in().await.unwrap_err();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Policy && text.contains(part) && text.len() < 400, "{text}");
    assert!(matches!(error, KojiError::Kerberos { .. }) && error.hint().contains("klist"), "{text}");
}

#[tokio::test]
async fn a_ticket_logs_in() {
    if !can_run() {
        return;
    }
    let realm = Realm::new();
    check_refused(&realm, Some("nobody@TEST.INVALID"), None, "nobody@TEST.INVALID").await;
    check_refused(&realm, None, Some("none"), "No credentials").await;
    done(realm.folder.path(), "kinit -k -t client.keytab -l 1s -c old other");
    until("the ticket expires", || !command(realm.folder.path(), "klist -s -c old").status().unwrap().success());
    // The libraries count whole seconds, and not all of them the same one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    check_refused(&realm, None, Some("old"), "expired").await;

    // The second of the keytab's principals; its session is renewed behind our back.
    let koji = client(&realm, Some(BUILDER), None);
    koji.log_in().await.unwrap();
    let user = koji.call(calls::get_logged_in_user()).await.unwrap();
    assert_eq!(user.unwrap().name, BUILDER);
    // A ticket that is there.
    done(realm.folder.path(), "kinit -k -t client.keytab -c new other");
    let koji = client(&realm, None, Some("new"));
    koji.log_in().await.unwrap();
    let user = koji.call(calls::get_logged_in_user()).await.unwrap();
    assert_eq!(user.unwrap().name, "other@TEST.INVALID");
}

/// A client whose curl is this script.
fn client_with(folder: &Path, script: &str) -> Koji {
    let mut kerberos = Kerberos::new(None, None).unwrap();
    kerberos.curl = folder.join("curl");
    // Written by another process: a file that is open for writing in ours, and in what it forks, cannot be started.
    fs::write(folder.join("text"), format!("#!/bin/sh\n{script}\n")).unwrap();
    done(folder, "install -m 755 text curl");
    let server = Server::new("http://127.0.0.1:9/kojihub").unwrap();
    Koji::new(&support::transport(), server, Login::Kerberos(kerberos), quick()).unwrap()
}

#[tokio::test]
async fn a_curl_without_gssapi() {
    let folder = tempfile::tempdir().unwrap();
    let error = client_with(folder.path(), "exit 2").log_in().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Policy && error.to_string().contains("install curl"), "{error}");
}

#[tokio::test]
async fn a_cancelled_login_kills_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let cancel = CancellationToken::new();
    let koji = client_with(folder.path(), &script).cancelled_by(&cancel);
    let login = tokio::spawn(async move { koji.log_in().await });
    let (there, token) = (pid.clone(), cancel.clone());
    tokio::task::spawn_blocking(move || until("curl starts", || there.exists())).await.unwrap();
    token.cancel();
    assert!(matches!(login.await.unwrap(), Err(KojiError::Cancelled)));
    let state = format!("/proc/{}/stat", fs::read_to_string(&pid).unwrap().trim());
    let gone = move || fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z "));
    tokio::task::spawn_blocking(move || until("curl is killed", gone)).await.unwrap();
}
