//! What each instruction makes of the config and of the history, as tables.

use super::*;
use crate::history::created_by;
use osbs_dockerfile::Dockerfile;
use osbs_types::Architecture;
use std::collections::BTreeMap;

/// A stage on an image with one of everything.
fn on_parent() -> StageConfig {
    let mut image = ImageConfig::scratch(&Architecture::new("amd64"));
    let config = &mut image.config;
    config.env = vec!["PATH=/bin".into(), "BASE=1".into()];
    config.entrypoint = Some(vec!["/entry".into()]);
    config.cmd = Some(vec!["inherited".into()]);
    config.healthcheck = Some(json!({"Test": ["CMD", "x"], "Interval": 5}));
    config.labels.insert("l".into(), "parent".into());
    config.volumes.insert("/v".into(), json!({}));
    StageConfig { image, args: StageArgs::default(), own_cmd: false }
}

/// Carries out config instructions on that image; what differs from it, and the history.
fn carried_out(lines: &str, build_args: &[(&str, &str)]) -> (Value, Vec<String>) {
    let dockerfile = Dockerfile::parse(&format!("ARG META=meta\nFROM x\n{lines}\n"), "Dockerfile").expect(lines);
    let given: BTreeMap<_, _> = build_args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut global = GlobalArgs::new(&given, &Architecture::new("arm64"), None, None, '\\');
    let InstructionKind::Arg(declarations) = &dockerfile.meta_args()[0].kind else { unreachable!("it is ARG") };
    global.declare(&declarations[0]).expect("declare");
    let mut stage = on_parent();
    let mut history = Vec::new();
    for instruction in dockerfile.final_stage().instructions {
        assert!(stage.apply(&instruction.kind, &global).unwrap_or_else(|e| panic!("{lines}: {e}")), "{lines}");
        history.push(created_by(instruction, &stage));
    }
    let (before, mut now) = (on_parent().image, serde_json::to_value(&stage.image.config).expect("json"));
    let before = serde_json::to_value(&before.config).expect("json");
    let members = now.as_object_mut().expect("an object");
    members.retain(|key, value| before.get(key) != Some(value));
    if let Some(author) = stage.image.author {
        members.insert("author".into(), author.into());
    }
    (now, history)
}

#[test]
fn config_and_history_of_each_instruction() {
    let check = |lines: &str, changed: Value, history: &[&str]| {
        assert_eq!(carried_out(lines, &[]), (changed, history.iter().map(|it| (*it).to_owned()).collect()), "{lines}");
    };
    check("ENV A=1 B=$BASE", json!({"Env": ["PATH=/bin", "BASE=1", "A=1", "B=1"]}), &["ENV A=1 B=1"]);
    check("ENV BASE=2", json!({"Env": ["PATH=/bin", "BASE=2"]}), &["ENV BASE=2"]);
    check("ENV A one two", json!({"Env": ["PATH=/bin", "BASE=1", "A=one two"]}), &["ENV A=one two"]);
    check(
        "LABEL l=own m=\"two words\"",
        json!({"Labels": {"l": "own", "m": "two words"}}),
        &["LABEL l=own m=two words"],
    );
    check("USER app:web", json!({"User": "app:web"}), &["USER app:web"]);
    check("VOLUME /a [b]", json!({"Volumes": {"/a": {}, "/v": {}, "[b]": {}}}), &["VOLUME /a [b]"]);
    check("VOLUME [\"/a b\"]", json!({"Volumes": {"/a b": {}, "/v": {}}}), &["VOLUME [\"/a b\"]"]);
    check("EXPOSE 80 53/udp", json!({"ExposedPorts": {"53/udp": {}, "80/tcp": {}}}), &["EXPOSE 80 53/udp"]);
    check("STOPSIGNAL SIGINT", json!({"StopSignal": "SIGINT"}), &["STOPSIGNAL SIGINT"]);
    check("MAINTAINER me", json!({"author": "me"}), &["MAINTAINER me"]);
    check("ONBUILD RUN make", json!({"OnBuild": ["RUN make"]}), &["ONBUILD RUN make"]);
    check("HEALTHCHECK NONE", json!({"Healthcheck": {"Test": ["NONE"]}}), &["HEALTHCHECK NONE"]);
    check(
        "HEALTHCHECK --retries=3 CMD a b",
        json!({"Healthcheck": {"Test": ["CMD-SHELL", "a b"], "Retries": 3}}),
        &["HEALTHCHECK --retries=3 CMD a b"],
    );
    check("SHELL [\"/bin/bash\", \"-c\"]", json!({"Shell": ["/bin/bash", "-c"]}), &["SHELL [\"/bin/bash\", \"-c\"]"]);
}

#[test]
fn commands_and_entry_points() {
    let check = |lines: &str, entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
        let (changed, _) = carried_out(lines, &[]);
        let is = |key: &str, wanted: Option<&[&str]>, inherited: &[&str]| {
            let there = match changed.get(key) {
                Some(value) => Some(value.clone()),
                // Absent: as in the parent, or taken away.
                None if wanted == Some(inherited) => Some(json!(inherited)),
                None => None,
            };
            assert_eq!(there, wanted.map(|it| json!(it)), "{lines}: {key}");
        };
        is("Entrypoint", entrypoint, &["/entry"]);
        is("Cmd", cmd, &["inherited"]);
    };
    check("CMD x", Some(&["/entry"]), Some(&["/bin/sh", "-c", "x"]));
    check("CMD [\"x\"]", Some(&["/entry"]), Some(&["x"]));
    check("ENTRYPOINT [\"e\"]", Some(&["e"]), None);
    check("ENTRYPOINT e f", Some(&["/bin/sh", "-c", "e f"]), None);
    check("CMD [\"own\"]\nENTRYPOINT [\"e\"]", Some(&["e"]), Some(&["own"]));
    check("ENTRYPOINT [\"e\"]\nCMD [\"own\"]", Some(&["e"]), Some(&["own"]));
    check("ENTRYPOINT []", None, None);
    check("CMD []", Some(&["/entry"]), None);
    check("SHELL [\"b\", \"-c\"]\nCMD x", Some(&["/entry"]), Some(&["b", "-c", "x"]));
}

#[test]
fn arguments_reach_the_config_only_where_they_are_used() {
    let check = |lines: &str, given: &[(&str, &str)], env: &[&str], history: &[&str]| {
        let (changed, told) = carried_out(lines, given);
        let all: Vec<_> = ["PATH=/bin", "BASE=1"].iter().chain(env).collect();
        let there = changed.get("Env").cloned().unwrap_or_else(|| json!(["PATH=/bin", "BASE=1"]));
        assert_eq!((there, told), (json!(all), history.iter().map(|it| (*it).to_owned()).collect()), "{lines}");
    };
    check("ARG V=1\nENV A=$V", &[], &["A=1"], &["ARG V=1", "ENV A=1"]);
    check("ARG V=1\nENV A=$V", &[("V", "2")], &["A=2"], &["ARG V=1", "ENV A=2"]);
    check("ARG TOKEN", &[("TOKEN", "hunter2")], &[], &["ARG TOKEN"]);
    check("ENV A=${V:-none}\nARG V=1", &[("V", "2")], &["A=none"], &["ENV A=none", "ARG V=1"]);
    check("ENV A=$META", &[], &["A="], &["ENV A="]);
    check("ARG META\nENV A=$META", &[], &["A=meta"], &["ARG META", "ENV A=meta"]);
    check("ARG META=own\nENV A=$META", &[], &["A=own"], &["ARG META=own", "ENV A=own"]);
    check("ARG TARGETARCH\nENV A=$TARGETARCH", &[], &["A=arm64"], &["ARG TARGETARCH", "ENV A=arm64"]);
    check("ENV A=$TARGETARCH", &[], &["A="], &["ENV A="]);
    check("ARG BASE=x\nENV A=$BASE", &[("BASE", "y")], &["A=1"], &["ARG BASE=x", "ENV A=1"]);
    check("ENV A=$HTTP_PROXY", &[("HTTP_PROXY", "p")], &["A="], &["ENV A="]);
}

#[test]
fn the_history_of_a_run_tells_what_was_done() {
    let check = |line: &str, expected: &str| {
        let dockerfile = Dockerfile::parse(&format!("FROM x\n{line}\n"), "Dockerfile").expect(line);
        assert_eq!(created_by(&dockerfile.final_stage().instructions[0], &on_parent()), expected);
    };
    check("RUN a $B", "RUN /bin/sh -c a $B");
    check("RUN [\"a\", \"b c\"]", "RUN [\"a\",\"b c\"]");
    check("RUN --mount=type=secret,id=s a", "RUN /bin/sh -c a");
    check("RUN <<EOF\na\nb\nEOF", "RUN /bin/sh -c a\nb\n");
    check("RUN cat <<EOF > /f\na\nEOF", "RUN /bin/sh -c cat <<EOF > /f\na\nEOF");
    check("RUN <<EOF\n#!/bin/x\na\nEOF", "RUN <<EOF\n#!/bin/x\na\nEOF");
    check("COPY --chown=a b c", "COPY --chown=a b c");
}

#[test]
fn paths_are_cleaned_as_by_go() {
    let check = |base: &str, path: &str, expected: &str| {
        assert_eq!(clean_path(&absolute(base, path)), expected, "{base} {path}");
    };
    check("", "a", "/a");
    check("/a", "b/", "/a/b");
    check("/a", "/b", "/b");
    check("/a/b", "../../../c", "/c");
    check("/", ".", "/");
    check("/x", "a//./b", "/x/a/b");
}

#[test]
fn ports_are_checked() {
    let check = |text: &str, expected: &[&str]| assert_eq!(ports(text).expect(text), expected, "{text}");
    check("80", &["80/tcp"]);
    check("53/UDP", &["53/udp"]);
    check("1-3", &["1/tcp", "2/tcp", "3/tcp"]);
    check("8080:80", &["80/tcp"]);
    for text in ["", "x", "70000", "3-1", "80/http", "-1"] {
        ports(text).expect_err(text);
    }
}
