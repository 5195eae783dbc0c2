//! What set-up scripts call: users, tags, targets, packages, hosts, channels, content generators.

use super::positional;
use crate::{MethodCall, Value};

/// `createTag`: its number. With more: `.named("parent", "f43-build")`, `arches`.
pub fn create_tag(name: &str) -> MethodCall<i64> {
    MethodCall::new("createTag", positional([name.into()]), Value::into_int)
}

/// `createBuildTarget`.
pub fn create_build_target(name: &str, build_tag: &str, dest_tag: &str) -> MethodCall<()> {
    MethodCall::order("createBuildTarget", positional([name.into(), build_tag.into(), dest_tag.into()]))
}

/// `packageListAdd`: the package may be tagged with the tag.
pub fn package_list_add(tag: &str, package: &str, owner: &str) -> MethodCall<()> {
    MethodCall::order("packageListAdd", positional([tag.into(), package.into(), owner.into()]))
}

/// `addChannel`: its number.
pub fn add_channel(name: &str) -> MethodCall<i64> {
    MethodCall::new("addChannel", positional([name.into()]), Value::into_int)
}

/// `addHost`: its number. Makes its user, too.
pub fn add_host(name: &str, arches: &[&str]) -> MethodCall<i64> {
    let arches = Value::Array(arches.iter().map(|&arch| arch.into()).collect());
    MethodCall::new("addHost", positional([name.into(), arches]), Value::into_int)
}

/// `addHostToChannel`.
pub fn add_host_to_channel(host: &str, channel: &str) -> MethodCall<()> {
    MethodCall::order("addHostToChannel", positional([host.into(), channel.into()]))
}

/// `createUser`: its number.
pub fn create_user(name: &str) -> MethodCall<i64> {
    MethodCall::new("createUser", positional([name.into()]), Value::into_int)
}

/// `grantCGAccess`: the user may import as this content generator, which is made if there is none.
pub fn grant_cg_access(user: &str, cg: &str) -> MethodCall<()> {
    MethodCall::order("grantCGAccess", positional([user.into(), cg.into()])).named("create", true)
}

/// `addBType`: a type of builds.
pub fn add_btype(name: &str) -> MethodCall<()> {
    MethodCall::order("addBType", positional([name.into()]))
}

/// `addArchiveType`: a type of archives, by the endings of their names.
pub fn add_archive_type(name: &str, description: &str, extensions: &str) -> MethodCall<()> {
    MethodCall::order("addArchiveType", positional([name.into(), description.into(), extensions.into()]))
}
