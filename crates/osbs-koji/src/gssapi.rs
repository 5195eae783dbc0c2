//! The login with a Kerberos ticket: one call, made by the program `curl`, which speaks GSS-API ("Negotiate").
//!
//! GSS-API is a C library; here it stays in another process. What is secret goes by a private folder and by pipes, never by
//! the command line. Must not decide whether to try again.

use crate::attempt::Trouble;
use crate::wire::Outgoing;
use crate::{LoginError, Server};
use osbs_types::ErrorKind;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Longest wait for a login, as in the stock client.
const LIMIT: Duration = Duration::from_mins(1);
/// Most bytes of what curl tells beside the answer.
const MAX_TOLD: u64 = 1 << 20;
/// Where curl is looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whose ticket, and where the libraries of Kerberos find what they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kerberos {
    /// Principal and its keytab, from which tickets are fetched; none: the ticket that is in the cache.
    identity: Option<(String, PathBuf)>,
    /// `KRB5CCNAME`. Without it a keytab gets a private one, and a ticket is in the system's.
    pub cache: Option<String>,
    /// `KRB5_CONFIG`, if it is not the system's.
    pub config: Option<String>,
    /// The program.
    pub curl: PathBuf,
}

impl Kerberos {
    /// With this keytab; with neither, the ticket that is there already.
    ///
    /// # Errors
    /// One without the other, or no principal.
    pub fn new(principal: Option<String>, keytab: Option<PathBuf>) -> Result<Self, LoginError> {
        let identity = match (principal, keytab) {
            (Some(name), Some(_))
                if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) =>
            {
                return Err(LoginError::Principal { name });
            }
            (Some(name), Some(keytab)) => Some((name, keytab)),
            (None, None) => None,
            _ => return Err(LoginError::Half),
        };
        Ok(Self { identity, cache: None, config: None, curl: PathBuf::from("curl") })
    }

    /// Who, for errors.
    pub(crate) fn user(&self) -> String {
        self.identity.as_ref().map_or_else(|| "the holder of the ticket".to_owned(), |(name, _)| name.clone())
    }

    /// Sends the login once: status and body. Dropped, it kills the program.
    pub(crate) async fn send(&self, server: &Server, out: &Outgoing, most: u64) -> Result<(u16, Vec<u8>), Trouble> {
        let trouble = |error: io::Error| policy(format!("a login with Kerberos cannot be prepared: {error}"));
        if let Some((_, keytab)) = &self.identity {
            let unreadable = |error| policy(format!("the keytab {} cannot be read: {error}", keytab.display()));
            std::fs::File::open(keytab).map_err(unreadable)?;
        }
        let folder = self.folder(server, out).map_err(trouble)?;
        let child = self.command(folder.path()).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => policy(NO_CURL.to_owned()),
            _ => policy(format!("{} cannot be started: {error}", self.curl.display())),
        })?;
        let done = tokio::time::timeout(LIMIT, talk(child, &out.body, most)).await;
        let silent = |_| remote(format!("no answer to the login within {} s", LIMIT.as_secs()));
        understood(&done.map_err(silent)?.map_err(trouble)?, most)
    }

    /// What curl and Kerberos read, for our eyes only.
    fn folder(&self, server: &Server, out: &Outgoing) -> io::Result<tempfile::TempDir> {
        let mode = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("osbs-krb5-").permissions(mode).tempdir()?;
        let write = |name: &str, bytes: &[u8]| {
            std::fs::File::create_new(folder.path().join(name)).and_then(|mut file| file.write_all(bytes))
        };
        if let Some(pem) = server.ca() {
            write("ca.pem", pem)?;
        }
        if let Some((principal, _)) = &self.identity {
            // A keytab may have several; this is how one of them is chosen for every service.
            write(".k5identity", format!("{principal}\n").as_bytes())?;
        }
        write("curl.conf", conf(server, out, folder.path()).as_bytes())?;
        Ok(folder)
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.curl);
        command.args(["-q", "--negotiate", "--user", ":", "--config"]).arg(folder.join("curl.conf"));
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", folder);
        if let Some((_, keytab)) = &self.identity {
            command.env("KRB5_CLIENT_KTNAME", format!("FILE:{}", keytab.display()));
            command.env("KRB5CCNAME", format!("FILE:{}", folder.join("tickets").display()));
        }
        for (name, value) in [("KRB5CCNAME", &self.cache), ("KRB5_CONFIG", &self.config)] {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

const NO_CURL: &str = "there is no curl that knows GSS-API (curl --version): install curl of Debian or Fedora";

fn policy(problem: String) -> Trouble {
    Trouble::Kerberos { problem, kind: ErrorKind::Policy }
}

fn remote(problem: String) -> Trouble {
    Trouble::Kerberos { problem, kind: ErrorKind::Remote }
}

/// A configuration file of curl, with the session that is renewed.
fn conf(server: &Server, out: &Outgoing, folder: &Path) -> String {
    let mut text = format!("silent\nshow-error\nverbose\nproto = \"={}\"\n", out.url.scheme());
    let mut add = |key: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = \"{value}\"");
    };
    add("url", out.url.as_str());
    add("data-binary", "@-");
    for (name, value) in &out.headers {
        add("header", &format!("{name}: {}", value.to_str().unwrap_or_default()));
    }
    if server.ca().is_some() {
        add("cacert", &folder.join("ca.pem").to_string_lossy());
    }
    text.push_str("write-out = \"\\n%{http_code}\"\n");
    if server.is_insecure() {
        text.push_str("insecure\n");
    }
    text
}

async fn talk(mut child: Child, body: &[u8], most: u64) -> io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A program that has ended says why itself.
            let _ = stdin.write_all(body).await;
        }
    };
    // The status comes behind the answer.
    let ((), stdout, stderr) = tokio::join!(give, all(stdout, most.saturating_add(5)), all(stderr, MAX_TOLD));
    Ok(Output { status: child.wait().await?, stdout: stdout?, stderr: stderr? })
}

async fn all(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What curl's end means. Only its own errors and those of GSS-API are told: the rest of its words has the session in it.
fn understood(done: &Output, most: u64) -> Result<(u16, Vec<u8>), Trouble> {
    let told = String::from_utf8_lossy(&done.stderr);
    let said = |start: &str| told.lines().filter_map(|line| line.strip_prefix(start)).next_back().map(str::trim);
    let status = done.stdout.iter().rposition(|byte| *byte == b'\n').and_then(|at| {
        let (body, status) = done.stdout.split_at(at);
        Some((str::from_utf8(&status[1..]).ok()?.parse::<u16>().ok()?, body.to_vec()))
    });
    match (done.status.code(), status) {
        (Some(0), Some((401, _))) => {
            let why = said("* gss_init_sec_context() failed:").unwrap_or("status 401 for the ticket that it was shown");
            Err(policy(crate::error::one_line(why)))
        }
        (Some(0), Some(answer)) => Ok(answer),
        (Some(2 | 4), _) => Err(policy(NO_CURL.to_owned())),
        (code, _) if done.stdout.len() as u64 > most => Err(policy(format!("too long an answer ({code:?})"))),
        (code, _) => {
            let why = said("curl: ").unwrap_or("curl was killed or said nothing");
            let passes = matches!(code, Some(6 | 7 | 18 | 28 | 35 | 52 | 55 | 56));
            let problem = crate::error::one_line(why);
            Err(if passes { remote(problem) } else { policy(problem) })
        }
    }
}
