//! From git's words to whose fault it is. The texts are git's own (2.30 to 2.50), in the C locale.

use super::{CheckoutRequest, GitError};

/// The error behind what git wrote to its standard error.
pub(super) fn classify(request: &CheckoutRequest, stderr: &str) -> GitError {
    let uri = request.uri.clone();
    let message = shortened(stderr);
    let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    if let Some(missing) = missing_ref(stderr) {
        return match &request.branch {
            Some(branch) if missing == format!("refs/heads/{branch}") => {
                GitError::BranchNotFound { uri, branch: branch.clone() }
            }
            _ => GitError::RefNotFound { request: request.clone() },
        };
    }
    if says(&["fsck error"]) {
        return GitError::Refused { uri, message };
    }
    if says(&["not our ref", "unadvertised object", "no such remote ref", "invalid refspec", "bad object"]) {
        return GitError::RefNotFound { request: request.clone() };
    }
    if says(&["transport '", "is not a git command", "remote helper"])
        && says(&["not allowed", "is not a git command", "Unable to find"])
    {
        return GitError::BadTransport { uri, message };
    }
    if says(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "access denied",
    ]) {
        return GitError::Denied { uri, message };
    }
    if says(&["does not appear to be a git repository", "not found", "does not exist", "No such file or directory"])
        && !says(&["No space left"])
    {
        return GitError::NoRepository { uri, message };
    }
    if says(&[
        "No space left",
        "Read-only file system",
        "Disk quota",
        "unable to write",
        "unable to create",
        "out of memory",
    ]) {
        return GitError::Local { message };
    }
    GitError::Remote { uri, message }
}

fn missing_ref(stderr: &str) -> Option<&str> {
    stderr.lines().find_map(|line| line.split_once("couldn't find remote ref ").map(|(_, name)| name.trim()))
}

/// The lines that say something, on one line.
fn shortened(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(|line| line.trim().trim_start_matches("fatal: ").trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .take(4)
        .collect();
    let text = lines.join("; ");
    if text.is_empty() { "git gave no reason".to_owned() } else { text.chars().take(500).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::ErrorKind;

    #[track_caller]
    fn check(stderr: &str, kind: ErrorKind, contains: &str) {
        let request = CheckoutRequest {
            uri: "https://h/web.git".into(),
            branch: Some("f40".into()),
            git_ref: "abc".into(),
            depth: None,
        };
        let error = classify(&request, stderr);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(contains), "{error}");
    }

    #[test]
    fn whose_fault() {
        use ErrorKind::{Remote, Resource, User};
        check("fatal: couldn't find remote ref refs/heads/f40\n", User, "no branch \"f40\"");
        check("fatal: couldn't find remote ref abc\n", User, "no commit, tag or branch \"abc\" on branch \"f40\"");
        check("fatal: remote error: upload-pack: not our ref 0123\n", User, "no commit");
        check("fatal: transport 'ext' not allowed\n", User, "transport");
        check("fatal: repository 'https://h/web.git/' not found\n", User, "no git repository");
        check(
            "fatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote repository.\n",
            User,
            "no git repository",
        );
        check("fatal: could not read Username for 'https://h': terminal prompts disabled\n", User, "no permission");
        check("fatal: unable to access 'https://h/': Could not resolve host: h\n", Remote, "Could not resolve host");
        check("error: unable to write file: No space left on device\n", Resource, "No space left");
        check("", Remote, "no reason");
    }
}
