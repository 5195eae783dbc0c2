//! A hub that plays the recorded exchanges, over real HTTP: the client goes through the scenes of a build as they were, with
//! logins, call numbers, uploads, a session that expires, and answers that are lost.
//!
//! Every request is compared with the recorded one: path and query, `Content-Type` and `Koji-Session-*`, body, byte for byte.

#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine as _;
use osbs_http::Bytes;
use osbs_koji::{
    Arguments, BuildState, FaultCode, Koji, KojiError, Login, MethodCall, Place, Server, Settings, Struct, Value, calls,
};
use osbs_types::Secret;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex};
use support::quick;
use support::recorded::Recorded;

/// One request that is waited for.
#[derive(Clone, Copy)]
enum Turn {
    /// This recorded exchange.
    Plays(u64),
    /// The request of this one; the connection breaks instead of its answer.
    Loses(u64),
    /// Anything: answered like this one. For calls that were recorded in another order, and uploads' second looks.
    Answers(u64),
}
use Turn::{Answers, Loses, Plays};

struct Player {
    url: String,
    left: Arc<Mutex<Vec<Turn>>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Player {
    fn new(turns: Vec<Turn>) -> Self {
        let all = Recorded::all();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/kojihub", listener.local_addr().unwrap());
        let left = Arc::new(Mutex::new(turns));
        let wrong = Arc::<Mutex<Vec<String>>>::default();
        let (turns, told) = (Arc::clone(&left), Arc::clone(&wrong));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let Some((path, headers)) = support::read_head(&mut reader) else { continue };
                let mut body = vec![0; headers["content-length"].parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let mut turns = turns.lock().unwrap();
                if turns.is_empty() {
                    told.lock().unwrap().push(format!("one more: {}", String::from_utf8_lossy(&body)));
                    continue;
                }
                let turn = turns.remove(0);
                let (Plays(number) | Loses(number) | Answers(number)) = turn;
                let recorded = &all[usize::try_from(number).unwrap() - 1];
                if !matches!(turn, Answers(_)) {
                    let mut sent: Vec<(String, String)> = headers.into_iter().collect();
                    sent.retain(|(name, _)| name == "content-type" || name.starts_with("koji-"));
                    let mut expected = recorded.headers();
                    expected.sort();
                    let same = path == recorded.path() && sent == expected && body == recorded.body("request_file");
                    if !same {
                        let body = String::from_utf8_lossy(&body);
                        told.lock().unwrap().push(format!("{number}: {path} {sent:?} not {expected:?}\n{body}"));
                    }
                }
                if !matches!(turn, Loses(_)) {
                    let answer = recorded.body("response_file");
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nKoji-Version: 1.35.3\r\nConnection: close\r\n";
                    let head = format!("{head}Content-Length: {}\r\n\r\n", answer.len());
                    stream.write_all(&[head.into_bytes(), answer].concat()).unwrap();
                }
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Self { url, left, wrong }
    }

    fn client(&self, user: &str) -> Koji {
        self.client_with(user, quick())
    }

    fn client_with(&self, user: &str, settings: Settings) -> Koji {
        let login = Login::Password { user: user.to_owned(), password: Secret::new("PASSWORD") };
        Koji::new(&support::transport(), Server::new(&self.url).unwrap(), login, settings).unwrap()
    }

    #[track_caller]
    fn check_end(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(self.left.lock().unwrap().len(), 0, "requests that were not made");
    }
}

fn plays(numbers: impl IntoIterator<Item = u64>) -> Vec<Turn> {
    numbers.into_iter().map(Plays).collect()
}

fn recorded(number: u64) -> Recorded {
    Recorded::all().remove(usize::try_from(number).unwrap() - 1)
}

const TARGET: &str = "f43-container-candidate";
const CHANNEL: &str = "container-binary";
const CG: &str = "atomic-reactor";
const SOURCE: &str = "git+ssh://pkgs.example.com/containers/caddy-container#0b7e1f5d3c2a49680123456789abcdef01234567";

fn members(json: &str) -> Struct {
    Value::from_json(&serde_json::from_str(json).unwrap()).as_struct().unwrap().clone()
}

fn at_work() -> Struct {
    members(r#"{"methods": ["buildContainer", "tagBuild"], "maxjobs": 10}"#)
}

#[tokio::test]
async fn an_administrator() {
    let hub = Player::new(plays((1..=13).chain([156])));
    let koji = hub.client("kojiadmin");
    assert_eq!(koji.call(calls::get_api_version()).await.unwrap(), 1);
    assert_eq!(koji.call(calls::get_koji_version()).await.unwrap(), "1.35.3");
    koji.log_in().await.unwrap();
    assert_eq!(koji.call(calls::get_logged_in_user()).await.unwrap().unwrap().name, "kojiadmin");
    koji.call(calls::create_tag("f43-container-build").named("arches", "x86_64 aarch64")).await.unwrap();
    koji.call(calls::create_tag(TARGET)).await.unwrap();
    koji.call(calls::create_build_target(TARGET, "f43-container-build", TARGET)).await.unwrap();
    koji.call(calls::create_user("mwells")).await.unwrap();
    koji.call(calls::create_user("reactor")).await.unwrap();
    koji.call(calls::package_list_add(TARGET, "caddy-container", "mwells")).await.unwrap();
    koji.call(calls::add_host("kojibuilder03.example.com", &["x86_64", "aarch64"])).await.unwrap();
    koji.call(calls::add_host_to_channel("kojibuilder03.example.com", CHANNEL)).await.unwrap();
    koji.call(calls::grant_cg_access("reactor", CG)).await.unwrap();
    koji.log_out().await.unwrap();
    hub.check_end();
}

#[tokio::test]
async fn a_builder_and_its_tasks() {
    let turns = [20..=39, 44..=45, 74..=86, 90..=92, 114..=116, 120..=121, 125..=126, 154..=155];
    let hub = Player::new(plays(turns.into_iter().flatten()));
    let daemon = hub.client("kojibuilder03.example.com");
    daemon.log_in().await.unwrap();
    daemon.exclusive_session(true).await.unwrap();
    assert_eq!(daemon.call(calls::host::get_id()).await.unwrap(), 4);
    assert!(daemon.call(calls::get_session_info()).await.unwrap().unwrap().exclusive);
    assert!(daemon.call(calls::host::get_host_tasks()).await.unwrap().is_empty());
    assert!(daemon.call(calls::host::get_host()).await.unwrap().enabled);
    daemon.call(calls::host::update_host(0.0, true, Some(at_work()))).await.unwrap();
    assert_eq!(daemon.call(calls::host::get_tasks()).await.unwrap()[0].id, 26);
    daemon.call(calls::get_task_info(26, true)).await.unwrap();
    daemon.call(calls::host::open_task(26)).await.unwrap().unwrap();
    daemon.call(calls::host::set_task_weight(26, 2.0)).await.unwrap();
    let task = daemon.subsession().await.unwrap();
    build(&task).await;
    tag(&daemon).await;
    let result = osbs_koji::xmlrpc::decode_response(recorded(90).params()[1].as_str().unwrap().as_bytes());
    let result = result.unwrap().unwrap();
    task.call(calls::host::close_task(26, &result)).await.unwrap();
    task.log_out().await.unwrap();
    daemon.call(calls::host::get_host_tasks()).await.unwrap();
    daemon.call(calls::host::update_host(0.0, true, Some(at_work()))).await.unwrap();
    daemon.call(calls::host::open_task(29)).await.unwrap();
    let fault = osbs_koji::xmlrpc::decode_response(recorded(116).params()[1].as_str().unwrap().as_bytes());
    daemon.call(calls::host::fail_task(29, &fault.unwrap().unwrap_err())).await.unwrap();
    daemon.call(calls::host::update_host(0.0, true, Some(at_work()))).await.unwrap();
    daemon.call(calls::host::open_task(30)).await.unwrap();
    // The task was cancelled.
    let place = Place { directory: "tasks/30/30", name: "orchestrator.log" };
    let bytes = Bytes::from(recorded(125).body("request_file"));
    let error = daemon.upload_block(place, 0, bytes).await.unwrap_err();
    assert!(error.is(FaultCode::ActionNotAllowed), "{error}");
    let error = daemon.call(calls::host::close_task(30, &result)).await.unwrap_err();
    assert!(error.is(FaultCode::ActionNotAllowed), "{error}");
    daemon.call(calls::host::leave()).await.unwrap();
    daemon.log_out().await.unwrap();
    hub.check_end();
}

async fn build(task: &Koji) {
    let event = task.call(calls::get_last_event()).await.unwrap().id;
    let target = task.call(calls::get_build_target(TARGET).named("event", event)).await.unwrap().unwrap();
    task.call(calls::get_build_config(target.build_tag).named("event", event)).await.unwrap().unwrap();
    task.call(calls::get_package_config(TARGET, "caddy-container")).await.unwrap().unwrap();
    assert!(task.call(calls::get_build("caddy-container-2.4-1")).await.unwrap().is_none());
    let owner = task.call(calls::get_task_info(26, false)).await.unwrap().unwrap().owner.unwrap();
    assert_eq!(task.call(calls::get_user(owner)).await.unwrap().unwrap().name, "mwells");
    let place = Place { directory: "tasks/26/26", name: "orchestrator.log" };
    for (number, offset) in [(39, 0), (44, 194)] {
        let bytes = Bytes::from(recorded(number).body("request_file"));
        task.upload_block(place, offset, bytes).await.unwrap();
    }
    let data = recorded(45).params()[5].as_str().unwrap().to_owned();
    let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    let sum = recorded(45).params()[3].as_array().unwrap()[1].as_str().unwrap().to_owned();
    let call = calls::upload_file("tasks/26/26", "x86_64.log", data.len() as u64, &sum, 0, &data);
    assert!(task.call(call).await.unwrap());
}

async fn tag(daemon: &Koji) {
    daemon.call(calls::host::update_host(2.0, true, Some(at_work()))).await.unwrap();
    assert_eq!(daemon.call(calls::host::get_tasks()).await.unwrap()[0].method, "tagBuild");
    daemon.call(calls::get_task_info(27, true)).await.unwrap();
    daemon.call(calls::host::open_task(27)).await.unwrap().unwrap();
    daemon.call(calls::host::set_task_weight(27, 1.0)).await.unwrap();
    let task = daemon.subsession().await.unwrap();
    task.call(calls::get_task_info(27, false)).await.unwrap();
    task.call(calls::get_build(37).strict()).await.unwrap();
    task.call(calls::get_tag(8).strict()).await.unwrap();
    task.call(calls::host::tag_build(27, 8, 37, false, None)).await.unwrap();
    task.call(calls::host::tag_notification(true, Some(8), None, 37, 13, false)).await.unwrap();
    task.call(calls::host::close_task(27, &Value::Nil)).await.unwrap();
    task.log_out().await.unwrap();
}

#[tokio::test]
async fn an_import() {
    let hub = Player::new(plays((52..=73).chain(87..=89)));
    let koji = hub.client_with("reactor", Settings { block: 10_485_760, ..quick() });
    koji.log_in().await.unwrap();
    let release = koji.call(calls::get_next_release("caddy-container", "2.4")).await.unwrap();
    let reservation = koji.call(calls::cg_init_build(CG, "caddy-container", "2.4", &release)).await.unwrap();
    let image = "docker-image-sha256:6c2f4d8c39b1.x86_64.tar.gz";
    let files = [(image, 55, 66), ("orchestrator.log", 57, 67), ("x86_64.log", 59, 68)];
    for (name, number, _) in files {
        let place = Place { directory: "koji-upload/1505902534.25.AbCdEfGh", name };
        koji.upload_from(&mut &recorded(number).body("request_file")[..], place, &|_, _| {}).await.unwrap();
    }
    let import = |number: u64, token: Option<&Secret>| {
        let params = recorded(number).params();
        let call = calls::cg_import(params[0].clone(), params[1].as_str().unwrap(), token);
        let koji = koji.clone();
        async move { koji.call(call).await }
    };
    let wrong = Secret::new("0".repeat(64));
    for (number, token) in [(61, &reservation.token), (62, &reservation.token), (63, &wrong)] {
        let error = import(number, Some(token)).await.unwrap_err();
        assert!(
            error.is(FaultCode::GenericError) && !format!("{error:?}").contains(wrong.reveal()),
            "{number}: {error:?}"
        );
    }
    let build = import(64, Some(&reservation.token)).await.unwrap().unwrap();
    assert_eq!((build.id, build.state), (reservation.build_id, BuildState::Complete));
    import(65, Some(&reservation.token)).await.unwrap_err();
    for (name, _, number) in files {
        let place = Place { directory: "koji-upload/1505902600.75.IjKlMnOp", name };
        koji.upload_block(place, 0, Bytes::from(recorded(number).body("request_file"))).await.unwrap();
    }
    import(69, None).await.unwrap_err();
    koji.call(calls::cg_init_build(CG, "caddy-container", "2.4", "1")).await.unwrap_err();
    let target = koji.call(calls::get_build_target(TARGET)).await.unwrap().unwrap();
    let task = koji.call(calls::tag_build(&target.dest_tag_name, 37)).await.unwrap();
    let tagged = koji.wait_for_task(task, std::time::Duration::from_millis(1)).await.unwrap();
    assert_eq!((tagged.id, tagged.state), (27, osbs_koji::TaskState::Closed));
    koji.log_out().await.unwrap();
    hub.check_end();
}

#[tokio::test]
async fn a_submitter_whose_session_expires() {
    // Between: the calls 143 and 144, whose faults make the client look whether the session lives; and those up to 100.
    let until_expiry = std::iter::repeat_n(Answers(161), 88);
    let turns =
        plays((14..=19).chain([113, 119, 122, 142])).into_iter().chain([Answers(161), Answers(161), Plays(145)]);
    let hub = Player::new(turns.chain(until_expiry).chain(plays([148, 149, 151, 152])).collect());
    let koji = hub.client("mwells");
    koji.log_in().await.unwrap();
    koji.call(calls::get_api_version()).await.unwrap();
    koji.call(calls::get_build_target(TARGET)).await.unwrap();
    koji.call(calls::get_tag(8)).await.unwrap();
    let bare = |opts: &str| calls::build_container(SOURCE, TARGET, members(opts), None, None);
    let first = bare(r#"{"git_branch": "f43"}"#).named("priority", Value::Nil).named("channel", CHANNEL);
    assert_eq!(koji.call(first).await.unwrap(), 26);
    koji.call(calls::get_task_info(26, false)).await.unwrap();
    for _ in 0..2 {
        let opts = members(r#"{"git_branch": "f43", "scratch": true}"#);
        koji.call(calls::build_container(SOURCE, TARGET, opts, Some(5), Some(CHANNEL))).await.unwrap();
    }
    koji.call(calls::cancel_task(30)).await.unwrap();
    let error = koji.call(bare("{}").named("priority", -5)).await.unwrap_err();
    assert!(error.is(FaultCode::ActionNotAllowed), "{error}");
    for _ in 0..2 {
        koji.call(calls::get_logged_in_user()).await.unwrap();
    }
    let error = koji.call(calls::tag_build("f43-container-build", 37)).await.unwrap_err();
    assert!(error.is(FaultCode::TagError), "{error}");
    for _ in 0..88 {
        koji.call(calls::get_logged_in_user()).await.unwrap();
    }
    // Number 100 is refused, 101 renews, 102 goes through.
    assert_eq!(koji.call(calls::get_logged_in_user()).await.unwrap().unwrap().name, "mwells");
    koji.log_out().await.unwrap();
    hub.check_end();
}

#[tokio::test]
async fn answers_that_are_lost() {
    let turns = [Plays(157), Plays(158), Loses(159), Plays(160), Loses(161), Plays(162), Plays(163)];
    let hub = Player::new(turns.to_vec());
    let koji = hub.client("mwells");
    koji.log_in().await.unwrap();
    let source = "git+ssh://pkgs.example.com/containers/caddy-container#f43";
    let opts = members(r#"{"git_branch": "f43"}"#);
    let task = koji.call(calls::build_container(source, TARGET, opts, None, Some(CHANNEL))).await.unwrap();
    // Fault 1009 says that it was done, and there is no more to know of it.
    koji.call(calls::cancel_task(task)).await.unwrap();
    koji.call(calls::get_logged_in_user()).await.unwrap();
    koji.log_out().await.unwrap();
    hub.check_end();
}

#[tokio::test]
async fn a_reservation_that_is_given_back() {
    let hub = Player::new(plays(127..=130));
    let koji = hub.client("reactor");
    koji.log_in().await.unwrap();
    let reservation = koji.call(calls::cg_init_build(CG, "caddy-container", "2.4", "2")).await.unwrap();
    let (build, token) = (reservation.build_id, &reservation.token);
    koji.call(calls::cg_refund_build(CG, build, token, BuildState::Canceled)).await.unwrap();
    assert_eq!(koji.call(calls::get_build(build)).await.unwrap().unwrap().state, BuildState::Canceled);
    hub.check_end();
}

#[tokio::test]
async fn people_who_look() {
    let turns = (40..=43).chain(46..=51).chain(93..=112).chain([117, 118, 123, 124, 137, 138, 139, 140, 141]);
    let hub = Player::new(plays(turns));
    let koji = hub.client("mwells").anonymous();
    let tail = |name: &'static str, offset: i64| {
        calls::download_task_output(26, calls::OutputPart { name, offset, size: 16384, volume: None })
    };
    let look = |parts: Vec<(&'static str, i64)>| {
        let koji = koji.clone();
        async move {
            koji.call(calls::get_task_info(26, false)).await.unwrap().unwrap();
            koji.call(calls::list_task_output(26)).await.unwrap();
            let mut lengths = Vec::new();
            for (name, offset) in parts {
                lengths.push(koji.call(tail(name, offset)).await.unwrap().len());
            }
            lengths
        }
    };
    let log = "orchestrator.log";
    assert_eq!(look(vec![(log, 0), (log, 194)]).await, [194, 0]);
    assert_eq!(look(vec![(log, 194), (log, 332), ("x86_64.log", 0), ("x86_64.log", 97)]).await, [138, 0, 97, 0]);
    assert_eq!(look(vec![(log, 332), ("x86_64.log", 97)]).await, [0, 0]);
    koji.call(calls::get_task_info(26, true)).await.unwrap();
    assert!(koji.call(calls::get_task_children(26)).await.unwrap().is_empty());
    koji.call(calls::get_task_result(26)).await.unwrap();
    koji.call(calls::get_build("caddy-container-2.4-1")).await.unwrap();
    koji.call(calls::list_builds().named("taskID", 26)).await.unwrap();
    koji.call(calls::list_archives(37, None)).await.unwrap();
    koji.call(calls::list_archives(37, Some("image"))).await.unwrap();
    koji.call(calls::get_archive(29)).await.unwrap();
    koji.call(calls::list_rpms().named("imageID", 29)).await.unwrap();
    koji.call(calls::get_buildroot(31)).await.unwrap();
    koji.call(calls::get_build_logs(37)).await.unwrap();
    koji.call(calls::get_build_type(37)).await.unwrap();
    koji.call(calls::list_tagged(TARGET).named("latest", true)).await.unwrap();
    koji.call(calls::list_tags(37)).await.unwrap();
    assert_eq!(koji.call(calls::get_next_release("caddy-container", "2.4")).await.unwrap(), "2");
    let newest = calls::QueryOptions { order: Some("-build_id"), limit: Some(5), offset: None };
    koji.call(calls::list_builds().named("packageID", 6).query(newest)).await.unwrap();
    let error = koji.call(calls::get_task_result(29)).await.unwrap_err();
    assert!(error.is(FaultCode::ContainerError), "{error}");
    assert_eq!(koji.call(calls::get_task_outcome(29)).await.unwrap().unwrap_err().code, 2001);
    assert_eq!(koji.call(calls::get_task_info(30, false)).await.unwrap().unwrap().state.as_str(), "CANCELED");
    koji.call(calls::get_task_result(30)).await.unwrap_err();
    koji.call(calls::get_build_target("no-such-target").strict()).await.unwrap_err();
    assert!(koji.call(calls::get_build_target("no-such-target")).await.unwrap().is_none());
    koji.call(MethodCall::raw("noSuchMethod", Arguments::of([1.into()]))).await.unwrap_err();
    let error = koji.call(MethodCall::raw("getTag", Arguments::none())).await.unwrap_err();
    assert!(error.is(FaultCode::ParameterError), "{error}");
    koji.call(calls::build_container(SOURCE, TARGET, Struct::new(), None, None)).await.unwrap_err();
    hub.check_end();
}

#[tokio::test]
async fn clients_before_headers() {
    let hub = Player::new(plays([131, 132]));
    let koji = hub.client_with("mwells", Settings { sessions_in_url: true, ..quick() });
    koji.log_in().await.unwrap();
    koji.call(calls::get_logged_in_user()).await.unwrap();
    hub.check_end();
    let hub = Player::new(plays([146]));
    let login = Login::Password { user: "mwells".to_owned(), password: Secret::new("WRONGPASSWORD") };
    let koji = Koji::new(&support::transport(), Server::new(&hub.url).unwrap(), login, quick()).unwrap();
    let error = koji.log_in().await.unwrap_err();
    assert!(matches!(error, KojiError::Denied { .. }) && !error.to_string().contains("WRONG"), "{error}");
    hub.check_end();
}
