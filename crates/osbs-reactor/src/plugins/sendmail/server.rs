//! Handing a message to the mail server. No word of the login leaves this file but to the server.

use crate::plugin::PluginError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Category;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use osbs_config::{SmtpConfig, SmtpTls};
use osbs_types::Secret;
use std::time::Duration;

/// Longest time to hand a mail over, unless the site says so.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most characters of what a server says.
const LONGEST_ANSWER: usize = 300;

/// A login, read.
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Secret,
}

/// How the server is reached.
pub(super) struct Server<'a> {
    pub(super) smtp: &'a SmtpConfig,
    /// PEM.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) login: Option<Login>,
}

/// An address that the server did not want, and what it said.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) address: Address,
    pub(super) why: String,
}

impl Server<'_> {
    /// Hands the message over for everybody it names; in one go, or one by one where the server refuses somebody. Gives
    /// those that it refused.
    ///
    /// # Errors
    /// The server cannot be reached in time, or takes it for nobody.
    pub(super) async fn deliver(&self, message: &Message) -> Result<Vec<Refused>, PluginError> {
        let patience = self.smtp.timeout.map_or(PATIENCE, |seconds| Duration::from_secs(seconds.into()));
        tokio::time::timeout(patience, self.deliver_at_leisure(message, patience)).await.unwrap_or_else(|_| {
            Err(self.failed(&format!("no mail could be handed over within {} s", patience.as_secs())))
        })
    }

    async fn deliver_at_leisure(&self, message: &Message, patience: Duration) -> Result<Vec<Refused>, PluginError> {
        let transport = self.transport(patience)?;
        let bytes = message.formatted();
        let all = message.envelope();
        let first = match transport.send_raw(all, &bytes).await {
            Ok(_) => return Ok(Vec::new()),
            Err(error) if all.to().len() > 1 && refuses_an_address(&error) => error,
            Err(error) => return Err(self.failed(&self.shown(&error))),
        };
        let mut refused = Vec::new();
        for address in all.to() {
            let one = Envelope::new(all.from().cloned(), vec![address.clone()])
                .map_err(|error| PluginError::internal(format!("the mail has no envelope: {error}")))?;
            if let Err(error) = transport.send_raw(&one, &bytes).await {
                refused.push(Refused { address: address.clone(), why: self.shown(&error) });
            }
        }
        if refused.len() == all.to().len() { Err(self.failed(&self.shown(&first))) } else { Ok(refused) }
    }

    fn transport(&self, patience: Duration) -> Result<AsyncSmtpTransport<Tokio1Executor>, PluginError> {
        let (host, port) = host_and_port(self.smtp)?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(self.tls(&host)?)
            .timeout(Some(patience));
        if let Some(login) = &self.login {
            let password = login.password.reveal().to_owned();
            builder = builder.credentials(Credentials::new(login.username.clone(), password));
        }
        Ok(builder.build())
    }

    fn tls(&self, host: &str) -> Result<Tls, PluginError> {
        if self.smtp.tls == SmtpTls::None {
            return Ok(Tls::None);
        }
        let wrong = |error: SmtpError| PluginError::policy(format!("TLS for the mail server: {error}"));
        let mut parameters = TlsParameters::builder(host.to_owned());
        if let Some(pem) = &self.authorities {
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(wrong)?);
        }
        let parameters = parameters.build().map_err(wrong)?;
        Ok(if self.smtp.tls == SmtpTls::StartTls { Tls::Required(parameters) } else { Tls::Wrapper(parameters) })
    }

    fn failed(&self, why: &str) -> PluginError {
        PluginError::remote(format!("mail server {}: {why}", self.smtp.host))
            .with_hint("osbs config check shows the key smtp of config.yaml; the build itself does not need the mail")
    }

    /// What went wrong, on one line and without the password, should the server have sent it back.
    fn shown(&self, error: &SmtpError) -> String {
        let mut text = error.to_string();
        if let Some(login) = &self.login {
            let password = login.password.reveal();
            let plain = format!("\0{}\0{password}", login.username);
            for form in [password.to_owned(), STANDARD.encode(password), STANDARD.encode(plain)] {
                if !form.is_empty() {
                    text = text.replace(&form, "***");
                }
            }
        }
        let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        printable.chars().take(LONGEST_ANSWER).collect()
    }
}

/// 550 and its like for one recipient; a refused login or greeting would only be refused again.
fn refuses_an_address(error: &SmtpError) -> bool {
    error.status().is_some_and(|code| code.category == Category::MailSystem)
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`, or an IPv6 address alone.
fn host_and_port(smtp: &SmtpConfig) -> Result<(String, u16), PluginError> {
    let usual = smtp.port.unwrap_or(smtp.tls.port());
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match smtp.host.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().map_err(|_| {
                PluginError::policy(format!("the mail server {:?} has no port behind the colon", smtp.host))
            })?;
            Ok((bare(host), port))
        }
        _ => Ok((bare(&smtp.host), usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (host, tls, port, expected) in [
            ("mail.example.org", SmtpTls::None, None, ("mail.example.org", 25)),
            ("mail.example.org", SmtpTls::StartTls, None, ("mail.example.org", 587)),
            ("mail.example.org", SmtpTls::Implicit, Some(2465), ("mail.example.org", 2465)),
            ("mail.example.org:2525", SmtpTls::None, Some(1), ("mail.example.org", 2525)),
            ("::1", SmtpTls::None, None, ("::1", 25)),
            ("[::1]", SmtpTls::None, None, ("::1", 25)),
            ("[::1]:26", SmtpTls::None, None, ("::1", 26)),
        ] {
            let smtp = SmtpConfig { host: host.to_owned(), tls, port, ..SmtpConfig::default() };
            assert_eq!(host_and_port(&smtp).unwrap(), (expected.0.to_owned(), expected.1), "{host}");
        }
        let smtp = SmtpConfig { host: "mail:smtp".to_owned(), ..SmtpConfig::default() };
        assert!(host_and_port(&smtp).is_err());
    }
}
