//! `RUN --mount`.

use osbs_dockerfile::{Dockerfile, InstructionKind, Mount, MountError, Sharing};

fn resolve(text: &str) -> Result<Mount, MountError> {
    // A variable delays all checks to this point. Bare quotes are taken off with the flag, escaped ones reach the mount.
    let text = text.replace('"', "\\\"");
    let file = Dockerfile::parse(&format!("FROM a\nRUN --mount={text},target=$T x\n"), "Dockerfile").expect(&text);
    let InstructionKind::Run(run) = &file.instructions()[1].kind else { panic!("no RUN") };
    run.mounts[0].resolve(&|value| Ok(if value == "$T" { "/t".to_owned() } else { value.to_owned() }))
}

#[track_caller]
fn check(text: &str, expected: Mount) {
    assert_eq!(resolve(text), Ok(expected), "{text}");
}

#[test]
fn types_and_defaults() {
    let bind = |from: Option<&str>, source: &str, read_only| Mount::Bind {
        from: from.map(str::to_owned),
        source: source.to_owned(),
        target: "/t".to_owned(),
        read_only,
    };
    check("type=bind", bind(None, "/", true));
    check("source=/s", bind(None, "/s", true));
    check("src=/s,rw", bind(None, "/s", false));
    check("from=b,src=/s,ro=false", bind(Some("b"), "/s", false));
    check("readwrite=false", bind(None, "/", true));
    check("\"source=/a,b\"", bind(None, "/a,b", true));
    let cache = |id: &str, sharing, mode, uid| Mount::Cache {
        id: id.to_owned(),
        from: None,
        source: "/".to_owned(),
        target: "/t".to_owned(),
        read_only: false,
        sharing,
        mode,
        uid,
        gid: 0,
    };
    check("type=cache", cache("/t", Sharing::Shared, 0o755, 0));
    check("type=cache,id=k,sharing=locked,mode=0700,uid=7", cache("k", Sharing::Locked, 0o700, 7));
    check("type=tmpfs,size=64m", Mount::Tmpfs { target: "/t".into(), size: Some(64 << 20) });
    check("type=tmpfs", Mount::Tmpfs { target: "/t".into(), size: None });
    let secret = |id: &str, target: Option<&str>, env: Option<&str>, required| Mount::Secret {
        id: id.into(),
        target: target.map(str::to_owned),
        env: env.map(str::to_owned),
        required,
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    check("type=secret,id=s", secret("s", Some("/t"), None, false));
    check("type=secret,required", secret("t", Some("/t"), None, true));
    let ssh =
        Mount::Ssh { id: "default".into(), target: Some("/t".into()), required: false, mode: 0o600, uid: 0, gid: 0 };
    check("type=ssh", ssh);
    let file = Dockerfile::parse("FROM a\nRUN --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=f x", "D")
        .expect("valid");
    let InstructionKind::Run(run) = &file.instructions()[1].kind else { panic!("no RUN") };
    let same = |text: &str| Ok(text.to_owned());
    assert_eq!(run.mounts[0].resolve(&same), Ok(secret("s", None, Some("TOKEN"), false)));
    assert_eq!(run.mounts[1].resolve(&same), Ok(secret("f", Some("/run/secrets/f"), None, false)));
}

#[test]
fn refused() {
    for text in [
        "type=bnd",
        "typ=bind",
        "type=bind,mode=1",
        "type=bind,size=1m",
        "type=tmpfs,uid=1",
        "type=cache,sharing=all",
        "type=cache,mode=rwx",
        "type=cache,uid=-1",
        "type=bind,ro=maybe",
        "type=tmpfs,size=big",
        "type=bind,sharing=locked",
        "source",
        "type=bind,required",
    ] {
        assert!(resolve(text).is_err(), "{text}");
    }
    for text in ["type=bind", "type=cache", "type=secret", "\"type=bind", "\"a\"b,target=/t"] {
        let text = format!("FROM a\nRUN --mount={} x", text.replace('"', "\\\""));
        let error = Dockerfile::parse(&text, "Dockerfile").expect_err(&text);
        assert_eq!(error.position.line, 2, "{error}");
    }
}
