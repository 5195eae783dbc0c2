//! The source of a build: checked out into a work folder of its own, the build file found, first checks done
//! (`reactor.md` 1.2).
//!
//! The only place that fetches a source, and it removes what it made. Everything in the source is hostile: files are
//! found through `osbs_sandbox::rooted`, so that no link leads outside.

use crate::build_json::SourceSpec;
use crate::committed_lines::committed_line;
use crate::plugin::PluginError;
use crate::run::{Parents, Run};
use osbs_client::git::CheckoutRequest;
use osbs_dockerfile::{Dockerfile, is_custom_base_image};
use osbs_sandbox::rooted::{NodeKind, Root};
use osbs_types::Position;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Largest Dockerfile or container.yaml that is read.
const MAX_BUILD_FILE: u64 = 4 << 20;

/// A checked-out source.
#[derive(Debug)]
pub struct SourceTree {
    workdir: PathBuf,
    root: PathBuf,
    dockerfile_dir: PathBuf,
    build_file: PathBuf,
    uri: String,
    commit_id: Option<String>,
    /// The Dockerfile before any plugin has edited it.
    committed: Option<String>,
}

impl SourceTree {
    /// Fetches what the run's build JSON names, below the run's work root.
    ///
    /// # Errors
    /// The repository, the ref or the build file is not there.
    pub async fn fetch(run: &Run) -> Result<Self, PluginError> {
        let spec = run.request.source.clone();
        let services = &run.services;
        std::fs::create_dir_all(&services.work_root).map_err(|error| work_folder(&services.work_root, &error))?;
        let workdir = tempfile::Builder::new()
            .prefix("source-")
            .tempdir_in(&services.work_root)
            .map_err(|error| work_folder(&services.work_root, &error))?;
        let root = workdir.path().join("source");
        let commit_id = match spec.provider.to_ascii_lowercase().as_str() {
            "git" => Some(clone(run, &spec, &root).await?),
            "path" => {
                link_path(&spec.uri, &root)?;
                None
            }
            other => {
                let text = format!("source provider {other:?} is not known: git or path");
                return Err(PluginError::user(text));
            }
        };
        let mut tree = Self::over(&root, &spec)?;
        tree.commit_id = commit_id;
        tree.workdir = workdir.keep();
        Ok(tree)
    }

    /// A source that lies in `root` already; work files go into its parent folder's `workdir`. For tests and for callers
    /// that have fetched themselves.
    ///
    /// # Errors
    /// No build file.
    pub fn over(root: &Path, spec: &SourceSpec) -> Result<Self, PluginError> {
        let (folder, build_file) = find_build_file(root, spec.dockerfile_path.as_deref())?;
        let mut tree = Self {
            workdir: root.parent().unwrap_or(root).to_owned(),
            root: root.to_owned(),
            dockerfile_dir: root.join(&folder),
            build_file: root.join(folder).join(build_file),
            uri: spec.uri.clone(),
            commit_id: None,
            committed: None,
        };
        tree.committed = tree.read_beside(tree.build_file_name()).ok().flatten();
        Ok(tree)
    }

    fn build_file_name(&self) -> &str {
        self.build_file.file_name().and_then(|name| name.to_str()).unwrap_or("Dockerfile")
    }

    /// Where the author of the Dockerfile finds a line of it as it is now: the number it had when it was committed.
    pub(crate) fn committed_place(&self, mut place: Position) -> Position {
        let committed = self.committed.as_deref().filter(|_| place.file == self.build_file_name());
        let (Some(committed), Ok(edited)) = (committed, self.dockerfile()) else { return place };
        match committed_line(committed, edited.text(), place.line) {
            Some(line) => place.line = line,
            None => place.file.push_str(" as edited by plugins"),
        }
        place
    }

    /// The temporary folder of the run, for anything large.
    pub fn workdir(&self) -> &Path {
        &self.workdir
    }

    /// The clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The Dockerfile (or container.yaml of a Flatpak).
    pub fn build_file(&self) -> &Path {
        &self.build_file
    }

    /// The folder the build file is in: the build context.
    pub fn dockerfile_dir(&self) -> &Path {
        &self.dockerfile_dir
    }

    /// Where it came from.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The commit, for git sources.
    pub fn commit_id(&self) -> Option<&str> {
        self.commit_id.as_deref()
    }

    /// A small text file beside the Dockerfile; `None` when there is none.
    ///
    /// # Errors
    /// It is there and cannot be read as UTF-8 text.
    pub fn read_beside(&self, name: &str) -> Result<Option<String>, PluginError> {
        let folder = Root::open(&self.dockerfile_dir)?;
        match folder.read_small(Path::new(name), MAX_BUILD_FILE) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| PluginError::user(format!("{name} in the repository is not UTF-8 text"))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The Dockerfile as it is now.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub fn dockerfile(&self) -> Result<Dockerfile, PluginError> {
        let name = self.build_file_name();
        let text = self
            .read_beside(name)?
            .ok_or_else(|| PluginError::user("the Dockerfile has been removed during the build"))?;
        Ok(Dockerfile::parse(&text, name)?)
    }

    /// Replaces the Dockerfile.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_dockerfile(&self, dockerfile: &Dockerfile) -> Result<(), PluginError> {
        use std::io::Write;
        let folder = Root::open(&self.dockerfile_dir)?;
        let name = self.build_file.file_name().unwrap_or("Dockerfile".as_ref());
        let mut file = folder.create_file(Path::new(name), 0o644)?;
        file.write_all(dockerfile.text().as_bytes())
            .map_err(|error| PluginError::resource(format!("the Dockerfile cannot be written: {error}")))
    }

    /// Parents of the Dockerfile as it is now, after the first checks of 1.2.
    ///
    /// # Errors
    /// It cannot be read or breaks a rule.
    pub fn parents(&self) -> Result<Parents, PluginError> {
        let dockerfile = self.dockerfile()?;
        let ordered = dockerfile.parents_ordered()?;
        let custom: BTreeSet<_> = ordered.iter().filter(|name| is_custom_base_image(name)).collect();
        if custom.len() > 1 {
            let names: Vec<_> = custom.into_iter().map(String::as_str).collect();
            let text = format!("more than one custom base image: {}", names.join(", "));
            return Err(PluginError::user(text).with_hint("use one koji/image-build file for all stages"));
        }
        if let Some(problem) = dockerfile.check_copy_from().into_iter().next() {
            let at = problem.position.clone();
            return Err(PluginError::user(problem.to_string())
                .at(at)
                .with_hint("add a stage FROM that image with a name, and copy from that name"));
        }
        let base = dockerfile.base_image()?;
        let base = (base != "scratch").then_some(base);
        let images: BTreeMap<_, _> =
            ordered.iter().filter(|name| *name != "scratch").map(|name| (name.clone(), None)).collect();
        Ok(Parents { original_base_image: base.clone(), base_image: base, ordered, images, ..Parents::default() })
    }

    /// Removes the work folder.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.workdir)
    }
}

/// Checks the ref out; gives its commit id.
async fn clone(run: &Run, spec: &SourceSpec, root: &Path) -> Result<String, PluginError> {
    let params = &spec.provider_params;
    let request = CheckoutRequest {
        uri: spec.uri.clone(),
        branch: params.git_branch.clone(),
        git_ref: params.git_commit.clone().unwrap_or_else(|| "master".to_owned()),
        depth: params.git_commit_depth.filter(|_| params.git_branch.is_some()),
    };
    let checkout = run.services.git.checkout(&request, root, run.cancel()).await?;
    run.log().info(format!("checked out {} of {}: commit {}", request.git_ref, request.uri, checkout.commit));
    Ok(checkout.commit)
}

fn work_folder(path: &Path, error: &io::Error) -> PluginError {
    PluginError::resource(format!("the work folder {} cannot be made: {error}", path.display()))
}

/// `path` sources are copied, so that a build never changes the user's files.
fn link_path(uri: &str, root: &Path) -> Result<(), PluginError> {
    let from = Path::new(uri.strip_prefix("file://").unwrap_or(uri));
    if !from.is_dir() {
        return Err(PluginError::user(format!("the source {} is no folder", from.display())));
    }
    let copied =
        std::process::Command::new("cp").arg("-a").arg("--reflink=auto").arg("--").arg(from).arg(root).output();
    match copied {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(PluginError::resource(format!("the source cannot be copied: {text}")))
        }
        Err(error) => Err(PluginError::resource(format!("the source cannot be copied: cp: {error}"))),
    }
}

/// The folder (inside the source, without links) and the name of the build file in it.
fn find_build_file(root: &Path, wanted: Option<&str>) -> Result<(PathBuf, &'static str), PluginError> {
    let inside = Root::open(root)?;
    let mut folder = PathBuf::from(wanted.unwrap_or("").trim_start_matches('/'));
    if folder.ends_with("Dockerfile") || folder.ends_with("container.yaml") {
        folder.pop();
    }
    let folder = inside.resolve(&folder)?.strip_prefix("/").map(Path::to_owned).unwrap_or_default();
    let shown = || if folder.as_os_str().is_empty() { String::new() } else { format!(" in {}", folder.display()) };
    match inside.stat(&folder)? {
        Some(node) if node.kind == NodeKind::Directory => {}
        _ => return Err(PluginError::user(format!("the source has no folder {}", folder.display()))),
    }
    let is_file = |name: &str| -> Result<bool, PluginError> {
        Ok(inside.stat(&folder.join(name))?.is_some_and(|node| node.kind == NodeKind::File))
    };
    if is_file("Dockerfile")? {
        return Ok((folder, "Dockerfile"));
    }
    let hint = "commit a file named Dockerfile, or name its folder in the request";
    if is_file("container.yaml")? {
        let text = format!("there is a container.yaml{} but no Dockerfile", shown());
        return Err(PluginError::user(text).with_hint(hint));
    }
    Err(PluginError::user(format!("there is no Dockerfile{}", shown())).with_hint(hint))
}
