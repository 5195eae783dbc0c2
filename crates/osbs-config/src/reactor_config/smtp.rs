//! `smtp` of `config.yaml`: which server takes the mail of `sendmail`, how it is spoken to, and who is told.

use crate::fields::Fields;
use crate::problem::Severity;

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SmtpTls {
    /// Not at all, as OSBS does it.
    #[default]
    None,
    /// STARTTLS, and nothing without it.
    StartTls,
    /// TLS from the first byte.
    Implicit,
}

impl SmtpTls {
    /// The port a server listens on for this.
    pub fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::StartTls => 587,
            Self::Implicit => 465,
        }
    }
}

/// A login at the mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpAuth {
    /// Who.
    pub username: String,
    /// A file with the password, or a folder with a file `password`.
    pub password_path: String,
}

/// `smtp`. The keys behind `send_to_pkg_owner` are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SmtpConfig {
    /// Server, `HOST` or `HOST:PORT`.
    pub host: String,
    /// Sender.
    pub from_address: String,
    /// Always told.
    pub additional_addresses: Vec<String>,
    /// Told when nobody else is, and of failures that no submitter can mend.
    pub error_addresses: Vec<String>,
    /// Appended to Koji user names.
    pub domain: Option<String>,
    /// Tell who submitted the task.
    pub send_to_submitter: bool,
    /// Tell the package's owner.
    pub send_to_pkg_owner: bool,
    /// The server's port, where `host` has none; the usual one of `tls` else.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// PEM file with certificates trusted beside those of the system.
    pub ca_file: Option<String>,
    /// Login.
    pub auth: Option<SmtpAuth>,
    /// Longest time to hand a mail over, in seconds; 60 unless said.
    pub timeout: Option<u32>,
    /// Where people read a build's log; `{build}` and `{namespace}` stand for those of the build.
    pub log_url: Option<String>,
}

pub(super) fn smtp(fields: Fields<'_>) -> Option<SmtpConfig> {
    const TLS: &[(&str, SmtpTls)] =
        &[("none", SmtpTls::None), ("starttls", SmtpTls::StartTls), ("implicit", SmtpTls::Implicit)];
    let (host, from_address) = (fields.required_text("host"), fields.required_text("from_address"));
    let config = SmtpConfig {
        host: host.clone().unwrap_or_default(),
        from_address: from_address.clone().unwrap_or_default(),
        additional_addresses: fields.texts("additional_addresses").unwrap_or_default(),
        error_addresses: fields.texts("error_addresses").unwrap_or_default(),
        domain: fields.text("domain"),
        send_to_submitter: fields.boolean("send_to_submitter").unwrap_or(false),
        send_to_pkg_owner: fields.boolean("send_to_pkg_owner").unwrap_or(false),
        port: port(&fields),
        tls: fields.choice("tls", TLS).unwrap_or_default(),
        ca_file: fields.text("ca_file"),
        auth: fields.object("auth").and_then(auth),
        timeout: fields.small_number("timeout").filter(|seconds| *seconds > 0),
        log_url: fields.text("log_url"),
    };
    if let Some(node) = fields.get("auth").filter(|_| config.tls == SmtpTls::None) {
        fields.checker.bad_value(
            node,
            &fields.path_of("tls"),
            "none",
            "starttls or implicit: a login is never sent in the clear",
        );
    }
    fields.finish(Severity::Error);
    host.and(from_address).map(|_| config)
}

fn port(fields: &Fields<'_>) -> Option<u16> {
    let number = fields.whole_number("port", 1)?;
    let port = u16::try_from(number).ok();
    if let (None, Some(node)) = (port, fields.get("port")) {
        fields.checker.bad_value(node, &fields.path_of("port"), &number.to_string(), "at most 65535");
    }
    port
}

fn auth(fields: Fields<'_>) -> Option<SmtpAuth> {
    let (username, password_path) = (fields.required_text("username"), fields.required_text("password_path"));
    fields.finish(Severity::Error);
    Some(SmtpAuth { username: username?, password_path: password_path? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReactorConfig;

    fn parse(smtp: &str) -> Result<SmtpConfig, String> {
        let text = format!("version: 1\nsmtp: {{host: h, from_address: o@example.org{smtp}}}\n");
        let parsed = ReactorConfig::parse(&text, "config.yaml").map_err(|error| error.to_string())?;
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        Ok(parsed.value.smtp.expect("it was given"))
    }

    #[test]
    fn keys() {
        let config = parse("").unwrap();
        assert_eq!((config.tls, config.tls.port(), config.port, config.auth), (SmtpTls::None, 25, None, None));
        let config = parse(
            ", tls: implicit, port: 2465, ca_file: /ca.pem, timeout: 5, log_url: 'https://l/{build}', \
             auth: {username: u, password_path: /p}",
        )
        .unwrap();
        assert_eq!((config.tls, config.tls.port(), config.port), (SmtpTls::Implicit, 465, Some(2465)));
        assert_eq!(config.auth.unwrap().password_path, "/p");
    }

    #[test]
    fn mistakes() {
        for (smtp, part) in [
            (", auth: {username: u, password_path: /p}", "never sent in the clear"),
            (", tls: starttls, auth: {username: u}", "password_path"),
            (", tls: starttls, auth: {username: u, password: x, password_path: /p}", "unknown key"),
            (", tls: ssl", "one of none, starttls, implicit"),
            (", port: 70000", "at most 65535"),
            (", port: 0", "at least 1"),
            (", hots: x", "unknown key"),
        ] {
            let error = parse(smtp).unwrap_err();
            assert!(error.contains(part), "{smtp}: {error}");
        }
    }
}
