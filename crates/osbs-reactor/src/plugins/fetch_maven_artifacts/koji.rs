//! Maven archives of Koji builds, as files to be downloaded (`reactor.md` 3.1.18, M39).

use crate::koji::KojiSite;
use crate::plugin::PluginError;
use osbs_config::{ArchivePattern, Checksums, KojiArtifacts, UrlArtifact};
use osbs_dockerfile::go_match;
use osbs_koji::{Archive, Build};
use osbs_types::{ErrorKind, Failure, Position};

/// The archives that the entries ask for. All that is wrong with the entries is told at once.
pub(super) async fn requests(koji: &KojiSite, entries: &[KojiArtifacts]) -> Result<Vec<UrlArtifact>, PluginError> {
    let (mut wanted, mut problems) = (Vec::new(), Vec::new());
    for entry in entries {
        let Some(build) = koji.build(osbs_koji::BuildInfo::Nvr(&entry.nvr)).await? else {
            problems.push((entry.position.clone(), format!("Koji has no build {}", entry.nvr)));
            continue;
        };
        let archives = koji.archives(build.id, "maven").await?;
        match chosen(entry, &archives) {
            Ok(chosen) => {
                for archive in chosen {
                    wanted.push(artifact(koji, &build, archive, &entry.position)?);
                }
            }
            Err(unmatched) => problems.extend(unmatched.into_iter().map(|text| (entry.position.clone(), text))),
        }
    }
    told(problems)?;
    Ok(wanted)
}

fn told(problems: Vec<(Position, String)>) -> Result<(), PluginError> {
    let Some((position, first)) = problems.first().cloned() else { return Ok(()) };
    let mut failure = if problems.len() == 1 {
        Failure::message(ErrorKind::User, first)
    } else {
        let text = format!("{} archives of fetch-artifacts-koji.yaml are not in Koji", problems.len());
        let mut failure = Failure::message(ErrorKind::User, text);
        failure.causes = problems.iter().map(|(position, text)| format!("{position}: {text}")).collect();
        failure
    };
    failure.position = Some(position);
    Err(failure.with_hint("`koji list-archives --build NVR --type maven` tells what a build has").into())
}

/// The archives that match an entry; all of the build if it names none. Every pattern must match some archive.
fn chosen<'a>(entry: &KojiArtifacts, archives: &'a [Archive]) -> Result<Vec<&'a Archive>, Vec<String>> {
    let of = |pattern: &ArchivePattern| archives.iter().any(|archive| matches(pattern, archive));
    let unmatched: Vec<_> = entry.archives.iter().filter(|pattern| !of(pattern)).collect();
    if !unmatched.is_empty() || archives.is_empty() {
        let tell = |pattern: &&ArchivePattern| {
            let named = [("filename", &pattern.filename), ("group_id", &pattern.group_id)];
            let named: Vec<_> =
                named.iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?))).collect();
            format!("build {} has no archive of {}", entry.nvr, named.join(" and "))
        };
        let none = || vec![format!("build {} has no Maven archives", entry.nvr)];
        return Err(if archives.is_empty() { none() } else { unmatched.iter().map(tell).collect() });
    }
    let taken = |archive: &&Archive| {
        entry.archives.is_empty() || entry.archives.iter().any(|pattern| matches(pattern, archive))
    };
    Ok(archives.iter().filter(taken).collect())
}

fn group_of(archive: &Archive) -> Option<&str> {
    archive.raw.get("group_id").as_str()
}

fn matches(pattern: &ArchivePattern, archive: &Archive) -> bool {
    // A shell negates by !, Go by ^.
    let by_name = pattern
        .filename
        .as_ref()
        .is_none_or(|glob| go_match(&glob.replace("[!", "[^"), archive.filename.as_bytes()).unwrap_or(false));
    by_name && pattern.group_id.as_deref().is_none_or(|group| Some(group) == group_of(archive))
}

/// Where it is, where it goes, what it must be.
fn artifact(
    koji: &KojiSite,
    build: &Build,
    archive: &Archive,
    position: &Position,
) -> Result<UrlArtifact, PluginError> {
    let wrong = |what: &str| {
        PluginError::remote(format!("Koji does not say {what} of archive {} of build {}", archive.filename, build.nvr))
    };
    let text = |key: &str| archive.raw.get(key).as_str();
    let (Some(group), Some(id), Some(version)) = (group_of(archive), text("artifact_id"), text("version")) else {
        return Err(wrong("the Maven name"));
    };
    let target = format!("{}/{id}/{version}/{}", group.replace('.', "/"), archive.filename);
    let path = format!("{}/maven/{target}", build.folder());
    let url = koji.client.server().file_url(&path).ok_or_else(|| {
        PluginError::policy(format!("the place of {path} in Koji is not known"))
            .with_hint("give koji.root_url in config.yaml")
    })?;
    let sum = archive.checksum.clone().ok_or_else(|| wrong("the checksum"))?;
    let checksums = match archive.checksum_type {
        Some("md5") => Checksums { md5: Some(sum), ..Checksums::default() },
        Some("sha1") => Checksums { sha1: Some(sum), ..Checksums::default() },
        Some("sha256") => Checksums { sha256: Some(sum), ..Checksums::default() },
        _ => return Err(wrong("which checksum it has")),
    };
    Ok(UrlArtifact { url: url.to_string(), target, checksums, position: position.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn archive(filename: &str, group: &str) -> Archive {
        let answer = json!({"id": 1, "build_id": 1, "filename": filename, "group_id": group, "artifact_id": "y",
            "version": "1.0", "checksum": "ab", "checksum_type": 1});
        Archive::read(osbs_koji::Value::from_json(&answer)).unwrap()
    }

    /// Patterns as `filename|group`.
    #[track_caller]
    fn check(patterns: &[&str], expected: Result<&[&str], &[&str]>) {
        let archives = [archive("y-1.0.jar", "org.x"), archive("y-1.0.pom", "org.x"), archive("z-2.jar", "org.z")];
        let pattern = |text: &&str| {
            let (name, group) = text.split_once('|').unwrap();
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            ArchivePattern { filename: some(name), group_id: some(group) }
        };
        let position = Position { file: "f".into(), line: 1, column: None };
        let entry = KojiArtifacts { nvr: "y-1-1".into(), archives: patterns.iter().map(pattern).collect(), position };
        match (chosen(&entry, &archives), expected) {
            (Ok(found), Ok(names)) => {
                let found: Vec<_> = found.iter().map(|archive| archive.filename.as_str()).collect();
                assert_eq!(found, names, "{patterns:?}");
            }
            (Err(found), Err(parts)) => {
                assert_eq!(found.len(), parts.len(), "{found:?}");
                assert!(found.iter().zip(parts).all(|(text, part)| text.contains(part)), "{found:?}");
            }
            (found, _) => panic!("{patterns:?}: {found:?}"),
        }
    }

    #[test]
    fn archives_by_pattern() {
        check(&[], Ok(&["y-1.0.jar", "y-1.0.pom", "z-2.jar"]));
        check(&["*.jar|"], Ok(&["y-1.0.jar", "z-2.jar"]));
        check(&["|org.x"], Ok(&["y-1.0.jar", "y-1.0.pom"]));
        check(&["*.jar|org.x"], Ok(&["y-1.0.jar"]));
        check(&["[!y]*|"], Ok(&["z-2.jar"]));
        // An entry that another one covers is matched all the same (M39).
        check(&["*|", "*.pom|"], Ok(&["y-1.0.jar", "y-1.0.pom", "z-2.jar"]));
        check(&["*.war|", "*.jar|", "|org.q"], Err(&["no archive of filename *.war", "group_id org.q"]));
    }

    #[test]
    fn a_build_without_archives() {
        let position = Position { file: "f".into(), line: 1, column: None };
        let entry = KojiArtifacts { nvr: "y-1-1".into(), archives: Vec::new(), position };
        assert_eq!(chosen(&entry, &[]).unwrap_err(), ["build y-1-1 has no Maven archives"]);
    }
}
