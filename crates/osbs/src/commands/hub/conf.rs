//! `hub.conf`: the settings of the hub, named as in a real hub's file where that has them.

use crate::site::{config_failed, unreadable};
use osbs_config::{Ini, IniEntry};
use osbs_hub::{HubConfig, Settings, TlsFiles};
use osbs_types::{ErrorKind, Failure};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECTION: &str = "hub";

/// What a new hub's file says.
pub(super) const EXAMPLE: &str = "\
# Settings of `osbs hub`. What is left out has the value shown.
[hub]
# Where it listens. Beyond this machine only with TLS: passwords are sent to it.
# Listen = 127.0.0.1:8080

# TLS: PEM files. With ClientCA, clients log in by certificate (authtype ssl of koji).
# Certificate = /etc/osbs/hub.crt
# Key = /etc/osbs/hub.key
# ClientCA = /etc/osbs/clients-ca.crt
# Users that a certificate names and nobody knows are made.
# LoginCreatesUser = yes
# Subjects of certificates that may log in others, separated by |
# ProxyDNs =

# Minutes after which a session must be renewed; 0: never.
# SessionRenewalTimeout = 1440
# A session is bound to the address that it was opened from.
# CheckClientIP = yes
# Sessions in the URL, as very old clients send them, are not looked at.
# DisableURLSessions = no
# Bytes; raw uploads are exempt.
# MaxRequestLength = 4194304

# So many hours after the last write, uploads that nobody has imported are removed; 0: never.
# KeepUploads = 24
";

/// The settings.
pub(super) struct HubConf {
    pub(super) listen: String,
    pub(super) tls: Option<TlsFiles>,
    pub(super) settings: Settings,
    /// What is odd and does no harm.
    pub(super) complaints: Vec<String>,
}

impl HubConf {
    /// Reads `hub.conf` of a hub's folder; a folder without one has the defaults.
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("hub.conf");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::parse("", "hub.conf"),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    fn parse(text: &str, file: &str) -> Result<Self, Failure> {
        let ini = Ini::parse(text, file).map_err(|error| config_failed(&error))?;
        let mut conf = Self {
            listen: "127.0.0.1:8080".to_owned(),
            tls: None,
            settings: Settings::default(),
            complaints: Vec::new(),
        };
        let (mut certificate, mut key, mut client_ca) = (None, None, None);
        for entry in ini.section(SECTION).into_iter().flat_map(|section| &section.entries) {
            let (value, settings) = (Given { entry, file }, &mut conf.settings);
            match entry.name.as_str() {
                _ if entry.value.is_empty() => {}
                "listen" => conf.listen.clone_from(&entry.value),
                "certificate" => certificate = Some(PathBuf::from(&entry.value)),
                "key" => key = Some(PathBuf::from(&entry.value)),
                "clientca" => client_ca = Some(PathBuf::from(&entry.value)),
                "logincreatesuser" => settings.login_creates_user = value.yes_or_no()?,
                "proxydns" => settings.proxy_subjects = value.list(),
                "sessionrenewaltimeout" => settings.session_renewal = Duration::from_secs(60 * value.number()?),
                "checkclientip" => settings.check_client_ip = value.yes_or_no()?,
                "disableurlsessions" => settings.disable_url_sessions = value.yes_or_no()?,
                "maxrequestlength" => settings.max_request_length = value.number()? as usize,
                "keepuploads" => settings.keep_uploads = Duration::from_secs(3600 * value.number()?),
                name => conf.complaints.push(format!("{file}:{}: {name} means nothing here", entry.key_at.0)),
            }
        }
        conf.tls = tls(certificate, key, client_ca).map_err(|problem| wrong(format!("{file}: {problem}")))?;
        Ok(conf)
    }

    /// What the hub is opened with.
    pub(super) fn hub_config(&self, dir: &Path) -> HubConfig {
        let mut config = HubConfig::new(dir);
        config.settings = self.settings.clone();
        config.tls.clone_from(&self.tls);
        config
    }
}

/// The files of TLS, if there are any.
fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<TlsFiles>, &'static str> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (None, None) if client_ca.is_none() => Ok(None),
        (None, None) => Err("ClientCA needs Certificate and Key"),
        _ => Err("Certificate and Key go together"),
    }
}

struct Given<'a> {
    entry: &'a IniEntry,
    file: &'a str,
}

impl Given<'_> {
    fn wrong(&self, expected: &str) -> Failure {
        let (line, name, value) = (self.entry.value_at.0, &self.entry.name, &self.entry.value);
        wrong(format!("{}:{line}: {name}: {value:?} is not {expected}", self.file))
    }

    fn yes_or_no(&self) -> Result<bool, Failure> {
        match self.entry.value.to_lowercase().as_str() {
            "yes" | "on" | "true" | "1" => Ok(true),
            "no" | "off" | "false" | "0" => Ok(false),
            _ => Err(self.wrong("yes or no")),
        }
    }

    fn number(&self) -> Result<u64, Failure> {
        let number = self.entry.value.parse::<u32>().map_err(|_| self.wrong("a number"))?;
        Ok(u64::from(number))
    }

    fn list(&self) -> Vec<String> {
        self.entry.value.split('|').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }
}

fn wrong(problem: String) -> Failure {
    Failure::message(ErrorKind::User, problem).with_hint("osbs hub init writes a hub.conf that explains every key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(text: &str, part: &str) {
        let failure = HubConf::parse(text, "hub.conf").err().expect("it is refused");
        assert!(failure.message.contains(part), "{}", failure.message);
    }

    #[test]
    fn the_example_says_the_defaults() {
        let files = ["Certificate =", "Key =", "ClientCA =", "ProxyDNs ="];
        let said = |line: &&str| !files.iter().any(|key| line.contains(key));
        let bare = |line: &'static str| if line.contains(" = ") { line.trim_start_matches("# ") } else { line };
        let without = EXAMPLE.lines().filter(said).map(bare).collect::<Vec<_>>().join("\n");
        let (said, defaults) = (HubConf::parse(&without, "hub.conf").unwrap(), HubConf::parse("", "hub.conf").unwrap());
        assert_eq!(said.complaints, Vec::<String>::new());
        assert_eq!(said.listen, defaults.listen);
        assert_eq!(format!("{:?}", said.settings), format!("{:?}", defaults.settings));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        check_refused("[hub]\nCheckClientIP = perhaps\n", "hub.conf:2: checkclientip: \"perhaps\" is not yes or no");
        check_refused("[hub]\n\nMaxRequestLength = -1\n", "hub.conf:3");
        check_refused("[hub]\nKey = /k\n", "go together");
        check_refused("[hub]\nClientCA = /k\n", "needs Certificate");
        assert_eq!(HubConf::parse("[hub]\nColour = red\n", "hub.conf").unwrap().complaints.len(), 1);
    }
}
