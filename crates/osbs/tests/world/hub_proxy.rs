//! Stands between builds and a hub: passes requests on, one a connection, or lets happen to one what a test wants. Its
//! threads end with the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// What becomes of a request.
pub enum Fate {
    Passed,
    /// The connection is cut after so many bytes of the body; the hub gets no more of it.
    CutAfter(usize),
    /// The hub does it, and nobody hears of it.
    AnswerLost,
    /// Answered in the hub's place.
    Answered(String),
}

/// Asked of a request: its head, the length of its body and, the second time, the body. Only a body that was not read yet
/// can be cut.
pub type Decide = dyn Fn(&str, usize, Option<&[u8]>) -> Fate + Send + Sync;

/// Whether a request calls this method.
pub fn calls(body: &[u8], method: &str) -> bool {
    let name = format!("<methodName>{method}</methodName>");
    body.windows(name.len()).any(|window| window == name.as_bytes())
}

/// A proxy before the hub on this port; its own port.
pub fn before(hub: u16, decide: Arc<Decide>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let decide = Arc::clone(&decide);
            std::thread::spawn(move || pass_on(client, hub, &*decide));
        }
    });
    port
}

fn pass_on(mut client: TcpStream, hub: u16, decide: &Decide) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (head, length) = read_head(&mut reader)?;
    let cut = match decide(&head, length, None) {
        Fate::CutAfter(bytes) => Some(bytes.min(length)),
        Fate::Passed | Fate::Answered(_) | Fate::AnswerLost => None,
    };
    let mut body = vec![0; cut.unwrap_or(length)];
    reader.read_exact(&mut body).ok()?;
    let fate = if cut.is_none() { decide(&head, length, Some(&body)) } else { Fate::Passed };
    if let Fate::Answered(answer) = fate {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close\r\n";
        return client.write_all(format!("{head}content-length: {}\r\n\r\n{answer}", answer.len()).as_bytes()).ok();
    }
    let mut server = TcpStream::connect(("127.0.0.1", hub)).ok()?;
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    if cut.is_some() {
        let _ = server.shutdown(Shutdown::Both);
        return client.shutdown(Shutdown::Both).ok();
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    if matches!(fate, Fate::AnswerLost) {
        return None;
    }
    client.write_all(&answer).ok()
}

/// The head without what it says of the connection, and how long the body is.
fn read_head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            return Some((head, length));
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
}
