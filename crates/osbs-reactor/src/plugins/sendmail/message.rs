//! What a mail says: subject, body, attachments, as bytes for the wire.
//!
//! Texts from the repository stand in it: no line end of theirs gets into a header or makes a line of its own.

use super::states::Ended;
use crate::plugin::PluginError;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use osbs_types::{Failure, without_logins};

/// Longest line of the body, in characters: an error may quote a whole command.
const LONGEST_LINE: usize = 4000;
/// Longest name of an image in the subject, in characters.
const LONGEST_NAME: usize = 200;

/// What is told of a build.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    pub(super) ended: Ended,
    /// `ns/repo`.
    pub(super) image: String,
    /// Unique, primary, floating, in that order.
    pub(super) repositories: Vec<String>,
    /// Address, if it is known.
    pub(super) submitter: Option<String>,
    /// URL of the log, or the command that shows it.
    pub(super) logs: String,
    /// Of git sources.
    pub(super) source_url: Option<String>,
    /// Commit.
    pub(super) source_ref: Option<String>,
    pub(super) failure: Option<Failure>,
    /// Why this goes to `error_addresses`; stands above everything.
    pub(super) note: Option<String>,
}

impl Story {
    pub(super) fn subject(&self) -> String {
        format!("{} building image {}", self.ended.word(), line(&self.image, LONGEST_NAME))
    }

    pub(super) fn body(&self) -> String {
        let mut lines = Vec::new();
        if let Some(note) = &self.note {
            lines.extend([line(note, LONGEST_LINE), String::new()]);
        }
        let mut item = |name: &str, value: &str| lines.push(format!("{name}: {}", line(value, LONGEST_LINE)));
        item("Image Name", &self.image);
        item("Repositories", "");
        self.repositories.iter().for_each(|name| lines.push(format!("    {}", line(name, LONGEST_LINE))));
        let mut item = |name: &str, value: &str| lines.push(format!("{name}: {}", line(value, LONGEST_LINE)));
        item("Status", self.ended.word());
        let unknown = if self.ended.autorebuild { "<autorebuild>" } else { "Unknown" };
        item("Submitted by", self.submitter.as_deref().filter(|_| !self.ended.autorebuild).unwrap_or(unknown));
        item("Logs", &self.logs);
        if let Some(url) = &self.source_url {
            item("Source url", url);
        }
        if let Some(commit) = &self.source_ref {
            item("Source ref", commit);
        }
        if let Some(failure) = &self.failure {
            lines.push(String::new());
            lines.extend(screen(failure));
        }
        lines.join("\n") + "\n"
    }
}

/// The failure as on a terminal.
fn screen(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    for (label, text) in failure.screen() {
        for (index, part) in text.lines().enumerate() {
            let label = if index == 0 { label } else { "" };
            lines.push(format!("{label:>7} {}", line(part, LONGEST_LINE)));
        }
    }
    lines
}

/// On one line, printable, not endless, without logins in URLs.
fn line(text: &str, longest: usize) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = without_logins(&printable);
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Subject and body as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) body: String,
}

impl Story {
    /// Told, without what `mask` takes out.
    pub(super) fn letter(&self, mask: impl Fn(&str) -> String) -> Letter {
        Letter { subject: mask(&self.subject()), body: mask(&self.body()) }
    }
}

/// A file that goes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The message, whole.
///
/// # Errors
/// The sender is no address.
pub(super) fn message(
    from: &str,
    to: &[Address],
    id: &str,
    letter: Letter,
    files: Vec<LogFile>,
) -> Result<Message, PluginError> {
    let sender: Mailbox = from.parse().map_err(|error: lettre::address::AddressError| {
        PluginError::policy(format!("smtp.from_address {from:?} is no mail address: {error}"))
    })?;
    let domain = sender.email.domain().to_owned();
    let generated = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let mut builder = Message::builder().from(sender).subject(letter.subject).date_now().raw_header(generated);
    builder = builder.message_id(Some(format!("<{id}@{domain}>")));
    for address in to {
        builder = builder.to(Mailbox::new(None, address.clone()));
    }
    let body = SinglePart::plain(letter.body);
    // No content type beside a multipart body: it would be written twice.
    let built = if files.is_empty() {
        builder.singlepart(body)
    } else {
        let mut parts = MultiPart::mixed().singlepart(body);
        for file in files {
            parts = parts.singlepart(attachment(file)?);
        }
        builder.multipart(parts)
    };
    built.map_err(|error| PluginError::internal(format!("the mail cannot be composed: {error}")))
}

fn attachment(file: LogFile) -> Result<SinglePart, PluginError> {
    let kind = ContentType::parse("application/octet-stream").expect("a media type");
    let body = Body::new_with_encoding(file.content, ContentTransferEncoding::Base64)
        .map_err(|_| PluginError::internal("base64 cannot take a log file"))?;
    Ok(Attachment::new(file.name).body(body, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::{ErrorKind, Position};

    fn story() -> Story {
        Story {
            image: "ns/web".to_owned(),
            repositories: vec!["r.io/ns/web:u".to_owned(), "r.io/ns/web:1-1".to_owned()],
            logs: "osbs build-logs web-1".to_owned(),
            source_url: Some("https://al:pw@git.example.org/web".to_owned()),
            source_ref: Some("c0ffee".to_owned()),
            ..Story::default()
        }
    }

    #[test]
    fn a_success() {
        assert_eq!(story().subject(), "Succeeded building image ns/web");
        let expected = [
            "Image Name: ns/web",
            "Repositories: ",
            "    r.io/ns/web:u",
            "    r.io/ns/web:1-1",
            "Status: Succeeded",
            "Submitted by: Unknown",
            "Logs: osbs build-logs web-1",
            "Source url: https://***@git.example.org/web",
            "Source ref: c0ffee",
        ];
        assert_eq!(story().body().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_failed_autorebuild_that_nobody_is_told_of() {
        let failure = Failure::message(ErrorKind::User, "RUN make: exit code 2\nmake: no rule")
            .at(Position { file: "Dockerfile".to_owned(), line: 2, column: None })
            .in_step("docker_api");
        let story = Story {
            ended: Ended { autorebuild: true, failed: true, cancelled: false },
            repositories: Vec::new(),
            submitter: Some("al@example.org".to_owned()),
            source_url: None,
            source_ref: None,
            failure: Some(failure),
            note: Some("Nobody else.".to_owned()),
            ..story()
        };
        assert_eq!(story.subject(), "Failed building image ns/web");
        let expected = [
            "Nobody else.",
            "",
            "Image Name: ns/web",
            "Repositories: ",
            "Status: Failed",
            "Submitted by: <autorebuild>",
            "Logs: osbs build-logs web-1",
            "",
            "  error RUN make: exit code 2",
            "        make: no rule",
            "   step docker_api",
            "  where Dockerfile:2",
            "   kind user",
            "   next mend the request or the repository, then build again",
        ];
        assert_eq!(story.body().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_header_comes_from_outside() {
        let mut story = story();
        story.image = format!("web\r\nBcc: evil@example.org\r\n\r\nhello\u{85}{}", "x".repeat(1000));
        let to = ["al@example.org".parse().unwrap()];
        let mail = message("OSBS <osbs@example.org>", &to, "web-1.5", story.letter(str::to_owned), Vec::new()).unwrap();
        let text = String::from_utf8(mail.formatted()).unwrap();
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<_> = headers
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_once(':'))
            .collect();
        let names: Vec<_> = names.into_iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert!(!names.contains(&"bcc".to_owned()), "{headers}");
        assert_eq!(names.iter().filter(|name| *name == "content-type").count(), 1, "{headers}");
        for bad in ["osbs", "osbs@example.org\r\nBcc: evil@example.org"] {
            assert!(message(bad, &to, "i", story.letter(str::to_owned), Vec::new()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn attachments_make_one_content_type() {
        let files = vec![LogFile { name: "x86_64.log".to_owned(), content: b"\xff\n".to_vec() }];
        let to = ["al@example.org".parse().unwrap()];
        let mail =
            message("osbs@example.org", &to, "i", story().letter(|text| text.replace("web", "***")), files).unwrap();
        let text = String::from_utf8(mail.formatted()).unwrap();
        let (headers, rest) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(headers.matches("Content-Type").count(), 1, "{headers}");
        assert!(text.contains("Succeeded building image ns/***") && !text.contains("web-1"), "{text}");
        assert!(rest.contains("filename=\"x86_64.log\"") && rest.contains("application/octet-stream"), "{rest}");
    }
}
