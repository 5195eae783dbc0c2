//! Our client makes the same requests as were recorded, and understands the answers.
//!
//! Compared byte for byte: the path with its query, `Content-Type` and `Koji-Session-*`, the body. Not compared:
//! `User-Agent` (ours says who we are), `Content-Length` (the body's own), and in the one multicall the order of a struct's
//! members, which means nothing. Keys and passwords are blanked in the recordings.

#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine as _;
use osbs_http::{Bytes, Url};
use osbs_koji::wire::{self, Outgoing, RawUpload};
use osbs_koji::xmlrpc::{decode_call, decode_response};
use osbs_koji::{Arguments, BuildState, MethodCall, Struct, UploadedBlock, Value, ValueError, calls};
use osbs_types::Secret;
use std::collections::BTreeSet;
use support::recorded::Recorded;

const TARGET: &str = "f43-container-candidate";
const SOURCE: &str = "git+ssh://pkgs.example.com/containers/caddy-container#0b7e1f5d3c2a49680123456789abcdef01234567";
const BUILDER: &str = "kojibuilder03.example.com";
const CHANNEL: &str = "container-binary";
const CG: &str = "atomic-reactor";
const FIRST: &str = "koji-upload/1505902534.25.AbCdEfGh";
const SECOND: &str = "koji-upload/1505902600.75.IjKlMnOp";
const IMAGE: &str = "docker-image-sha256:6c2f4d8c39b1.x86_64.tar.gz";

/// What our client makes of an exchange: the request's body, and what the answer's type says of it.
struct Ours {
    document: String,
    understood: Box<dyn Fn(Value) -> Result<String, ValueError>>,
}

fn ours<T: std::fmt::Debug + 'static>(call: MethodCall<T>) -> Ours {
    let document = call.document();
    Ours { document, understood: Box::new(move |answer| call.read(answer).map(|read| format!("{read:?}"))) }
}

fn members(json: &str) -> Struct {
    match Value::from_json(&serde_json::from_str(json).unwrap()) {
        Value::Struct(members) => members,
        other => panic!("{other:?}"),
    }
}

fn raw(method: &str) -> MethodCall<Value> {
    MethodCall::raw(method, Arguments::none())
}

/// The call of ours that makes this exchange.
fn call_of(recorded: &Recorded) -> Ours {
    let password = Secret::new("PASSWORD");
    let login = |user: &str| ours(calls::login(user, &password));
    let output = |name: &'static str, offset: i64| {
        ours(calls::download_task_output(26, calls::OutputPart { name, offset, size: 16384, volume: None }))
    };
    let at_work = Some(members(r#"{"methods": ["buildContainer", "tagBuild"], "maxjobs": 10}"#));
    let container = |opts: &str, priority: Option<i64>| {
        calls::build_container(SOURCE, TARGET, members(opts), priority, Some(CHANNEL))
    };
    let scratch = || ours(container(r#"{"git_branch": "f43", "scratch": true}"#, Some(5)));
    let import = |token: Option<&str>| {
        let params = recorded.params();
        let token = token.map(Secret::new);
        ours(calls::cg_import(params[0].clone(), params[1].as_str().unwrap(), token.as_ref()))
    };
    // What a task answers is its builder's: here it is what was answered.
    let result = || decode_response(recorded.params()[1].as_str().unwrap().as_bytes()).unwrap();
    match recorded.number() {
        1 | 15 => ours(calls::get_api_version()),
        2 => ours(calls::get_koji_version()),
        3 => login("kojiadmin"),
        4 | 132 | 147 | 148 | 150 | 151 | 153 | 161 | 162 => ours(calls::get_logged_in_user()),
        5 => ours(calls::create_tag("f43-container-build").named("arches", "x86_64 aarch64")),
        6 => ours(calls::create_tag(TARGET)),
        7 => ours(calls::create_build_target(TARGET, "f43-container-build", TARGET)),
        8 => ours(calls::create_user("mwells")),
        9 => ours(calls::create_user("reactor")),
        10 => ours(calls::package_list_add(TARGET, "caddy-container", "mwells")),
        11 => ours(calls::add_host(BUILDER, &["x86_64", "aarch64"])),
        12 => ours(calls::add_host_to_channel(BUILDER, CHANNEL)),
        13 => ours(calls::grant_cg_access("reactor", CG)),
        14 | 131 | 157 => login("mwells"),
        16 | 71 => ours(calls::get_build_target(TARGET)),
        17 => ours(calls::get_tag(8)),
        // Who passes no priority on sends none; the stock client sends nil.
        18 => {
            let call = calls::build_container(SOURCE, TARGET, members(r#"{"git_branch": "f43"}"#), None, None);
            ours(call.named("priority", Value::Nil).named("channel", CHANNEL))
        }
        19 | 37 | 40 | 46 | 93 => ours(calls::get_task_info(26, false)),
        20 => login(BUILDER),
        21 => ours(calls::exclusive_session(true)),
        22 => ours(calls::host::get_id()),
        23 => ours(calls::get_session_info()),
        24 | 92 => ours(calls::host::get_host_tasks()),
        25 | 143 => ours(calls::host::get_host()),
        26 | 114 | 120 => ours(calls::host::update_host(0.0, true, at_work)),
        27 | 75 => ours(calls::host::get_tasks()),
        28 | 97 => ours(calls::get_task_info(26, true)),
        29 => ours(calls::host::open_task(26)),
        30 => ours(calls::host::set_task_weight(26, 2.0)),
        31 | 79 => ours(calls::subsession()),
        32 => ours(calls::get_last_event()),
        33 => ours(calls::get_build_target(TARGET).named("event", 70)),
        34 => ours(calls::get_build_config(7).named("event", 70)),
        35 => ours(calls::get_package_config(TARGET, "caddy-container")),
        36 | 100 => ours(calls::get_build("caddy-container-2.4-1")),
        38 => ours(calls::get_user(12)),
        41 | 47 | 94 => ours(calls::list_task_output(26)),
        42 => output("orchestrator.log", 0),
        43 | 48 => output("orchestrator.log", 194),
        45 => {
            let (Value::String(data), Value::Array(sum)) = (&recorded.params()[5], &recorded.params()[3]) else {
                panic!("an upload")
            };
            let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            ours(calls::upload_file("tasks/26/26", "x86_64.log", 97, sum[1].as_str().unwrap(), 0, &bytes))
        }
        49 | 95 => output("orchestrator.log", 332),
        50 => output("x86_64.log", 0),
        51 | 96 => output("x86_64.log", 97),
        52 | 127 => login("reactor"),
        53 | 111 => ours(calls::get_next_release("caddy-container", "2.4")),
        54 | 70 => ours(calls::cg_init_build(CG, "caddy-container", "2.4", "1")),
        56 => ours(calls::check_upload(FIRST, IMAGE)),
        58 => ours(calls::check_upload(FIRST, "orchestrator.log")),
        60 => ours(calls::check_upload(FIRST, "x86_64.log")),
        61 | 62 | 64 | 65 => import(Some(&"f".repeat(64))),
        63 => import(Some(&"0".repeat(64))),
        69 => import(None),
        72 => ours(calls::tag_build(TARGET, 37)),
        73 | 87 => ours(calls::task_finished(27)),
        74 => ours(calls::host::update_host(2.0, true, at_work)),
        76 | 88 => ours(calls::get_task_info(27, true)),
        77 => ours(calls::host::open_task(27)),
        78 => ours(calls::host::set_task_weight(27, 1.0)),
        80 => ours(calls::get_task_info(27, false)),
        81 => ours(calls::get_build(37).strict()),
        82 => ours(calls::get_tag(8).strict()),
        83 => ours(calls::host::tag_build(27, 8, 37, false, None)),
        84 => ours(calls::host::tag_notification(true, Some(8), None, 37, 13, false)),
        85 | 90 | 126 => {
            let task = recorded.params()[0].as_int().unwrap();
            ours(calls::host::close_task(task, &result().unwrap()))
        }
        86 | 89 | 91 | 152 | 155 | 156 | 163 => ours(calls::logout()),
        98 => ours(calls::get_task_children(26)),
        99 => ours(calls::get_task_result(26)),
        101 => ours(calls::list_builds().named("taskID", 26)),
        102 => ours(calls::list_archives(37, None)),
        103 => ours(calls::list_archives(37, Some("image"))),
        104 => ours(calls::get_archive(29)),
        105 => ours(calls::list_rpms().named("imageID", 29)),
        106 => ours(calls::get_buildroot(31)),
        107 => ours(calls::get_build_logs(37)),
        108 => ours(calls::get_build_type(37)),
        109 => ours(calls::list_tagged(TARGET).named("latest", true)),
        110 => ours(calls::list_tags(37)),
        112 => {
            let newest = calls::QueryOptions { order: Some("-build_id"), limit: Some(5), offset: None };
            ours(calls::list_builds().named("packageID", 6).query(newest))
        }
        113 | 119 => scratch(),
        115 => ours(calls::host::open_task(29)),
        116 => ours(calls::host::fail_task(29, &result().unwrap_err())),
        117 => ours(calls::get_task_result(29)),
        118 => ours(calls::get_task_outcome(29)),
        121 => ours(calls::host::open_task(30)),
        122 => ours(calls::cancel_task(30)),
        123 => ours(calls::get_task_info(30, false)),
        124 => ours(calls::get_task_result(30)),
        128 => ours(calls::cg_init_build(CG, "caddy-container", "2.4", "2")),
        129 => ours(calls::cg_refund_build(CG, 38, &Secret::new("f".repeat(64)), BuildState::Canceled)),
        130 => ours(calls::get_build(38)),
        134 => ours(calls::create_tag("x")),
        135 => ours(raw("logout")),
        136 => {
            let items = [
                calls::get_api_version().untyped(),
                calls::get_build_target("no-such-target").strict().untyped(),
                calls::get_task_info(26, false).untyped(),
            ];
            ours(calls::multi_call(&items))
        }
        137 => ours(calls::get_build_target("no-such-target").strict()),
        138 => ours(calls::get_build_target("no-such-target")),
        139 => ours(MethodCall::raw("noSuchMethod", Arguments::of([1.into()]))),
        140 => ours(raw("getTag")),
        141 => ours(calls::build_container(SOURCE, TARGET, Struct::new(), None, None)),
        142 => ours(calls::build_container(SOURCE, TARGET, Struct::new(), Some(-5), None)),
        144 => ours(calls::cg_init_build(CG, "caddy-container", "2.4", "3")),
        145 => ours(calls::tag_build("f43-container-build", 37)),
        146 => ours(calls::login("mwells", &Secret::new("WRONGPASSWORD"))),
        149 => ours(calls::renewing(calls::login("mwells", &password))),
        154 => ours(calls::host::leave()),
        158 => {
            let source = "git+ssh://pkgs.example.com/containers/caddy-container#f43";
            let opts = members(r#"{"git_branch": "f43"}"#);
            ours(calls::build_container(source, TARGET, opts, None, Some(CHANNEL)))
        }
        159 | 160 => ours(calls::cancel_task(31)),
        164 | 165 | 168 => ours(calls::ssl_login(None)),
        166 => ours(calls::ssl_login(Some("mwells"))),
        167 => ours(calls::ssl_login(Some("kojiadmin"))),
        other => panic!("no call for {other}"),
    }
}

/// Folder, name, offset, overwrite of the raw uploads.
fn upload_of(number: u64) -> RawUpload<'static> {
    let (directory, name, offset, overwrite) = match number {
        39 => ("tasks/26/26", "orchestrator.log", 0, true),
        44 => ("tasks/26/26", "orchestrator.log", 194, true),
        55 => (FIRST, IMAGE, 0, true),
        57 => (FIRST, "orchestrator.log", 0, true),
        59 => (FIRST, "x86_64.log", 0, true),
        66 => (SECOND, IMAGE, 0, true),
        67 => (SECOND, "orchestrator.log", 0, true),
        68 => (SECOND, "x86_64.log", 0, true),
        125 => ("tasks/30/30", "orchestrator.log", 0, true),
        133 => ("cli-build/1505902701.5.QrStUvWx", "a.txt", 0, false),
        other => panic!("no upload for {other}"),
    };
    RawUpload { directory, name, offset, overwrite }
}

fn hub() -> Url {
    Url::parse("https://koji.example.com/kojihub").unwrap()
}

/// The whole request that our client makes for this exchange.
fn request_of(recorded: &Recorded) -> Outgoing {
    let mark = recorded.mark();
    if recorded.method() == "rawUpload" {
        let body = Bytes::from(recorded.body("request_file"));
        return wire::raw_upload(&hub(), &upload_of(recorded.number()), mark.as_ref(), body);
    }
    let path = if recorded.method() == "sslLogin" { "/ssllogin" } else { "" };
    wire::call(&hub(), path, mark.as_ref(), Bytes::from(call_of(recorded).document))
}

#[test]
fn every_request_is_made_the_same() {
    let all = Recorded::all();
    assert_eq!(all.len(), 168);
    for recorded in all {
        let number = recorded.number();
        let request = request_of(&recorded);
        let path = &request.url[url::Position::BeforePath..];
        assert_eq!(path, recorded.path(), "{number}");
        let found: BTreeSet<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let expected: BTreeSet<(String, String)> = recorded.headers().into_iter().collect();
        assert_eq!(found, expected, "{number}");
        let body = recorded.body("request_file");
        if recorded.method() == "multiCall" {
            assert_eq!(decode_call(&request.body).unwrap(), decode_call(&body).unwrap(), "{number}");
        } else {
            let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
            let differs = lines(&request.body).into_iter().zip(lines(&body)).find(|(ours, theirs)| ours != theirs);
            assert!(request.body == body, "{number}: {differs:?}");
        }
    }
}

#[test]
fn every_answer_is_understood() {
    for recorded in Recorded::all() {
        let number = recorded.number();
        let fault = recorded.fault();
        match recorded.answer() {
            Ok(value) => {
                assert_eq!(fault, None, "{number}");
                let read = if recorded.method() == "rawUpload" {
                    UploadedBlock::read(value).map(|block| format!("{block:?}"))
                } else {
                    (call_of(&recorded).understood)(value)
                };
                let read = read.unwrap_or_else(|error| panic!("{number}: {error}"));
                assert!(!read.contains("XXXXXX") && !read.contains("ffffff"), "{number} shows a secret: {read}");
            }
            Err(found) => assert_eq!(Some(found.code), fault, "{number}: {}", found.text),
        }
    }
}

/// What is read of an answer.
#[track_caller]
fn check_read<T>(number: u64, call: &MethodCall<T>) -> T {
    let recorded = Recorded::all().into_iter().find(|recorded| recorded.number() == number).unwrap();
    call.read(recorded.answer().unwrap()).unwrap()
}

#[test]
fn what_is_read() {
    let build = check_read(100, &calls::get_build(37)).unwrap();
    assert_eq!((build.id, build.nvr.as_str(), build.state), (37, "caddy-container-2.4-1", BuildState::Complete));
    assert_eq!(build.extra.get("container_koji_task_id").as_int(), Some(26));
    assert_eq!(build.folder(), "packages/caddy-container/2.4/1");
    let opened = check_read(29, &calls::host::open_task(26)).unwrap();
    assert_eq!(opened.request().unwrap()[1].as_str(), Some(TARGET));
    let asked = check_read(28, &calls::get_task_info(26, true)).unwrap();
    assert_eq!(asked.request(), opened.request());
    let failed = check_read(118, &calls::get_task_outcome(29)).unwrap_err();
    assert_eq!(failed.code, 2001);
    let files = check_read(47, &calls::list_task_output(26));
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["orchestrator.log", "x86_64.log"]);
    assert_eq!(files[0].volumes, ["DEFAULT"]);
    let archive = check_read(104, &calls::get_archive(29)).unwrap();
    assert_eq!((archive.checksum_type, archive.arch.as_deref()), (Some("md5"), Some("x86_64")));
    let several = check_read(136, &calls::multi_call::<Value>(&[]));
    assert!(several[0] == Ok(Value::Int(1)) && several[1].as_ref().is_err_and(|fault| fault.code == 1000));
    let config = check_read(34, &calls::get_build_config(7)).unwrap();
    assert_eq!(config.arches, ["x86_64", "aarch64"]);
}
