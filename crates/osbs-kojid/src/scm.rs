//! Which repository a task names, and whether the site builds from it (client-and-koji 4.4, step 5).

use crate::TaskError;

const SCHEMES: [&str; 6] = ["git", "git+http", "git+https", "git+rsync", "git+ssh", "git+file"];

/// `SCHEME://[USER@]HOST/PATH[?SUBDIR]#REVISION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScmUrl {
    /// As it came.
    pub text: String,
    /// `git+https`.
    pub scheme: String,
    /// Name or address, with the port if there is one.
    pub host: String,
    /// With its leading `/`.
    pub path: String,
    /// Folder of the repository.
    pub subdir: Option<String>,
    /// Commit, tag or branch.
    pub revision: String,
}

impl ScmUrl {
    /// Reads one.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(url: &str) -> Result<Self, TaskError> {
        let wrong = |problem| TaskError::ScmUrl { url: osbs_types::without_logins(url), problem };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        if !SCHEMES.contains(&scheme) {
            return Err(wrong("another scheme"));
        }
        let (rest, revision) = rest.split_once('#').ok_or_else(|| wrong("no #REVISION"))?;
        let (rest, subdir) = match rest.split_once('?') {
            Some((rest, subdir)) => (rest, Some(subdir).filter(|subdir| !subdir.is_empty())),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').ok_or_else(|| wrong("no path"))?);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() && scheme != "git+file" {
            return Err(wrong("no host"));
        }
        if revision.is_empty() || path.len() < 2 {
            return Err(wrong("an empty path or revision"));
        }
        if path.split('/').any(|part| part == "..") || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong("a path with .. or spaces"));
        }
        Ok(Self {
            text: url.to_owned(),
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            subdir: subdir.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }

    /// What git fetches from: without user, folder and revision. `git+ssh` becomes `ssh`.
    pub fn repository(&self) -> String {
        let scheme = self.scheme.strip_prefix("git+").unwrap_or(&self.scheme);
        format!("{scheme}://{}{}", self.host, self.path)
    }

    /// Last part of the path, without `.git`.
    pub fn component(&self) -> &str {
        let last = self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(last)
    }
}

/// Repositories that the site builds from: `HOST:PATH[:USE_COMMON[:SOURCE_COMMAND]]`, separated by spaces, with globs; a
/// leading `!` forbids; the first match decides. What stands behind the path is for RPMs and has no meaning here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedScms {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    allows: bool,
    host: String,
    path: String,
}

impl AllowedScms {
    /// Reads `allowed_scms`. A word without a path is left out, and returned as a complaint.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (mut rules, mut odd) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let (allows, rest) = word.strip_prefix('!').map_or((true, word), |rest| (false, rest));
            let mut fields = rest.split(':');
            match (fields.next(), fields.next()) {
                (Some(host), Some(path)) if !host.is_empty() && !path.is_empty() => {
                    rules.push(Rule { allows, host: host.to_owned(), path: path.to_owned() });
                }
                _ => odd.push(format!("allowed_scms: {word:?} is not HOST:PATH")),
            }
        }
        (Self { rules }, odd)
    }

    /// Whether this one may be built.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, url: &ScmUrl) -> Result<(), TaskError> {
        let host = url.host.split(':').next().unwrap_or_default();
        let first = self.rules.iter().find(|rule| glob(&rule.host, host) && glob(&rule.path, &url.path));
        if first.is_some_and(|rule| rule.allows) {
            return Ok(());
        }
        Err(TaskError::ScmNotAllowed { host: host.to_owned(), path: url.path.clone() })
    }
}

/// Python's fnmatch as far as such rules use it: `*` matches slashes too, `?` one character.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            (p, t) = (at + 1, from + 1);
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, repository: &str, component: &str, subdir: Option<&str>, revision: &str) {
        let scm = ScmUrl::parse(url).unwrap();
        assert_eq!((scm.repository().as_str(), scm.component()), (repository, component));
        assert_eq!((scm.subdir.as_deref(), scm.revision.as_str()), (subdir, revision));
    }

    #[test]
    fn urls() {
        check("git://h/rpms/web#abc", "git://h/rpms/web", "web", None, "abc");
        check("git+ssh://me@h:22/c/web.git?docker#f40", "ssh://h:22/c/web.git", "web", Some("docker"), "f40");
        check("git+https://me:secret@h/c/web/#abc", "https://h/c/web/", "web", None, "abc");
        check("git+file:///srv/git/web.git#main", "file:///srv/git/web.git", "web", None, "main");
        for (url, problem) in [
            ("web", "no scheme"),
            ("https://h/web#a", "another scheme"),
            ("cvs://h/web#a", "another scheme"),
            ("git://h/web", "no #REVISION"),
            ("git://h#a", "no path"),
            ("git:///web#a", "no host"),
            ("git://h/#a", "empty path"),
            ("git://h/web#", "empty path or revision"),
            ("git://h/../web#a", ".."),
            ("git://h/we b#a", "spaces"),
        ] {
            let error = ScmUrl::parse(url).expect_err(url).to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
        let error = ScmUrl::parse("git://me:secret@h/web").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[track_caller]
    fn check_allowed(rules: &str, url: &str, expected: bool) {
        let allowed = AllowedScms::parse(rules).0.check(&ScmUrl::parse(url).unwrap()).is_ok();
        assert_eq!(allowed, expected, "{rules} {url}");
    }

    #[test]
    fn allowed() {
        let rules = "!h.example:/private/* h.example:/*:no:fedpkg,sources *.other:/c/?eb";
        check_allowed(rules, "git://h.example/rpms/web#a", true);
        check_allowed(rules, "git://h.example:9418/rpms/web#a", true);
        check_allowed(rules, "git://h.example/private/web#a", false);
        check_allowed(rules, "git://x.other/c/web#a", true);
        check_allowed(rules, "git://x.other/c/wweb#a", false);
        check_allowed(rules, "git://elsewhere/web#a", false);
        check_allowed("", "git://h/web#a", false);
        assert_eq!(AllowedScms::parse("h").1.len(), 1);
    }
}
