//! What ADD takes from elsewhere: a file by URL, a git repository. Reads the forms that BuildKit's frontend knows, has
//! them fetched, checks them, and puts them into the root. Speaks to no server itself: [`Fetcher`] does.

use super::put::{Put, open};
use super::stopped;
use crate::error::{FileError, InstructionError};
use crate::fetcher::{CheckedOut, Fetcher, GitSource};
use crate::open_folder::OPEN_DIR;
use crate::source::judge;
use crate::tree_copy::{Part, Rules, SourceTree, TreeCopy};
use osbs_dockerfile::{IgnorePatterns, Instruction, InstructionKind};
use osbs_image::open_archive;
use rustix::fs::{CWD, Mode, openat};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

/// A source that is no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remote {
    File { url: String },
    Repository { source: GitSource, commit: Option<String> },
}

fn bad_url(text: &str, expected: impl Into<String>) -> InstructionError {
    InstructionError::BadValue { what: "git URL", value: shown_url(text), expected: expected.into() }
}

fn is_web(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let Some((user, (host, _))) = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
    else {
        return false;
    };
    plain(user, "-_") && plain(host, "-.")
}

/// The source that a word of ADD names, when it is no path. `--checksum` and `--keep-git-dir` are those of the flags.
pub(super) fn parse(text: &str, keep_git: bool, checksum: Option<&str>) -> Result<Option<Remote>, InstructionError> {
    let base = text.split(['#', '?']).next().unwrap_or(text);
    let git = text.starts_with("git://") || text.starts_with("ssh://") || is_scp(text);
    if git || (is_web(text) && base.strip_suffix(".git").is_some()) {
        return repository(text, keep_git, checksum).map(Some);
    }
    Ok(is_web(text).then(|| Remote::File { url: text.to_owned() }))
}

fn repository(text: &str, keep_git: bool, checksum: Option<&str>) -> Result<Remote, InstructionError> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
    let fragment = decoded(fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut wanted = Wanted { text, reference: None, subdir: None, commit: None, keep_git: None, submodules: None };
    wanted.reference(reference)?;
    once(text, "subfolder", &mut wanted.subdir, subdir)?;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        wanted.query(&key, &value)?;
    }
    let kept = wanted.keep_git.unwrap_or(keep_git);
    if keep_git && !kept {
        return Err(bad_url(text, "one word on keep-git-dir, in the URL or as a flag"));
    }
    once(text, "commit", &mut wanted.commit, checksum.unwrap_or_default())?;
    if let Some(commit) = &wanted.commit {
        let hex = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            let expected = "for a git repository, a commit id of at least 7 hexadecimal digits".to_owned();
            return Err(InstructionError::BadValue { what: "--checksum", value: commit.clone(), expected });
        }
        // Without a branch or tag, the commit itself is what is wanted.
        if wanted.reference.is_none() && matches!(commit.len(), 40 | 64) {
            wanted.reference = Some(commit.to_ascii_lowercase());
        }
    }
    let Wanted { reference, subdir, commit, submodules, .. } = wanted;
    let source = GitSource { url: url.to_owned(), reference, subdir, keep_git: kept, submodules };
    Ok(Remote::Repository { source, commit })
}

/// What fragment, query and flags ask for together.
struct Wanted<'a> {
    text: &'a str,
    reference: Option<String>,
    subdir: Option<String>,
    commit: Option<String>,
    keep_git: Option<bool>,
    submodules: Option<bool>,
}

impl Wanted<'_> {
    fn reference(&mut self, name: &str) -> Result<(), InstructionError> {
        once(self.text, "branch, tag or commit", &mut self.reference, name)
    }

    fn query(&mut self, key: &str, value: &str) -> Result<(), InstructionError> {
        let below = |prefix: &str| format!("{prefix}{}", value.strip_prefix(prefix).unwrap_or(value));
        let known = |value: &str| match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(bad_url(self.text, format!("true or false for {key}"))),
        };
        match key {
            "ref" => self.reference(value),
            "branch" => self.reference(&below("refs/heads/")),
            "tag" => self.reference(&below("refs/tags/")),
            "subdir" => once(self.text, "subfolder", &mut self.subdir, value),
            "checksum" | "commit" => once(self.text, "commit", &mut self.commit, value),
            "keep-git-dir" => {
                self.keep_git = Some(known(value)?);
                Ok(())
            }
            "submodules" => {
                self.submodules = Some(known(value)?);
                Ok(())
            }
            _ => {
                let keys = "ref, branch, tag, commit, subdir, keep-git-dir or submodules behind the question mark";
                Err(bad_url(self.text, keys))
            }
        }
    }
}

/// Sets what may be said in several places, but only in one way.
fn once(text: &str, what: &str, slot: &mut Option<String>, value: &str) -> Result<(), InstructionError> {
    match slot {
        _ if value.is_empty() => Ok(()),
        Some(said) if said != value => Err(bad_url(text, format!("one {what}, not {said:?} and {value:?}"))),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

/// The name that a file gets in a folder: the last part of the URL's path. The server has no say in it.
fn file_name(url: &str) -> Option<String> {
    let path = url.split_once("://")?.1.split(['?', '#']).next()?.split_once('/')?.1;
    let path = decoded(path);
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    (!matches!(name, "" | "." | "..") && !name.contains('\0')).then(|| name.to_owned())
}

fn decoded(text: &str) -> String {
    // A plus sign is one, outside of forms.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.as_bytes())
        .map(|(key, value)| if value.is_empty() { key } else { key + "=" + value })
        .collect::<Vec<_>>()
        .join("&")
}

/// Without user, password, query and fragment.
fn shown_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    without_passwords(url).into_owned()
}

/// The instruction as written, but for passwords in the URLs of ADD: what history, log and errors show.
pub(crate) fn shown(instruction: &Instruction) -> Cow<'_, str> {
    match &instruction.kind {
        InstructionKind::Add(_) => without_passwords(&instruction.logical),
        _ => Cow::Borrowed(&instruction.logical),
    }
}

/// A text with the user and password of every URL in it left out.
fn without_passwords(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'')).unwrap_or(after.len());
        let start = after[..end].rfind('@').map_or(0, |at| at + 1);
        rest = &after[start..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

impl Put<'_> {
    fn fetcher(&self, what: &str) -> Result<&dyn Fetcher, InstructionError> {
        self.context.fetcher.ok_or_else(|| {
            let instead = Some("fetch it before the build and COPY it".into());
            InstructionError::Unsupported { what: format!("{what} in this build"), instead }
        })
    }

    pub(super) fn remote(&self, remote: &Remote) -> Result<(), InstructionError> {
        match remote {
            Remote::File { url } => self.download(url),
            Remote::Repository { source, commit } => self.repository(source, commit.as_deref()),
        }
    }

    fn download(&self, url: &str) -> Result<(), InstructionError> {
        let fetcher = self.fetcher("ADD of a URL")?;
        let shown = shown_url(url);
        let name = file_name(url);
        if name.is_none() && self.destination.folder {
            let expected = "a URL that ends in a file name, or a destination without a slash at its end".to_owned();
            return Err(InstructionError::BadValue { what: "URL", value: shown, expected });
        }
        let path = self.context.scratch.join("download");
        let failed = |e| FileError::new("write", &path, e).located(self.context.scratch);
        let mut file = std::fs::File::create(&path).map_err(failed)?;
        let time =
            fetcher.fetch(url, &mut file).map_err(|source| InstructionError::Fetch { url: shown.clone(), source })?;
        drop(file);
        let file = || std::fs::File::open(&path).map_err(|e| FileError::new("read", &path, e));
        if let Some(wanted) = &self.transfer.checksum {
            check_sum(&mut file()?, &self.context.config.expand(wanted, self.context.global)?, &shown)?;
        }
        if self.transfer.unpack == Some(true) {
            let read = |e| FileError::new("read", &path, e);
            // What is no archive is put there as it is, as for a local file.
            if let Some(mut archive) = open_archive(Box::new(file()?)).map_err(read)? {
                return self.extract(&mut archive, &shown);
            }
        }
        let mut body = file()?;
        let name = name.unwrap_or_else(|| "download".to_owned());
        // Without a time of the server's: the epoch, as BuildKit has it, and the same at every build.
        let time = Some(time.unwrap_or(0));
        self.write(&name, 0o600, time, &mut |into| std::io::copy(&mut body, into).map(|_| ()))?;
        let _ = std::fs::remove_file(&path);
        Ok(())
    }

    fn repository(&self, source: &GitSource, commit: Option<&str>) -> Result<(), InstructionError> {
        let fetcher = self.fetcher("ADD of a git repository")?;
        let shown = shown_url(&source.url);
        let into = self.context.scratch.join("repository");
        let failed = |action, e| FileError::new(action, &into, e).located(self.context.scratch);
        std::fs::create_dir(&into).map_err(|e| failed("create", e))?;
        let found = fetcher.checkout(source, &into);
        let found = found.map_err(|source| InstructionError::Fetch { url: shown.clone(), source })?;
        if let Some(wanted) = commit {
            check_commit(wanted, &found, &shown)?;
        }
        let exclude = IgnorePatterns::new(&self.transfer.exclude).map_err(|error| InstructionError::BadValue {
            what: "--exclude",
            value: self.transfer.exclude.join(" "),
            expected: error.to_string(),
        })?;
        let filter = |_: &Part, path: &[u8], is_folder: bool| judge(&exclude, path, is_folder);
        let rules = Rules {
            owner: Some(self.owner_of_new()),
            mode: self.mode.clone(),
            filter: (!exclude.is_empty()).then_some(&filter as &crate::tree_copy::Filter<'_>),
            max_files: self.context.limits.files,
            max_bytes: self.context.limits.copied_bytes,
            max_depth: self.context.limits.depth,
            threads: self.context.threads,
            upper: None,
        };
        let (real, made) = self.folder(Path::new(&self.destination.path))?;
        let target = open(self.view, &real)?;
        let tree = openat(CWD, &into, OPEN_DIR, Mode::empty()).map_err(|e| failed("open", e.into()))?;
        let blank = self.is_blank(&target, made);
        let engine = TreeCopy::new(&rules, self.view, self.context.cancel);
        engine.contents(SourceTree::whole(tree), target, made, blank).map_err(|stop| stopped(self.context, stop))?;
        std::fs::remove_dir_all(&into).map_err(|e| failed("remove", e))?;
        Ok(())
    }
}

/// An id in full or its start; of the commit, or of the annotated tag that names it.
fn check_commit(wanted: &str, found: &CheckedOut, url: &str) -> Result<(), InstructionError> {
    let start = wanted.to_ascii_lowercase();
    if std::iter::once(&found.commit).chain(&found.tag).any(|id| id.starts_with(&start)) {
        return Ok(());
    }
    let expected = format!("{url} has {}", found.commit);
    Err(InstructionError::BadValue { what: "--checksum", value: wanted.to_owned(), expected })
}

fn check_sum(file: &mut std::fs::File, wanted: &str, url: &str) -> Result<(), InstructionError> {
    let bad = |expected| Err(InstructionError::BadValue { what: "--checksum", value: wanted.to_owned(), expected });
    let is_digest = wanted.parse::<osbs_types::Digest>().is_ok();
    if !is_digest {
        return bad("sha256: and 64 hexadecimal digits".to_owned());
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(|e| FileError::new("read", Path::new(url), e))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let actual = osbs_types::Digest::from_sha256(&hash.finalize().into());
    if actual.as_str() == wanted { Ok(()) } else { bad(format!("{url} has {actual}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_repository(text: &str, expected: [Option<&str>; 2], keep_git: bool) {
        let Some(Remote::Repository { source, .. }) = parse(text, false, None).expect(text) else {
            panic!("{text} is a repository");
        };
        let found = [source.reference.as_deref(), source.subdir.as_deref()];
        assert_eq!((found, source.keep_git), (expected, keep_git), "{text}");
        assert!(!source.url.contains(['#', '?']), "{source:?}");
    }

    #[test]
    fn repositories() {
        check_repository("https://h/a.git", [None, None], false);
        check_repository("https://h/a.git#main", [Some("main"), None], false);
        check_repository("https://h/a.git#v1:sub/dir", [Some("v1"), Some("sub/dir")], false);
        check_repository("https://h/a.git#:sub", [None, Some("sub")], false);
        check_repository("https://h/a.git?ref=main&subdir=x", [Some("main"), Some("x")], false);
        check_repository("https://h/a.git?branch=main", [Some("refs/heads/main"), None], false);
        check_repository("https://h/a.git?tag=v1&keep-git-dir=true", [Some("refs/tags/v1"), None], true);
        check_repository("https://h/a.git?ref=main#main", [Some("main"), None], false);
        check_repository("https://h/a.git#feature/a+b", [Some("feature/a+b"), None], false);
        check_repository("git@h.example.com:a/b.git#x", [Some("x"), None], false);
        check_repository("ssh://git@h/a", [None, None], false);
        check_repository("git://h/a", [None, None], false);
        for bad in ["https://h/a.git?ref=a#b", "https://h/a.git?x=y", "https://h/a.git?submodules=perhaps"] {
            parse(bad, false, None).expect_err(bad);
        }
        parse("https://h/a.git?keep-git-dir=0", true, None).expect_err("two words");
    }

    #[test]
    fn commits_as_checksums() {
        let id = "ab".repeat(20);
        let source = |text: &str, sum: &str| match parse(text, false, Some(sum)) {
            Ok(Some(Remote::Repository { source, commit })) => Ok((source.reference, commit)),
            other => Err(format!("{other:?}")),
        };
        let whole = source("https://h/a.git", &id);
        assert_eq!(whole, Ok((Some(id.clone()), Some(id.clone()))));
        assert_eq!(source("https://h/a.git#main", "abcdef1"), Ok((Some("main".into()), Some("abcdef1".into()))));
        for bad in ["sha256:ab", "abc", "--upload-pack=x"] {
            source("https://h/a.git", bad).expect_err(bad);
        }
        let found = CheckedOut { commit: id.clone(), tag: Some("cd".repeat(20)) };
        for good in [id.as_str(), "ABABABA", "cdcdcdcd"] {
            check_commit(good, &found, "x").expect(good);
        }
        check_commit("abababac", &found, "x").expect_err("another");
    }

    #[test]
    fn files_and_paths() {
        let file = |text: &str| matches!(parse(text, false, None), Ok(Some(Remote::File { .. })));
        assert!(file("https://h/a.tar.gz") && file("http://h/") && file("https://h/x?y=a.git"));
        for path in ["a/b", "./x.git", "github.com/a/b", "http/x", "ext::sh -c x", "file:///etc/passwd", "a@b"] {
            assert_eq!(parse(path, false, None).expect(path), None, "{path}");
        }
    }

    #[test]
    fn names_of_files() {
        let check = |url: &str, name: Option<&str>| assert_eq!(file_name(url).as_deref(), name, "{url}");
        check("https://h/a/b.txt", Some("b.txt"));
        check("https://h/b%20c.txt?x=/y#/z", Some("b c.txt"));
        check("https://h/a%2Fb", Some("b"));
        check("https://h/a+b=c&d", Some("a+b=c&d"));
        check("https://h/folder/", Some("folder"));
        for none in ["https://h", "https://h/", "https://h/..", "https://h/%2e%2e", "https://h/?x", "https://h/%00"] {
            check(none, None);
        }
    }

    #[test]
    fn no_passwords_are_shown() {
        let check = |text: &str, expected: &str| assert_eq!(without_passwords(text), expected);
        check("ADD https://me:secret@example.com/x /x", "ADD https://example.com/x /x");
        check("ADD [\"https://me:s@h@b/x\", \"http://u@c\", \"/y\"]", "ADD [\"https://b/x\", \"http://c\", \"/y\"]");
        check("ADD https://h/a@b me@x", "ADD https://h/a@b me@x");
        check("COPY a b", "COPY a b");
    }
}
