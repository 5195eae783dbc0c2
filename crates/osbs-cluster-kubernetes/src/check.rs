//! What a login may do in a namespace, and what the cluster has for builds: `osbs deploy check`.
//!
//! Asks the API server itself, which knows more than the Roles that it was given.

mod permissions;
mod probe;

use crate::KubernetesCluster;
use crate::client::{asked, code};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, PostParams};
use osbs_cluster::{ClusterError, TextMap};
pub use permissions::{Permission, Role};
use std::time::Duration;

/// What is to be there.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Permissions of this role; none are asked about without.
    pub role: Option<Role>,
    /// Whose permissions: a service account of the namespace; one's own without.
    pub service_account: Option<String>,
    /// Secrets, each with the key that names it.
    pub secrets: Vec<(String, String)>,
    /// ConfigMaps, likewise.
    pub config_maps: Vec<(String, String)>,
    /// Names of platforms with the selector of their nodes.
    pub nodes: Vec<(String, TextMap)>,
    /// Priority classes, each with the key that names it.
    pub priority_classes: Vec<(String, String)>,
    /// An image to start once, as builds do, and how long that may take.
    pub image: Option<(String, Duration)>,
}

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Has,
    /// It is not.
    Lacks,
    /// One may not look.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `permission`, `secret`, `ConfigMap`, `nodes`, `PriorityClass`, `image`.
    pub kind: &'static str,
    /// `create jobs.batch`, a name, a platform.
    pub subject: String,
    /// How it stands.
    pub standing: Standing,
    /// What it is for, or why it is not there.
    pub detail: String,
}

impl Finding {
    fn new(kind: &'static str, subject: impl Into<String>, standing: Standing, detail: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), standing, detail: detail.into() }
    }
}

impl KubernetesCluster {
    /// Looks at everything that is wanted.
    ///
    /// # Errors
    /// The cluster is not reached, or knows nobody of this login. What one may not look at is a finding.
    pub async fn check(&self, wanted: &Wanted) -> Result<Vec<Finding>, ClusterError> {
        let mut findings = Vec::new();
        for permission in wanted.role.into_iter().flat_map(Role::permissions) {
            findings.push(self.permission(permission, wanted.service_account.as_deref()).await?);
        }
        let secrets = self.api::<Secret>();
        for (name, by) in &wanted.secrets {
            let found = secrets.get_metadata_opt(name).await.map(|found| found.is_some());
            findings.push(self.object("secret", ("get", "secrets"), name, by, found)?);
        }
        let config_maps = self.api::<ConfigMap>();
        for (name, by) in &wanted.config_maps {
            let found = config_maps.get_metadata_opt(name).await.map(|found| found.is_some());
            findings.push(self.object("ConfigMap", ("get", "configmaps"), name, by, found)?);
        }
        for (platform, selector) in &wanted.nodes {
            findings.push(self.nodes(platform, selector).await?);
        }
        let classes = Api::<PriorityClass>::all(self.client().clone());
        for (name, by) in &wanted.priority_classes {
            let found = classes.get_opt(name).await.map(|found| found.is_some());
            findings.push(self.object(
                "PriorityClass",
                ("get", "priorityclasses.scheduling.k8s.io"),
                name,
                by,
                found,
            )?);
        }
        if let Some((image, patience)) = &wanted.image {
            findings.push(self.start_once(image, *patience).await?);
        }
        Ok(findings)
    }

    async fn permission(&self, wanted: &Permission, account: Option<&str>) -> Result<Finding, ClusterError> {
        let attributes = ResourceAttributes {
            namespace: Some(self.namespace_name().to_owned()),
            verb: Some(wanted.verb.to_owned()),
            group: Some(wanted.group().to_owned()),
            resource: Some(wanted.plural().to_owned()),
            subresource: wanted.subresource().map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let (params, client) = (PostParams::default(), self.client().clone());
        let answer = match account {
            None => {
                let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
                let review = SelfSubjectAccessReview { spec, ..Default::default() };
                let api = Api::<SelfSubjectAccessReview>::all(client);
                self.send(|| api.create(&params, &review)).await.map(|review| review.status)
            }
            Some(account) => {
                let namespace = self.namespace_name();
                let spec = SubjectAccessReviewSpec {
                    resource_attributes: Some(attributes),
                    user: Some(format!("system:serviceaccount:{namespace}:{account}")),
                    groups: Some(vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{namespace}"),
                        "system:authenticated".to_owned(),
                    ]),
                    ..Default::default()
                };
                let metadata = ObjectMeta { namespace: Some(namespace.to_owned()), ..Default::default() };
                let review = LocalSubjectAccessReview { metadata, spec, ..Default::default() };
                let api = self.api::<LocalSubjectAccessReview>();
                self.send(|| api.create(&params, &review)).await.map(|review| review.status)
            }
        };
        let resource = if account.is_some() {
            "localsubjectaccessreviews.authorization.k8s.io"
        } else {
            "selfsubjectaccessreviews.authorization.k8s.io"
        };
        let finding = |standing, detail: &str| Finding::new("permission", wanted.to_string(), standing, detail);
        match answer {
            Ok(Some(SubjectAccessReviewStatus { allowed: true, .. })) => Ok(finding(Standing::Has, wanted.why)),
            Ok(_) => Ok(finding(Standing::Lacks, wanted.why)),
            Err(error) if code(&error) == Some(403) => {
                Ok(finding(Standing::Unknown, &format!("this login may not create {resource}")))
            }
            Err(error) => Err(self.failed(asked("create", resource), None)(error)),
        }
    }

    fn object(
        &self,
        kind: &'static str,
        (verb, resource): (&'static str, &'static str),
        name: &str,
        by: &str,
        found: Result<bool, kube::Error>,
    ) -> Result<Finding, ClusterError> {
        match found {
            Ok(true) => Ok(Finding::new(kind, name, Standing::Has, by)),
            Ok(false) => Ok(Finding::new(kind, name, Standing::Lacks, format!("{by} names it, and it is not there"))),
            Err(error) if code(&error) == Some(403) => {
                Ok(Finding::new(kind, name, Standing::Unknown, format!("this login may not {verb} {resource}")))
            }
            Err(error) => Err(self.failed(asked(verb, resource), Some(name))(error)),
        }
    }

    async fn nodes(&self, platform: &str, selector: &TextMap) -> Result<Finding, ClusterError> {
        let text = selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let api = Api::<Node>::all(self.client().clone());
        let params = ListParams::default().labels(&text);
        let said = if text.is_empty() { "without a selector".to_owned() } else { format!("with {text}") };
        match self.send(|| api.list(&params)).await {
            Ok(nodes) => {
                let usable = nodes.items.iter().filter(|node| takes_pods(node)).count();
                let standing = if usable > 0 { Standing::Has } else { Standing::Lacks };
                let detail = format!("{usable} of {} nodes {said} are ready", nodes.items.len());
                Ok(Finding::new("nodes", platform, standing, detail))
            }
            Err(error) if code(&error) == Some(403) => {
                Ok(Finding::new("nodes", platform, Standing::Unknown, "this login may not list nodes"))
            }
            Err(error) => Err(self.failed(asked("list", "nodes"), None)(error)),
        }
    }
}

/// Ready, and not closed to new pods.
fn takes_pods(node: &Node) -> bool {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    !closed && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}
