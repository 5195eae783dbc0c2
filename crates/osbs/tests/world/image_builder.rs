//! A builder of Koji that makes root file systems, as far as a hub and a build see it: it takes the task `image`, gives each
//! architecture a subtask `createImage`, and leaves a tar archive as each one's output. What is in it is busybox and the
//! name of the architecture.

use super::hub::{PASSWORD, TestHub};
use osbs_koji::xmlrpc::decode_call;
use osbs_koji::{Koji, Login, Place, Server, Settings, Struct, Task, TaskState, Value, calls, task_directory};
use osbs_types::Secret;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const HOST: &str = "imagebuilder.example.com";

/// A running builder; it ends when it is dropped.
pub struct ImageBuilder {
    /// Architectures' tasks are taken, and nothing comes of them as long as this is set.
    pub holds: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ImageBuilder {
    /// A host of its own for these architectures; archives are made in the folder.
    pub fn start(hub: &TestHub, arches: &[&str], folder: &Path) -> Self {
        hub.add_host(HOST, arches, "image");
        let transport = osbs_http::Transport::new(osbs_http::TransportConfig::default());
        let login = Login::Password { user: HOST.to_owned(), password: Secret::new(PASSWORD) };
        let server = Server::new(&hub.url()).expect("a URL");
        let koji = Koji::new(&transport, server, login, Settings::default()).expect("a client");
        let (holds, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut work = Work { koji, holds: holds.clone(), folder: folder.to_owned(), images: vec![], parts: vec![] };
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                work.koji.log_in().await.expect("logged in");
                work.koji.exclusive_session(true).await.expect("the one of this host");
                while !until.load(Ordering::SeqCst) {
                    work.turn().await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        });
        Self { holds, stop, thread: Some(thread) }
    }
}

impl Drop for ImageBuilder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // If it has failed, the test that misses its work tells.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    koji: Koji,
    holds: Arc<AtomicBool>,
    folder: PathBuf,
    /// Tasks that wait for their parts.
    images: Vec<i64>,
    /// Tasks, with name and architecture of what they make.
    parts: Vec<(i64, String, String)>,
}

impl Work {
    async fn turn(&mut self) {
        let methods = Value::Array(vec!["image".into(), "createImage".into()]);
        let data: Struct = [("methods".to_owned(), methods)].into_iter().collect();
        self.koji.call(calls::host::update_host(0.0, true, Some(data))).await.expect("a sign of life");
        for queued in self.koji.call(calls::host::get_tasks()).await.expect("tasks") {
            if let Some(task) = self.koji.call(calls::host::open_task(queued.id)).await.expect("answered") {
                self.begin(&task).await;
            }
        }
        if !self.holds.load(Ordering::SeqCst) {
            for (task, name, arch) in std::mem::take(&mut self.parts) {
                self.make(task, &name, &arch).await;
            }
        }
        for image in std::mem::take(&mut self.images) {
            if self.state(image).await != TaskState::Open {
                continue;
            }
            let (_, open) = self.koji.call(calls::host::task_wait(image)).await.expect("answered");
            if open.is_empty() {
                self.koji.call(calls::host::close_task(image, &Value::Struct(Struct::new()))).await.expect("closed");
            } else {
                self.images.push(image);
            }
        }
    }

    async fn state(&self, task: i64) -> TaskState {
        self.koji.call(calls::get_task_info(task, false)).await.expect("answered").expect("a task").state
    }

    async fn begin(&mut self, task: &Task) {
        let request =
            decode_call(task.raw.get("request").as_str().expect("a document").as_bytes()).expect("a call").params;
        if task.method == "createImage" {
            let text = |at: usize| request[at].as_str().expect("text").to_owned();
            let (name, version, release, arch) = (text(0), text(1), text(2), text(3));
            self.parts.push((task.id, format!("{name}-{version}-{release}"), arch));
            return;
        }
        let [name, version, arches, target, tree, opts] = &request[..] else { panic!("{request:?}") };
        let found = calls::get_build_target(target.as_str().expect("text"));
        let target = self.koji.call(found).await.expect("answered").expect("the target is there");
        let (id, build_tag) = (target.id, Value::from(target.build_tag));
        let target =
            Value::members([("id", id.into()), ("name", target.name.into()), ("build_tag", build_tag.clone())]);
        let mut children = Vec::new();
        for arch in arches.as_array().expect("a list") {
            let tree = tree.as_str().expect("text").replace("$arch", arch.as_str().expect("text"));
            let arguments = vec![
                name.clone(),
                version.clone(),
                "1".into(),
                arch.clone(),
                target.clone(),
                build_tag.clone(),
                Value::Nil,
                tree.into(),
                opts.clone(),
            ];
            let subtask = calls::host::subtask("createImage", arguments, task.id, arch.as_str());
            children.push(self.koji.call(subtask.named("arch", arch.clone())).await.expect("a subtask"));
        }
        self.koji.call(calls::host::task_set_wait(task.id, &children)).await.expect("it waits");
        self.images.push(task.id);
    }

    async fn make(&self, task: i64, name: &str, arch: &str) {
        if self.state(task).await != TaskState::Open {
            return;
        }
        let file = format!("{name}.{arch}.tar.gz");
        let archive = archive(&self.folder, &file, arch);
        let directory = task_directory(task);
        let place = Place { directory: &directory, name: &file };
        self.koji.upload_file(&archive, place, &|_, _| {}).await.expect("uploaded");
        let files = Value::members([("files", Value::Array(vec![file.into()]))]);
        self.koji.call(calls::host::close_task(task, &files)).await.expect("closed");
    }
}

fn archive(folder: &Path, name: &str, arch: &str) -> PathBuf {
    let (root, path) = (folder.join(format!("{name}.root")), folder.join(name));
    let script = "mkdir -p \"$1/bin\" \"$1/etc\" && cp \"$(command -v busybox)\" \"$1/bin/busybox\" && \
                  for program in sh cat echo; do ln -sf busybox \"$1/bin/$program\"; done && \
                  echo root:x:0:0:root:/:/bin/sh >\"$1/etc/passwd\" && echo \"made for $3\" >\"$1/etc/made\" && \
                  tar -C \"$1\" -czf \"$2\" .";
    let made = Command::new("sh").args(["-c", script, "sh"]).args([&root, &path]).arg(arch).status();
    assert!(made.expect("sh starts").success());
    fs::remove_dir_all(root).expect("removed");
    path
}
