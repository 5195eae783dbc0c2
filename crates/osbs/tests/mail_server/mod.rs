//! SMTP servers for tests: a real one (aiosmtpd), and some that behave badly.
#![allow(dead_code, reason = "each test program uses its part")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Debian's own Python: it has the Debian package.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("server.py");

/// A server, and what it has taken.
pub struct MailServer {
    /// `127.0.0.1:PORT`.
    pub address: String,
    folder: PathBuf,
    process: Child,
}

/// How it is to be spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

/// Fails, and says what to install, where the server is missing.
pub fn check_needs() {
    let there = Command::new(PYTHON).args(["-c", "import aiosmtpd.smtp"]).status().is_ok_and(|status| status.success());
    assert!(there, "aiosmtpd is missing: apt-get install python3-aiosmtpd (or set OSBS_TEST_SKIP_REAL=1)");
}

/// A certificate for 127.0.0.1 and its key, signed by itself.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("mail.crt"), folder.join("mail.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

impl MailServer {
    /// `mode`: `none`, `starttls`, `implicit`.
    pub fn start(folder: &Path, mode: &str, tls: Option<&(PathBuf, PathBuf)>, login: Option<Login<'_>>) -> Self {
        std::fs::create_dir_all(folder).expect("made");
        let script = folder.join("server.py");
        std::fs::write(&script, SCRIPT).expect("written");
        let mut command = Command::new(PYTHON);
        command.arg(script).arg(folder).arg(mode);
        if let Some((certificate, key)) = tls {
            command.arg(certificate).arg(key);
        }
        if let Some(login) = login {
            command.args([login.user, login.password]);
        }
        let process = command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = process.expect("python3 starts");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut port).expect("read");
        assert!(!port.is_empty(), "the mail server did not start");
        Self { address: format!("127.0.0.1:{}", port.trim()), folder: folder.to_owned(), process }
    }

    /// Every mail so far, as Python reads it.
    pub fn mails(&self) -> Vec<Value> {
        (1..)
            .map_while(|number| std::fs::read(self.folder.join(format!("{number}.json"))).ok())
            .map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
            .collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a bad server treats whoever connects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Badly {
    /// It never says a word.
    Hangs,
    /// It closes the connection where the message should come.
    Drops,
    /// It takes nobody's mail.
    Refuses,
}

/// A bad server's address. Its threads end with the test program.
pub fn bad_server(how: Badly) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if how == Badly::Hangs {
                    let _ = client.read_to_end(&mut Vec::new());
                    return;
                }
                let _ = client.write_all(b"220 bad ESMTP\r\n");
                let lines = BufReader::new(client.try_clone().expect("a socket")).lines();
                for line in lines.map_while(Result::ok) {
                    let answer: &[u8] = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                        "EHLO" => b"250 bad\r\n",
                        "MAIL" if how == Badly::Refuses => b"554 5.7.1 go away\r\n",
                        "DATA" => return,
                        _ => b"250 fine\r\n",
                    };
                    let _ = client.write_all(answer);
                }
            });
        }
    });
    address
}
