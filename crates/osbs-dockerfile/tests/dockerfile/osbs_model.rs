//! Parents, labels and checks as OSBS has them.

use osbs_dockerfile::{Dockerfile, Parent, find_label, is_custom_base_image};

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn check_parents(text: &str, parents: &[&str], base: &str) {
    let file = parse(text);
    assert_eq!(file.parents_ordered().expect(text), parents, "{text}");
    assert_eq!(file.base_image().expect(text), base, "{text}");
}

#[test]
fn parents() {
    check_parents("FROM fedora", &["fedora:latest"], "fedora:latest");
    check_parents("FROM fedora:40", &["fedora:40"], "fedora:40");
    check_parents("FROM scratch AS x\nFROM b:1\nFROM b:1", &["scratch", "b:1", "b:1"], "b:1");
    check_parents("FROM a AS build\nFROM build", &["a:latest"], "a:latest");
    check_parents("FROM a AS x\nFROM b AS y\nFROM X", &["a:latest", "b:latest"], "a:latest");
    check_parents("ARG V=40\nARG I=fedora:$V\nFROM $I", &["fedora:40"], "fedora:40");
    check_parents("ARG V\nFROM fedora:${V:-41}", &["fedora:41"], "fedora:41");
    check_parents("FROM koji/image-build:my.conf", &["koji/image-build:my.conf"], "koji/image-build:my.conf");
    let digest = format!("r.io:5000/a@sha256:{}", "0".repeat(64));
    check_parents(&format!("FROM {digest}"), &[&digest], &digest);
    check_parents("FROM scratch", &["scratch"], "scratch");
    let file = parse("ARG V=1\nFROM a:$V\nFROM b:$TARGETARCH\nFROM c:${X:-none}");
    let args = |name: &str| {
        [("V", "2"), ("TARGETARCH", "arm64"), ("X", "no")]
            .iter()
            .find(|(k, _)| *k == name)
            .map(|(_, v)| (*v).to_owned())
    };
    let image = |text: &str| Parent::Image(text.to_owned());
    assert_eq!(file.parents_with(&args), Ok(vec![image("a:2"), image("b:arm64"), image("c:none")]));
    for bad in ["FROM A:1", "FROM a:$V", "FROM ${V", "FROM $V"] {
        let error = parse(bad).parents().expect_err(bad);
        assert_eq!(error.position.line, 1, "{error}");
    }
}

#[test]
fn custom_base_images() {
    for (image, expected) in [
        ("koji/image-build", true),
        ("koji/image-build:x", true),
        ("koji/image-build:", true),
        ("koji/image-builder", false),
        ("r.io/koji/image-build", false),
    ] {
        assert_eq!(is_custom_base_image(image), expected, "{image}");
    }
    let file = parse("FROM koji/image-build\nFROM koji/image-build:a\nFROM koji/image-build:latest");
    assert_eq!(file.custom_base_images().expect("valid"), ["koji/image-build:latest", "koji/image-build:a"]);
}

#[test]
fn references_between_stages() {
    let cases: &[(&str, &[usize])] = &[
        ("FROM a AS b\nFROM c\nCOPY --from=b x y", &[]),
        ("FROM a AS b\nFROM c\nCOPY --from=B x y", &[]),
        ("FROM a\nFROM c\nCOPY --from=0 x y", &[]),
        ("FROM a\nFROM c\nCOPY --from=1 x y", &[3]),
        ("FROM a\nFROM c AS d\nCOPY --from=d x y", &[3]),
        ("FROM a\nCOPY --from=img:1 x y\nFROM b\nCOPY --from=img x y", &[2, 4]),
        ("FROM a\nRUN --mount=from=img,target=/x y", &[2]),
        ("FROM a AS s\nFROM b\nRUN --mount=from=s,target=/x y\nCOPY --from=$V a b", &[]),
    ];
    for (text, lines) in cases {
        let problems = parse(text).check_copy_from();
        assert_eq!(problems.iter().map(|p| p.position.line).collect::<Vec<_>>(), *lines, "{text}");
    }
    let file = parse("FROM a AS builder\nFROM b\nCOPY --from=bulider x y");
    let problem = &file.check_copy_from()[0];
    assert_eq!(problem.hint(), "did you mean builder?");
}

#[track_caller]
fn check_labels(text: &str, expected: &[(&str, &str)]) {
    let env = [("BASE".to_owned(), "from parent".to_owned()), ("V".to_owned(), "parent".to_owned())];
    let labels = parse(text).labels(&env).expect(text);
    assert_eq!(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn labels_of_the_final_stage() {
    check_labels("FROM a\nLABEL a=1 b=\"2 3\"\nLABEL c d e", &[("a", "1"), ("b", "2 3"), ("c", "d e")]);
    check_labels("FROM a\nLABEL a=1\nFROM b\nLABEL b=2", &[("b", "2")]);
    check_labels("FROM a\nLABEL a=1\nLABEL b=2\nLABEL a=3", &[("a", "3"), ("b", "2")]);
    check_labels(
        "FROM a\nLABEL a=$BASE b='$BASE' c=\\$BASE d=\"$BASE\"",
        &[("a", "from parent"), ("b", "$BASE"), ("c", "$BASE"), ("d", "from parent")],
    );
    check_labels("FROM a\nLABEL a=$V\nENV V=own\nLABEL b=$V", &[("a", "parent"), ("b", "own")]);
    check_labels("FROM a\nENV V=own\nFROM b\nLABEL a=$V x=$UNSET", &[("a", "parent"), ("x", "")]);
    check_labels("FROM a\nENV V=1 W=$V\nENV X=$V\nLABEL a=$W$X", &[("a", "parent1")]);
    check_labels("FROM a\nARG V=arg\nLABEL a=$V", &[("a", "parent")]);
    check_labels("FROM a\nLABEL \"a$V\"=1 release=\"$V.1\"", &[("aparent", "1"), ("release", "parent.1")]);
    check_labels("FROM a\nLABEL 'com.example.a b'='x\\y'", &[("com.example.a b", "x\\y")]);
    let error = parse("FROM a\nLABEL a=${V").labels(&[]).expect_err("unfinished");
    assert_eq!(error.position.line, 2);
    assert_eq!(error.to_failure().causes.len(), 1);
}

#[test]
fn environment_and_user() {
    let file = parse("FROM a\nENV X=0\nUSER root\nFROM b\nENV A=1 B=$P/x\nENV C d e\nUSER  \\\n  me");
    let envs = file.envs(&[("P".into(), "p".into())]).expect("valid");
    assert_eq!(envs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["A=1", "B=p/x", "C=d e"]);
    assert_eq!(file.last_user(), Some("USER  \\\n  me"));
    assert_eq!(file.last_user_of(0), Some("USER root"));
    assert_eq!(file.last_user_of(7), None);
}

#[test]
fn aliases() {
    let labels = parse("FROM a\nLABEL Name=old version=1 Version=0").labels(&[]).expect("valid");
    assert_eq!(find_label(&labels, "name"), Some(("Name", "old")));
    assert_eq!(find_label(&labels, "version"), Some(("version", "1")));
    assert_eq!(find_label(&labels, "release"), None);
}
