//! Targets, tags, packages, repositories, events, hosts, users.

use super::positional;
use crate::objects::{BuildConfig, Event, Host, PackageConfig, Repo, Tag, Target, User};
use crate::{Arguments, MethodCall, Value};

/// `getBuildTarget`, by name or number; nothing if there is none. At a moment: `.named("event", 70)`.
pub fn get_build_target(target: impl Into<Value>) -> MethodCall<Option<Target>> {
    MethodCall::new("getBuildTarget", positional([target.into()]), |answer| answer.into_option(Target::read))
}

/// `getTag`, by name or number; nothing if there is none.
pub fn get_tag(tag: impl Into<Value>) -> MethodCall<Option<Tag>> {
    MethodCall::new("getTag", positional([tag.into()]), |answer| answer.into_option(Tag::read))
}

/// `getBuildConfig`: a tag with what it inherits.
pub fn get_build_config(tag: impl Into<Value>) -> MethodCall<Option<BuildConfig>> {
    MethodCall::new("getBuildConfig", positional([tag.into()]), |answer| answer.into_option(BuildConfig::read))
}

/// `getPackageConfig`; nothing if the package is not in the tag's list.
pub fn get_package_config(tag: impl Into<Value>, package: &str) -> MethodCall<Option<PackageConfig>> {
    MethodCall::new("getPackageConfig", positional([tag.into(), package.into()]), |answer| {
        answer.into_option(PackageConfig::read)
    })
}

/// `getPackageID`; nothing if there is no such package.
pub fn get_package_id(package: &str) -> MethodCall<Option<i64>> {
    MethodCall::new("getPackageID", positional([package.into()]), |answer| answer.into_option(Value::into_int))
}

/// `getRepo` of a tag: the newest that is ready; nothing if there is none.
pub fn get_repo(tag: impl Into<Value>) -> MethodCall<Option<Repo>> {
    MethodCall::new("getRepo", positional([tag.into()]), |answer| answer.into_option(Repo::read))
}

/// `getLastEvent`.
pub fn get_last_event() -> MethodCall<Event> {
    MethodCall::new("getLastEvent", Arguments::none(), Event::read)
}

/// `getHost`, by name or number; nothing if there is none.
pub fn get_host(host: impl Into<Value>) -> MethodCall<Option<Host>> {
    MethodCall::new("getHost", positional([host.into()]), |answer| answer.into_option(Host::read))
}

/// `getUser`, by name or number; nobody if there is none.
pub fn get_user(user: impl Into<Value>) -> MethodCall<Option<User>> {
    MethodCall::new("getUser", positional([user.into()]), |answer| answer.into_option(User::read))
}
