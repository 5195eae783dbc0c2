//! What the status of a Job and its pods says, in words. Pure.

use crate::job::JobFacts;
use k8s_openapi::api::core::v1::Pod;
use osbs_cluster::Build;

/// The build as it is shown: the record, and for an unfinished one what its pods say beyond it (why it is pending, that it is
/// dead though nobody has closed it yet). `pods` are all that have the label `osbs/build` of this build.
pub(crate) fn shown(facts: &JobFacts, _pods: &[Pod]) -> Build {
    facts.build.clone()
}
