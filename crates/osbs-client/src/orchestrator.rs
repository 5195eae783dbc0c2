//! `create_orchestrator_build`: the checks of `client-and-koji.md` 2.3, in that order.

use crate::direct::refuse_missing;
use crate::error::ClientError;
use crate::git::CheckoutRequest;
use crate::osbs::Osbs;
use crate::render::Rendering;
use crate::repository::RepositoryInfo;
use crate::request::{BuildRequest, Submitted};
use crate::submit::{labels_of, unique_name};
use osbs_arrangement::{LATEST, UniqueName, inner_template_name, isolated_release};
use osbs_cluster::{GitSource, Limits, NameRule, NewBuild, Slots};
use osbs_config::{BuildFrom, UserParams};
use osbs_types::{BuildType, Nvr, PullSpec};
use tokio_util::sync::CancellationToken;

const ORCHESTRATOR: &str = "an orchestrator build";
/// All orchestrator builds of a cluster share its slots.
const SLOT_GROUP: &str = "orchestrator";

/// An orchestrator build that passed every check and is not created yet.
#[derive(Debug)]
pub struct PreparedBuild {
    new: NewBuild,
    params: UserParams,
    unique: UniqueName,
    repository: RepositoryInfo,
}

impl PreparedBuild {
    /// What its repository says.
    pub fn repository(&self) -> &RepositoryInfo {
        &self.repository
    }

    /// The commit that will be built.
    pub fn commit(&self) -> &str {
        &self.new.source.git_ref
    }
}

impl Osbs {
    /// Checks the request, looks at the repository, and creates an orchestrator build. Nothing is left behind where it
    /// fails.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_orchestrator_build(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<Submitted, ClientError> {
        let request = &self.with_instance(request);
        let version = self.check(request)?;
        if let Some(task) = request.koji_task_id
            && let Some(build) = self.build_of_task(task).await?
        {
            return Ok(Submitted { build, existing: true, warnings: Vec::new() });
        }
        self.create_prepared_build(self.prepare(request, version, cancel).await?).await
    }

    /// The first half of [`Osbs::create_orchestrator_build`], for who has checks of its own to make before there is a build.
    ///
    /// # Errors
    /// As there.
    pub async fn prepare_orchestrator_build(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<PreparedBuild, ClientError> {
        let request = &self.with_instance(request);
        let version = self.check(request)?;
        self.prepare(request, version, cancel).await
    }

    /// The second half.
    ///
    /// # Errors
    /// The cluster refused.
    pub async fn create_prepared_build(&self, prepared: PreparedBuild) -> Result<Submitted, ClientError> {
        let build = self.submit(prepared.new, &prepared.params, &prepared.unique).await?;
        Ok(Submitted { build, existing: false, warnings: prepared.repository.warnings })
    }

    /// What [`Osbs::create_orchestrator_build`] would create, and the warnings. Creates nothing; its name is not decided.
    ///
    /// # Errors
    /// As there.
    pub async fn preview_orchestrator_build(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<(NewBuild, Vec<String>), ClientError> {
        let request = &self.with_instance(request);
        let version = self.check(request)?;
        let prepared = self.prepare(request, version, cancel).await?;
        Ok((prepared.new, prepared.repository.warnings))
    }

    /// What orchestrator builds share of the cluster. Those that have not ended use one each
    /// ([`osbs_cluster::Cluster::active_builds`] of the group).
    pub fn orchestrator_slots(&self) -> Slots {
        let max = self.instance.max_concurrent_builds.unwrap_or(self.parts.default_max_concurrent_builds);
        Slots { group: SLOT_GROUP.to_owned(), max: max.max(1) }
    }

    /// Everything but the creation.
    async fn prepare(
        &self,
        request: &BuildRequest,
        version: u32,
        cancel: &CancellationToken,
    ) -> Result<PreparedBuild, ClientError> {
        let (repository, commit) = self.look_at(request, cancel).await?;
        let unique = unique_name();
        let mut params = self.user_params(request, version, &repository, &unique)?;
        params.git_ref = Some(commit.clone());
        // What was looked at is what is built, on every platform, however long the build waits for its turn.
        let source = GitSource { uri: request.git_uri.clone(), git_ref: commit.clone() };
        // The name is decided when it is submitted.
        let rule = NameRule::Config { build_config: String::new() };
        let image = params.image_tag.clone().unwrap_or_default();
        let mut new = NewBuild::new(rule, BuildType::Orchestrator, source, image);
        new.labels = labels_of(&params);
        add_labels(&mut new, request, &params);
        new.annotations.insert("commit_id".to_owned(), commit);
        new.limits = self.limits();
        new.build_image = self.build_image();
        new.slots = Some(self.orchestrator_slots());
        let rendering = Rendering {
            build_type: BuildType::Orchestrator,
            arrangement_version: version,
            params: &params,
            is_auto: request.is_auto,
            autorebuild_enabled: repository.autorebuild_enabled,
        };
        self.render_into(&mut new, &rendering).await?;
        Ok(PreparedBuild { new, params, unique, repository })
    }

    /// What can be said without the repository; gives the arrangement.
    fn check(&self, request: &BuildRequest) -> Result<u32, ClientError> {
        if !self.instance.can_orchestrate {
            return Err(ClientError::OrchestratorNotEnabled {
                instance: self.parts.settings.instance().to_owned(),
                conf: self.parts.settings.conf().map(|conf| conf.ini().file().to_owned()),
            });
        }
        let version = request.arrangement_version.unwrap_or(self.instance.arrangement_version);
        check_arrangement(version)?;
        let required = [
            ("git_branch", request.git_branch.as_deref().is_none_or(str::is_empty)),
            ("git_ref", request.git_ref.is_empty()),
            ("git_uri", request.git_uri.is_empty()),
            ("platforms", request.platforms.is_empty() && version < LATEST),
            ("user", self.user(request).is_empty()),
        ];
        refuse_missing(ORCHESTRATOR, &required)?;
        if request.platform.is_some() {
            return Err(ClientError::Unwanted { build: ORCHESTRATOR, parameter: "platform" });
        }
        self.check_kind(request)?;
        Ok(version)
    }

    /// The request with what the instance says where it says nothing itself.
    pub(crate) fn with_instance(&self, request: &BuildRequest) -> BuildRequest {
        let mut request = request.clone();
        let config = &self.instance;
        let fill = |value: &mut String, other: Option<&String>| {
            if let (true, Some(other)) = (value.is_empty(), other) {
                value.clone_from(other);
            }
        };
        request.git_branch = request.git_branch.or_else(|| config.git_branch.clone());
        fill(&mut request.git_uri, config.git_url.as_ref());
        fill(&mut request.git_ref, config.git_commit.as_ref().or(request.git_branch.as_ref()));
        if request.yum_repourls.is_empty() {
            request.yum_repourls.clone_from(&config.yum_repourls);
        }
        request
    }

    pub(crate) fn check_kind(&self, request: &BuildRequest) -> Result<(), ClientError> {
        let kinds =
            [("scratch", self.is_scratch(request)), ("is_auto", request.is_auto), ("isolated", request.isolated)];
        let given: Vec<_> = kinds.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        if let [first, second, ..] = given[..] {
            return Err(ClientError::Exclusive { first, second });
        }
        if request.flatpak && request.isolated {
            return Err(ClientError::Exclusive { first: "flatpak", second: "isolated" });
        }
        if request.signing_intent.is_some() && !request.compose_ids.is_empty() {
            return Err(ClientError::Exclusive { first: "signing_intent", second: "compose_ids" });
        }
        check_texts(request)?;
        let release = request.release.as_deref();
        if request.isolated && !release.is_some_and(isolated_release) {
            return Err(ClientError::Invalid {
                parameter: "release".to_owned(),
                value: release.unwrap_or_default().to_owned(),
                expected: "N.N or N.N.SUFFIX, which an isolated build needs".to_owned(),
            });
        }
        if let Some(release) = release.filter(|release| !osbs_arrangement::release_label(release)) {
            return Err(ClientError::Invalid {
                parameter: "release".to_owned(),
                value: release.to_owned(),
                expected: "a number, then letters and digits, with '.' or '_' between".to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn user<'a>(&'a self, request: &'a BuildRequest) -> &'a str {
        request.user.as_deref().or(self.instance.user.as_deref()).unwrap_or_default()
    }

    fn is_scratch(&self, request: &BuildRequest) -> bool {
        self.instance.scratch.unwrap_or(request.scratch)
    }

    /// Clones the repository to a folder that is gone afterwards.
    pub(crate) async fn look_at(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<(RepositoryInfo, String), ClientError> {
        let place = &self.parts.scratch_dir;
        let failed = |source| ClientError::NoFolder { place: place.display().to_string(), source };
        std::fs::create_dir_all(place).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("osbs-clone-").tempdir_in(place).map_err(failed)?;
        let wanted = CheckoutRequest {
            uri: request.git_uri.clone(),
            branch: request.git_branch.clone(),
            git_ref: request.git_ref.clone(),
            depth: request.git_commit_depth,
        };
        let checkout = self.parts.git.checkout(&wanted, &folder.path().join("source"), cancel).await?;
        let info = RepositoryInfo::inspect(&checkout.root, &wanted)?;
        Ok((info, checkout.commit))
    }

    pub(crate) fn user_params(
        &self,
        request: &BuildRequest,
        version: u32,
        repository: &RepositoryInfo,
        unique: &UniqueName,
    ) -> Result<UserParams, ClientError> {
        let user = self.user(request).to_owned();
        let target = request.target.clone().or_else(|| self.instance.target.clone()).filter(|text| !text.is_empty());
        let component = repository.labels.component.clone();
        let image_tag = unique.image_tag(&user, &component, target.as_deref(), None, version);
        check_image(&image_tag, &user, &component)?;
        let build_from = self.instance.build_from.as_ref().map(|from| match from {
            BuildFrom::Image(image) => format!("image:{image}"),
            BuildFrom::ImageStream(tag) => format!("imagestream:{tag}"),
        });
        let id = |id: Option<u64>| id.and_then(|id| i64::try_from(id).ok());
        Ok(UserParams {
            additional_tags: repository.additional_tags.clone(),
            arrangement_version: Some(version),
            base_image: Some(repository.base_image.clone()),
            build_from,
            build_json_dir: self
                .instance
                .builder_build_json_dir
                .clone()
                .or_else(|| self.general.build_json_dir.clone()),
            build_type: Some(BuildType::Orchestrator),
            component: Some(component),
            compose_ids: request.compose_ids.clone(),
            filesystem_koji_task_id: id(request.filesystem_koji_task_id),
            flatpak: request.flatpak || self.instance.flatpak == Some(true),
            git_branch: request.git_branch.clone(),
            git_commit_depth: request.git_commit_depth.map(i64::from),
            git_uri: request.git_uri.clone(),
            image_tag: Some(image_tag),
            isolated: request.isolated,
            koji_parent_build: request.koji_parent_build.clone(),
            koji_target: target,
            koji_task_id: id(request.koji_task_id),
            koji_upload_dir: request.koji_upload_dir.clone(),
            name: Some(repository.labels.name.clone()),
            platforms: request.platforms.clone(),
            reactor_config_map: self.instance.reactor_config_map.clone(),
            reactor_config_override: request.reactor_config_override.clone(),
            release: request.release.clone(),
            scratch: self.is_scratch(request),
            signing_intent: request.signing_intent.clone(),
            tags_from_yaml: repository.tags_from_yaml,
            user,
            yum_repourls: request.yum_repourls.clone(),
            ..UserParams::default()
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        let config = &self.instance;
        Limits {
            cpu: config.cpu_limit.clone(),
            memory: config.memory_limit.clone(),
            storage: config.storage_limit.clone(),
        }
    }

    pub(crate) fn build_image(&self) -> Option<String> {
        self.instance.build_from.as_ref().map(|from| match from {
            BuildFrom::Image(image) | BuildFrom::ImageStream(image) => image.clone(),
        })
    }
}

/// An arrangement must be one that there is.
pub(crate) fn check_arrangement(version: u32) -> Result<(), ClientError> {
    if (1..=LATEST).contains(&version) {
        return Ok(());
    }
    Err(ClientError::Invalid {
        parameter: "arrangement_version".to_owned(),
        value: version.to_string(),
        expected: format!("1 to {LATEST} (there is no {})", inner_template_name(BuildType::Orchestrator, version)),
    })
}

/// Texts with a form of their own.
fn check_texts(request: &BuildRequest) -> Result<(), ClientError> {
    let invalid = |parameter: &str, value: &str, expected: &str| ClientError::Invalid {
        parameter: parameter.to_owned(),
        value: without_password(value),
        expected: expected.to_owned(),
    };
    for url in &request.yum_repourls {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(char::is_whitespace) {
            return Err(invalid("yum_repourls", url, "an http or https URL of a file with package repositories"));
        }
    }
    if let Some(parent) = request.koji_parent_build.as_deref().filter(|parent| parent.parse::<Nvr>().is_err()) {
        return Err(invalid("koji_parent_build", parent, "a Koji build, as name-version-release"));
    }
    Ok(())
}

/// A URL may carry one, and errors are shown and kept.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.split_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

fn add_labels(new: &mut NewBuild, request: &BuildRequest, params: &UserParams) {
    let mut put = |key: &str, value: String| new.labels.insert(key.to_owned(), value);
    put("is_autorebuild", request.is_auto.to_string());
    if let Some(task) = request.koji_task_id {
        put("koji-task-id", task.to_string());
    }
    if params.scratch {
        put("scratch", "true".to_owned());
    }
    if params.isolated {
        put("isolated", "true".to_owned());
        put("isolated-release", params.release.clone().unwrap_or_default());
    }
}

/// The image name is made of user and component: both must fit in.
pub(crate) fn check_image(image: &str, user: &str, component: &str) -> Result<(), ClientError> {
    let expected =
        "lower-case letters and digits, with single '.', '_' or '-' between, since it is part of an image name";
    // Behind another component: a first one in upper case would be taken for a registry.
    let is_component = |text: &str| format!("x/{text}:1").parse::<PullSpec>().is_ok() && !text.contains([':', '@']);
    let (parameter, value) = if !is_component(user) {
        ("user", user)
    } else if !is_component(component) {
        ("label com.redhat.component", component)
    } else if image.parse::<PullSpec>().is_err() {
        ("target", image)
    } else {
        return Ok(());
    };
    Err(ClientError::Invalid {
        parameter: parameter.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    })
}
