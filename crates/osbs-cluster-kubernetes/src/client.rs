//! Requests to the API server, and what its errors mean here.

use crate::KubernetesCluster;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Resource};
use osbs_cluster::ClusterError;

/// What is asked of which resource, in RBAC's words: an error names both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub verb: &'static str,
    pub resource: &'static str,
}

/// `asked("create", "jobs.batch")`.
pub(crate) const fn asked(verb: &'static str, resource: &'static str) -> Asked {
    Asked { verb, resource }
}

/// The status code of an answer that is an error; `None`: there was no answer.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

impl KubernetesCluster {
    /// Objects of the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client().clone(), self.namespace_name())
    }

    /// What an error means.
    pub(crate) fn failed(&self, asked: Asked, name: Option<&str>) -> impl Fn(kube::Error) -> ClusterError {
        let (url, namespace) = (self.address().to_owned(), self.namespace_name().to_owned());
        let (verb, resource, name) = (asked.verb, asked.resource, name.map(ToOwned::to_owned));
        move |error| {
            let (url, namespace, name) = (url.clone(), namespace.clone(), name.clone());
            match code(&error) {
                Some(401) => ClusterError::LoginRefused { url, source: error.into() },
                Some(403) => ClusterError::Forbidden { url, verb, resource, namespace, source: error.into() },
                None | Some(408 | 429 | 500..) => ClusterError::Unreachable { url, source: error.into() },
                Some(_) => ClusterError::Answer { url, verb, resource, name, source: error.into() },
            }
        }
    }
}
