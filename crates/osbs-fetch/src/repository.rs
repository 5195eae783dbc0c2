//! A git repository's files at one commit.
//!
//! Git only fetches objects, into a folder without work tree: what it writes to disk are packs that it has checked. The
//! files come out of `git archive` and are unpacked by `osbs_image`, so that no hook, filter, submodule or link of the
//! repository has anything to act on.

use crate::download::{login, parse};
use crate::git_program::{Ended, Git};
use crate::{FetchError, FetchLimits, GitProgram, shown_url};
use osbs_builder::{CheckedOut, GitSource};
use osbs_http::{AddressRule, HeaderName, HeaderValue, Request, Transport, Url};
use osbs_image::{ExtractOptions, LayerError, extract_tar};
use std::fs::{self, File};
use std::io::BufReader;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use tokio::io::AsyncBufReadExt as _;
use tokio_util::sync::CancellationToken;

/// Where fetched commits are kept.
const WANTED: &str = "refs/osbs/wanted";

pub(crate) struct Checkout<'a> {
    pub transport: &'a Transport,
    pub git: &'a GitProgram,
    pub limits: &'a FetchLimits,
    pub cancel: &'a CancellationToken,
    pub repository: &'a GitSource,
}

/// What a name stands for at the server.
enum Found {
    /// A full name: `HEAD`, `refs/tags/1.0`.
    Name(String),
    /// A commit id.
    Commit(String),
}

impl Checkout<'_> {
    /// Leaves the files in `into`.
    pub(crate) async fn run(&self, into: &Path) -> Result<CheckedOut, FetchError> {
        let url = self.checked()?;
        let url = self.find_repository(&url).await?;
        let scratch = tempfile::Builder::new().prefix("git-").tempdir_in(into.parent().unwrap_or(into));
        let scratch = scratch.map_err(FetchError::local("make a folder for git"))?;
        let (folder, tree) = (scratch.path().join("repository"), scratch.path().join("tree"));
        make_repository(&folder)
            .and_then(|()| fs::create_dir(&tree))
            .map_err(FetchError::local("make a folder for git"))?;
        let settings = self.settings(&url, scratch.path()).await?;
        let git = Git { program: self.git, memory: self.limits.git_memory, folder: &folder, settings };
        git.check_version().await?;

        let bare = without_login(url);
        let found = self.find(&git, &bare).await?;
        self.fetch_with_retries(&git, &bare, &found).await?;
        let checked_out = self.ids(&git).await?;
        let subdir = self.subdir()?;
        if let Some(subdir) = &subdir {
            self.check_folder(&git, &checked_out.commit, subdir).await?;
        }
        if self.repository.submodules != Some(false) {
            self.check_submodules(&git, &checked_out.commit).await?;
        }
        self.unpack(&git, &checked_out.commit, subdir.as_deref(), &tree).await?;
        let content = subdir.as_ref().map_or_else(|| tree.clone(), |subdir| tree.join(subdir));
        fs::rename(&content, into).map_err(FetchError::local("move what was fetched"))?;
        if self.repository.keep_git && subdir.is_none() {
            self.keep(&git, &bare, &checked_out.commit, &found).await?;
            fs::rename(&folder, into.join(".git")).map_err(FetchError::local("move what was fetched"))?;
        }
        Ok(checked_out)
    }

    fn url(&self) -> String {
        shown_url(&self.repository.url)
    }

    fn checked(&self) -> Result<Url, FetchError> {
        let url = parse(&self.repository.url)?;
        if url.query().is_some() || url.fragment().is_some() {
            let problem = "a git URL has neither query nor fragment".to_owned();
            return Err(FetchError::Url { url: self.url(), problem });
        }
        if let Some(name) = self.repository.reference.as_ref().filter(|name| !is_ref(name)) {
            return Err(FetchError::BadRef { name: name.clone() });
        }
        self.subdir()?;
        Ok(url)
    }

    /// The subfolder in normal form; `None` for the whole.
    fn subdir(&self) -> Result<Option<String>, FetchError> {
        let Some(text) = &self.repository.subdir else { return Ok(None) };
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") || text.contains('\0') {
            return Err(FetchError::BadSubdir { subdir: text.clone() });
        }
        Ok(Some(parts.join("/")).filter(|path| !path.is_empty()))
    }

    /// Follows the redirects that git must not follow by itself, and sees that a repository is there. The login stays
    /// only on the same origin.
    async fn find_repository(&self, url: &Url) -> Result<Url, FetchError> {
        const ASK: &str = "/info/refs";
        let mut asked = url.clone();
        asked.set_path(&format!("{}{ASK}", url.path().trim_end_matches('/')));
        asked.set_query(Some("service=git-upload-pack"));
        let request = Request::get(asked)
            .addresses(AddressRule::PublicOnly)
            .allow_plain_http(true)
            .authorization(login(url))
            .header(HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));
        let response = self.transport.send(&request).await?;
        if response.status() != 200 {
            let (status, attempts) = (response.status().as_u16(), response.attempts());
            return Err(FetchError::Status { url: osbs_http::shown(response.url()), status, attempts });
        }
        let no_repository = || FetchError::NoRepository { url: self.url() };
        let kind = response.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/x-git-upload-pack-advertisement") {
            return Err(no_repository());
        }
        let mut found = response.url().clone();
        // A last dot is the resolver's affair: the address is fixed for the name without it.
        if let Some(host) = found.domain().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
            found.set_host(Some(&host)).map_err(|_| no_repository())?;
        }
        let path = found.path().strip_suffix(ASK).ok_or_else(no_repository)?.to_owned();
        found.set_path(&path);
        found.set_query(None);
        if osbs_http::same_origin(&found, url) {
            let _ = found.set_username(url.username());
            let _ = found.set_password(url.password());
        }
        Ok(found)
    }

    /// What git must know of this server.
    async fn settings(&self, url: &Url, scratch: &Path) -> Result<Vec<(String, String)>, FetchError> {
        let config = self.transport.config();
        let mut settings = Vec::new();
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
        if let Some(proxy) = &config.proxy {
            set("http.proxy", proxy.to_string());
        }
        if let Some(host) = url.domain() {
            let addresses = self.transport.addresses(url, AddressRule::PublicOnly).await?;
            let port = url.port_or_known_default().unwrap_or(443);
            set("http.curloptResolve", format!("{host}:{port}:{}", joined(&addresses)));
        } else {
            self.transport.addresses(url, AddressRule::PublicOnly).await?;
        }
        if let Some(login) = login(url) {
            set("http.extraHeader", format!("Authorization: {}", login.reveal()));
        }
        set("http.lowSpeedLimit", "1".to_owned());
        set("http.lowSpeedTime", config.timeouts.idle.as_secs().max(1).to_string());
        set("http.userAgent", format!("git/2 {}", config.user_agent));
        if !config.extra_roots.is_empty() {
            let file = scratch.join("certificates.pem");
            write_roots(&file, &config.extra_roots).map_err(FetchError::local("write the certificates for git"))?;
            set("http.sslCAInfo", file.display().to_string());
        }
        Ok(settings)
    }

    /// A branch goes before a tag of the same name, as `git checkout` has it.
    async fn find(&self, git: &Git<'_>, url: &Url) -> Result<Found, FetchError> {
        let Some(name) = &self.repository.reference else { return Ok(Found::Name("HEAD".to_owned())) };
        if is_commit(name) {
            return Ok(Found::Commit(name.clone()));
        }
        let names = [name.clone(), format!("refs/{name}"), format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        let names: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| name.starts_with("refs/") || *name == "HEAD").collect();
        let mut args = vec!["ls-remote", "--quiet", "--", url.as_str()];
        args.extend(&names);
        let mut attempt = 0;
        loop {
            let ended = git.run(&args).await?;
            if ended.status.success() {
                let text = String::from_utf8_lossy(&ended.stdout).into_owned();
                let told: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('\t')?.1)).collect();
                let found = names.iter().find(|name| told.contains(*name));
                return found.map(|name| Found::Name((*name).to_owned())).ok_or_else(|| self.missing_ref());
            }
            attempt = self.may_try_again(attempt, self.judge(&ended), url).await?;
        }
    }

    fn missing_ref(&self) -> FetchError {
        let name = self.repository.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
        FetchError::Missing { url: self.url(), what: "branch, tag or commit", name }
    }

    async fn fetch_with_retries(&self, git: &Git<'_>, url: &Url, found: &Found) -> Result<(), FetchError> {
        let mut attempt = 0;
        loop {
            match self.fetch(git, url, found).await {
                Ok(()) => return Ok(()),
                Err(error) => attempt = self.may_try_again(attempt, error, url).await?,
            }
        }
    }

    /// Waits, or gives the error back when it is no use.
    async fn may_try_again(&self, attempt: u32, error: FetchError, url: &Url) -> Result<u32, FetchError> {
        if !error.may_pass() || attempt >= self.transport.config().retry.retries {
            return Err(error);
        }
        self.transport.wait_before_retry(url, attempt + 1, &error.to_string()).await;
        Ok(attempt + 1)
    }

    /// Leaves the wanted commit, or a tag of it, in [`WANTED`].
    async fn fetch(&self, git: &Git<'_>, url: &Url, found: &Found) -> Result<(), FetchError> {
        let source = match found {
            Found::Name(source) | Found::Commit(source) => source,
        };
        let wanted = format!("+{source}:{WANTED}");
        let args = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", url.as_str(), &wanted];
        match (self.fetch_args(git, &args).await, found) {
            (Err(FetchError::Missing { .. }), Found::Commit(id)) => self.fetch_all(git, url, id).await,
            (result, _) => result,
        }
    }

    /// For a server that gives only what it advertises: everything, and the commit out of it.
    async fn fetch_all(&self, git: &Git<'_>, url: &Url, id: &str) -> Result<(), FetchError> {
        let all = ["+refs/heads/*:refs/osbs/heads/*", "+refs/tags/*:refs/osbs/tags/*"];
        let args = ["fetch", "--quiet", "--no-tags", "--", url.as_str(), all[0], all[1]];
        self.fetch_args(git, &args).await?;
        let commit = format!("{id}^{{commit}}");
        if git.run(&["rev-parse", "--quiet", "--verify", "--end-of-options", &commit]).await?.status.success() {
            let ended = git.run(&["update-ref", WANTED, id]).await?;
            return if ended.status.success() { Ok(()) } else { Err(self.judge(&ended)) };
        }
        Err(self.missing_ref())
    }

    async fn fetch_args(&self, git: &Git<'_>, args: &[&str]) -> Result<(), FetchError> {
        match git.run_below(args, self.limits.bytes).await? {
            Some(ended) if ended.status.success() => Ok(()),
            Some(ended) => Err(self.judge(&ended)),
            None => Err(FetchError::TooLarge { url: self.url(), limit: self.limits.bytes, unit: "bytes" }),
        }
    }

    async fn ids(&self, git: &Git<'_>) -> Result<CheckedOut, FetchError> {
        let mut ids = Vec::new();
        for name in [WANTED.to_owned(), format!("{WANTED}^{{commit}}")] {
            let ended = git.run(&["rev-parse", "--quiet", "--verify", "--end-of-options", &name]).await?;
            if !ended.status.success() {
                return Err(self.missing_ref());
            }
            ids.push(String::from_utf8_lossy(&ended.stdout).trim().to_owned());
        }
        let commit = ids.pop().unwrap_or_default();
        Ok(CheckedOut { tag: ids.pop().filter(|tag| *tag != commit), commit })
    }

    /// A folder of the commit itself: the way there leads through no link.
    async fn check_folder(&self, git: &Git<'_>, commit: &str, subdir: &str) -> Result<(), FetchError> {
        let ended = git.run(&["cat-file", "-t", &format!("{commit}:{subdir}")]).await?;
        if ended.status.success() && ended.stdout.trim_ascii() == b"tree" {
            return Ok(());
        }
        Err(FetchError::Missing { url: self.url(), what: "folder", name: subdir.to_owned() })
    }

    async fn check_submodules(&self, git: &Git<'_>, commit: &str) -> Result<(), FetchError> {
        let mut running = git.spawn(&["ls-tree", "-r", "-z", "--full-tree", commit])?;
        let read = FetchError::local("read what git says");
        let Some(stdout) = running.take_stdout() else { return Ok(()) };
        let mut entries = tokio::io::BufReader::new(stdout).split(0);
        loop {
            match entries.next_segment().await {
                Ok(Some(entry)) if entry.starts_with(b"160000 ") => {
                    return Err(FetchError::Submodules { url: self.url() });
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Err(read(error)),
            }
        }
        let ended = running.end().await.map_err(FetchError::local("run git"))?;
        if ended.status.success() { Ok(()) } else { Err(self.judge(&ended)) }
    }

    async fn unpack(&self, git: &Git<'_>, commit: &str, subdir: Option<&str>, tree: &Path) -> Result<(), FetchError> {
        let local = || FetchError::local("read what git says");
        let mut args = vec!["archive", "--format=tar", commit];
        args.extend(subdir.into_iter().flat_map(|subdir| ["--", subdir]));
        let mut running = git.spawn(&args)?;
        let stdout = running.take_stdout().ok_or_else(|| local()(std::io::ErrorKind::BrokenPipe.into()))?;
        let mut tar = BufReader::with_capacity(256 << 10, File::from(stdout.into_owned_fd().map_err(local())?));
        let root = File::open(tree).map_err(local())?;
        let options = ExtractOptions {
            owner: None,
            mode: None,
            max_bytes: self.limits.bytes,
            max_entries: self.limits.files,
            name: self.url(),
        };
        // Cancelled too when this future is dropped, by the time limit.
        let cancel = self.cancel.child_token();
        let guard = cancel.clone().drop_guard();
        let unpacking = tokio::task::spawn_blocking(move || {
            extract_tar(&mut tar, root.as_fd(), &options, &cancel)?;
            // Git ends well only when all is read, padding too.
            std::io::copy(&mut tar, &mut std::io::sink())
                .map(drop)
                .map_err(|source| LayerError::Read { what: options.name.clone(), source })
        });
        let (unpacked, ended) = tokio::join!(unpacking, running.end());
        drop(guard.disarm());
        match unpacked {
            Ok(Ok(())) => {}
            Ok(Err(LayerError::Cancelled)) => return Err(FetchError::Cancelled),
            Ok(Err(source)) => return Err(FetchError::Unpack { url: self.url(), source }),
            Err(error) => return Err(local()(std::io::Error::other(error))),
        }
        let ended = ended.map_err(FetchError::local("run git"))?;
        if ended.status.success() { Ok(()) } else { Err(self.judge(&ended)) }
    }

    /// Makes the folder a repository that stands at the commit, as after a checkout.
    async fn keep(&self, git: &Git<'_>, url: &Url, commit: &str, found: &Found) -> Result<(), FetchError> {
        let failed = |action| FetchError::local(action);
        let run = async |args: &[&str]| {
            let ended = git.run(args).await?;
            if ended.status.success() { Ok(()) } else { Err(self.judge(&ended)) }
        };
        run(&["update-ref", "--no-deref", "HEAD", commit]).await?;
        if let Found::Name(name) = found
            && name.starts_with("refs/tags/")
        {
            run(&["update-ref", name, WANTED]).await?;
        }
        run(&["update-ref", "-d", WANTED]).await?;
        run(&["read-tree", commit]).await?;
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            osbs_http::shown(url)
        );
        fs::write(git.folder.join("config"), config).map_err(failed("write the repository's configuration"))?;
        for name in ["info/attributes", "FETCH_HEAD"] {
            match fs::remove_file(git.folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("tidy the repository")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The error behind git's words, in the C locale.
    fn judge(&self, ended: &Ended) -> FetchError {
        let says = |words: &[&str]| words.iter().any(|word| ended.stderr.contains(word));
        let (url, message) = (self.url(), shortened(&ended.stderr));
        if says(&["not our ref", "unadvertised object", "couldn't find remote ref", "bad object"]) {
            return self.missing_ref();
        }
        if says(&["fsck error", "fsckObjects", "hasDotgit", "did not send all necessary objects"]) {
            return FetchError::Refused { url, message };
        }
        if says(&["Out of memory", "out of memory", "Cannot allocate memory", "unable to create thread", "map segment"])
        {
            return FetchError::TooLarge { url, limit: self.limits.git_memory, unit: "bytes of memory for git" };
        }
        if says(&["No space left", "Disk quota", "Read-only file system"]) {
            return FetchError::Local { action: "store what git fetches", source: std::io::Error::other(message) };
        }
        FetchError::Git { url, message }
    }
}

/// An empty repository without work tree, as `git init` without any template makes it. The attributes of its own go
/// before those of the repository: an archive is to hold what a checkout would.
fn make_repository(folder: &Path) -> std::io::Result<()> {
    for name in ["objects", "refs", "info"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(folder.join("HEAD"), "ref: refs/heads/osbs\n")?;
    fs::write(folder.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")?;
    fs::write(folder.join("info/attributes"), "* -export-ignore -export-subst -filter\n")
}

/// Those of the configuration beside the system's.
fn write_roots(file: &Path, roots: &[Vec<u8>]) -> std::io::Result<()> {
    const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
    let mut all = fs::read(SYSTEM).unwrap_or_default();
    for root in roots {
        all.push(b'\n');
        all.extend_from_slice(root);
    }
    fs::write(file, all)
}

fn without_login(mut url: Url) -> Url {
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn joined(addresses: &[IpAddr]) -> String {
    let written = addresses.iter().map(|address| match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    });
    written.collect::<Vec<_>>().join(",")
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text can be a ref: no option, none of what git's own check refuses.
fn is_ref(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '/', '+'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("//")
        && !text.contains("@{")
        && text.chars().all(|c| !c.is_control() && !" ~^:?*[\\".contains(c))
}

/// The lines that say something, on one line.
fn shortened(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(|line| line.trim().trim_start_matches("fatal: ").trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .take(4)
        .collect();
    let text: String = lines.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs() {
        for good in ["main", "v1.0", "feature/x", "refs/heads/main", "refs/pull/1/head", "HEAD"] {
            assert!(is_ref(good), "{good}");
        }
        for bad in ["", "-x", "--upload-pack=x", "a..b", "a b", "a:b", "a^", "a~1", "@{u}", "a\nb", "+m", "/x", "x/"] {
            assert!(!is_ref(bad), "{bad:?}");
        }
    }

    #[test]
    fn commits_are_whole() {
        assert!(is_commit(&"a1".repeat(20)));
        assert!(!is_commit("a1b2c3d") && !is_commit(&"A1".repeat(20)));
    }

    #[test]
    fn addresses_for_curl() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        assert_eq!(joined(&addresses), "192.0.2.1,[2001:db8::1]");
    }
}
