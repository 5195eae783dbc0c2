//! A Koji hub, in this process or as the program: its data in the world's folder, on a free loopback port, with what container builds need.

use osbs_hub::{Hub, HubConfig};
use osbs_koji::{Arguments, Koji, KojiError, Login, MethodCall, Server, Settings, Struct, Task, Value, calls};
use osbs_types::Secret;
use std::ffi::OsStr;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The host that container builds are given to, and its password.
pub const HOST: &str = "builder01.example.com";
/// A host of Koji's own builder, where there is one.
const STOCK_HOST: &str = "builder02.example.com";
/// Who asks for builds.
pub const USER: &str = "mwells";
/// Who imports.
pub const IMPORTER: &str = "reactor";
/// The password of them all.
pub const PASSWORD: &str = "a password of tests";
pub const TARGET: &str = "f43-candidate";
/// Starts a real hub.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/koji-hub.sh");

/// A hub, and a client that is its administrator.
pub struct TestHub {
    pub topdir: PathBuf,
    /// Where it listens.
    pub address: String,
    pub port: u16,
    pub runtime: Runtime,
    /// After so long a session must be renewed.
    pub session_renewal: Duration,
    running: Option<Running>,
    kind: Kind,
    /// Koji's own, beside Koji's own hub.
    stock_builder: Option<Child>,
}

/// What the hub is.
enum Kind {
    /// Ours, in a thread here.
    Thread,
    /// The program `osbs hub`.
    Program,
    /// Koji's own, out of this folder with its source.
    Real(PathBuf),
}

/// What serves.
enum Running {
    Thread(CancellationToken, JoinHandle<()>),
    Program(Child),
}

/// `OSBS_TEST_KOJI_SOURCE`: a folder with Koji's source, whose hub is used instead of ours.
pub fn koji_source() -> Option<PathBuf> {
    std::env::var_os("OSBS_TEST_KOJI_SOURCE").map(PathBuf::from)
}

/// Whether the hub is Koji's own, and a test therefore cannot be done; says `why`.
pub fn is_not_for_a_real_hub(why: &str) -> bool {
    let is_real = koji_source().is_some();
    if is_real {
        println!("skipped: {why}");
    }
    is_real
}

/// `OSBS_TEST_HUB_AWAY`: seconds that a hub which goes away is away for (default: no longer than it takes to see it).
pub fn while_away() {
    let seconds = std::env::var("OSBS_TEST_HUB_AWAY").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::thread::sleep(Duration::from_secs(seconds));
}

impl TestHub {
    /// A hub with users, tags, a target and a host; `packages` may be built for it.
    pub fn start(folder: &Path, packages: &[&str]) -> Self {
        Self::start_as(folder, packages, "127.0.0.1", Kind::Thread)
    }

    /// The same, served by `osbs hub serve`.
    pub fn start_program(folder: &Path, packages: &[&str]) -> Self {
        Self::start_program_at("127.0.0.1", folder, packages)
    }

    /// The same, at that address of this machine.
    pub fn start_program_at(address: &str, folder: &Path, packages: &[&str]) -> Self {
        Self::start_as(folder, packages, address, Kind::Program)
    }

    fn start_as(folder: &Path, packages: &[&str], address: &str, kind: Kind) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let port = super::free_port();
        let mut hub = Self {
            topdir: folder.join("koji"),
            address: address.to_owned(),
            port,
            runtime: runtime.expect("a runtime"),
            session_renewal: Duration::from_hours(24),
            running: None,
            kind: koji_source().map_or(kind, Kind::Real),
            stock_builder: None,
        };
        if let Kind::Real(source) = &hub.kind {
            real_hub(&["create".as_ref(), source.as_ref(), hub.topdir.as_ref(), cache().as_ref()], "");
        }
        hub.set_user("kojiadmin", &["admin"]);
        hub.resume();
        hub.set_up(packages);
        for user in [HOST, USER, IMPORTER] {
            hub.set_user(user, &[]);
        }
        hub.start_stock_builder();
        hub
    }

    /// A real hub leaves more to builders than ours does: tags.
    fn start_stock_builder(&mut self) {
        let Kind::Real(source) = &self.kind else { return };
        let admin = self.log_in("kojiadmin");
        self.call(&admin, calls::add_host(STOCK_HOST, &["x86_64"]));
        self.set_user(STOCK_HOST, &[]);
        let address = format!("{}:{}", self.address, self.port);
        let mut command = Command::new(SCRIPT);
        command.arg("builder").args([source, &self.topdir, &cache()]).args([&address, STOCK_HOST]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("bash starts");
        child.stdin.take().expect("a pipe").write_all(PASSWORD.as_bytes()).expect("it reads");
        self.stock_builder = Some(child);
        let ready = || {
            let hosts = MethodCall::raw("listHosts", Arguments::none().named("ready", true));
            self.call(&admin, hosts).as_array().is_some_and(|hosts| !hosts.is_empty())
        };
        super::wait_for("Koji's own builder is ready", 60, ready);
    }

    /// The user with the password of all, by way of the hub's data.
    fn set_user(&self, name: &str, permissions: &[&str]) {
        if let Kind::Real(_) = self.kind {
            let args: [&OsStr; 3] = ["password".as_ref(), self.topdir.as_ref(), name.as_ref()];
            let permissions = permissions.iter().map(OsStr::new);
            real_hub(&args.into_iter().chain(permissions).collect::<Vec<_>>(), PASSWORD);
        } else {
            let opened = Hub::open(HubConfig::new(&self.topdir)).expect("the hub opens");
            opened.set_user(name, Some(PASSWORD), permissions).expect("a password");
        }
    }

    /// A further host, in this channel; its user has the password of all.
    pub fn add_host(&self, name: &str, arches: &[&str], channel: &str) {
        let admin = self.log_in("kojiadmin");
        self.call(&admin, calls::add_host(name, arches));
        self.call(&admin, calls::add_host_to_channel(name, channel));
        self.set_user(name, &[]);
    }

    fn set_up(&self, packages: &[&str]) {
        let admin = self.log_in("kojiadmin");
        self.call(&admin, calls::create_tag("f43-build").named("arches", "x86_64"));
        self.call(&admin, calls::create_tag(TARGET));
        self.call(&admin, calls::create_build_target(TARGET, "f43-build", TARGET));
        self.call(&admin, calls::create_user(USER));
        self.call(&admin, calls::create_user(IMPORTER));
        for package in packages {
            self.call(&admin, calls::package_list_add(TARGET, package, USER));
        }
        // A hub may have it from the start.
        let _ = self.try_call(&admin, calls::add_channel("container"));
        self.call(&admin, calls::add_host(HOST, &["x86_64"]));
        self.call(&admin, calls::add_host_to_channel(HOST, "container"));
        self.call(&admin, calls::grant_cg_access(IMPORTER, "atomic-reactor"));
    }

    pub fn url(&self) -> String {
        format!("http://{}:{}/kojihub", self.address, self.port)
    }

    /// Serves again, on the same port.
    pub fn resume(&mut self) {
        self.running = Some(match &self.kind {
            Kind::Thread => self.serve_here(),
            Kind::Program => {
                let mut command = Command::new(super::OSBS);
                self.serve_by(command.args(["hub", "--dir"]).arg(&self.topdir).args(["serve", "--listen"]))
            }
            Kind::Real(source) => {
                let mut command = Command::new(SCRIPT);
                self.serve_by(command.arg("serve").args([source, &self.topdir, &cache()]))
            }
        });
    }

    /// By this program, whose last argument is to be the address.
    fn serve_by(&self, command: &mut Command) -> Running {
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.topdir);
        command.arg(format!("{}:{}", self.address, self.port));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("osbs starts");
        super::wait_for("the hub listens", 60, || TcpStream::connect((self.address.as_str(), self.port)).is_ok());
        Running::Program(child)
    }

    fn serve_here(&self) -> Running {
        let (ready, is_ready) = mpsc::channel();
        let (stop, place) = (CancellationToken::new(), (self.address.clone(), self.port));
        let mut config = HubConfig::new(&self.topdir);
        config.settings.session_renewal = self.session_renewal;
        let own_stop = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let hub = Hub::open(config).expect("the hub opens");
                let listener = TcpListener::bind((place.0.as_str(), place.1)).expect("the port is free");
                listener.set_nonblocking(true).expect("set");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                ready.send(()).expect("somebody waits");
                hub.serve(listener, own_stop).await.expect("served");
            });
        });
        is_ready.recv_timeout(Duration::from_mins(1)).expect("the hub listens");
        Running::Thread(stop, thread)
    }

    /// Stops serving.
    pub fn pause(&mut self) {
        match self.running.take() {
            Some(Running::Thread(stop, thread)) => {
                stop.cancel();
                thread.join().expect("the hub ends");
            }
            Some(Running::Program(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
                super::wait_for("nobody listens", 60, || {
                    TcpStream::connect((self.address.as_str(), self.port)).is_err()
                });
            }
            None => {}
        }
    }

    pub fn anonymous(&self) -> Koji {
        self.client(Login::Anonymous)
    }

    fn client(&self, login: Login) -> Koji {
        let transport = osbs_http::Transport::new(osbs_http::TransportConfig::default());
        let server = Server::new(&self.url()).expect("a URL");
        Koji::new(&transport, server, login, Settings::default()).expect("a client")
    }

    pub fn log_in(&self, user: &str) -> Koji {
        let koji = self.client(Login::Password { user: user.to_owned(), password: Secret::new(PASSWORD) });
        self.runtime.block_on(koji.log_in()).expect("logged in");
        koji
    }

    #[track_caller]
    pub fn call<T>(&self, koji: &Koji, call: MethodCall<T>) -> T {
        let method = call.method().to_owned();
        self.try_call(koji, call).unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    pub fn try_call<T>(&self, koji: &Koji, call: MethodCall<T>) -> Result<T, KojiError> {
        self.runtime.block_on(koji.call(call))
    }

    /// Asks for a build; the task.
    #[track_caller]
    pub fn build_container(&self, koji: &Koji, source: &str, options: &[(&str, Value)]) -> i64 {
        let options: Struct = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.call(koji, calls::build_container(source, TARGET, options, None, Some("container")))
    }

    #[track_caller]
    pub fn task(&self, id: i64) -> Task {
        self.call(&self.anonymous(), calls::get_task_info(id, false)).expect("a task")
    }

    /// Waits until the task has ended.
    #[track_caller]
    pub fn wait_for(&self, id: i64, seconds: u64) -> Task {
        super::wait_for(&format!("task {id} ends"), seconds, || self.task(id).state.is_finished());
        self.task(id)
    }

    /// A file of the task's output, whole.
    pub fn output(&self, task: i64, name: &str) -> String {
        let path = self.topdir.join("work").join(osbs_koji::task_directory(task)).join(name);
        std::fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Makes and changes a real hub.
#[track_caller]
fn real_hub(args: &[&OsStr], input: &str) {
    let mut child = Command::new(SCRIPT).args(args).stdin(Stdio::piped()).spawn().expect("bash starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{args:?}");
}

/// Where its programs are kept.
fn cache() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    std::env::var_os("OSBS_TEST_CACHE").map_or_else(here, PathBuf::from)
}

impl Drop for TestHub {
    fn drop(&mut self) {
        if let Some(builder) = &mut self.stock_builder {
            let _ = builder.kill();
            let _ = builder.wait();
        }
        self.pause();
        if let Kind::Real(_) = self.kind {
            real_hub(&["stop".as_ref(), self.topdir.as_ref()], "");
        }
    }
}
