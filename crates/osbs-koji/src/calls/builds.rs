//! Builds: looked at, tagged, their files.

use super::{QueryOptions, positional};
use crate::objects::{Archive, Build, BuildInfo, BuildLog, Buildroot, Rpm, Tag, TaggedBuild};
use crate::{Arguments, MethodCall, Struct, Value};

/// `getBuild`; nothing if there is none.
pub fn get_build<'a>(build: impl Into<BuildInfo<'a>>) -> MethodCall<Option<Build>> {
    MethodCall::new("getBuild", positional([build.into().into()]), |answer| answer.into_option(Build::read))
}

/// `listBuilds`. What of: `.named("taskID", 26)`, `packageID`, `userID`, `prefix`, `state`.
pub fn list_builds() -> MethodCall<Vec<Build>> {
    MethodCall::new("listBuilds", Arguments::none(), |answer| answer.into_list(Build::read))
}

impl<T> MethodCall<T> {
    /// How a list is ordered and cut.
    #[must_use]
    pub fn query(self, options: QueryOptions<'_>) -> Self {
        self.named("queryOpts", options)
    }
}

/// `getNextRelease` of a package and version. A reservation that was given back does not count.
pub fn get_next_release(name: &str, version: &str) -> MethodCall<String> {
    let info = Value::members([("name", name.into()), ("version", version.into())]);
    MethodCall::new("getNextRelease", positional([info]), Value::into_text)
}

/// `cancelBuild`: whether there was something to cancel.
pub fn cancel_build<'a>(build: impl Into<BuildInfo<'a>>) -> MethodCall<bool> {
    MethodCall::new("cancelBuild", positional([build.into().into()]), Value::into_bool)
}

/// `tagBuild`: the number of the task that does it.
pub fn tag_build<'a>(tag: &str, build: impl Into<BuildInfo<'a>>) -> MethodCall<i64> {
    MethodCall::new("tagBuild", positional([tag.into(), build.into().into()]), Value::into_int)
}

/// `tagBuildBypass`: at once, for those who may.
pub fn tag_build_bypass<'a>(tag: &str, build: impl Into<BuildInfo<'a>>) -> MethodCall<()> {
    MethodCall::order("tagBuildBypass", positional([tag.into(), build.into().into()]))
}

/// `untagBuild`.
pub fn untag_build<'a>(tag: &str, build: impl Into<BuildInfo<'a>>) -> MethodCall<()> {
    MethodCall::order("untagBuild", positional([tag.into(), build.into().into()]))
}

/// `listTagged`. What of: `.named("latest", true)`, `inherit`, `package`.
pub fn list_tagged(tag: &str) -> MethodCall<Vec<TaggedBuild>> {
    MethodCall::new("listTagged", positional([tag.into()]), |answer| answer.into_list(TaggedBuild::read))
}

/// `getLatestBuilds`: the newest build of each package in a tag, inherited ones too.
pub fn get_latest_builds(tag: &str) -> MethodCall<Vec<TaggedBuild>> {
    MethodCall::new("getLatestBuilds", positional([tag.into()]), |answer| answer.into_list(TaggedBuild::read))
}

/// `listTags` of a build.
pub fn list_tags<'a>(build: impl Into<BuildInfo<'a>>) -> MethodCall<Vec<Tag>> {
    MethodCall::new("listTags", Arguments::none(), |answer| answer.into_list(Tag::read)).named("build", build.into())
}

/// `getBuildLogs`.
pub fn get_build_logs<'a>(build: impl Into<BuildInfo<'a>>) -> MethodCall<Vec<BuildLog>> {
    MethodCall::new("getBuildLogs", positional([build.into().into()]), |answer| answer.into_list(BuildLog::read))
}

/// `getBuildType`: what is known of each type that the build has.
pub fn get_build_type<'a>(build: impl Into<BuildInfo<'a>>) -> MethodCall<Struct> {
    MethodCall::new("getBuildType", positional([build.into().into()]), |answer| match answer {
        Value::Struct(types) => Ok(types),
        // A build without any, or none.
        Value::Nil => Ok(Struct::new()),
        other => Err(other.is_not("a struct")),
    })
}

/// `listArchives` of a build, of one type or all.
pub fn list_archives(build: i64, btype: Option<&str>) -> MethodCall<Vec<Archive>> {
    MethodCall::new("listArchives", Arguments::none(), |answer| answer.into_list(Archive::read))
        .named("buildID", build)
        .maybe("type", btype)
}

/// `getArchive`; nothing if there is none.
pub fn get_archive(archive: i64) -> MethodCall<Option<Archive>> {
    MethodCall::new("getArchive", positional([archive.into()]), |answer| answer.into_option(Archive::read))
}

/// `listRPMs`. What of: `.named("imageID", 29)`, `componentBuildrootID`, `buildID`.
pub fn list_rpms() -> MethodCall<Vec<Rpm>> {
    MethodCall::new("listRPMs", Arguments::none(), |answer| answer.into_list(Rpm::read))
}

/// `getBuildroot`; nothing if there is none.
pub fn get_buildroot(buildroot: i64) -> MethodCall<Option<Buildroot>> {
    MethodCall::new("getBuildroot", positional([buildroot.into()]), |answer| answer.into_option(Buildroot::read))
}
