//! Sessions: login, call numbers, expiry, exclusive ones, and how a request names its own.

use crate::harness::{Client, PASSWORD, TestHub, add_user};
use osbs_koji::{Arguments, Value};

const AUTH: i64 = 1002;
const LOCKED: i64 = 1006;
const EXPIRED: i64 = 1007;
const SEQUENCE: i64 = 1008;
const RETRY: i64 = 1009;

const A_DAY_AND_A_MINUTE: i64 = 86_460;

fn login(hub: &TestHub, user: &str, password: &str) -> Result<Value, osbs_koji::Fault> {
    hub.call("login", Arguments::of([user.into(), password.into()]))
}

#[test]
fn wrong_password_and_unknown_user_get_one_answer() {
    let hub = TestHub::start();
    let answers = [("kojiadmin", "wrong"), ("nobody", "wrong"), ("kojiadmin", ""), ("", "")]
        .map(|(user, password)| login(&hub, user, password).unwrap_err());
    assert_eq!(answers[0].code, AUTH);
    assert!(answers.iter().all(|fault| *fault == answers[0]), "{answers:?}");
    hub.hub.set_user("by-certificate-only", None, &[]).unwrap();
    assert_eq!(login(&hub, "by-certificate-only", "").unwrap_err(), answers[0]);
    assert!(
        !hub.database()
            .query_row("SELECT password FROM users", [], |row| row.get::<_, String>(0))
            .unwrap()
            .contains(PASSWORD)
    );
}

#[test]
fn guessing_is_stopped_and_goes_on_after_a_minute() {
    let hub = TestHub::start();
    for _ in 0..10 {
        login(&hub, "kojiadmin", "wrong").unwrap_err();
    }
    let fault = login(&hub, "kojiadmin", PASSWORD).unwrap_err();
    assert!(fault.code == AUTH && fault.text.contains("minute"), "{fault}");
    hub.wait(61);
    login(&hub, "kojiadmin", PASSWORD).unwrap();
}

#[test]
fn call_numbers_are_compared_with_the_last_change() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    let tag = |name: &str| Arguments::of([name.into()]);
    admin.call_numbered(5, "createTag", tag("t")).unwrap();
    let code =
        |number, method: &str| admin.call_numbered(number, method, Arguments::none()).map_err(|fault| fault.code);
    assert_eq!(code(5, "getLoggedInUser"), Err(RETRY));
    assert_eq!(code(4, "getLoggedInUser"), Err(SEQUENCE));
    assert!(code(6, "getLoggedInUser").is_ok());
    // It read only: once more is fine.
    assert!(code(6, "getLoggedInUser").is_ok());
    // It failed: nothing was done, and it may be repeated.
    assert_eq!(admin.call_numbered(7, "createTag", tag("t")).map_err(|fault| fault.code), Err(1000));
    assert!(admin.call_numbered(7, "createTag", tag("u")).is_ok());
    assert_eq!(code(7, "createTag"), Err(RETRY));
}

#[test]
fn a_session_expires_and_is_renewed_with_its_number() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    admin.call_numbered(7, "createTag", Arguments::of(["t".into()])).unwrap();
    hub.wait(A_DAY_AND_A_MINUTE);
    for method in ["getAPIVersion", "getLoggedInUser"] {
        assert_eq!(admin.call_numbered(100, method, Arguments::none()).unwrap_err().code, EXPIRED);
    }
    let arguments = || Arguments::of(["kojiadmin".into(), PASSWORD.into()]);
    assert_eq!(admin.call_numbered(101, "login", arguments()).unwrap_err().code, AUTH, "not as a renewal");
    let renewed = admin.call_numbered(102, "login", arguments().named("renew", true)).unwrap();
    let renewed = Client::new(&hub, &renewed);
    assert_eq!(renewed.id, admin.id);
    assert_ne!(renewed.key, admin.key);
    assert_eq!(admin.call_numbered(103, "getLoggedInUser", Arguments::none()).unwrap_err().code, AUTH, "the old key");
    assert_eq!(renewed.call_numbered(0, "getLoggedInUser", Arguments::none()).unwrap_err().code, SEQUENCE);
    renewed.call_numbered(104, "getLoggedInUser", Arguments::none()).unwrap();
    let info = renewed.call_numbered(105, "getSessionInfo", Arguments::none()).unwrap();
    assert!(info.get("renew_ts").as_double().is_some() && info.get("expired") == &Value::Bool(false), "{info:?}");
    // A session that has not expired is not renewed.
    let again = renewed.call_numbered(106, "login", arguments().named("renew", true));
    assert_eq!(again.unwrap_err().code, AUTH);
}

#[test]
fn nobody_renews_the_session_of_another() {
    let hub = TestHub::start();
    add_user(&hub, "mwells");
    let admin = hub.login("kojiadmin");
    hub.wait(A_DAY_AND_A_MINUTE);
    let arguments = Arguments::of(["mwells".into(), PASSWORD.into()]).named("renew", true);
    assert_eq!(admin.call("login", arguments).unwrap_err().code, AUTH);
}

#[test]
fn an_exclusive_session_keeps_others_out_but_not_its_children() {
    let hub = TestHub::start();
    let (daemon, other) = (hub.login("kojiadmin"), hub.login("kojiadmin"));
    daemon.ok("exclusiveSession", []);
    daemon.ok("exclusiveSession", []);
    assert_eq!(other.fault("getAPIVersion", []), LOCKED);
    assert_eq!(other.fault("exclusiveSession", []), LOCKED);
    let child = Client::new(&hub, &daemon.ok("subsession", []));
    child.ok("getAPIVersion", []);
    assert_eq!(child.fault("exclusiveSession", []), 1000);
    other.ok("exclusiveSession", [true.into()]);
    assert_eq!(daemon.fault("getAPIVersion", []), AUTH, "closed by force");
    assert_eq!(child.fault("getAPIVersion", []), AUTH, "with its children");
    other.ok("getAPIVersion", []);
}

#[test]
fn logout_closes_the_session_and_its_children() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    let (first, second) =
        (Client::new(&hub, &admin.ok("subsession", [])), Client::new(&hub, &admin.ok("subsession", [])));
    first.ok("createTag", ["t".into()]);
    admin.ok("logoutChild", [first.id.into()]);
    assert_eq!(first.fault("getAPIVersion", []), AUTH);
    second.ok("getAPIVersion", []);
    admin.ok("logout", []);
    assert_eq!(second.fault("getAPIVersion", []), AUTH);
    assert_eq!(admin.fault("getAPIVersion", []), AUTH);
    assert_eq!(hub.call("logout", Arguments::none()).unwrap_err().code, AUTH);
}

#[test]
fn nobody_ends_the_session_of_another() {
    let hub = TestHub::start();
    add_user(&hub, "mwells");
    let (admin, user) = (hub.login("kojiadmin"), hub.login("mwells"));
    assert_eq!(user.fault("logout", [admin.id.into()]), AUTH);
    user.ok("logoutChild", [admin.id.into()]);
    admin.ok("getAPIVersion", []);
    admin.ok("logout", [user.id.into()]);
    assert_eq!(user.fault("getAPIVersion", []), AUTH);
}

#[test]
fn a_blocked_user_is_out_at_once() {
    let hub = TestHub::start();
    add_user(&hub, "mwells");
    let (admin, user) = (hub.login("kojiadmin"), hub.login("mwells"));
    admin.ok("disableUser", ["mwells".into()]);
    assert_eq!(user.fault("getAPIVersion", []), AUTH);
    assert_eq!(login(&hub, "mwells", PASSWORD).unwrap_err().code, AUTH);
    admin.ok("enableUser", ["mwells".into()]);
    login(&hub, "mwells", PASSWORD).unwrap();
}

#[test]
fn old_clients_name_their_session_in_the_url() {
    let check = |disabled: bool, query: &str, expected: Result<bool, i64>| {
        let hub = TestHub::start_with(|config| config.settings.disable_url_sessions = disabled);
        let admin = hub.login("kojiadmin");
        let path = format!("/kojihub?{}", query.replace("ID", &admin.id.to_string()).replace("KEY", &admin.key));
        let answer = hub.post(&path, &[], "getLoggedInUser", Arguments::none());
        assert_eq!(answer.map(|user| !user.is_nil()).map_err(|fault| fault.code), expected, "{query} {disabled}");
    };
    check(false, "session-id=ID&session-key=KEY&callnum=0", Ok(true));
    check(false, "session-id=ID&session-key=KEY", Ok(true));
    check(true, "session-id=ID&session-key=KEY&callnum=0", Ok(false));
    check(false, "session-id=ID", Err(AUTH));
    check(false, "a=b", Err(AUTH));
    check(false, "nonsense", Err(1));
    check(true, "nonsense", Ok(false));
    check(false, "session-id=ID&session-key=wrong", Err(AUTH));
    check(false, "session-id=9999&session-key=KEY", Err(AUTH));
    check(false, "session-id=x&session-key=KEY", Err(AUTH));
    check(false, "session-id=ID&session-key=KEY&callnum=x", Err(AUTH));
}

#[test]
fn a_session_is_bound_to_its_address() {
    let check = |bound: bool| {
        let hub = TestHub::start_with(|config| config.settings.check_client_ip = bound);
        let admin = hub.login("kojiadmin");
        hub.database().execute("UPDATE sessions SET hostip = '192.0.2.1'", []).unwrap();
        assert_eq!(admin.call("getAPIVersion", Arguments::none()).is_err(), bound);
    };
    check(true);
    check(false);
}

#[test]
fn everything_is_there_after_a_restart() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    admin.ok("createTag", ["t".into()]);
    let (id, key) = (admin.id, admin.key.clone());
    let folder = hub.stop();
    let hub = TestHub::start_in(folder, |_| {});
    let login = Value::members([("session-id", id.into()), ("session-key", key.into()), ("header-auth", true.into())]);
    let admin = Client::new(&hub, &login);
    assert_eq!(admin.call_numbered(0, "getTag", Arguments::of(["t".into()])).unwrap_err().code, RETRY);
    assert!(!admin.call_numbered(1, "getTag", Arguments::of(["t".into()])).unwrap().is_nil());
}

#[test]
fn calls_of_a_multicall_fail_alone() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    let call = |method: &str, params: Vec<Value>| {
        Value::members([("methodName", method.into()), ("params", Value::Array(params))])
    };
    let calls = vec![
        call("createTag", vec!["one".into()]),
        call("createTag", vec!["one".into()]),
        call(
            "createTag",
            vec!["two".into(), Value::members([("parent", "nowhere".into()), ("__starstar", true.into())])],
        ),
        call("login", vec!["kojiadmin".into(), PASSWORD.into()]),
        call("multiCall", vec![Value::Array(Vec::new())]),
        Value::Nil,
        call("getTag", vec!["one".into()]),
    ];
    let answers = admin.ok("multiCall", [Value::Array(calls)]);
    let codes: Vec<Option<i64>> =
        answers.as_array().unwrap().iter().map(|answer| answer.get("faultCode").as_int()).collect();
    assert_eq!(codes, [None, Some(1000), Some(1000), Some(1000), Some(1000), Some(1), None]);
    assert_eq!(hub.call("getTag", Arguments::of(["two".into()])).unwrap(), Value::Nil, "what failed is undone");
    assert_eq!(admin.call_numbered(0, "multiCall", Arguments::of([Value::Array(Vec::new())])).unwrap_err().code, RETRY);
}
