//! Every permission that is used, by who uses it. `deploy/` grants these and no others, and tests hold it to that.

use std::fmt;

/// Who does what with a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks for builds, follows and cancels them: `osbs build`, `osbs kojid`, and orchestrator builds at worker clusters.
    Client,
    /// The pods of builds themselves.
    Build,
    /// `osbs gc`.
    Gc,
}

impl Role {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Client, Self::Build, Self::Gc];

    /// `client`, `build`, `gc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Build => "build",
            Self::Gc => "gc",
        }
    }

    /// What it needs.
    pub fn permissions(self) -> impl Iterator<Item = &'static Permission> {
        PERMISSIONS.iter().filter(move |permission| permission.roles.contains(&self))
    }
}

/// One verb on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// As RBAC has it.
    pub verb: &'static str,
    /// `jobs.batch`, `pods/log`.
    pub resource: &'static str,
    /// What fails without it.
    pub why: &'static str,
    roles: &'static [Role],
}

impl Permission {
    /// The API group; empty for the oldest one.
    pub fn group(&self) -> &'static str {
        self.resource.split_once('.').map_or("", |(_, group)| group)
    }

    /// The resource without its group and its part.
    pub fn plural(&self) -> &'static str {
        self.resource.split(['.', '/']).next().unwrap_or_default()
    }

    /// `log` of `pods/log`.
    pub fn subresource(&self) -> Option<&'static str> {
        self.resource.split_once('/').map(|(_, part)| part)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

const CLIENT: &[Role] = &[Role::Client];
const CLIENT_BUILD: &[Role] = &[Role::Client, Role::Build];
const CLIENT_GC: &[Role] = &[Role::Client, Role::Gc];
const ALL: &[Role] = &[Role::Client, Role::Build, Role::Gc];

const fn may(verb: &'static str, resource: &'static str, roles: &'static [Role], why: &'static str) -> Permission {
    Permission { verb, resource, why, roles }
}

const JOBS: &str = "jobs.batch";
const LEASES: &str = "leases.coordination.k8s.io";

const PERMISSIONS: &[Permission] = &[
    may("create", JOBS, CLIENT, "make a build"),
    may("get", JOBS, ALL, "see a build"),
    may("list", JOBS, ALL, "list builds, and see whose turn it is"),
    may("watch", JOBS, CLIENT_BUILD, "wait for a build, and hear in its pod that it is cancelled"),
    may("patch", JOBS, ALL, "start a build when its turn comes, cancel it, record how it ended"),
    may("delete", JOBS, CLIENT_GC, "remove old builds, and one whose environment could not be kept"),
    may("list", "pods", ALL, "say what keeps a build from running, and why its pod ended"),
    may("get", "pods/log", ALL, "follow the log of a build, and keep that of a dead one"),
    may("get", LEASES, ALL, "see whose turn was granted"),
    may("create", LEASES, CLIENT_GC, "the first turn of all"),
    may("update", LEASES, ALL, "grant turns"),
    may("create", "secrets", CLIENT, "hand a build its environment"),
    may("get", "secrets", CLIENT, "read reactor_config_secret, and see that the secrets of a build are there"),
    may("delete", "secrets", ALL, "remove the environment of a build that has ended"),
    may("get", "configmaps", ALL, "read reactor_config_map, logs, and what workers hand back"),
    may("list", "configmaps", ALL, "read logs of finished builds, find BuildConfigs"),
    may("create", "configmaps", ALL, "keep logs, BuildConfigs and releases that were given away"),
    may("update", "configmaps", CLIENT_BUILD, "count the builds of a BuildConfig and the releases of a component"),
    may("delete", "configmaps", ALL, "remove what was handed on from one build to another"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let of = |resource| may("get", resource, ALL, "");
        let parts = |it: Permission| (it.group(), it.plural(), it.subresource());
        assert_eq!(parts(of("jobs.batch")), ("batch", "jobs", None));
        assert_eq!(parts(of("pods/log")), ("", "pods", Some("log")));
        assert_eq!(parts(of(LEASES)), ("coordination.k8s.io", "leases", None));
    }

    #[test]
    fn nothing_is_told_twice() {
        for role in Role::ALL {
            let mut told: Vec<_> = role.permissions().map(ToString::to_string).collect();
            let count = told.len();
            told.sort_unstable();
            told.dedup();
            assert_eq!(told.len(), count, "{role:?}");
        }
    }
}
