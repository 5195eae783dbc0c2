//! `kojid.conf`: the keys of Koji's own builder that mean something here. The others are that builder's, and no complaint.

use super::wrong;
use crate::site::{config_failed, unreadable};
use osbs_config::Ini;
use osbs_koji::{Login, Server};
use osbs_kojid::AllowedScms;
use osbs_types::{Failure, Secret};
use std::path::Path;
use std::time::Duration;

const SECTION: &str = "kojid";
/// Koji's own builder waits 15 s. A look costs the hub four small calls.
const SLEEPTIME: Duration = Duration::from_secs(5);

/// A configuration, read.
pub(super) struct KojidConf {
    pub(super) server: Server,
    pub(super) login: Login,
    pub(super) sleeptime: Duration,
    pub(super) max_jobs: Option<usize>,
    pub(super) allowed_scms: AllowedScms,
    /// What is odd and does no harm.
    pub(super) complaints: Vec<String>,
}

/// A section with the name of its file.
struct Keys<'a> {
    ini: &'a Ini,
}

impl Keys<'_> {
    /// A value that is not empty.
    fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(entry) = self.ini.entry(SECTION, name) else { return Ok(None) };
        let value = self.ini.interpolate(SECTION, entry).map_err(|error| self.wrong(name, &error.to_string()))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    fn number(&self, name: &str, least: u64) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(self.wrong(name, &format!("{text:?} is not a number of at least {least}"))),
        }
    }

    fn wrong(&self, name: &str, problem: &str) -> Failure {
        let line = self.ini.entry(SECTION, name).map_or(1, |entry| entry.key_at.0);
        wrong(format!("{}:{line}: {name}: {problem}", self.ini.file()))
    }

    fn file(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(path) = self.get(name)? else { return Ok(None) };
        let path = Path::new(&path);
        std::fs::read_to_string(path).map(Some).map_err(|error| unreadable(path, &error))
    }
}

impl KojidConf {
    /// Reads it; `server` and `user` are options of the command line.
    pub(super) fn parse(text: &str, file: &str, server: Option<&str>, user: Option<&str>) -> Result<Self, Failure> {
        let ini = Ini::parse(text, file).map_err(|error| config_failed(&error))?;
        if ini.section(SECTION).is_none() {
            return Err(wrong(format!("{file} has no section [{SECTION}]")));
        }
        let keys = Keys { ini: &ini };
        let hub = match server.map(str::to_owned) {
            Some(server) => server,
            None => keys.get("server")?.ok_or_else(|| wrong(format!("{file} does not say which hub: server = URL")))?,
        };
        let mut hub = Server::new(&hub).map_err(|error| keys.wrong("server", &error.to_string()))?;
        if let Some(ca) = keys.file("serverca")? {
            hub = hub.trusting(ca.into_bytes());
        }
        let (allowed_scms, mut complaints) = AllowedScms::parse(&keys.get("allowed_scms")?.unwrap_or_default());
        if allowed_scms == AllowedScms::default() {
            complaints.push(format!(
                "{file}: allowed_scms allows no repository, so that every task will fail; for example\n  \
                 allowed_scms = src.example.com:/containers/*"
            ));
        }
        let limit = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            login: login(&keys, user)?,
            server: hub,
            sleeptime: keys.number("sleeptime", 1)?.map_or(SLEEPTIME, Duration::from_secs),
            max_jobs: keys.number("maxjobs", 1)?.map(limit),
            allowed_scms,
            complaints,
        })
    }
}

/// By certificate if there is one, else by password.
fn login(keys: &Keys<'_>, user: Option<&str>) -> Result<Login, Failure> {
    if let Some(pem) = keys.file("cert")? {
        return Ok(Login::Certificate { pem: Secret::new(pem), proxyuser: None });
    }
    let user = match user.map(str::to_owned) {
        Some(user) => Some(user),
        None => keys.get("user")?,
    };
    match (user, keys.get("password")?) {
        (Some(user), Some(password)) => Ok(Login::Password { user, password: Secret::new(password) }),
        _ if keys.get("keytab")?.is_some() => {
            let kerberos = crate::site::kerberos(keys.get("principal")?, keys.get("keytab")?);
            kerberos.map(Login::Kerberos).map_err(|error| keys.wrong("keytab", &error.to_string()))
        }
        _ => Err(wrong(format!(
            "{} has neither cert nor user and password, nor principal and keytab: the hub must know which host this is",
            keys.ini.file()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KojidConf, Failure> {
        KojidConf::parse(text, "kojid.conf", None, None)
    }

    #[test]
    fn a_password_and_the_keys_of_the_stock_builder() {
        let conf = parse(
            "[kojid]\nserver=https://k.io/kojihub\nuser = b1\npassword = p%%q\nsleeptime=15\nmaxjobs = 3\n\
             allowed_scms = h:/c/*:no:x\nmockdir = /var/lib/mock\n",
        )
        .unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(conf.login, Login::Password { user: "b1".into(), password: Secret::new("p%q") });
        assert_eq!((conf.sleeptime.as_secs(), conf.max_jobs, conf.complaints.len()), (15, Some(3), 0));
        let server = "[kojid]\nuser=b\npassword=p\n";
        let conf = KojidConf::parse(server, "f", Some("http://h/x"), Some("other")).ok();
        assert!(conf.is_some_and(|conf| conf.complaints.len() == 1
            && conf.login == Login::Password { user: "other".into(), password: Secret::new("p") }));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, problem) in [
            ("", "no section [kojid]"),
            ("[kojid]\nuser=b\n", "which hub"),
            ("[kojid]\nserver=ftp://h\nuser=b\npassword=p\n", "kojid.conf:2: server"),
            ("[kojid]\nserver=http://h\nuser=b\n", "neither cert nor user"),
            ("[kojid]\nserver=http://h\nuser=b\npassword=p\nsleeptime=soon\n", "kojid.conf:5: sleeptime: \"soon\""),
            ("[kojid]\nserver=http://h\nuser=b\npassword=%(x)s\n", "kojid.conf:4: password"),
            ("[kojid]\nserver=http://h\ncert=/nowhere/cert\n", "cannot read /nowhere/cert"),
        ] {
            let failure = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(failure.to_string().contains(problem), "{text}: {failure}");
        }
    }
}
