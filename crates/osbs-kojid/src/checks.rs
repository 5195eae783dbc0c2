//! What is asked of the hub before a task becomes a build (client-and-koji 4.4, steps 1 to 10).

use crate::labels::{check_labels, check_tag_length};
use crate::task_error::of_koji;
use crate::{AllowedScms, ScmUrl, TaskError, TaskRequest, select_arches};
use osbs_client::{BuildRequest, RepositoryInfo};
use osbs_koji::{BuildState, Koji, Target, Task, calls};
use osbs_types::Platform;

/// What a task will build.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scm: ScmUrl,
    pub(crate) target: Target,
    pub(crate) build: BuildRequest,
}

/// The checks that need no repository, and the request that follows from them.
pub(crate) async fn plan(
    koji: &Koji,
    task: &Task,
    request: &TaskRequest,
    allowed: &AllowedScms,
) -> Result<Plan, TaskError> {
    let event = koji.call(calls::get_last_event()).await.map_err(of_koji)?.id;
    let target = koji.call(calls::get_build_target(request.target.as_str()).named("event", event)).await;
    let target = target.map_err(of_koji)?.ok_or_else(|| TaskError::NoTarget { target: request.target.clone() })?;
    let config = koji.call(calls::get_build_config(target.build_tag).named("event", event)).await.map_err(of_koji)?;
    let arches = config.map_or_else(String::new, |config| config.arches.join(" "));
    let kept = !request.scratch && !request.isolated;
    let arches = select_arches(&target.build_tag_name, &arches, request.arch_override.as_deref(), kept)?;
    let scm = ScmUrl::parse(&request.src)?;
    allowed.check(&scm)?;
    if request.has_epoch && !koji.call(calls::get_perms()).await.map_err(of_koji)?.iter().any(|perm| perm == "admin") {
        let problem = "epoch needs a builder with the permission admin".to_owned();
        return Err(TaskError::Request { problem });
    }
    let owner = match task.owner {
        Some(owner) => koji.call(calls::get_user(owner)).await.map_err(of_koji)?.map(|user| user.name),
        None => None,
    };
    let platforms = arches.iter().map(|arch| platform(arch)).collect::<Result<_, _>>()?;
    let build = BuildRequest {
        git_uri: scm.repository(),
        git_ref: scm.revision.clone(),
        git_branch: request.git_branch.clone(),
        user: owner,
        target: Some(target.name.clone()),
        platforms,
        release: request.release.clone(),
        scratch: request.scratch,
        isolated: request.isolated,
        flatpak: request.flatpak,
        yum_repourls: request.yum_repourls.clone(),
        koji_task_id: u64::try_from(task.id).ok(),
        koji_parent_build: request.koji_parent_build.clone(),
        signing_intent: request.signing_intent.clone(),
        compose_ids: request.compose_ids.clone(),
        ..BuildRequest::default()
    };
    Ok(Plan { scm, target, build })
}

fn platform(arch: &str) -> Result<Platform, TaskError> {
    arch.parse().map_err(|_| TaskError::Request { problem: format!("{arch:?} cannot be the name of a platform") })
}

/// The checks that need its Dockerfile's labels.
pub(crate) async fn check_repository(
    koji: &Koji,
    request: &TaskRequest,
    target: &Target,
    repository: &RepositoryInfo,
) -> Result<(), TaskError> {
    let labels = &repository.labels;
    check_labels(labels)?;
    let release = request.release.as_deref().or(labels.release.as_deref()).filter(|release| !release.is_empty());
    check_tag_length(&labels.version, release, &repository.additional_tags)?;
    if request.scratch {
        return Ok(());
    }
    let (package, tag) = (labels.component.clone(), target.dest_tag_name.clone());
    match koji.call(calls::get_package_config(tag.as_str(), &package)).await.map_err(of_koji)? {
        None => return Err(TaskError::PackageNotListed { package, tag }),
        Some(config) if config.blocked => return Err(TaskError::PackageBlocked { package, tag }),
        Some(_) => {}
    }
    let Some(release) = release else { return Ok(()) };
    let nvr = format!("{package}-{}-{release}", labels.version);
    // A lookup that fails does not stop the build: the import will tell.
    match koji.call(calls::get_build(nvr.as_str())).await {
        Ok(Some(build)) if !matches!(build.state, BuildState::Failed | BuildState::Canceled) => {
            Err(TaskError::BuildExists { nvr, id: build.id })
        }
        _ => Ok(()),
    }
}
