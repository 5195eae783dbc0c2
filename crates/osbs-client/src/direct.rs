//! Builds that a person asks for and that no orchestrator makes: one worker build, and what was `create_prod_build`.

use crate::error::ClientError;
use crate::orchestrator::check_arrangement;
use crate::osbs::Osbs;
use crate::request::{BuildRequest, Submitted, WorkerBuildRequest};
use crate::submit::unique_name;
use osbs_config::UserParams;
use osbs_types::Platform;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const WORKER: &str = "a worker build";
const PROD: &str = "a build without orchestrator";

impl Osbs {
    /// Checks the request, looks at the repository, and creates one worker build that works for no orchestrator build.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_lone_worker_build(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<Submitted, ClientError> {
        let request = self.with_instance(request);
        let required = [
            ("arrangement_version", request.arrangement_version.is_none()),
            ("git_branch", request.git_branch.as_deref().is_none_or(str::is_empty)),
            ("git_ref", request.git_ref.is_empty()),
            ("git_uri", request.git_uri.is_empty()),
            ("platform", request.platform.is_none()),
            ("release", request.release.as_deref().is_none_or(str::is_empty)),
            ("user", self.user(&request).is_empty()),
        ];
        refuse_missing(WORKER, &required)?;
        if !request.platforms.is_empty() {
            return Err(ClientError::Unwanted { build: WORKER, parameter: "platforms" });
        }
        let (Some(platform), Some(release), Some(version)) =
            (request.platform.clone(), request.release.clone(), request.arrangement_version)
        else {
            return Err(ClientError::Missing { build: WORKER, parameters: Vec::new() });
        };
        check_arrangement(version)?;
        self.check_kind(&request)?;
        let (repository, commit) = self.look_at(&request, cancel).await?;
        let mut params = self.user_params(&request, version, &repository, &unique_name())?;
        params.git_ref = Some(commit);
        let Value::Object(parameters) = UserParams { image_tag: None, ..params }.to_json() else {
            return Err(ClientError::Missing { build: WORKER, parameters: Vec::new() });
        };
        let worker = WorkerBuildRequest {
            platform,
            release,
            arrangement_version: version,
            parameters,
            parent: None,
            slots: None,
        };
        let build = self.create_worker_build(&worker).await?;
        Ok(Submitted { build, existing: false, warnings: repository.warnings })
    }

    /// `create_prod_build`: all steps in one build, for one platform. Upstream's single build is gone; arrangement 1 does
    /// the same, for there the worker does everything. `native` is the platform where nobody names one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_prod_build(
        &self,
        request: &BuildRequest,
        native: &Platform,
        cancel: &CancellationToken,
    ) -> Result<Submitted, ClientError> {
        for (parameter, is_given) in [
            ("arrangement_version", request.arrangement_version.is_some()),
            ("platform", request.platform.is_some()),
            ("platforms", !request.platforms.is_empty()),
            ("release", request.release.is_some()),
        ] {
            if is_given {
                return Err(ClientError::Unwanted { build: PROD, parameter });
            }
        }
        let architecture = request.architecture.as_deref().or(self.instance.architecture.as_deref());
        let platform = match architecture {
            None => native.clone(),
            Some(name) => name.parse().map_err(|_| ClientError::Invalid {
                parameter: "architecture".to_owned(),
                value: name.to_owned(),
                expected: "a platform name: letters, digits and _ only".to_owned(),
            })?,
        };
        let whole = BuildRequest { arrangement_version: Some(1), platforms: vec![platform], ..request.clone() };
        self.create_orchestrator_build(&whole, cancel).await
    }
}

/// All missing parameters at once, sorted as they are listed.
pub(crate) fn refuse_missing(build: &'static str, required: &[(&'static str, bool)]) -> Result<(), ClientError> {
    let parameters: Vec<_> = required.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
    if parameters.is_empty() { Ok(()) } else { Err(ClientError::Missing { build, parameters }) }
}
