//! The [`Cluster`] of one machine: every call is a transaction, a file, or the start of a runner.

use crate::database::{Database, UNFINISHED, each_build, insert};
use crate::ending::{recover_one, request_cancel};
use crate::launch::RunnerCommand;
use crate::layout::{BuildPaths, Home, check_name, make_dir, ring, storage};
use crate::objects::{Table, count_up};
use crate::{lock, secret_files};
use async_trait::async_trait;
use futures_util::StreamExt;
use osbs_cluster::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventLog, EventReader, EventStream, FileWatch,
    NameRule, NewBuild, Reservation, SecretData, StoredEvent, TextMap, WaitFor,
};
use osbs_types::{BuildName, BuildState, EventKind, Nvr, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Whoever waits for a build makes sure this often that its runner lives.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// Longest `NAME=VALUE` the kernel passes to a program (MAX_ARG_STRLEN).
const LONGEST_VARIABLE: usize = 128 << 10;

/// One namespace of a home folder. Clones share a connection.
#[derive(Debug, Clone)]
pub struct LocalCluster {
    home: Home,
    namespace: String,
    runner: RunnerCommand,
    database: Arc<Mutex<Database>>,
}

impl LocalCluster {
    /// Opens the home folder at `root`, makes it if need be. Builds are run by `runner`. Call [`crate::recover`] first.
    ///
    /// # Errors
    /// The folder or the database cannot be used; the namespace is no name.
    pub fn open(root: &Path, namespace: &str, runner: RunnerCommand) -> Result<Self, ClusterError> {
        check_name("namespace", namespace)?;
        let home = Home::new(root);
        let database = Arc::new(Mutex::new(Database::open(&home)?));
        Ok(Self { home, namespace: namespace.to_owned(), runner, database })
    }

    /// The home folder.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Paths of a build.
    pub fn build_paths(&self, name: &BuildName) -> BuildPaths {
        self.home.build(&self.namespace, name)
    }

    /// Runs `work` where it may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &mut Database) -> Result<T, ClusterError> + Send + 'static,
    ) -> Result<T, ClusterError> {
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            // A panic elsewhere leaves a rolled-back transaction, not a broken connection.
            let mut database = this.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            work(&this, &mut database)
        });
        task.await.map_err(|error| ClusterError::Internal(format!("a call to the database was lost: {error}")))?
    }

    fn create(&self, database: &mut Database, new: NewBuild) -> Result<Build, ClusterError> {
        check_request(&new)?;
        let (build, lock) = database.write("record the build", |transaction, place| {
            let (name, number) =
                match &new.name {
                    NameRule::Exact(name) => (name.clone(), None),
                    NameRule::Config { build_config } => {
                        let number = count_up(transaction, place, &self.namespace, build_config)?;
                        let name = format!("{build_config}-{number}").parse().map_err(|reason| {
                            ClusterError::Invalid { what: "BuildConfig name", value: build_config.clone(), reason }
                        })?;
                        (name, Some(number))
                    }
                };
            let build = Build::from_new(&self.namespace, name, number, new, Timestamp::now());
            insert(transaction, place, &build)?;
            // Before the commit: nobody sees a build without its folder, or without somebody who holds its lock.
            let lock = self.make_folder(&build)?;
            Ok((build, lock))
        })?;
        let paths = self.build_paths(&build.name);
        let started = self.runner.launch(self.home.root(), &build, &paths, lock);
        if let Err(error) = started {
            // The lock is free again, so this closes the build.
            recover_one(&self.home, database, &self.namespace, &build.name)?;
            return Err(error);
        }
        Ok(build)
    }

    fn make_folder(&self, build: &Build) -> Result<std::fs::File, ClusterError> {
        let paths = self.build_paths(&build.name);
        if paths.dir.exists() {
            // Left by a process that died before its commit: the database knows no such build.
            std::fs::remove_dir_all(&paths.dir).map_err(storage("clear the build's folder", &paths.dir))?;
        }
        make_dir(&paths.dir)?;
        ring(&paths.bell())?;
        let lock = lock::take(&paths)?
            .ok_or_else(|| ClusterError::Internal(format!("the lock of the new build {} is taken", build.name)))?;
        EventLog::open(&paths.events())?.append(EventKind::State { state: BuildState::New, reason: None })?;
        Ok(lock)
    }

    /// The build, closed if its runner turns out to be dead.
    fn look(&self, database: &mut Database, name: &BuildName) -> Result<Build, ClusterError> {
        let build = database.build(&self.namespace, name)?.build;
        if build.is_finished() || recover_one(&self.home, database, &self.namespace, name)?.is_none() {
            return Ok(build);
        }
        Ok(database.build(&self.namespace, name)?.build)
    }
}

fn check_request(new: &NewBuild) -> Result<(), ClusterError> {
    crate::secret_mounts::check(&new.secrets)?;
    for (name, value) in &new.env {
        let reason = if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            "a name without '=', and no NUL anywhere"
        } else if name.len() + value.len() + 2 > LONGEST_VARIABLE {
            "longer than 128 KiB, the most that Linux passes to a program"
        } else {
            continue;
        };
        return Err(ClusterError::Invalid {
            what: "environment variable",
            value: name.chars().take(80).collect(),
            reason: reason.to_owned(),
        });
    }
    Ok(())
}

#[async_trait]
impl Cluster for LocalCluster {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn url(&self) -> String {
        format!("local://{}", self.home.root().display())
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        self.with(|this, database| this.create(database, new)).await
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        let name = name.clone();
        self.with(move |this, database| Ok(database.build(&this.namespace, &name)?.build)).await
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        let filter = filter.clone();
        self.with(move |this, database| {
            let mut condition = "namespace = ?1".to_owned();
            if filter.unfinished {
                condition = format!("{condition} AND {UNFINISHED}");
            }
            let mut found = Vec::new();
            each_build(database, &condition, &[&this.namespace], |build| {
                if filter.matches(&build) {
                    found.push(build);
                }
                filter.limit.is_none_or(|limit| found.len() < limit)
            })?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        let name = name.clone();
        self.with(move |this, database| {
            request_cancel(&this.home, database, &this.namespace, &name, "cancelled on request")?;
            this.look(database, &name)
        })
        .await
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        let mut watch = None;
        loop {
            let asked = name.clone();
            let build = self.with(move |this, database| this.look(database, &asked)).await?;
            if until.is_reached(build.state) {
                return Ok(build);
            }
            match &watch {
                None => watch = Some(FileWatch::new(&[&self.build_paths(name).bell()])),
                Some(watch) => watch.changed(LOOK_AROUND).await,
            }
        }
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        let name = name.clone();
        self.with(move |this, database| {
            let changed = database.change_build("update the build", &this.namespace, &name, |stored| {
                patch.apply(&mut stored.build);
            })?;
            Ok(changed.0)
        })
        .await
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        self.get_build(name).await?;
        let paths = self.build_paths(name);
        let follower = Follower {
            cluster: self.clone(),
            name: name.clone(),
            reader: EventReader::new(&paths.events(), from),
            watch: None,
            follow,
            ended: false,
        };
        let batches = futures_util::stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(batch)) => Some((Ok(batch), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let events = batches.flat_map(|batch| {
            futures_util::stream::iter(match batch {
                Ok(events) => events.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(events.boxed())
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        let unfinished = self.list_builds(&BuildFilter { unfinished: true, ..BuildFilter::default() }).await?;
        let in_group = |b: &&Build| group.is_none_or(|group| b.slots.as_ref().is_some_and(|s| s.group == group));
        Ok(unfinished.iter().filter(in_group).count())
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        check_name("BuildConfig name", &config.name)?;
        self.with(move |this, database| database.ensure_config(&this.namespace, &config)).await
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        let name = name.to_owned();
        self.with(move |this, database| database.config(&this.namespace, &name)).await
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        let mut configs = self.with(|this, database| database.configs(&this.namespace)).await?;
        configs.retain(|config| labels.iter().all(|(key, value)| config.labels.get(key) == Some(value)));
        Ok(configs)
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        let name = name.to_owned();
        self.with(move |this, database| database.delete_row(Table::BuildConfigs, &this.namespace, &name)).await
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        check_name("ConfigMap name", name)?;
        let (name, data) = (name.to_owned(), data.clone());
        self.with(move |this, database| database.put_map(&this.namespace, &name, &data)).await
    }

    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        let name = name.to_owned();
        self.with(move |this, database| database.map(&this.namespace, &name)).await
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        self.with(|this, database| database.maps(&this.namespace)).await
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        let name = name.to_owned();
        self.with(move |this, database| database.delete_row(Table::ConfigMaps, &this.namespace, &name)).await
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        let (name, data) = (name.to_owned(), data.clone());
        self.with(move |this, _| secret_files::put(&this.home, &this.namespace, &name, &data)).await
    }

    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        let name = name.to_owned();
        self.with(move |this, _| secret_files::get(&this.home, &this.namespace, &name)).await
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        self.with(|this, _| secret_files::list(&this.home, &this.namespace)).await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        let name = name.to_owned();
        self.with(move |this, _| secret_files::delete(&this.home, &this.namespace, &name)).await
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        secret_files::dir(&self.home, &self.namespace, name)
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        let (nvr, by) = (nvr.clone(), by.clone());
        self.with(move |this, database| database.reserve(&this.namespace, &nvr, &by)).await
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        let nvr = nvr.clone();
        self.with(move |_, database| database.owner_of(&nvr)).await
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        let (component, version) = (component.to_owned(), version.to_owned());
        self.with(move |_, database| database.release_after(&component, &version)).await
    }
}

/// Reads a build's events as they come.
struct Follower {
    cluster: LocalCluster,
    name: BuildName,
    reader: EventReader,
    watch: Option<FileWatch>,
    follow: bool,
    /// The build was seen finished: what the log holds from now on is all there will be.
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, ClusterError> {
        loop {
            let batch = self.read().await?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            if self.ended || !self.follow {
                return Ok(if self.ended { self.reader.rest().map(|event| vec![event]) } else { None });
            }
            let name = self.name.clone();
            let build = self.cluster.with(move |this, database| this.look(database, &name)).await?;
            if build.is_finished() {
                self.ended = true;
                continue;
            }
            let paths = self.cluster.build_paths(&self.name);
            match &self.watch {
                None => self.watch = Some(FileWatch::new(&[&paths.events(), &paths.bell()])),
                Some(watch) => watch.changed(LOOK_AROUND).await,
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<StoredEvent>, ClusterError> {
        let mut reader = std::mem::replace(&mut self.reader, EventReader::new(Path::new(""), 0));
        let task = tokio::task::spawn_blocking(move || {
            let batch = reader.next_batch();
            (reader, batch)
        });
        let (reader, batch) =
            task.await.map_err(|error| ClusterError::Internal(format!("a read of the event log was lost: {error}")))?;
        self.reader = reader;
        batch
    }
}
