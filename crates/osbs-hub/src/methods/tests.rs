//! What holds for every method: its role is in the table, and no argument whatever is more than a fault.

use super::{Method, all};
use crate::dispatch;
use crate::hub::{Hub, HubConfig};
use crate::parameters::Default;
use crate::role::Role;
use crate::sessions::{Caller, Credentials};
use osbs_koji::{Arguments, FaultCode, Struct, Value};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn role_name(role: Role) -> String {
    match role {
        Role::Permission(name) => format!("permission {name}"),
        role => format!("{role:?}"),
    }
}

/// The table is kept beside the tests, so that a change of a role is seen for what it is.
#[test]
fn the_table_of_roles_is_the_one_that_is_kept() {
    let mut methods: Vec<&Method> = all().collect();
    methods.sort_by_key(|method| method.name);
    let mut table = String::new();
    for pair in methods.windows(2) {
        assert_ne!(pair[0].name, pair[1].name, "defined twice");
    }
    for method in methods {
        let _ = writeln!(table, "{:30} {:24} {:?}", method.name, role_name(method.role), method.access);
    }
    let kept = include_str!("../../tests/roles.txt");
    let changed: Vec<&str> = table.lines().filter(|line| !kept.lines().any(|kept| kept == *line)).collect();
    let gone: Vec<&str> = kept.lines().filter(|line| !table.lines().any(|now| now == *line)).collect();
    assert!(
        changed.is_empty() && gone.is_empty(),
        "new or changed:\n{}\ngone:\n{}",
        changed.join("\n"),
        gone.join("\n")
    );
}

/// Who changes something must at least be logged in, but for the logins.
#[test]
fn nobody_changes_anything_without_a_role() {
    for method in all() {
        let open = method.access == crate::database::Access::Write && method.role == Role::Anyone;
        assert!(!open || ["login", "sslLogin"].contains(&method.name), "{}", method.name);
    }
}

struct World {
    hub: Hub,
    log: Arc<Mutex<Vec<String>>>,
    /// A session of a host that is an administrator: nothing is kept from it.
    caller: Caller,
    _folder: tempfile::TempDir,
}

fn anonymous() -> Caller {
    Caller { address: HERE, credentials: None, certificate: None, at_ssl_login: false, verified: None }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut config = HubConfig::new(folder.path().join("koji"));
        let lines = log.clone();
        config.log = Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()));
        let hub = Hub::open(config).unwrap();
        hub.set_user("kojiadmin", Some("PASSWORD"), &["admin"]).unwrap();
        let set_up = [
            ("createTag", Arguments::of(["t".into()]).named("arches", "x86_64")),
            ("createTag", Arguments::of(["u".into()]).named("parent", "t")),
            ("createBuildTarget", Arguments::of(["t".into(), "t".into(), "u".into()])),
            ("packageListAdd", Arguments::of(["t".into(), "p".into(), "kojiadmin".into()])),
            ("addHost", Arguments::of(["kojiadmin".into(), "x86_64".into()]).named("force", true)),
            ("grantCGAccess", Arguments::of(["kojiadmin".into(), "g".into()]).named("create", true)),
        ];
        for (method, arguments) in set_up {
            hub.administer(method, arguments).await.unwrap_or_else(|fault| panic!("{method}: {fault}"));
        }
        let arguments = Arguments::of(["kojiadmin".into(), "PASSWORD".into()]);
        let login = dispatch::call(hub.state.clone(), anonymous(), "login".to_owned(), arguments.into_params()).await;
        let login = login.unwrap();
        let (session_id, key) = (login.int_of("session-id").unwrap(), login.str_of("session-key").unwrap().to_owned());
        let caller = Caller { credentials: Some(Credentials { session_id, key, call_number: None }), ..anonymous() };
        Self { hub, log, caller, _folder: folder }
    }

    /// Calls, and says what should not have happened.
    fn check(&self, method: &'static Method, params: Vec<Value>) {
        let shown = format!("{}{params:?}", method.name);
        let shown: String = shown.chars().take(300).collect();
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            dispatch::try_out(&self.hub.state, &self.caller, method, params)
        }));
        let answer = answer.unwrap_or_else(|_| panic!("{shown} panicked"));
        if let Err(error) = answer {
            assert!(!error.is_ours(), "{shown}: {error:?}");
        }
    }
}

fn hostile() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "0",
        "-1",
        "t",
        "u",
        "../../etc/passwd",
        "'; DROP TABLE tag; --",
        "%s%n",
        "[",
        "(",
        "a\nb",
        "\u{0}",
        "💥",
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.extend([0, 1, -1, i64::MAX, i64::MIN, 1 << 40].map(Value::Int));
    values.extend([0.0, -1.5, f64::NAN, f64::INFINITY, 1e300].map(Value::Double));
    values.extend([Value::Nil, true.into(), false.into(), Value::Bytes(vec![0, 255]), Value::DateTime("x".to_owned())]);
    values.push("x".repeat(100_000).into());
    let things = values.clone();
    values.push(Value::Array(Vec::new()));
    values.push(Value::Array(things.clone()));
    values.push(Value::Struct(Struct::new()));
    for name in ["id", "name", "order", "limit", "arches", "image", "version", "release", "methodName", "__starstar"] {
        values.extend(things.iter().take(24).map(|thing| Value::members([(name, thing.clone())])));
    }
    let mut deep = Value::Nil;
    for _ in 0..90 {
        deep = Value::Array(vec![deep]);
    }
    values.push(deep);
    values
}

/// What a parameter is given while another one is tried.
fn plausible(name: &str) -> Value {
    match name {
        "arches" => "x86_64".into(),
        "data" | "calls" | "tasks" | "task_ids" | "tasklist" => Value::Array(Vec::new()),
        "build" => 1.into(),
        name if name.ends_with("id") || name.ends_with("ID") || name == "id" => 1.into(),
        _ => "t".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_argument_is_more_than_a_fault() {
    let world = World::new().await;
    let values = hostile();
    tokio::task::spawn_blocking(move || {
        for method in all() {
            for tried in method.parameters {
                for value in &values {
                    let mut named = Struct::new();
                    let required = method.parameters.iter().filter(|other| other.default == Default::Required);
                    named.extend(required.map(|other| (other.name.to_owned(), plausible(other.name))));
                    let mut arguments = Arguments { positional: Vec::new(), named };
                    match tried.default {
                        Default::Rest => {
                            arguments.positional = std::mem::take(&mut arguments.named).into_values().collect();
                            arguments.positional.push(value.clone());
                        }
                        Default::NamedRest => {
                            for name in ["tag", "before", "arch", "owner", "x"] {
                                arguments.named.insert(name.to_owned(), value.clone());
                            }
                        }
                        _ => drop(arguments.named.insert(tried.name.to_owned(), value.clone())),
                    }
                    world.check(method, arguments.into_params());
                }
            }
        }
        let log = world.log.lock().unwrap();
        assert!(log.is_empty(), "{}", log.join("\n"));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_role_no_handler_is_reached() {
    let world = World::new().await;
    let nobody = anonymous();
    tokio::task::spawn_blocking(move || {
        for method in all().filter(|method| method.role != Role::Anyone) {
            // The arguments are wrong too: it is the role that is missed.
            let error = dispatch::try_out(&world.hub.state, &nobody, method, Vec::new()).unwrap_err();
            let code = error.into_fault().class();
            let expected = match method.role {
                Role::Session | Role::Host | Role::ContentGenerator => FaultCode::AuthError,
                Role::TaskOwner => FaultCode::GenericError,
                _ => FaultCode::ActionNotAllowed,
            };
            assert_eq!(code, expected, "{}", method.name);
        }
    })
    .await
    .unwrap();
}
