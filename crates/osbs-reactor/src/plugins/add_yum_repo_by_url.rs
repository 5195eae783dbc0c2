//! `add_yum_repo_by_url`: fetches the repo files a request names and queues them (`reactor.md` 3.1.20).
//!
//! A repo file keeps its own say, but for the proxy and where the site's configuration says whether packages and
//! certificates are verified. User and password of a URL go to its server alone.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::plugins::inject_yum_repo::REPO_FOLDER;
use crate::repo_file::with_options;
use crate::run::Run;
use crate::stage_users::on_scratch;
use async_trait::async_trait;
use md5::{Digest as _, Md5};
use osbs_fetch::{login, percent_decoded};
use osbs_http::{AddressRule, Request, Url, UrlRule, is_transient, shown};
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::json;

/// The largest repo file.
const MAX_REPO_FILE: u64 = 4 << 20;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_yum_repo_by_url", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddYumRepo>()?)))
        .purpose("Fetches the repo files that a request names, for use while the image is built.")
        .argument("repourls", "URLs of the files; default none")
        .argument("inject_proxy", "proxy to put into them, where the configuration has no yum_proxy; default none")
        .reads(&["yum_repo_allowed_domains", "yum_proxy", "yum_repo_gpgcheck", "yum_repo_sslverify"])
        .writes(&["the queue of files for inject_yum_repo, under /etc/yum.repos.d/"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddYumRepo {
    repourls: Option<Vec<String>>,
    inject_proxy: Option<String>,
}

#[async_trait]
impl Plugin for AddYumRepo {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let urls = self.repourls.clone().unwrap_or_default();
        if urls.is_empty() {
            return Ok(Done::Skipped("the request gives no yum repositories".to_owned()));
        }
        if on_scratch(&run.dockerfile()?)?.iter().all(|scratch| *scratch) {
            return Ok(Done::Skipped("the image is from scratch".to_owned()));
        }
        let urls = urls.iter().map(|text| RepoUrl::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let allowed = if run.is_scratch() { Vec::new() } else { run.config.yum_repo_allowed_domains.clone() };
        check_domains(urls.iter().map(|repo| &repo.url), &allowed)?;
        let options = Options::of(run, self.inject_proxy.as_deref())?;
        let mut paths = Vec::new();
        for repo in &urls {
            let text = fetch(run, &repo.url, &allowed).await?;
            let text = options.put_into(run, repo, text)?;
            let path = format!("{REPO_FOLDER}{}", repo.file_name);
            run.log().info(format!("repo file {} from {}", repo.file_name, shown(&repo.url)));
            run.files.insert(path.clone(), text);
            paths.push(path);
        }
        Ok(Done::Value(json!(paths)))
    }
}

/// What every section of a repo file gets, whatever it says itself.
struct Options {
    proxy: Option<String>,
    gpgcheck: Option<bool>,
    sslverify: Option<bool>,
}

impl Options {
    fn of(run: &Run, inject_proxy: Option<&str>) -> Result<Self, PluginError> {
        let config = &run.config;
        let proxy = config.yum_proxy.as_deref().or(inject_proxy).filter(|proxy| !proxy.is_empty());
        if proxy.is_some_and(|proxy| proxy.chars().any(char::is_control)) {
            return Err(PluginError::policy("yum_proxy must be one line"));
        }
        Ok(Self {
            proxy: proxy.map(str::to_owned),
            gpgcheck: config.yum_repo_gpgcheck,
            sslverify: config.yum_repo_sslverify,
        })
    }

    /// A file that cannot be read goes without a proxy, but not without the verification that the site asks for.
    fn put_into(&self, run: &Run, repo: &RepoUrl, text: String) -> Result<String, PluginError> {
        let flag = |value: bool| if value { "1" } else { "0" };
        let verified = [("gpgcheck", self.gpgcheck), ("sslverify", self.sslverify)];
        let verified = verified.iter().filter_map(|(name, value)| Some((*name, flag((*value)?))));
        let all: Vec<_> = self.proxy.as_deref().map(|proxy| ("proxy", proxy)).into_iter().chain(verified).collect();
        if all.is_empty() {
            return Ok(text);
        }
        match with_options(&text, &all) {
            Some(changed) => Ok(changed),
            None if self.gpgcheck.is_some() || self.sslverify.is_some() => {
                let text = format!("{} is no repo file: it has no section like [name] first", shown(&repo.url));
                Err(PluginError::user(text).with_hint("this site sets gpgcheck or sslverify in every repo file"))
            }
            None => {
                run.log().warning(format!("{} is no repo file, so it gets no proxy", shown(&repo.url)));
                Ok(text)
            }
        }
    }
}

struct RepoUrl {
    url: Url,
    file_name: String,
}

impl RepoUrl {
    fn parse(text: &str) -> Result<Self, PluginError> {
        let wrong =
            || PluginError::user("a yum repository URL is not an http or https URL").with_hint("see yum_repourls");
        let url = Url::parse(text).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        Ok(Self { file_name: file_name(text, &url), url })
    }
}

/// The last part of the path, with five digits that tell apart URLs which end alike. What a file name in a Dockerfile
/// should not have becomes `_`.
fn file_name(text: &str, url: &Url) -> String {
    let decoded = percent_decoded(url.path());
    let decoded = String::from_utf8_lossy(&decoded);
    let last = decoded.rsplit('/').next().unwrap_or_default();
    let stem = last.strip_suffix(".repo").unwrap_or(last);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(plain).take(200).collect();
    let stem = if stem.is_empty() { "yum" } else { &stem };
    let hash = Md5::digest(text.as_bytes());
    let digits = format!("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
    format!("{stem}-{}.repo", &digits[..5])
}

/// Whether the list admits the URL's `host[:port]`; an empty one admits everything.
fn is_allowed(url: &Url, allowed: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    let bare = url.port().is_none().then_some(host);
    allowed.is_empty()
        || allowed.iter().any(|one| {
            bare.is_some_and(|host| one.eq_ignore_ascii_case(host))
                || with_port.as_ref().is_some_and(|host| one.eq_ignore_ascii_case(host))
        })
}

/// All that is not allowed, in one error.
fn check_domains<'a>(urls: impl Iterator<Item = &'a Url>, allowed: &[String]) -> Result<(), PluginError> {
    let refused: Vec<_> = urls.filter(|url| !is_allowed(url, allowed)).map(shown).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let text = format!("yum repositories from hosts that are not allowed here: {}", refused.join(", "));
    Err(PluginError::policy(text).with_hint(&format!("yum_repo_allowed_domains has {}", allowed.join(", "))))
}

/// The file's text. Its host may be an inner one; only link-local addresses, where clouds keep metadata, are refused.
async fn fetch(run: &Run, url: &Url, allowed: &[String]) -> Result<String, PluginError> {
    // A host that is allowed must not hand on to one that is not.
    let hosts = allowed.to_vec();
    let rule = (!hosts.is_empty()).then(|| UrlRule::new(move |url| is_allowed(url, &hosts)));
    let request = Request::get(url.clone()).allow_plain_http(true).addresses(AddressRule::NoLinkLocal).only(rule);
    let request = request.authorization(login(url));
    let response = run.services.transport.send(&request).await?;
    let status = response.status();
    if !status.is_success() {
        let text = format!("the repo file {} cannot be fetched: {status}", shown(url));
        return Err(if is_transient(status) { PluginError::remote(text) } else { PluginError::user(text) });
    }
    let bytes = response.bytes(MAX_REPO_FILE).await?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| PluginError::user(format!("the repo file {} is not UTF-8 text", shown(url))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_with};
    use osbs_config::ReactorConfig;
    use osbs_types::ErrorKind;
    use serde_json::Value;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::sync::Arc;

    /// A server on this machine that answers every path with what `answer` says: status, location, body.
    fn serve(answer: impl Fn(&str) -> (u16, String, Vec<u8>) + Send + 'static) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
                lines.find(String::is_empty);
                let (status, location, body) = answer(&path);
                let head = format!(
                    "HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        format!("127.0.0.1:{}", address.port())
    }

    fn answer(path: &str) -> (u16, String, Vec<u8>) {
        let body = |text: &str| (200, "/".to_owned(), text.as_bytes().to_vec());
        match path {
            "/a/r.repo" => body("[a]\nbaseurl=http://a/\n"),
            "/b/r.repo" => body("[b]\nbaseurl=http://b/\n"),
            "/loose.repo" => body("[a]\ngpgcheck=0\nsslverify=0\n"),
            "/page" => body("<html>\n"),
            "/binary" => (200, "/".to_owned(), vec![0xff, 0xfe]),
            "/huge" => (200, "/".to_owned(), vec![b'x'; (4 << 20) + 1]),
            "/moved" => (302, "/a/r.repo".to_owned(), Vec::new()),
            moved if moved.starts_with("/to/") => {
                (302, format!("http://localhost:{}/a/r.repo", &moved[4..]), Vec::new())
            }
            _ => (404, "/".to_owned(), Vec::new()),
        }
    }

    async fn with_config(config: &str, scratch: bool) -> TestRun {
        let mut test = run_with("FROM a\n", &[], PluginLists::default()).await;
        let config = format!("version: 1\n{config}\n");
        test.run.config = Arc::new(ReactorConfig::parse(&config, "config.yaml").unwrap().value);
        if scratch {
            test.run.build.labels.insert("scratch".to_owned(), "true".to_owned());
        }
        test
    }

    #[tokio::test]
    async fn files_are_queued_under_names_of_their_own() {
        let host = serve(answer);
        let mut test = with_config("yum_proxy: http://proxy:3128", false).await;
        let urls: Vec<_> = ["a/r.repo", "b/r.repo", "moved"].map(|path| format!("http://{host}/{path}")).into();
        let ended = test.plugin(&plugin(), json!({"repourls": urls, "inject_proxy": "http://other"})).await.unwrap();
        let Done::Value(Value::Array(paths)) = ended else { panic!("{ended:?}") };
        assert_eq!(test.run.files.len(), 3, "two URLs with the same base name: {:?}", test.run.files.keys());
        let text = |at: usize| test.run.files[paths[at].as_str().unwrap()].as_str();
        assert_eq!(text(0), "[a]\nproxy = http://proxy:3128\nbaseurl=http://a/\n");
        assert_eq!((text(1).contains("http://b/"), text(2)), (true, text(0)));
    }

    async fn check_failure(host: &str, paths: &[&str], config: &str, kind: ErrorKind, parts: &[&str]) {
        let mut test = with_config(config, false).await;
        let urls: Vec<_> = paths.iter().map(|path| format!("http://{host}{path}")).collect();
        let failure = test.plugin(&plugin(), json!({ "repourls": urls })).await.unwrap_err().into_failure();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(parts.iter().all(|part| failure.to_string().contains(part)), "{failure}");
        assert!(test.run.files.is_empty() || !paths.contains(&"/a/r.repo"));
    }

    #[tokio::test]
    async fn failures() {
        let host = serve(answer);
        check_failure(&host, &["/none"], "", ErrorKind::User, &["/none", "404"]).await;
        check_failure(&host, &["/binary"], "", ErrorKind::User, &["/binary", "UTF-8"]).await;
        check_failure(&host, &["/huge"], "", ErrorKind::Remote, &["/huge", "4194304"]).await;
        let elsewhere = "yum_repo_allowed_domains: [example.com, 127.0.0.1]";
        check_failure(&host, &["/x.repo", "/y.repo"], elsewhere, ErrorKind::Policy, &["/x.repo", "/y.repo"]).await;
        let port = host.rsplit(':').next().unwrap();
        let only = format!("yum_repo_allowed_domains: ['{host}']");
        check_failure(&host, &[&format!("/to/{port}")], &only, ErrorKind::Policy, &["localhost"]).await;
        check_failure("169.254.169.254", &["/latest"], "", ErrorKind::Policy, &["169.254"]).await;
    }

    #[tokio::test]
    async fn scratch() {
        let host = serve(answer);
        let urls = json!({"repourls": [format!("http://{host}/a/r.repo")]});
        let mut scratch_build = with_config("yum_repo_allowed_domains: [example.com]", true).await;
        scratch_build.plugin(&plugin(), urls.clone()).await.unwrap();
        assert_eq!(scratch_build.run.files.len(), 1, "no list for scratch builds");
        for text in ["FROM scratch\nADD x /\n", "FROM scratch AS a\nFROM a\n"] {
            let mut test = run_with(text, &[], PluginLists::default()).await;
            assert!(matches!(test.plugin(&plugin(), urls.clone()).await, Ok(Done::Skipped(_))));
        }
    }

    #[test]
    fn names() {
        for (url, expected) in [
            // The digits are the start of `printf %s URL | md5sum`.
            ("http://example.com/r.repo", "r-DIGITS.repo"),
            ("http://example.com/r", "r-DIGITS.repo"),
            ("http://example.com/x/", "yum-DIGITS.repo"),
            ("http://example.com/a%2Fb%20c.repo?x=1", "b_c-DIGITS.repo"),
            ("http://example.com/a'%0Ab.repo", "a__b-DIGITS.repo"),
            ("http://example.com/%zz%4.repo", "_zz_4-DIGITS.repo"),
        ] {
            let hash = Md5::digest(url.as_bytes());
            let digits = format!("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
            let found = RepoUrl::parse(url).unwrap().file_name;
            assert_eq!(found, expected.replace("DIGITS", &digits[..5]), "{url}");
        }
        assert!(RepoUrl::parse("ftp://x/y").is_err() && RepoUrl::parse("r.repo").is_err());
        assert_eq!(&file_name("", &Url::parse("http://x/r").unwrap()), "r-d41d8.repo", "md5 of nothing");
    }

    #[track_caller]
    fn check_domain(url: &str, allowed: &[&str], expected: bool) {
        let allowed: Vec<_> = allowed.iter().map(|&one| one.to_owned()).collect();
        let found = check_domains(std::iter::once(&Url::parse(url).unwrap()), &allowed).is_ok();
        assert_eq!(found, expected, "{url} {allowed:?}");
    }

    #[test]
    fn domains() {
        check_domain("http://a.example.com/x", &[], true);
        check_domain("http://A.example.com/x", &["a.example.com"], true);
        check_domain("http://a.example.com.evil.org/x", &["a.example.com"], false);
        check_domain("http://b.a.example.com/x", &["a.example.com"], false);
        check_domain("http://a.example.com:8080/x", &["a.example.com"], false);
        check_domain("http://a.example.com:8080/x", &["a.example.com:8080"], true);
        check_domain("https://a.example.com/x", &["a.example.com:443"], true);
        check_domain("http://a.example.com@evil.org/x", &["a.example.com"], false);
    }

    /// The file's text in the queue, or the failure's kind and a part of its text.
    async fn check_options(config: &str, path: &str, expected: Result<&str, (ErrorKind, &str)>) {
        let host = serve(answer);
        let mut test = with_config(config, false).await;
        let ended = test.plugin(&plugin(), json!({"repourls": [format!("http://{host}{path}")]})).await;
        match (ended, expected) {
            (Ok(_), Ok(text)) => assert_eq!(test.run.files.values().next().unwrap(), text, "{config}"),
            (Err(error), Err((kind, part))) => {
                let failure = error.into_failure();
                assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
            }
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn options_of_the_site() {
        check_options("", "/loose.repo", Ok("[a]\ngpgcheck=0\nsslverify=0\n")).await;
        let strict = "yum_repo_gpgcheck: true\nyum_repo_sslverify: true";
        check_options(strict, "/loose.repo", Ok("[a]\ngpgcheck = 1\nsslverify = 1\n")).await;
        check_options("yum_repo_sslverify: false", "/a/r.repo", Ok("[a]\nsslverify = 0\nbaseurl=http://a/\n")).await;
        check_options("yum_proxy: http://p:1", "/page", Ok("<html>\n")).await;
        check_options("yum_repo_gpgcheck: true", "/page", Err((ErrorKind::User, "/page is no repo file"))).await;
        check_options("yum_proxy: \"a\\nb\"", "/page", Err((ErrorKind::Policy, "yum_proxy must be one line"))).await;
    }
}
