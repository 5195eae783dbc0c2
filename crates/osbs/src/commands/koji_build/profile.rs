//! A profile of the stock Koji client: /etc/koji.conf.d/*.conf, /etc/koji.conf, ~/.koji/config.d/*.conf, ~/.koji/config.
//!
//! Later files override earlier ones, key by key, as they do for `koji`. Keys that it knows and this does not are passed over.

use crate::site::config_failed;
use osbs_config::Ini;
use osbs_koji::{Login, Server};
use osbs_types::{ErrorKind, Failure, Secret};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The client's own defaults.
const DEFAULT_SERVER: &str = "http://localhost/kojihub";
const DEFAULT_WEBURL: &str = "http://localhost/koji";
const DEFAULT_POLL_SECONDS: u64 = 6;

/// A profile, as far as it matters here.
pub(super) struct Profile {
    pub(super) server: Server,
    weburl: String,
    /// Pause between two looks at a task.
    pub(super) poll_interval: Duration,
    values: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::message(ErrorKind::Policy, message).with_hint(hint)
}

/// Reads a file if it is there.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(crate::site::unreadable(path, &error)),
    }
}

/// `*.conf` of a folder by name; nothing if there is no such folder.
fn confs_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut confs: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "conf")).collect();
    confs.sort();
    confs
}

impl Profile {
    /// Reads a profile. `config` stands for the files of the user, and must be there. With `server` no profile need be.
    ///
    /// # Errors
    /// A file that cannot be read, no such profile, a value that makes no sense.
    pub(super) fn read(
        name: &str,
        config: Option<&Path>,
        server: Option<&str>,
        user: Option<&str>,
    ) -> Result<Self, Failure> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let mut files = confs_of(Path::new("/etc/koji.conf.d"));
        files.push("/etc/koji.conf".into());
        match (config, &home) {
            (Some(path), _) => files.push(path.to_owned()),
            (None, Some(home)) => {
                files.extend(confs_of(&home.join(".koji/config.d")));
                files.push(home.join(".koji/config"));
            }
            (None, None) => {}
        }
        let mut values = BTreeMap::new();
        let mut found = false;
        for path in &files {
            match read(path)? {
                Some(text) => found |= add(&mut values, &text, path, name)?,
                None if config == Some(path) => {
                    return Err(crate::site::unreadable(path, &io::ErrorKind::NotFound.into()));
                }
                None => {}
            }
        }
        if !found && server.is_none() {
            let problem = format!("no configuration of Koji for the profile {name}");
            return Err(wrong(
                problem,
                format!("write [{name}] and server = URL into ~/.koji/config, or give --server URL"),
            ));
        }
        for (key, value) in [("server", server), ("user", user)] {
            values.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        }
        Self::of(values, home)
    }

    fn of(values: BTreeMap<String, String>, home: Option<PathBuf>) -> Result<Self, Failure> {
        let get = |key: &str| values.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let url = get("server").unwrap_or(DEFAULT_SERVER);
        let failed =
            |error| Failure::new(ErrorKind::Policy, &error).with_hint("look at server in the configuration of Koji");
        let mut server = Server::new(url).map_err(failed)?;
        if let Some(top) = get("topurl") {
            server = server.with_top(top).map_err(failed)?;
        }
        if get("no_ssl_verify").is_some_and(is_true) {
            server = server.insecure(true);
        }
        let poll_interval = match get("poll_interval").map(str::parse) {
            None => DEFAULT_POLL_SECONDS,
            Some(Ok(seconds)) => seconds,
            Some(Err(_)) => {
                return Err(wrong("poll_interval of Koji's profile is no whole number of seconds", "write 6, say"));
            }
        };
        let weburl = get("weburl").unwrap_or(DEFAULT_WEBURL).trim_end_matches('/').to_owned();
        // A hub that is looked at without a pause has nothing else to do.
        let poll_interval = Duration::from_secs(poll_interval.max(1));
        let mut profile = Self { server, weburl, poll_interval, values, home };
        if let Some(path) = profile.file("serverca", "serverca.crt") {
            let pem = std::fs::read(&path).map_err(|error| crate::site::unreadable(&path, &error))?;
            profile.server = profile.server.trusting(pem);
        }
        Ok(profile)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A file that a key names, else the one in ~/.koji, if it is there.
    fn file(&self, key: &str, in_home: &str) -> Option<PathBuf> {
        if let Some(named) = self.get(key) {
            let below = named.strip_prefix("~/").and_then(|rest| Some(self.home.as_ref()?.join(rest)));
            return Some(below.unwrap_or_else(|| PathBuf::from(named)));
        }
        self.home.as_ref().map(|home| home.join(".koji").join(in_home)).filter(|path| path.exists())
    }

    /// A page of the web interface.
    pub(super) fn page(&self, page: &str, key: &str, id: &str) -> String {
        format!("{}/{page}?{key}={id}", self.weburl)
    }

    /// Who logs in, in the stock client's order: as `authtype` says, else by a certificate that is there, else by a user name,
    /// else with Kerberos.
    ///
    /// # Errors
    /// What that takes is not there.
    pub(super) fn login(&self) -> Result<Login, Failure> {
        let user = self.get("user").or_else(|| self.get("username"));
        let cert = self.file("cert", "client.crt");
        match self.get("authtype") {
            Some("noauth") => Ok(Login::Anonymous),
            Some("ssl") => certificate(cert),
            Some("password") => self.password(user),
            Some("kerberos" | "gssapi") => self.kerberos(),
            Some(other) => Err(wrong(
                format!("authtype {other} of Koji's profile is none that is known"),
                "write ssl, password, kerberos or noauth",
            )),
            None if cert.as_ref().is_some_and(|path| path.exists()) => certificate(cert),
            None if user.is_some() => self.password(user),
            None => self.kerberos(),
        }
    }

    fn kerberos(&self) -> Result<Login, Failure> {
        let keytab = self.get("keytab").map(str::to_owned);
        let kerberos = crate::site::kerberos(self.get("principal").map(str::to_owned), keytab);
        kerberos.map(Login::Kerberos).map_err(|error| wrong(error.to_string(), "mend Koji's profile"))
    }

    fn password(&self, user: Option<&str>) -> Result<Login, Failure> {
        let user = user
            .ok_or_else(|| wrong("nobody is named who logs in to Koji", "give --user NAME, or user in the profile"))?;
        let password = match self.get("password") {
            Some(password) => Secret::new(password),
            None => crate::commands::login::ask(&format!("Password of {user} at {}: ", self.server.host()))?,
        };
        Ok(Login::Password { user: user.to_owned(), password })
    }
}

fn certificate(path: Option<PathBuf>) -> Result<Login, Failure> {
    let path =
        path.ok_or_else(|| wrong("no certificate to log in to Koji with", "name it by cert in Koji's profile"))?;
    let pem = std::fs::read_to_string(&path).map_err(|error| crate::site::unreadable(&path, &error))?;
    Ok(Login::Certificate { pem: Secret::new(pem), proxyuser: None })
}

/// As Python's configparser reads a boolean.
fn is_true(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "1" | "yes" | "true" | "on")
}

/// Adds what a file says of a profile; whether it says anything.
fn add(values: &mut BTreeMap<String, String>, text: &str, path: &Path, profile: &str) -> Result<bool, Failure> {
    let ini = Ini::parse(text, &path.display().to_string()).map_err(|error| config_failed(&error))?;
    let Some(section) = ini.section(profile) else { return Ok(false) };
    for entry in &section.entries {
        let value = ini.interpolate(profile, entry).map_err(|error| {
            let mut failure = Failure::new(ErrorKind::Policy, &error);
            failure.message = format!("{} of {}: {}", entry.name, path.display(), failure.message);
            failure.with_hint("a percent sign is written %%")
        })?;
        values.insert(entry.name.clone(), value);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str, home: Option<&Path>) -> Result<Profile, Failure> {
        let mut values = BTreeMap::new();
        add(&mut values, text, Path::new("koji.conf"), "koji")?;
        Profile::of(values, home.map(Path::to_owned))
    }

    #[track_caller]
    fn check_login(text: &str, expected: &str) {
        let login = profile(&format!("[koji]\n{text}"), None).and_then(|profile| profile.login());
        let found = match login {
            Ok(Login::Anonymous) => "nobody".to_owned(),
            Ok(Login::Password { user, password }) => format!("{user}:{}", password.reveal()),
            Ok(Login::Certificate { .. }) => "certificate".to_owned(),
            Ok(Login::Kerberos { .. }) => "kerberos".to_owned(),
            Err(failure) => failure.message,
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn who_logs_in() {
        check_login("", "kerberos");
        check_login("authtype = noauth", "nobody");
        check_login("user = me\npassword = a%%b", "me:a%b");
        check_login("authtype = password\nusername = me\npassword = p", "me:p");
        check_login("authtype = password", "nobody is named who logs in to Koji");
        check_login("authtype = ssl", "no certificate to log in to Koji with");
        check_login("authtype = gssapi\nuser = me", "kerberos");
        check_login("principal = p@R\nkeytab = /k", "kerberos");
        check_login("keytab = /k", "principal and keytab of Koji's login go together: one of them is missing");
        check_login("authtype = magic", "authtype magic of Koji's profile is none that is known");
    }

    #[test]
    fn a_certificate_in_the_home_folder_comes_first() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".koji")).unwrap();
        std::fs::write(home.path().join(".koji/client.crt"), "PEM").unwrap();
        let login = profile("[koji]\nuser = me\npassword = p", Some(home.path())).unwrap().login().unwrap();
        assert!(matches!(login, Login::Certificate { .. }));
    }

    #[test]
    fn later_files_override_earlier_ones() {
        let mut values = BTreeMap::new();
        for text in [
            "[koji]\nserver = http://a/hub\nweburl = http://a/koji/",
            "[other]\nserver = http://c/",
            "[koji]\nserver = http://b/hub",
        ] {
            add(&mut values, text, Path::new("x"), "koji").unwrap();
        }
        let profile = Profile::of(values, None).unwrap();
        assert_eq!(profile.server.hub().as_str(), "http://b/hub");
        assert_eq!(profile.page("taskinfo", "taskID", "1"), "http://a/koji/taskinfo?taskID=1");
        assert_eq!(profile.poll_interval, Duration::from_secs(6));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for text in ["[koji]\nserver = koji", "[koji]\npoll_interval = often", "[koji]\nserver = 100%", "server = x"] {
            assert!(profile(text, None).is_err(), "{text}");
        }
    }
}
