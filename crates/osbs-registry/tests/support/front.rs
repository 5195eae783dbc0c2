//! A front before a real registry: sees every request, answers some itself, changes answers of others.

use super::fake::{Asked, Fake, Reply};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What a front may do with a request: `honest()` asks the registry.
pub fn front(
    upstream: &str,
    change: impl Fn(&Asked, usize, &dyn Fn(&Asked) -> Reply) -> Reply + Send + Sync + 'static,
) -> Fake {
    let upstream = upstream.to_owned();
    Fake::start(move |asked, before| change(asked, before, &|asked| forward(&upstream, asked)))
}

/// The registry's answer.
pub fn forward(upstream: &str, asked: &Asked) -> Reply {
    let mut connection = TcpStream::connect(upstream).expect("the registry");
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", asked.method, asked.target);
    let ours = ["connection", "content-length", "transfer-encoding", "expect"];
    for (name, value) in asked.headers.iter().filter(|(name, _)| !ours.contains(&name.as_str())) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !asked.body.is_empty() || asked.method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", asked.body.len()));
    }
    connection.write_all(head.as_bytes()).expect("sent");
    connection.write_all(b"\r\n").expect("sent");
    // A registry that refuses early closes before all is sent.
    let _ = connection.write_all(&asked.body);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    parse(&answer, asked.method == "HEAD")
}

fn parse(answer: &[u8], head_only: bool) -> Reply {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut reply = Reply::new(status.expect("a status"));
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "connection" => {}
            "transfer-encoding" => chunked = value == "chunked",
            "content-length" if !head_only => {}
            _ => reply = reply.header(name, value),
        }
    }
    let body = &answer[end + 4..];
    reply.body(if chunked { unchunked(body) } else { body.to_vec() })
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|part| part == b"\r\n").expect("a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).expect("hex"), 16).expect("hex");
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}
